"""Clean ingredient names out of ingredient lines: amounts, units and preparation are stripped.

``"2 (14 oz) cans diced tomatoes, drained"`` → ``"diced tomatoes"``. The rule knows English and metric units; in other
languages it strips amounts alone. Recipe1M brings names of its own, det_ingrs.json, which a parser made.
"""

import re

_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"

UNITS = frozenset(
    """
    bag bags bar bars bottle bottles bowl bowls box boxes bunch bunches c can cans carton cartons centiliter centiliters
    cl clove cloves container containers cup cups dash dashes dl drop drops ear ears envelope envelopes fl fluid g gal
    gallon gallons glass glasses gr gram gramme grammes grams handful handfuls head heads inch inches jar jars kg
    kilogram kilograms knob knobs l lb lbs leaf liter liters litre litres loaf loaves mg milliliter milliliters
    millilitre millilitres ml ounce ounces oz pack package packages packet packets packs part parts piece pieces pinch
    pinches pint pints pkg pound pounds pt qt quart quarts rasher rashers scoop scoops sheet sheets slice slices sprig
    sprigs square squares stalk stalks stick sticks strip strips t tablespoon tablespoons tb tbs tbsp tbsps tblsp
    teaspoon teaspoons tin tins ts tsp tsps tub tubs
    """.split()
)
"""Words between an amount and a name."""

BEFORE = frozenset(
    "a about an approximately approx around big each extra few half heaping heaped large level medium of one scant "
    "several size sized small some the to x".split()
)
"""Words that are taken for a part of the amount."""

_AMOUNT = re.compile(rf"[\d{_FRACTIONS}][\d{_FRACTIONS}.,/⁄\-–—]*")
_WITH_UNIT = re.compile(rf"([\d{_FRACTIONS}][\d{_FRACTIONS}.,/⁄\-–—]*)([a-z]+)")
_ASIDE = re.compile(r"\([^()]*\)|\[[^\[\]]*\]")
_PREPARATION = re.compile(
    r"\s*(?:[,;:*]|\s[-–—]\s|\b(?:to taste|for (?:garnish|serving|dusting)|as needed|optional)\b)"
)


def clean_name(line: str) -> str:
    """The name in an ingredient line.

    Args:
        line: as written, ``"1 1/2 cups whole milk, warmed"``.

    Returns:
        Lower case, ``"whole milk"``; the words after an amount where nothing else is left (``"1 large"`` →
        ``"large"``); ``""`` for a line without letters.
    """
    text = _ASIDE.sub(" ", line.lower())
    while _ASIDE.search(text):
        text = _ASIDE.sub(" ", text)
    words = text.split()
    start = 0
    while start < len(words) and _is_amount(words[start]):
        start += 1
    name = _PREPARATION.split(" ".join(words[start:]), maxsplit=1)[0].strip(" .'\"")
    if not any(map(str.isalpha, name)):
        name = _PREPARATION.split(" ".join(word for word in words if any(map(str.isalpha, word))), maxsplit=1)[0]
    return name.strip(" .'\"")


def _is_amount(word: str) -> bool:
    bare = word.strip(".,:;*+~")
    glued = _WITH_UNIT.fullmatch(bare)
    return (
        not bare
        or bare in UNITS
        or bare in BEFORE
        or bare in ("-", "–", "—", "&")
        or _AMOUNT.fullmatch(bare) is not None
        or (glued is not None and glued[2] in UNITS)
    )
