"""Leaks: the same photo, or the same recipe, in two splits.

A model that has seen a test photo in training is measured too well. Photos are compared by a perceptual hash
(ImageHash's pHash: 64 bits of a reduced picture's low frequencies), which recompressing and resizing hardly change;
recipes by the words of title and ingredients.
"""

import collections
import dataclasses
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence

import imagehash
import numpy as np
from PIL import Image

from kfood.data.dataset import WITHOUT_PHOTOS, RecipeRecord
from kfood.data.drops import Drops
from kfood.data.recipe1m import map_in_order

NEAR = 4
"""Most differing bits of 64 at which two photos count as one. Of 1,300 and of 3,000 photos of dishes no two are that
near (at 6, two of each are); of 400 copies that were recompressed and resized, from a third to 1.3 times the side, one
is farther. Copies that were cut or turned are not found."""

_MOST_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class Leak:
    """One pair that stands in two splits.

    Attributes:
        split: where it is met again.
        id: of the recipe there.
        other_split: where it was first.
        other_id: of the recipe there.
        what: ``"photo"`` or ``"recipe"``.
        bits: by how many bits the photos' hashes differ.
    """

    split: str
    id: str
    other_split: str
    other_id: str
    what: str
    bits: int = 0


def photo_hash(photo: bytes) -> np.uint64:
    """The perceptual hash of an encoded photo: 64 bits."""
    with Image.open(io.BytesIO(photo)) as image:
        image.draft(
            "L", (64, 64)
        )  # a JPEG is decoded to the eighth of its side, down to this, for a fraction of the time
        bits = imagehash.phash(image.convert("L")).hash.reshape(-1)
    return np.packbits(bits).view(">u8")[0].astype(np.uint64)


def recipe_key(record: RecipeRecord) -> bytes:
    """What two copies of a recipe share: the words of title and ingredients, whatever their case and punctuation."""
    words = (" ".join(re.findall(r"\w+", line.lower())) for line in (record.title, *record.ingredients))
    return hashlib.sha256("\n".join(words).encode()).digest()


class LeakCheck:
    """Passes records on and remembers what later splits must not hold.

    Splits are read the smallest first, so that what is found twice is found in, and dropped from, the larger one.

    Args:
        drop: whether what is found is left out.
        dropped: where it is then counted.

    Attributes:
        leaks: what was found, the first 1,000.
        count: how many were found, by ``(split, other split, what)``.
    """

    def __init__(self, *, drop: bool, dropped: Drops):
        self.leaks: list[Leak] = []
        self.count: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._drop = drop
        self._dropped = dropped
        self._hashes: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._keys: dict[bytes, tuple[str, str]] = {}

    @staticmethod
    def order(candidates: Mapping[str, int]) -> list[str]:
        """The splits, the smallest first; recipes without photos last, which no photo can find."""
        return sorted(candidates, key=lambda split: (split == WITHOUT_PHOTOS, candidates[split], split))

    def passing(self, split: str, records: Iterator[RecipeRecord]) -> Iterator[RecipeRecord]:
        """The records of a split, without those that leak where they are to be dropped."""
        hashes: list[np.uint64] = []
        owners: list[str] = []
        keys: dict[bytes, tuple[str, str]] = {}
        for record, own in map_in_order(lambda record: [photo_hash(photo) for photo in record.photos], records):
            key = recipe_key(record)
            leak = self._find(split, record, own, key)
            if leak is not None:
                self.count[leak.split, leak.other_split, leak.what] += 1
                if len(self.leaks) < _MOST_LISTED:
                    self.leaks.append(leak)
                if self._drop:
                    self._dropped.add(f"same {leak.what} as in {leak.other_split}", f"{leak.id} = {leak.other_id}")
                    continue
            hashes += own
            owners += [record.id] * len(own)
            keys[key] = (split, record.id)
            yield record
        self._hashes[split] = (np.array(hashes, np.uint64), owners)
        self._keys |= keys

    def _find(self, split: str, record: RecipeRecord, own: Sequence[np.uint64], key: bytes) -> Leak | None:
        if key in self._keys and {split, self._keys[key][0]} != {"train", WITHOUT_PHOTOS}:
            other, name = self._keys[key]
            return Leak(split, record.id, other, name, "recipe")
        for other, (hashes, owners) in self._hashes.items():
            for value in own:
                if not len(hashes):
                    continue
                bits = np.bitwise_count(hashes ^ value)
                nearest = int(bits.argmin())
                if bits[nearest] <= NEAR:
                    return Leak(split, record.id, other, owners[nearest], "photo", int(bits[nearest]))
        return None

    def summary(self) -> dict[str, object]:
        """What prepare.json holds: counts and the leaks found."""
        return {
            "count": [
                {"split": split, "other_split": other, "what": what, "count": count}
                for (split, other, what), count in sorted(self.count.items())
            ],
            "dropped": self._drop,
            "found": [dataclasses.asdict(leak) for leak in self.leaks],
        }
