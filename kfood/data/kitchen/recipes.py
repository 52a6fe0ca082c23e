"""The kitchen's recipes: chosen at random from what ``recipes.json`` allows, then written.

``ingredients.csv`` says how a line writes each ingredient, ``recipes.json`` what each kind of dish is called, made of
and how it is made. Its sentences have placeholders (those of :func:`instructions`); a sentence whose placeholder has
nothing to stand for is left out.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from kfood.data.kitchen.scene import Part, Scene

_FOLDER = pathlib.Path(__file__).parent
_PROPORTIONS = ("", "1/4", "1/2", "3/4")


@dataclasses.dataclass(frozen=True)
class Ingredient:
    """How recipes write an ingredient.

    Attributes:
        name: its clean name, singular.
        plural: how a line writes several of it; the name itself for what is not counted.
        measure: unit without its plural ending; ``""`` counts pieces ("3 tomatoes").
        amounts: for little, some and much of it, in quarters of the measure.
        cuts: how it may be prepared, written after the name or before it.
        adjectives: what a line may put before the name.
    """

    name: str
    plural: str
    measure: str
    amounts: tuple[int, int, int]
    cuts: tuple[str, ...]
    adjectives: tuple[str, ...]


def _read_ingredients() -> dict[str, Ingredient]:
    with (_FOLDER / "ingredients.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: Ingredient(
                row["name"],
                row["plural"],
                row["measure"],
                (int(row["little"]), int(row["some"]), int(row["much"])),
                tuple(row["cuts"].split("; ")) if row["cuts"] else (),
                tuple(row["adjectives"].split("; ")) if row["adjectives"] else (),
            )
            for row in csv.DictReader(file)
        }


INGREDIENTS: dict[str, Ingredient] = _read_ingredients()
"""Clean name → how recipes write it."""

_TEXTS: dict = json.loads((_FOLDER / "recipes.json").read_text(encoding="utf-8"))

DISHES: dict[str, dict] = _TEXTS["dishes"]
"""Kind of dish → its ``nouns``; ``roles`` (how many ingredients play each, least and greatest ``count``, and which
``choices`` there are); ``pantry``, never in the photo; ``cookings``, each with its sentence; ``steps``. Some have
``titled_by``, a role that the title may name, or ``covers``: the photo shows one, and the text has its sentence."""


def _pick(rng: np.random.Generator, choices: Sequence):
    return choices[int(rng.random() * len(choices))]


def _sample(rng: np.random.Generator, choices: Sequence[str], count: int) -> list[str]:
    """Distinct choices in random order."""
    distinct = list(dict.fromkeys(choices))
    return [distinct[k] for k in rng.permutation(len(distinct))[:count].tolist()]


def _flavor(name: str) -> str:
    """What a picture and a title call an ingredient: vanilla, not vanilla extract."""
    return _TEXTS["flavors"].get(name, name)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe before it is written: what is in it, and how it is cooked.

    Attributes:
        dish: a key of :data:`DISHES`.
        parts: what its photo shows.
        pantry: ingredients that no photo shows, with their amounts from 1 to 3.
        cooking: a key of :data:`~kfood.data.kitchen.looks.COOKING`.
        cooking_step: the sentence that tells it.
    """

    dish: str
    parts: tuple[Part, ...]
    pantry: tuple[tuple[str, int], ...]
    cooking: str
    cooking_step: str

    @property
    def scene(self) -> Scene:
        """What its photo can show."""
        parts = tuple(dataclasses.replace(part, name=_flavor(part.name)) for part in self.parts)
        return Scene(self.dish, parts, self.cooking)

    @property
    def ingredients(self) -> list[tuple[str, int]]:
        """Names of all its ingredients with their amounts from 1 to 3."""
        return [(part.name, part.level) for part in self.parts if part.role != "cover"] + list(self.pantry)

    def of(self, *roles: str) -> list[str]:
        """Names of the ingredients with one of the roles."""
        return [part.name for part in self.parts if part.role in roles]


