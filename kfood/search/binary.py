"""Candidates by a bit a number, a 32nd of the size: whether it lies above its column's mean."""

import numpy as np

from kfood.search import codes

CANDIDATES = (20, 500)
ENDINGS = ("codes.npy", "codebook.npy")

_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def check() -> None:
    """Needs no package of its own."""


def write(folder, side, gallery, distance) -> None:
    """Write codes uint8 [n, dim / 8], and the means, float32 [dim]."""
    sums = [codes.comparable(gallery[rows], distance).sum(axis=0, dtype=np.float64) for rows in codes.blocks(gallery)]
    book = (np.sum(sums, axis=0) / len(gallery)).astype(np.float32)
    np.save(folder / f"{side}.codebook.npy", book)
    width = -(-gallery.shape[1] // 8)
    codes.write(folder / f"{side}.codes.npy", gallery, width, np.uint8, lambda block: _bits(block, distance, book))


def picker(folder, side, distance) -> codes.Picker:
    """Open what :func:`write` wrote."""
    stored, book = np.load(folder / f"{side}.codes.npy", mmap_mode="r"), np.load(folder / f"{side}.codebook.npy")
    times, least = CANDIDATES

    def scores(query, block):
        return _BITS[block ^ query].sum(axis=1)

    def pick(queries, top):
        return codes.lowest(stored, _bits(queries, distance, book), max(times * top, least), scores)

    return pick


def _bits(embeddings, distance, book):
    return np.packbits(codes.comparable(embeddings, distance) > book, axis=1)
