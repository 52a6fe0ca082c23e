"""Recipe1M, Recipe1M+, or recipes in the same layout."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated

import tyro

from kfood.tools import bulk
from kfood.tools.prepare import common, written_pairs

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset


@dataclasses.dataclass(frozen=True)
class Recipe1M:
    """Prepare Recipe1M or Recipe1M+, or recipes in the same layout.

    Reads layer1.json, layer2+.json or layer2.json, det_ingrs.json, classes1M.pkl (optional) and the photos; ends with
    a table of what was kept and what was dropped for which reason, also written to OUT/prepare.json.
    """

    source: pathlib.Path
    """Folder with the raw files."""
    out: pathlib.Path
    """Folder to make."""
    short_side: int = 256
    """Photos are reduced so that their short side has this many pixels; smaller ones stay as they are."""
    min_word_count: int = 3
    """Words seen fewer times in the train split are read as unknown."""
    min_ingredient_count: int = 3
    """Ingredient names seen fewer times in the train split are read as unknown."""
    max_words: int = 30_000
    """Most words in the vocabulary."""
    max_ingredients: int = 4_102
    """Most ingredient names in the vocabulary."""
    sentence_vectors: pathlib.Path | None = None
    """HDF5 file of precomputed sentence vectors (kfood/data/vectors.py says how it is laid out)."""
    drop_leaks: bool = False
    """Leave out of the larger split what also stands in another: the same photo, or the same title and ingredients."""
    keep_without_photos: bool = False
    """Keep training recipes that have no photo: models that learn from texts alone can take a share of them."""
    runner: str = ""
    """Runner of Apache Beam that is to load the photos (extra `beam`): FnApiRunner on this machine, FlinkRunner,
    SparkRunner, DataflowRunner, …; its options follow a bare --. By default threads of this process load them."""
    overwrite: bool = False
    """Replace OUT if it is a prepared dataset."""
    beam_options: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """Beam's options: what follows --."""

    def __post_init__(self):
        common.at_least_one(
            self, "short_side", "min_word_count", "min_ingredient_count", "max_words", "max_ingredients"
        )

    def prepare(self) -> "RecipeDataset":
        """Reads, checks, writes, and says what was left out; see :func:`kfood.tools.prepare.run`."""
        from kfood.data import builder, photo_parts, recipe1m, vectors

        beam = bulk.beam(self.runner, self.beam_options)
        builder.check_output(self.out, overwrite=self.overwrite)
        sentence_vectors = None if self.sentence_vectors is None else vectors.SentenceVectors(self.sentence_vectors)
        source = recipe1m.Recipe1M(
            self.source,
            short_side=self.short_side,
            vectors=sentence_vectors,
            keep_without_photos=self.keep_without_photos,
            load=photo_parts.PhotoParts(self.out, self.short_side, beam.run) if beam else None,
        )
        return written_pairs.write(self, source, "recipe1m", 0 if sentence_vectors is None else sentence_vectors.width)
