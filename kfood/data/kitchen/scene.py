"""What a recipe tells about its photo."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Part:
    """One visible ingredient of a dish.

    Attributes:
        role: ``"base"`` (dough, noodles, leaves, purée ...), ``"main"`` (patty, filling), ``"sauce"`` (sauce,
            frosting, syrup, wrap ...), ``"piece"``, ``"garnish"`` (on top), or ``"cover"`` (of a pie: ``"open"``,
            ``"lattice"`` or ``"crumble"``).
        name: ingredient name, a key of :data:`~kfood.data.kitchen.looks.LOOKS` for what lies there in pieces; for
            what covers an area :data:`~kfood.data.kitchen.looks.TINTS` comes first.
        level: amount from 1 (little) to 3 (much).
    """

    role: str
    name: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the recipe tells about its picture.

    Attributes:
        dish: kind of dish, a key of :data:`~kfood.data.kitchen.drawing.PICTURES`.
        parts: visible ingredients; the first of a role is its most important one.
        cooking: a key of :data:`~kfood.data.kitchen.looks.COOKING`.
    """

    dish: str
    parts: tuple[Part, ...]
    cooking: str

    def of(self, *roles: str) -> list[Part]:
        """The parts that have one of the roles, in order."""
        return [part for part in self.parts if part.role in roles]

    def name(self, role: str) -> str:
        """Name of the first part with this role, empty where there is none."""
        return next((part.name for part in self.parts if part.role == role), "")
