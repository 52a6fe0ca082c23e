"""Candidates by a bit a number, a 32nd of the size: whether it lies above its column's mean."""

import numpy as np

from kfood.search import codes, engines, exact

_WORD = 64


class Binary(engines.Engine):
    """Keeps ``codes`` uint64 [n, dim / 64], rounded up; ``book`` float32 [dim]: the means of the first rows."""

    candidates = (20, 500)

    def files(self, side, rows):
        """See the class."""
        return (f"{side}.codes", f"{side}.book.npy")

    def extend(self, place, gallery, start):
        """Append, a block at a time."""
        of = place.folder / place.side
        if not start:
            sums = [
                codes.comparable(gallery[rows], place.distance).sum(axis=0, dtype=np.float64)
                for rows in exact.blocks(gallery)
            ]
            np.save(of.with_suffix(".book.npy"), (np.sum(sums, axis=0) / len(gallery)).astype(np.float32))
        book = np.load(of.with_suffix(".book.npy"))
        new = gallery[start:]
        parts = (_bits(new[rows], place.distance, book) for rows in exact.blocks(new))
        codes.append(of.with_suffix(".codes"), start, parts, _words(len(book)), np.uint64)

    def finder(self, place, gallery):
        """Map the files."""
        of = place.folder / place.side
        book = np.load(of.with_suffix(".book.npy"))
        stored = codes.mapped(of.with_suffix(".codes"), (len(gallery), _words(len(book))), np.uint64)
        times, least = self.candidates

        def find(query, top, among):
            code = _bits(query[None], place.distance, book)[0]

            def scores(rows):
                return np.bitwise_count(stored[rows] ^ code).sum(axis=1, dtype=np.uint16)

            return codes.lowest(stored, max(times * top, least), among, scores)

        return find


def _words(dim):
    return -(-dim // _WORD)


def _bits(embeddings, distance, book):
    above = codes.comparable(embeddings, distance) > book
    padded = np.pad(above, [(0, 0), (0, _words(len(book)) * _WORD - len(book))])
    return np.packbits(padded, axis=1).view(np.uint64)


ENGINE = Binary()
