"""The synthetic kitchen."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from kfood.tools.prepare import common

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset


@dataclasses.dataclass(frozen=True)
class Kitchen:
    """Draw the synthetic kitchen: recipes from templates, pictures that follow from them."""

    out: pathlib.Path
    """Folder to make."""
    pairs: int = 2_000
    """Recipe-photo pairs in all; a tenth each goes to the val and the test split."""
    size: int = 128
    """Side of the pictures, pixels."""
    seed: int = 0
    """Same seed, same bytes."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""

    def __post_init__(self):
        common.at_least_one(self, "pairs", "size")

    def prepare(self) -> "RecipeDataset":
        """Reads, checks, writes, and says what was left out; see :func:`kfood.tools.prepare.run`."""
        from kfood.data import builder, kitchen
        from kfood.data.dataset import SPLITS

        builder.check_output(self.out, overwrite=self.overwrite)
        splits: dict[str, list] = {split: [] for split in SPLITS}
        with common.progress() as progress:
            task = progress.add_task("drawing", total=self.pairs)
            for split, record in kitchen.generate(self.pairs, self.size, self.seed):
                splits[split].append(record)
                progress.advance(task)
        dataset = builder.write_recipes(
            self.out,
            "kitchen",
            splits,
            classes=kitchen.CLASSES,
            short_side=self.size,
            min_word_count=1,
            min_ingredient_count=1,
            overwrite=self.overwrite,
            report=lambda: {"dropped": {}},
        )
        common.say(dataset)
        return dataset
