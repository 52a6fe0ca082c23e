"""What a request may be, and how one that is more is refused."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on one request; what is beyond them is refused before it costs much.

    Attributes:
        megabytes: of a request's body; of a photo therefore too. One of 10^6 bytes.
        megapixels: of a photo, height × width / 10^6, read from its header before it is decoded.
        recipe_kilobytes: of a recipe's file or text, and of what an archive unpacks to. 10^3 bytes.
        lines: of a recipe's ingredients, and of its instructions.
        characters: of a text to search by, and of each line of a recipe.
        results: wanted at once.
        ingredients: to search with, and to search without.
        seconds: from the first byte of a request to its answer.
        requests: in work at once; beyond that they are told to come again.
    """

    megabytes: float = 20.0
    megapixels: float = 25.0
    recipe_kilobytes: float = 500.0
    lines: int = 200
    characters: int = 5_000
    results: int = 100
    ingredients: int = 20
    seconds: float = 20.0
    requests: int = 64

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}: expected more than 0, received {value}.")

    @property
    def bytes(self) -> int:
        """Of a request's body."""
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        """Of a photo."""
        return int(self.megapixels * 1e6)

    @property
    def recipe_bytes(self) -> int:
        """Of a recipe."""
        return int(self.recipe_kilobytes * 1e3)


class RefusedError(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP, 4xx or 503 or 504.
        message: one sentence: what was expected, what was received.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message
