"""The token rule by hand: one character after the other, without expressions; and texts that are hard to cut."""

import fractions
import unicodedata

DIGITS = "0123456789"
SIGNS = {
    character: str(fractions.Fraction(unicodedata.numeric(character)).limit_denominator(10))
    for character in map(chr, range(0x80, 0x3000))
    if unicodedata.name(character, "").startswith("VULGAR FRACTION")
} | {"↉": "0/3"}

HARD = [
    *("½ cup", "1/2 cup", "1⁄2 cup", "½cup", "1 1/2 cups", "1½ cups", "1 ½ cups", "1-1/2 cups", "1–1⁄2 cups", "1-½"),
    *("1  1/2", "1\u00a01/2", "1, 1/2", "1 (1/2)", "1/2 1/2", "1/2½", "½½", "1½½", "½1", "1½/2", "½/2", "1/½", "⅟2"),
    *("2-3", "2–3", "2—3", "2 - 3", "2 to 3", "1-2-3", "1–2–3–4", "2-", "-2", "2-a", "7-up", "2–2 1/2", "1/2-3/4"),
    *("1.5", "1,5", "1.5-2,5", "1.5 1/2", "1.2.3", "1,500", "1,500,000", "1.", ".5", "1.½", "1..5", "3.5-oz", "0,5–1"),
    *("1/2/3", "1/2-inch", "26/11/2026", "2026-11-26", "1/", "/2", "1//2", "11/2", "1/2/3/4", "10-12/3", "1-2.5/3"),
    *("500g", "9x13-inch", "x9", "h2o", "b12", "2x", "1½kg", "a1/2", "a1 1/2b", "350°F", "180C/350F", "50%", "$3.99"),
    *("１/２", "１－２", "٣-٤", "x²", "x³/2", "Ⅷ-Ⅸ", "①½", "½①", "५/६", "五-六", "1五", "１1/2", "1１/2"),
    *("R", "S", "P", "2R3", "1S2", "1P5", "r s p", "1\n1/2", "1\t1/2", "1-\n2", "1/\n2", "\n", "1\x002", "1\u200b2"),
    *("😀1/2😀", "👩‍🍳 2-3", "e\u03011/2", "½e\u0301", "Crème-Fraîche", "日本1/2語", "1/2" * 50, "1-" * 50, "½" * 50),
]
"""Fractions, ranges, decimals, dates, digits of other scripts, capitals, what is no letter between."""

ALPHABET = [*"0123", *"/⁄", *"-–—", *"½¼⅞↉⅟", *"abcR SP", *"  ", *".,", "é", "²", "٣", "１", "日", "😀", "\n"]


def random_strings(rng, count):
    """Strings of digits, slashes, dashes, fraction signs, letters and spaces, up to 24 characters."""
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.integers(0, 25))) for _ in range(count)]


def tokens_of(string):
    """The tokens of a string of valid UTF-8."""
    string = "".join(chr(ord(character) + 32) if "A" <= character <= "Z" else character for character in string)
    tokens, place = [], 0
    while place < len(string):
        if string[place] in DIGITS or string[place] in SIGNS:
            place, token = _amount(string, place)
            tokens.append(token)
        elif is_letter(string[place]):
            start = place
            while place < len(string) and is_letter(string[place]):
                place += 1
            tokens.append(string[start:place])
        else:
            place += 1
    return tokens


def is_letter(character):
    """Of a token that is no amount."""
    return unicodedata.category(character)[0] in "LN" and character not in DIGITS and character not in SIGNS


def _digits(string, place):
    """Where the digits from a place on end."""
    while place < len(string) and string[place] in DIGITS:
        place += 1
    return place


def _fraction(string, place):
    """(where it ends, how it is spelled) of a fraction at a place, or None."""
    if string[place : place + 1] in SIGNS:
        return place + 1, SIGNS[string[place]]
    middle = _digits(string, place)
    end = _digits(string, middle + 1)
    if middle > place and string[middle : middle + 1] in ("/", "⁄") and end > middle + 1:
        return end, f"{string[place:middle]}/{string[middle + 1 : end]}"
    return None


def _number(string, place):
    """Likewise, of a number with or without decimals."""
    middle = _digits(string, place)
    if middle == place:
        return None
    end = _digits(string, middle + 1)
    if string[middle : middle + 1] in (".", ",") and end > middle + 1:
        return end, f"{string[place:middle]}.{string[middle + 1 : end]}"
    return middle, string[place:middle]


def _amount(string, place):
    """Likewise, of the longest amount at a place where there is one."""
    found = []
    if fraction := _fraction(string, place):
        found.append(fraction)
    end = _digits(string, place)
    if end > place:
        whole = string[place:end]
        for between in (" ", "-", "–"):
            if string[end : end + 1] == between and (fraction := _fraction(string, end + 1)):
                found.append((fraction[0], f"{whole}-{fraction[1]}"))
        if string[end : end + 1] in SIGNS:
            found.append((end + 1, f"{whole}-{SIGNS[string[end]]}"))
    if number := _number(string, place):
        found.append(number)
        if string[number[0] : number[0] + 1] in ("-", "–") and (other := _number(string, number[0] + 1)):
            found.append((other[0], f"{number[1]}-{other[1]}"))
    return max(found)


def id_of(token, words):
    """The id of a token by a vocabulary: 1 where neither it nor a beginning of it is known."""
    if token in words:
        return words.index(token) + 2
    for length in (len(token) - 1, len(token) - 2):
        if length >= 4 and token[:length] in words and token[0] not in DIGITS:
            return words.index(token[:length]) + 2
    return 1


def numbered(rng, count):
    """Hard lines and random ones; a vocabulary of half of their tokens, and of words that others begin with.

    Returns:
        Lines, words, and the ids that the lines' tokens have by hand.
    """
    lines = [line.replace("\0", " ") for line in (*HARD, *random_strings(rng, count), "Éclairs tomatoes winery")]
    tokens = dict.fromkeys(token for line in lines for token in tokens_of(line))
    words = list(dict.fromkeys(["salt", "éclair", "tomato", "wine", *sorted(tokens)[::2]]))
    return lines, words, [[id_of(token, words) for token in tokens_of(line)] for line in lines]


def ids_network(lines, words):
    """What reads texts within an exported encoder, for titles of any of the lines: their ids as ``embedding``.

    Returns:
        Serialized ONNX model, and recipes of these titles, none of unknown words alone.
    """
    import onnx

    from kfood.export import raw_inputs
    from kfood.schema import RecipeSpec

    longest = max(len(tokens_of(line)) for line in lines)
    sizes = {"word_vocabulary": len(words) + 2, "ingredient_vocabulary": 2, "title_words": longest}
    model = raw_inputs.text_tokens(RecipeSpec(**sizes), words, [])
    kind = onnx.TensorProto.FLOAT
    model.graph.node.append(onnx.helper.make_node("Cast", ["title_tokens"], ["embedding"], to=kind))
    model.graph.output.append(onnx.helper.make_tensor_value_info("embedding", kind, ["batch", longest]))
    return model.SerializeToString(), [{"title": line, "ingredients": ["salt"]} for line in lines]
