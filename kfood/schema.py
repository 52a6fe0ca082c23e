"""Feature names, dtypes and shapes: the contract between disk, model and export.

Two things live here and nothing else: the names under which features travel (on disk, in a batch, as inputs of an
exported graph), and the specs, which fix every shape that a model and its data have to agree on: :class:`RecipeSpec`
of recipes with photos, :class:`PhotoSpec` of labelled photos, :class:`TrajectorySpec` of trajectories with pictures.

======================= ================================================== ============================================
feature in a batch      dtype and shape                                    meaning
======================= ================================================== ============================================
``id``                  string [batch]                                     of recipe or photo, for reports and search
``image``               float32 [batch, image_size, image_size, 3]         RGB in [0, 255]; encoders normalise
``image_features``      float32 [batch, ...]                               a frozen backbone's, in place of ``image``
``title``               int32 [batch, title_words]                         words, only if ``title_words > 0``
``ingredients``         int32 [batch, ingredients, ingredient_words]       words of each line, or one id per name
``instructions``        int32 [batch, instructions, instruction_words]     words of each sentence
``instruction_vectors`` float32 [batch, instructions, instruction_vectors] precomputed instead of words; 0 = padding
``ingredient_ids``      int32 [batch, ingredients]                         ingredient names present (targets)
``class_id``            int32 [batch]                                      food class; of recipes, 0 = background
``without_photo_…``     as that recipe input, of another number of recipes recipes without photos, training only
``recipe_number``       int64 [batch]                                      equal in any batch: photos of one recipe
======================= ================================================== ============================================

Every token tensor uses 0 for padding, always on the right, and 1 for an unknown token.

Items of one ``recipe_number`` are never each other's negatives; without that feature each item is a recipe of its own.
``id`` is for people: ``fit`` and its like put ``recipe_number`` in its place, a hash of the strings, where the batch
has none yet; XLA could not compile a step with strings.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

ID = "id"
IMAGE = "image"
IMAGE_FEATURES = "image_features"
TITLE = "title"
INGREDIENTS = "ingredients"
INSTRUCTIONS = "instructions"
INSTRUCTION_VECTORS = "instruction_vectors"
INGREDIENT_IDS = "ingredient_ids"
CLASS_ID = "class_id"
RECIPE_NUMBER = "recipe_number"
TRAJECTORY = "trajectory"
LOCATION = "location"

WITHOUT_PHOTO = "without_photo_"
"""Put before the name of a recipe input: of recipes that have no photo, in a training batch beside those that have."""

# Features that exist on disk only (see kfood.data): raw text, and photos as encoded bytes.
INGREDIENT_NAMES = "ingredient_names"
IMAGES = "images"

PADDING_ID = 0
UNKNOWN_ID = 1
FIRST_TOKEN_ID = 2
"""A vocabulary file's first line has this id: 0 and 1 are reserved and not in the file."""

TOKEN_RULE = 2
"""Version of the rule by which text becomes tokens and ids (:mod:`kfood.data.text`): a vocabulary is counted by one,
and read by no other. 1 took runs of letters and numbers alone."""


def check_token_rule(where: object, described: Mapping[str, Any], remedy: str) -> None:
    """Refuses ids of another token rule.

    Args:
        where: what has them, for the message.
        described: what stands there; ``token_rule`` is missing where it was written before there were two.
        remedy: what to do.

    Raises:
        ValueError: of another rule than :data:`TOKEN_RULE`.
    """
    if (received := described.get("token_rule", 1)) != TOKEN_RULE:
        raise ValueError(
            f"{where}: expected ids by token rule {TOKEN_RULE}, received ids by rule {received!r}, of another "
            f"version of kfood: {remedy}."
        )


BACKGROUND_CLASS = 0

FRAMES = ("window", "scene")
"""What the picture of a trajectory shows; see :class:`TrajectorySpec`."""


WHOLE_PHOTO = 0
"""In place of a resized photo's short side: both of its sides are resized to the picture's, and nothing is cut off."""


def resized_short_side(size: int) -> int:
    """Short side in pixels to which a photo is resized before a crop of ``size``: 256 for 224, in proportion."""
    return round(size * 256 / 224)


