"""Names from outside: which are safe to make files of, and how any of them is shown."""

import re

# No path separators, drive letters, control characters, half surrogate pairs; not hidden, and so not "..".
SAFE_NAME = re.compile(r"(?!\.)[^/\\:\x00-\x1f\x7f\ud800-\udfff]+")

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: object) -> str:
    """As text, control characters and half surrogate pairs escaped: a terminal obeys some, UTF-8 has none for others.

    >>> printable("soup\\x1b[2J")
    'soup\\\\x1b[2J'
    """
    return _UNPRINTABLE.sub(lambda match: match.group().encode("unicode_escape").decode(), str(text))
