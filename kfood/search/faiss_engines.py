"""FAISS (extra ``faiss``): flat, an HNSW graph, inverted lists of product codes.

Malkov and Yashunin 2018, https://arxiv.org/abs/1603.09320 (HNSW); Jégou et al. 2011,
https://doi.org/10.1109/TPAMI.2010.57 (inverted lists, product codes); André et al. 2015,
https://doi.org/10.14778/2856318.2856324 (codes of half a byte, many at once).
A file holds the rows that its name says, and is written whole, beside the one before it.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from kfood.search import codes, engines, exact

_BUILDING, _SEARCHING = 64, 128
"""Of the graph: nodes kept in view while it is built, and while it is searched."""

_TRAINING = 160_000
"""Rows, evenly spaced, from which quantisers learn."""

_A_LIST = 20
"""Rows of these a list, at least; FAISS warns below 39."""

_ROUNDS = 5
"""Of k-means, which sorts into lists."""

_PROBES = 256
"""Lists looked at. Rows near to each other are spread over many; codes of half a byte are quick to look at."""

_FURTHER = 32
"""Where few rows may be found, at most so many times the usual is looked at."""


@dataclasses.dataclass(frozen=True)
class Faiss(engines.Engine):
    """One kind of FAISS index.

    Attributes:
        factory: (rows, dim) → what ``faiss.index_factory`` makes it from.
        candidates: compared exactly: so many times the wanted number, and so many at least.
        least: see the base class.
    """

    factory: Callable[[int, int], str]
    candidates: tuple[int, int]
    least: int = 1

    def check(self, address=""):
        """See the base class."""
        super().check(address)
        _import_faiss()

    def lag(self, place):
        """The file is read and written whole."""
        return 4096

    def files(self, side, rows):
        """One."""
        return (f"{side}.{rows}.faiss",)

    def extend(self, place, gallery, start):
        """Train at first, and write another file."""
        faiss = _import_faiss()
        rows, dim = gallery.shape
        if start:
            index = faiss.read_index(str(place.folder / self.files(place.side, start)[0]))
        else:
            metric = faiss.METRIC_INNER_PRODUCT if place.distance == "dot" else faiss.METRIC_L2
            index = faiss.index_factory(dim, self.factory(rows, dim), metric)
            if isinstance(index, faiss.IndexHNSW):
                index.hnsw.efConstruction = _BUILDING
            if isinstance(index, faiss.IndexIVF):
                index.nprobe = _PROBES  # kept in the file
                index.cp.niter, index.cp.min_points_per_centroid = _ROUNDS, _A_LIST
            if not index.is_trained:
                index.train(codes.comparable(gallery[:: max(1, rows // _TRAINING)], place.distance))
        new = gallery[start:]
        for part in exact.blocks(new):
            index.add(codes.comparable(new[part], place.distance))
        if isinstance(index, faiss.IndexIVF) and not start:
            _halve_centres(faiss, index)
        faiss.write_index(index, str(place.folder / self.files(place.side, rows)[0]))

    def finder(self, place, gallery):
        """Read the file, whole."""
        faiss = _import_faiss()
        index = faiss.read_index(str(place.folder / self.files(place.side, len(gallery))[0]))
        times, least = self.candidates

        def find(query, top, among):
            wanted = min(max(times * top, least), index.ntotal)
            chosen, further = {}, 1
            if among is not None:
                bits = np.packbits(among, bitorder="little")
                chosen = {"sel": faiss.IDSelectorBitmap(bits)}
                further = min(round(len(among) / max(int(among.sum()), 1)), _FURTHER)
            parameters = _parameters(faiss, index, wanted, further, chosen)
            _, rows = index.search(codes.comparable(query, place.distance)[None], wanted, params=parameters)
            return rows[0][rows[0] >= 0]

        return find


def _halve_centres(faiss, index):
    """Keep the centres of the lists in float16: a query is compared with all, and so fewer come from the memory.

    Not before the rows are sorted into the lists, which matrix products do, of float32 alone.
    """
    whole = index.quantizer
    half = faiss.IndexScalarQuantizer(index.d, faiss.ScalarQuantizer.QT_fp16, index.metric_type)
    half.add(whole.reconstruct_n(0, index.nlist))
    index.quantizer = half
    half.this.disown()  # the index's from now on
    whole.this.own(True)


def _parameters(faiss, index, wanted, further, chosen):
    """How hard to search."""
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(_SEARCHING, wanted) * further, **chosen)
    if isinstance(index, faiss.IndexIVF):
        probes = index.nprobe if index.nprobe > 1 else index.nlist // 4  # of 0.1 and before, which kept none
        return faiss.SearchParametersIVF(nprobe=min(probes * further, index.nlist), **chosen)
    return faiss.SearchParameters(**chosen)


def _lists(rows):
    """Eight times the root of the number of rows, where the training has enough for so many."""
    return max(1, min(round(8 * rows**0.5), min(rows, _TRAINING) // _A_LIST))


def _product_codes(rows, dim):
    """Half a byte for about four numbers: the least divisor of the width above a quarter of it."""
    parts = next(parts for parts in range(-(-dim // 4), dim + 1) if dim % parts == 0)
    return f"IVF{_lists(rows)},PQ{parts}x4fs"


def _import_faiss():
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--engine faiss-…: expected FAISS, received none; pip install 'kfood[faiss]'."
        ) from error
    return faiss


ENGINES = {
    "flat": Faiss(lambda rows, dim: "Flat", (2, 0)),
    "hnsw": Faiss(lambda rows, dim: "HNSW32,SQ8", (4, 50)),
    # Fewer rows `exact` compares in 3 ms.
    "ivfpq": Faiss(_product_codes, (10, 100), least=10_000),
}
