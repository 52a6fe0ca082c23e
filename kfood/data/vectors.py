"""Precomputed sentence vectors: one HDF5 file with the vectors of all recipes.

==============  ==========================  =====================================================================
HDF5 dataset    dtype and shape             meaning
==============  ==========================  =====================================================================
``ids``         string [recipes]            recipe ids (UTF-8)
``offsets``     int64 [recipes + 1]         recipe ``i`` has the rows ``offsets[i]`` to ``offsets[i + 1] - 1``
``vectors``     float [rows, width]         one row a sentence, in the order of the recipe; read as float32
==============  ==========================  =====================================================================

Written with h5py, which comes with Keras::

    with h5py.File("sentences.h5", "w") as file:
        file["ids"] = ids
        file["offsets"] = np.cumsum([0, *(len(rows) for rows in per_recipe)])
        file["vectors"] = np.concatenate(per_recipe).astype("float32")
"""

import pathlib

import h5py
import numpy as np


class SentenceVectors:
    """Vectors by recipe id, read from disk one recipe at a time.

    Args:
        path: file in the format of this module.

    Attributes:
        width: length of one vector.

    Raises:
        OSError: if the file cannot be read as HDF5.
        ValueError: if it does not hold what the format says.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: expected a file of sentence vectors, found none.")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise OSError(f"{path}: expected an HDF5 file of sentence vectors; {error}.") from error
        missing = [name for name in ("ids", "offsets", "vectors") if not isinstance(self._file.get(name), h5py.Dataset)]
        if missing:
            raise ValueError(f"{path}: expected the HDF5 datasets ids, offsets and vectors; {missing[0]} is missing.")
        self._vectors = self._file["vectors"]
        ids = [name.decode() if isinstance(name, bytes) else str(name) for name in self._file["ids"][:]]
        offsets = self._file["offsets"][:]
        if self._vectors.ndim != 2 or not self._vectors.shape[1]:
            raise ValueError(f"{path}: vectors: expected shape [rows, width], received {self._vectors.shape}.")
        if (
            offsets.shape != (len(ids) + 1,)
            or offsets[0] != 0
            or offsets[-1] != len(self._vectors)
            or np.any(np.diff(offsets) < 0)
        ):
            raise ValueError(
                f"{path}: offsets: expected {len(ids) + 1} numbers rising from 0 to {len(self._vectors)} "
                "(one more than ids, up to the rows of vectors)."
            )
        if len(set(ids)) != len(ids):
            raise ValueError(f"{path}: ids: expected each recipe once, received duplicates.")
        self.width = int(self._vectors.shape[1])
        self._rows = {
            name: (int(first), int(end)) for name, first, end in zip(ids, offsets[:-1], offsets[1:], strict=True)
        }

    def __contains__(self, recipe: str) -> bool:
        """Whether a recipe has at least one vector."""
        first, end = self._rows.get(recipe, (0, 0))
        return end > first

    def __getitem__(self, recipe: str) -> np.ndarray:
        """Vectors of a recipe: float32 [sentences, width].

        Raises:
            KeyError: if it has none.
            ValueError: if one of them is not finite.
        """
        first, end = self._rows[recipe]
        vectors = self._vectors[first:end].astype(np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError(f"{self.path}: recipe {recipe}: expected finite vectors, received NaN or infinity.")
        return vectors
