"""Candidates by embeddings in int8, a quarter of the size: the largest of a column is 127."""

import numpy as np

from kfood.search import codes, engines, exact

_CACHED = 512
"""Rows that become float32 at once: so many stay in the processor's cache."""


class Int8(engines.Engine):
    """Keeps ``codes`` int8 [n, dim]; ``squares`` float32 [n], their squared lengths; ``book`` float32 [dim]: what 1
    means in each column, which the first rows decide: what later ones have more of is cut off."""

    candidates = (4, 50)

    def files(self, side, rows):
        """See the class."""
        return (f"{side}.codes", f"{side}.squares", f"{side}.book.npy")

    def extend(self, place, gallery, start):
        """Append, a block at a time."""
        of = place.folder / place.side
        if not start:
            largest = [
                np.abs(codes.comparable(gallery[rows], place.distance)).max(axis=0) for rows in exact.blocks(gallery)
            ]
            np.save(of.with_suffix(".book.npy"), np.maximum(np.max(largest, axis=0), 1e-12).astype(np.float32) / 127)
        book = np.load(of.with_suffix(".book.npy"))
        new = gallery[start:]

        def coded(rows):
            return np.rint(codes.comparable(new[rows], place.distance) / book).clip(-127, 127)

        def squares(rows):
            values = coded(rows) * book
            return np.einsum("nd,nd->n", values, values)

        blocks = exact.blocks(new)
        codes.append(of.with_suffix(".codes"), start, map(coded, blocks), gallery.shape[1], np.int8)
        codes.append(of.with_suffix(".squares"), start, map(squares, blocks), 1, np.float32)

    def finder(self, place, gallery):
        """Map the files."""
        of, shape = place.folder / place.side, gallery.shape
        stored = codes.mapped(of.with_suffix(".codes"), shape, np.int8)
        squares = codes.mapped(of.with_suffix(".squares"), shape[:1], np.float32)
        book = np.load(of.with_suffix(".book.npy"))
        times, least = self.candidates

        def find(query, top, among):
            scaled = codes.comparable(query, place.distance) * book

            def scores(rows):
                block = stored[rows]
                parts = [block[first : first + _CACHED] for first in range(0, len(block), _CACHED)]
                products = np.concatenate([part.astype(np.float32) @ scaled for part in parts])
                return -products if place.distance == "dot" else squares[rows] - 2 * products

            return codes.lowest(stored, max(times * top, least), among, scores)

        return find


ENGINE = Int8()
