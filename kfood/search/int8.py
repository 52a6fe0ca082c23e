"""Candidates by embeddings in int8, a quarter of the size: the largest of a column is 127."""

import numpy as np

from kfood.search import codes, exact

CANDIDATES = (4, 50)
ENDINGS = ("codes.npy", "codebook.npy")


def check() -> None:
    """Needs no package of its own."""


def write(folder, side, gallery, distance) -> None:
    """Write codes int8 [n, dim], and float32 [dim]: what 1 means in each column."""
    largest = [np.abs(codes.comparable(gallery[rows], distance)).max(axis=0) for rows in codes.blocks(gallery)]
    book = np.maximum(np.max(largest, axis=0), 1e-12).astype(np.float32) / 127
    np.save(folder / f"{side}.codebook.npy", book)

    def encode(block):
        return np.rint(codes.comparable(block, distance) / book).astype(np.int8)

    codes.write(folder / f"{side}.codes.npy", gallery, gallery.shape[1], np.int8, encode)


def picker(folder, side, distance) -> codes.Picker:
    """Open what :func:`write` wrote."""
    stored, book = np.load(folder / f"{side}.codes.npy", mmap_mode="r"), np.load(folder / f"{side}.codebook.npy")
    times, least = CANDIDATES

    def scores(query, block):
        return exact.block_scores(query, block * book, distance)

    def pick(queries, top):
        return codes.lowest(stored, codes.comparable(queries, distance), max(times * top, least), scores)

    return pick
