"""Which recipes of a gallery have an ingredient.

An ingredient is asked for by its name: ``"olive oil"``. A recipe has it where one of its ingredient lines holds all the
words of the name, upper and lower case, singular and English plural being the same: ``"2 tbsp olive oil"`` has it,
``"olives"`` and ``"vegetable oil"`` on two lines have not; ``"egg"`` is in ``"3 eggs, beaten"`` and not in
``"1 eggplant"``. Words are looked at, not what they mean: nuts are not found in ``"almonds"``.
"""

import array
import collections
import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from kfood.data.ingredient_names import clean_name

_WORD = re.compile(r"[^\W\d_]+")
_NAMES = 1_000
"""How many names are kept to be offered."""


@functools.lru_cache(maxsize=100_000)
def singular(word: str) -> str:
    """A lower-case word without its English plural: by its ending, so that plural and singular meet.

    >>> [singular(word) for word in "tomatoes cherries eggs radishes molasses couscous peas leaves".split()]
    ['tomato', 'cherry', 'egg', 'radish', 'molass', 'couscous', 'pea', 'leave']
    """
    if len(word) <= 3 or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("oes", "ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word.removesuffix("s")


def words(text: str) -> frozenset[str]:
    """The words of a name or a line, each in the form in which it is compared."""
    return frozenset(singular(word) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def shared(lines: Sequence[str], names: Iterable[frozenset[str]]) -> list[bool]:
    """Which lines of a recipe name one of some ingredients.

    Args:
        lines: of ingredients, as written.
        names: ingredients, each by its :func:`words`.

    Returns:
        For each line whether it holds all words of a name, or its own name, without amount and unit, is part of one.
    """
    wanted = [name for name in names if name]
    found = []
    for line in lines:
        whole, own = words(line), words(clean_name(line))
        found.append(any(name <= whole or (own and own <= name) for name in wanted))
    return found


class Ingredients:
    """The ingredient lines of a gallery, to be asked by words.

    Attributes:
        names: (name, number of recipes) of the most frequent clean names, most frequent first.
    """

    def __init__(self, recipes: Iterable[Sequence[str]]):
        """Reads the ingredient lines of every recipe, in the order of the gallery."""
        rows = array.array("i")
        lines_of: dict[str, array.array] = collections.defaultdict(lambda: array.array("i"))
        counts: collections.Counter[frozenset[str]] = collections.Counter()
        spelled: dict[frozenset[str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
        count = 0
        for count, lines in enumerate(recipes, 1):
            names = set()
            for line in lines:
                for word in words(line):
                    lines_of[word].append(len(rows))
                rows.append(count - 1)
                name = clean_name(line)
                if key := words(name):
                    spelled[key][name] += 1
                    names.add(key)
            counts.update(names)
        self._count = count
        self._rows = np.array(rows, np.int32)
        self._lines_of = {word: np.array(lines, np.int32) for word, lines in lines_of.items()}
        self.names = [(spelled[key].most_common(1)[0][0], number) for key, number in counts.most_common(_NAMES)]

    def having(self, name: str) -> np.ndarray:
        """Which recipes have an ingredient: bool [recipes].

        Raises:
            ValueError: a name without a letter.
        """
        wanted = words(name)
        if not wanted:
            raise ValueError(f"expected the name of an ingredient, received {name!r:.60}")
        nothing = np.zeros(0, np.int32)
        found = sorted((self._lines_of.get(word, nothing) for word in wanted), key=len)
        lines = functools.reduce(lambda a, b: np.intersect1d(a, b, assume_unique=True), found)
        mask = np.zeros(self._count, bool)
        mask[self._rows[lines]] = True
        return mask

    def among(self, with_names: Sequence[str], without_names: Sequence[str]) -> np.ndarray | None:
        """Which recipes have all of some ingredients and none of others: bool [recipes]; None where none is named."""
        if not with_names and not without_names:
            return None
        mask = np.ones(self._count, bool)
        for name in with_names:
            mask &= self.having(name)
        for name in without_names:
            mask &= ~self.having(name)
        return mask