@dataclasses.dataclass(frozen=True)
class RecipeSpec:
    """Shapes and vocabulary sizes of a recipe batch.

    Attributes:
        image_size: side of the square picture that the image encoder receives, pixels.
        ingredients: most ingredients of a recipe that are read; the rest is cut.
        ingredient_words: most words of an ingredient that are read. With ``ingredient_unit="name"`` it is 1.
        ingredient_unit: ``"word"``: ingredient lines as written, cut into words of the word vocabulary;
            ``"name"``: clean ingredient names, each one entry of the ingredient vocabulary.
        instructions: most instruction sentences that are read.
        instruction_words: most words of a sentence that are read.
        instruction_vectors: width of precomputed sentence vectors that replace instruction words; 0 = words.
        title_words: most words of the title that are read; 0 = the title is not used.
        word_vocabulary: ids in use for words, the two reserved ones included.
        ingredient_vocabulary: ids in use for ingredient names, the two reserved ones included.
        classes: number of food classes, background included.
        whole_photo: whether the picture is the whole photo, squeezed where it is not square; else its middle square.
    """

    image_size: int = 224
    ingredients: int = 20
    ingredient_words: int = 8
    ingredient_unit: Literal["word", "name"] = "word"
    instructions: int = 20
    instruction_words: int = 30
    instruction_vectors: int = 0
    title_words: int = 0
    word_vocabulary: int = 30_002
    ingredient_vocabulary: int = 4_104
    classes: int = 1_048
    whole_photo: bool = False

    def __post_init__(self):
        if self.ingredient_unit not in ("word", "name"):
            raise ValueError(f"ingredient_unit: expected 'word' or 'name', received {self.ingredient_unit!r}.")
        if self.ingredient_unit == "name" and self.ingredient_words != 1:
            raise ValueError(
                f"ingredient_words: expected 1 with ingredient_unit='name', received {self.ingredient_words}."
            )
        for field in dataclasses.fields(self):
            least = 0 if field.name in ("instruction_vectors", "title_words") else 1
            value = getattr(self, field.name)
            if field.name not in ("ingredient_unit", "whole_photo") and not (isinstance(value, int) and value >= least):
                raise ValueError(f"{field.name}: expected an integer of at least {least}, received {value!r}.")
        if not isinstance(self.whole_photo, bool):
            raise ValueError(f"whole_photo: expected true or false, received {self.whole_photo!r}.")

    @property
    def short_side(self) -> int:
        """Short side in pixels to which a photo is resized before the crop, 256 for 224; or :data:`WHOLE_PHOTO`."""
        return WHOLE_PHOTO if self.whole_photo else resized_short_side(self.image_size)

    def recipe_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → (shape without the batch axis, dtype) of what a recipe encoder receives, in a fixed order."""
        inputs: dict[str, tuple[tuple[int, ...], str]] = {}
        if self.title_words:
            inputs[TITLE] = ((self.title_words,), "int32")
        inputs[INGREDIENTS] = ((self.ingredients, self.ingredient_words), "int32")
        if self.instruction_vectors:
            inputs[INSTRUCTION_VECTORS] = ((self.instructions, self.instruction_vectors), "float32")
        else:
            inputs[INSTRUCTIONS] = ((self.instructions, self.instruction_words), "int32")
        return inputs

    def image_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → (shape without the batch axis, dtype) of what an image encoder receives."""
        return {IMAGE: ((self.image_size, self.image_size, 3), "float32")}


@dataclasses.dataclass(frozen=True)
class PhotoSpec:
    """Shapes of a batch of labelled photos.

    Attributes:
        image_size: side of the square picture that the image encoder receives, pixels.
        classes: number of training classes; other classes have ids from here on.
        samples_per_class: photos of each class in a training batch.
        repetition: whether a batch's classes, and a class's photos, are drawn with repetition (as the α-sampling
            paper's released code does), each on its own.
        whole_photo: as of :class:`RecipeSpec`; the paper's is a square.
    """

    image_size: int = 224
    classes: int = 70
    samples_per_class: int = 2
    repetition: bool = False
    whole_photo: bool = False

    def __post_init__(self):
        for name, least in {"image_size": 1, "classes": 1, "samples_per_class": 1}.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name}: expected an integer of at least {least}, received {value!r}.")
        for name in ("repetition", "whole_photo"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: expected true or false, received {getattr(self, name)!r}.")

    @property
    def short_side(self) -> int:
        """As of :class:`RecipeSpec`."""
        return WHOLE_PHOTO if self.whole_photo else resized_short_side(self.image_size)

    def recipe_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """None: there is no recipe."""
        return {}

    def image_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → (shape without the batch axis, dtype) of what an image encoder receives."""
        return {IMAGE: ((self.image_size, self.image_size, 3), "float32")}


@dataclasses.dataclass(frozen=True)
class TrajectorySpec:
    """Shapes of a batch of trajectories with pictures, and the piece of ground that they lie on.

    Attributes:
        image_size: side of the square picture that the image encoder receives, pixels.
        points: of a trajectory.
        centre_x: middle of the ground, metres.
        centre_y: likewise.
        extent: from the middle to the farthest side, metres; encoders divide by it.
        frame: what pictures show: ``"window"``, surroundings of the line; ``"scene"``, all of the ground, see
            :func:`kfood.data.drawing.scene_of`.
        geographic: whether metres were projected from latitudes and longitudes.
        origin_latitude: where such metres are 0, degrees.
        origin_longitude: likewise.
    """

    image_size: int = 64
    points: int = 20
    centre_x: float = 0.0
    centre_y: float = 0.0
    extent: float = 10.0
    frame: Literal["window", "scene"] = "window"
    geographic: bool = False
    origin_latitude: float = 0.0
    origin_longitude: float = 0.0

    def __post_init__(self):
        for name, least in {"image_size": 1, "points": 2}.items():
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name}: expected an integer of at least {least}, received {value!r}.")
        if self.frame not in FRAMES:
            raise ValueError(f"frame: expected one of {list(FRAMES)}, received {self.frame!r}.")
        if not self.extent > 0:
            raise ValueError(f"extent: expected metres above 0, received {self.extent!r}.")

    @property
    def short_side(self) -> int:
        """Side in pixels to which a map picture is resized: it is taken whole, as its corners are given."""
        return self.image_size

    def recipe_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """None: there is no recipe."""
        return {}

    def image_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → (shape without the batch axis, dtype) of what an image encoder receives."""
        return {IMAGE: ((self.image_size, self.image_size, 3), "float32"), LOCATION: ((4,), "float32")}

    def trajectory_inputs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Name → (shape without the batch axis, dtype) of what a trajectory encoder receives."""
        return {TRAJECTORY: ((self.points, 2), "float32")}
