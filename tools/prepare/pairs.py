"""Recipes and photos of one's own."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from kfood.tools.prepare import common, written_pairs

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Prepare recipes and photos of your own.

    Reads a file or a folder of files: CSV, TSV, JSON, JSON lines, Parquet with a recipe a row; schema.org/Recipe as
    JSON or in saved pages; exports of Nextcloud Cookbook, Mealie, Tandoor and Paprika; Cooklang, MealMaster, RecipeML.
    Fields are found by their usual names. A recipe's photo is found by what its row says, its id or its title. Ends
    with a table of what was kept and dropped, and OUT/pairs.png with 24 random pairs to look at.
    """

    recipes: pathlib.Path
    """File of recipes, or folder of such files."""
    out: pathlib.Path
    """Folder to make."""
    photos: pathlib.Path | None = None
    """Folder of photos; without it they are looked for beside the recipe files and within them."""
    title: str = ""
    """Field or column of the title, where its name is none of the usual ones; so for the following."""
    ingredients: str = ""
    """Of the ingredient lines: a list, a JSON or Python list in a string, or lines."""
    instructions: str = ""
    """Of the instructions, likewise."""
    photo: str = ""
    """Of the photo: a path, a file name with or without its ending, a list of them, or a URL (which is not fetched)."""
    id: str = ""
    """Of a unique id; without one it is made of title and ingredients."""
    names: str = ""
    """Of clean ingredient names; without them amounts and units are stripped from the lines."""
    split: str = ""
    """Of the split: train, val or test; without it recipes are split by --val-share and --test-share."""
    val_share: float = 0.1
    """Share of the recipes for validation."""
    test_share: float = 0.1
    """Share of the recipes for testing."""
    seed: int = 0
    """Of the split."""
    classes_of_titles: int = 0
    """Make food classes of words that so many titles share at least; 0: none."""
    drop_leaks: bool = False
    """Leave out of the larger split what also stands in another: the same photo, or the same title and ingredients."""
    keep_without_photos: bool = False
    """Keep training recipes that have no photo: models that learn from texts alone can take a share of them."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    min_word_count: int = 2
    """Words seen fewer times in the train split are read as unknown."""
    min_ingredient_count: int = 2
    """Ingredient names seen fewer times in the train split are read as unknown."""
    max_words: int = 30_000
    """Most words in the vocabulary."""
    max_ingredients: int = 4_102
    """Most ingredient names in the vocabulary."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        common.at_least_one(
            self, "short_side", "min_word_count", "min_ingredient_count", "max_words", "max_ingredients"
        )
        common.shares(self, "val_share", "test_share")
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                "--val-share and --test-share: expected less than 1 together, so that some are left to train."
            )

    @property
    def columns(self) -> dict[str, str]:
        """What a recipe holds → the field that was named for it."""
        named = {what: getattr(self, what) for what in ("title", "ingredients", "instructions", "photo", "id", "names")}
        return {what: name for what, name in {**named, "split": self.split}.items() if name}

    def prepare(self) -> "RecipeDataset":
        """Reads, checks, writes, and says what was left out; see :func:`kfood.tools.prepare.run`."""
        from kfood.data import builder, pairs

        builder.check_output(self.out, overwrite=self.overwrite)
        source = pairs.Pairs(
            self.recipes,
            self.photos,
            columns=self.columns,
            short_side=self.short_side,
            val_share=self.val_share,
            test_share=self.test_share,
            seed=self.seed,
            classes_of_titles=self.classes_of_titles,
            keep_without_photos=self.keep_without_photos,
        )
        return written_pairs.write(self, source, "pairs")
