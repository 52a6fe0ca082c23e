"""The two encoders that the recipe methods share: one vector a photo, one a recipe, both of length 1."""

import keras

from kfood import schema
from kfood.layers.image import ImageEncoderConfig, image_tower
from kfood.layers.outputs import UnitLength
from kfood.layers.recipe import RecipeEncoderConfig, recipe_tower


def unit_encoders(
    spec: schema.RecipeSpec, image: ImageEncoderConfig, recipe: RecipeEncoderConfig, size: int
) -> dict[str, keras.Model]:
    """Image and recipe encoders whose embeddings are L2-normalised, for comparison by cosine (Salvador et al. 2017).

    Args:
        spec: shapes and vocabulary sizes.
        image: picture side.
        recipe: recipe side.
        size: width of the embedding.

    Returns:
        ``"image"`` and ``"recipe"`` → functional model: dict of features → float32 ``[batch, size]``, L2-normalised.
    """
    towers = {"image": image_tower(spec, image, size), "recipe": recipe_tower(spec, recipe, size)}
    return {
        name: keras.Model(
            tower.input,
            UnitLength(dtype="float32", name="embedding")(tower.output),
            name=f"{name}_encoder",
        )
        for name, tower in towers.items()
    }
