"""Word vectors that others have trained, as a start of a recipe encoder's tables: word2vec's two file formats.

``.bin``: a line ``count width``, then for each word its bytes, a space, ``width`` little-endian float32 numbers and, by
most writers, a line break. Any other file is text: the same first line, then a line a word, ``word number number …``.
JNE and ACME start from such a file (``vocab.bin``), in which the words of a name are joined by underscores.
"""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfood import schema

_LONGEST_WORD = 1_000
"""Bytes; a longer one means that the file is not what it seems."""
_WIDEST = 10_000
_LONGEST_NUMBER = 40


def read(path: str | pathlib.Path, wanted: Iterable[str]) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """The vectors of some words; nothing else of the file is kept.

    Args:
        path: of a ``.bin`` file, or of a text file.
        wanted: words.

    Returns:
        Width, and word → float32 ``[width]``. Of a word that stands there twice the first vector counts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of another format, one that is cut off, or a vector that is not finite.
    """
    path, wanted = pathlib.Path(path), set(wanted)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of word vectors, found none.")
    with path.open("rb") as file:
        header = file.readline(100).split()
        if len(header) != 2 or not all(part.isdigit() for part in header):
            raise ValueError(f"{path}: expected a first line 'count width' of word vectors, received {header[:3]!r}.")
        count, width = (int(part) for part in header)
        binary = path.suffix == ".bin"
        least = count * (width * 4 + 2 if binary else width * 2 + 2)  # of text: a digit and a space each
        left = path.stat().st_size - file.tell() + 1  # the last line may end without a break
        if not (count > 0 and 0 < width <= _WIDEST and least <= left):
            raise ValueError(
                f"{path}: expected {count} vectors of width {width} (at most {_WIDEST}), as its first line says, which "
                f"take at least {least} bytes; received {left - 1}."
            )
        found: dict[str, NDArray[np.float32]] = {}
        for index in range(count):
            try:
                word, vector = (_of_binary if binary else _of_text)(file, width, wanted - found.keys())
            except ValueError as error:
                raise ValueError(f"{path}: vector {index + 1} of {count}: {error}.") from error
            if vector is not None:
                if not np.isfinite(vector).all():
                    raise ValueError(f"{path}: word {word!r}: expected finite numbers, received NaN or infinity.")
                found[word] = vector
    return width, found


def _of_binary(file, width, wanted):
    """The next word, and its vector if it is wanted."""
    letters = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte or len(letters) > _LONGEST_WORD:
            raise ValueError(
                "expected a word, a space and numbers, received " + ("a longer word" if byte else "no more")
            )
        letters += byte
    raw = file.read(4 * width)
    if len(raw) != 4 * width:
        raise ValueError(f"expected {4 * width} bytes of numbers, received {len(raw)}")
    word = letters.lstrip(b"\n").decode("utf-8", "replace")
    return word, np.frombuffer(raw, "<f4").astype(np.float32) if word in wanted else None


def _of_text(file, width, wanted):
    line = file.readline(_LONGEST_WORD + _LONGEST_NUMBER * width)
    word, *numbers = line.decode("utf-8", "replace").rstrip().rsplit(" ", width)
    if len(numbers) != width:
        raise ValueError(f"expected a word and {width} numbers, received {len(numbers)}")
    return word, np.array(numbers, np.float32) if word in wanted else None


def spellings(name: str) -> tuple[str, ...]:
    """How a word, or a name of several, may stand in such a file: as it is, or joined by underscores."""
    return (name, name.replace(" ", "_")) if " " in name else (name,)


def start_tables(
    encoder: Any, vectors: Mapping[str, NDArray[np.float32]], vocabularies: Mapping[str, list[str]]
) -> dict[str, tuple[int, int]]:
    """Puts vectors into the tables of a recipe encoder; words without one keep their random start.

    Args:
        encoder: with ``keras.layers.Embedding`` by the names of ``vocabularies``; a table it lacks is passed over.
        vectors: word → float32 ``[width]``, of the table's width.
        vocabularies: table → its words, in the order of their ids from :data:`kfood.schema.FIRST_TOKEN_ID` on.

    Returns:
        Table → (words with a vector, words).
    """
    names = {layer.name for layer in encoder.layers}
    shares = {}
    for name, words in vocabularies.items():
        if name not in names:
            continue
        table = encoder.get_layer(name)
        values, known = table.get_weights()[0].copy(), 0
        for index, word in enumerate(words, schema.FIRST_TOKEN_ID):
            spelling = next((each for each in spellings(word) if each in vectors), None)
            if spelling is not None:
                values[index] = vectors[spelling]
                known += 1
        table.set_weights([values])
        shares[name] = (known, len(words))
    return shares
