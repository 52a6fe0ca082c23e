"""Names from outside."""

import pytest

from kfood.data.names import SAFE_NAME, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("crème brûlée 日本 👩‍🍳 ½", "crème brûlée 日本 👩‍🍳 ½"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\nb\tc\x00\x7f\x9b", "a\\nb\\tc\\x00\\x7f\\x9b"),
        ("\ud83c soup \udce8", "\\ud83c soup \\udce8"),
        ("a\\x1b", "a\\x1b"),
        (None, "None"),
    ],
)
def test_what_a_terminal_obeys_or_cannot_show_is_escaped(text, shown):
    assert printable(text) == shown == printable(shown)
    shown.encode()


@pytest.mark.parametrize("name", ["..", ".a", "a/b", "a\\b", "C:a", "a\x1b", "a\x7f", "a\udce8", ""])
def test_unsafe_names(name):
    assert not SAFE_NAME.fullmatch(name)
    assert SAFE_NAME.fullmatch("Crème 日本.jpg")
