"""What a reader leaves out, counted by reason."""

from typing import Any

from kfood.data.names import printable

_FIRST = 5


class Drops:
    """Counts what is dropped, by reason, and remembers the first few of each.

    Attributes:
        by_reason: reason → {"count": int, "first": list of ids}.
    """

    def __init__(self):
        self.by_reason: dict[str, dict[str, Any]] = {}

    def add(self, reason: str, name: object) -> None:
        """Count ``name`` as dropped for ``reason``."""
        entry = self.by_reason.setdefault(reason, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < _FIRST:
            entry["first"].append(printable(name)[:100])