def compose(rng: np.random.Generator) -> Recipe:
    """Chooses a dish, its ingredients with their amounts, and its cooking."""
    kind = _pick(rng, tuple(DISHES))
    dish = DISHES[kind]
    parts: list[Part] = []
    for role, allowed in dish["roles"].items():
        least, most = allowed["count"]
        count = least + int(rng.random() * (most - least + 1))
        used = [part.name for part in parts]
        free = [name for name in allowed["choices"] if name not in used]
        # A name that stands several times among the choices is that much likelier where one is taken.
        chosen = [_pick(rng, free)] if count == 1 else _sample(rng, free, count)
        parts += [Part(role, name, 1 + int(rng.random() * 3)) for name in chosen]
    if "covers" in dish:
        parts.append(Part("cover", _pick(rng, tuple(dish["covers"]))))
    names = {part.name for part in parts}
    hidden = [name for name in dish["pantry"] if name not in names]
    pantry = [(name, 1 + int(rng.random() * 3)) for name in _sample(rng, hidden, 2 + int(rng.random() * 3))]
    way = _pick(rng, dish["cookings"])
    return Recipe(kind, tuple(parts), tuple(pantry), way["cooking"], way["step"])


def ingredient_line(rng: np.random.Generator, name: str, level: int) -> str:
    """An ingredient line, such as "1 1/2 cups fresh spinach, chopped"."""
    ingredient = INGREDIENTS[name]
    quarters = ingredient.amounts[level - 1]
    whole, part = divmod(quarters, 4)
    words = [text for text in (str(whole) if whole else "", _PROPORTIONS[part]) if text]
    if ingredient.measure:
        words.append(ingredient.measure + ("s" if quarters > 4 else ""))
    written = ingredient.plural if ingredient.measure or quarters > 4 else ingredient.name
    if ingredient.adjectives and rng.random() < 0.45:
        words.append(_pick(rng, ingredient.adjectives))
    if not ingredient.cuts or rng.random() < 0.3:
        return " ".join([*words, written])
    cut = _pick(rng, ingredient.cuts)
    if " " not in cut and rng.random() < 0.4:
        return " ".join([*words, cut, written])
    return " ".join([*words, written]) + ", " + cut


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence: "the chickpeas, the rice and the basil"."""
    written = ["the " + INGREDIENTS[name].plural for name in names]
    return written[0] if len(written) == 1 else ", ".join(written[:-1]) + " and " + written[-1]


def instructions(rng: np.random.Generator, recipe: Recipe) -> list[str]:
    """The sentences of a recipe, 3 to 8 of them."""
    dish = DISHES[recipe.dish]
    low, high = _TEXTS["cookings"][recipe.cooking]["minutes"]
    degrees = 25 * int(rng.integers(12, 16)) + (75 if recipe.cooking in ("roasted", "charred") else 0)
    known = {
        "minutes": str(int(rng.integers(low, high + 1))),
        "rest": str(5 * int(rng.integers(2, 13))),
        "heat": f"{degrees} degrees F" if rng.random() < 0.7 else f"{round((degrees - 32) / 9) * 5} degrees C",
        "oil": "butter" if rng.random() < 0.3 else "oil",
        "servings": str(int(rng.integers(2, 9))),
        "days": str(int(rng.integers(2, 5))),
    }
    known |= {role: INGREDIENTS[recipe.of(role)[0]].plural for role in ("base", "main", "sauce") if recipe.of(role)}
    listed = {"piece": "pieces", "garnish": "garnish", "base": "bases"}
    known |= {key: _listed(recipe.of(role)) for role, key in listed.items() if recipe.of(role)}
    if cover := recipe.of("cover"):
        known["cover"] = dish["covers"][cover[0]]
    known["cook"] = recipe.cooking_step.format(**known)
    sentences = []
    for step in dish["steps"]:
        try:
            sentences.append(step.format(**known))
        except KeyError:  # A step about something that this recipe does not have.
            continue
    if len(sentences) < 8 and rng.random() < 0.6:
        sentences.append(_pick(rng, _TEXTS["closings"]).format(**known))
    return sentences


def title(rng: np.random.Generator, recipe: Recipe, background: bool) -> str:
    """A title that names the dish and some of its ingredients, or for the background none of the dish."""
    dish = DISHES[recipe.dish]
    named = [name.title() for name in recipe.of("main", "piece")]
    if background:
        return _pick(rng, _TEXTS["background_titles"]).format(main=named[0])
    noun = _pick(rng, dish["nouns"])
    if "titled_by" in dish and rng.random() < 0.4:
        named = [_flavor(recipe.of(dish["titled_by"])[0]).title(), *named]
    shown = named[: 1 + int(rng.random() * 2)]
    subject = (" and " if rng.random() < 0.6 else " & ").join(shown)
    shape = int(rng.random() * 4)
    if shape == 0:
        return f"{subject} {noun}"
    if shape == 3:
        return f"{noun} with {subject}"
    praise = _TEXTS["cookings"][recipe.cooking]["styles"] if shape == 1 else _TEXTS["praise"]
    return f"{_pick(rng, praise)} {subject} {noun}"
