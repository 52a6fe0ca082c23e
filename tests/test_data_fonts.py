"""The font of pictures."""

from kfood.data.fonts import font


def test_letters_of_recipes_are_drawn():
    """None looks like the box of a character that no font has, and no two alike."""
    for size in (11, 15):
        missing = bytes(font(size).getmask("\uffff"))
        drawn = [bytes(font(size).getmask(letter)) for letter in "ñéüøßçœ°½¼–’жλ"]
        assert missing not in drawn
        assert len(set(drawn)) == len(drawn)
