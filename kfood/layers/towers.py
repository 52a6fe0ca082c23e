"""The two encoders that the recipe methods share: one vector a photo, one a recipe, both of length 1."""

import keras
from keras import ops

from kfood import schema
from kfood.layers.image import ImageEncoderConfig, image_tower
from kfood.layers.outputs import UnitLength
from kfood.layers.recipe import RecipeEncoderConfig, recipe_tower


def unit_encoders(
    spec: schema.RecipeSpec, image: ImageEncoderConfig, recipe: RecipeEncoderConfig, size: int
) -> dict[str, keras.Model]:
    """Image and recipe encoders whose embeddings are L2-normalised, for comparison by cosine (Salvador et al. 2017).

    Where both sides are of one preset of CLIP or SigLIP, their linear layers start as one rotation of what the preset
    compares, of a recipe of its parts' mean: cosines are at first nearly the preset's own, but for the bend of the
    hyperbolic tangent, if ``size`` is at least the preset's width.

    Args:
        spec: shapes and vocabulary sizes.
        image: picture side.
        recipe: recipe side.
        size: width of the embedding.

    Returns:
        ``"image"`` and ``"recipe"`` → functional model: dict of features → float32 ``[batch, size]``, L2-normalised.
    """
    towers = {"image": image_tower(spec, image, size), "recipe": recipe_tower(spec, recipe, size)}
    if recipe.backbone and recipe.backbone == image.backbone:
        _start_alike(towers)
    return {
        name: keras.Model(
            tower.input,
            UnitLength(dtype="float32", name="embedding")(tower.output),
            name=f"{name}_encoder",
        )
        for name, tower in towers.items()
    }


def _start_alike(towers):
    """One orthogonal matrix, with rows of length 1, for the linear layers of both towers."""
    heads = {name: tower.get_layer(f"{name}_embedding") for name, tower in towers.items()}
    width, size = heads["image"].kernel.shape
    rotation = keras.initializers.Orthogonal()((width, size))
    heads["image"].kernel.assign(rotation)
    parts = heads["recipe"].kernel.shape[0] // width
    heads["recipe"].kernel.assign(ops.tile(rotation, (parts, 1)) / parts)
