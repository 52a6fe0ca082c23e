"""Where a model looks: attention over a photo's regions, and over a recipe's lines and words (MCEN, Figures 4 and 5).

For models with a method ``attention(batch)``, which says what it returns (:meth:`kfood.models.mcen.MCEN.attention`).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfood import schema
from kfood.evaluation import charts

if TYPE_CHECKING:
    from kfood.data.dataset import RecipeDataset

EXAMPLES = 6
"""Pairs of a split shown in a report."""

UNKNOWN = "?"
"""Shown for a word that the vocabulary does not have: the model knows no more of it."""

_HEAT = np.array([181.0, 32.0, 10.0])


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a recipe as the model weighs it.

    Attributes:
        weight: share of the line among its part's lines, 0 to 1.
        words: (word, its share among the line's words), as far as the model reads.
    """

    weight: float
    words: list[tuple[str, float]]

    @property
    def text(self) -> str:
        """The words joined by spaces."""
        return " ".join(word for word, _ in self.words)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where the model looks in one photo, one recipe, or a pair.

    Attributes:
        image: float [height, width] of the feature map, adding up to 1; None without a photo.
        ingredients: lines; empty without a recipe.
        instructions: lines, a title first where the model reads titles. A line's weight is the mean of its weights
            among the instructions alone and as read with the ingredients.
    """

    image: NDArray[np.float32] | None
    ingredients: list[Line]
    instructions: list[Line]


def explain(
    model: Any,
    batch: Mapping[str, Any],
    words: Sequence[str],
    ingredients: Sequence[str],
    *,
    asked: bool = False,
) -> list[Explanation]:
    """Attention of every item of a batch.

    Args:
        model: with ``attention`` and ``spec``.
        batch: features of photos, of recipes, or of both, row by row.
        words: the model's word vocabulary.
        ingredients: its ingredient vocabulary.
        asked: with photos and recipes: the weights when the other modality asks, as in training, in place of those
            that make the embeddings.

    Returns:
        One explanation a row.

    Raises:
        ValueError: a model without attention, or without a latent to ask for.
    """
    if not hasattr(model, "attention"):
        raise ValueError(f"Expected a model with attention, e.g. mcen, received {model.name!r}, which has none.")
    found = {name: np.asarray(weights, np.float32) for name, weights in model.attention(batch).items()}
    if asked:
        answers = {name.removesuffix("_asked"): found[name] for name in found if name.endswith("_asked")}
        if not answers:
            raise ValueError("Expected a photo, its recipe, and a model with a latent: nothing asks otherwise.")
        found |= answers
    rows = len(next(iter(found.values())))
    parts: dict[str, list[list[Line]]] = {}
    if schema.INGREDIENTS in batch:
        tokens: dict[str, NDArray] = {
            schema.INGREDIENTS: np.asarray(batch[schema.INGREDIENTS]),
            schema.INSTRUCTIONS: _sentences(batch),
        }
        weights: dict[str, NDArray] = {
            schema.INGREDIENTS: found["ingredients"],
            schema.INSTRUCTIONS: (found["instructions"] + found["joint"]) / 2,
        }
        of_words: dict[str, NDArray] = {
            schema.INGREDIENTS: found["ingredient_words"],
            schema.INSTRUCTIONS: found["instruction_words"],
        }
        names: dict[str, Sequence[str]] = dict.fromkeys(tokens, words)
        if model.spec.ingredient_unit == "name":
            names[schema.INGREDIENTS] = ingredients
        parts = {
            name: [
                _lines(tokens[name][row], weights[name][row], of_words[name][row], names[name]) for row in range(rows)
            ]
            for name in tokens
        }
    nothing: list[list[Line]] = [[]] * rows
    return [
        Explanation(found["image"][row] if "image" in found else None, of_ingredients, of_instructions)
        for row, of_ingredients, of_instructions in zip(
            range(rows),
            parts.get(schema.INGREDIENTS, nothing),
            parts.get(schema.INSTRUCTIONS, nothing),
            strict=True,
        )
    ]


def heat(photo: NDArray, weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A photo, grey and pale, with red where the weights are: the redder, the more.

    Args:
        photo: [height, width, 3] in [0, 255].
        weights: float [rows, columns] over the photo, none negative; its highest is full red.

    Returns:
        uint8 [height, width, 3].
    """
    from PIL import Image

    height, width = photo.shape[:2]
    scaled = Image.fromarray((weights / max(float(weights.max()), 1e-12)).astype(np.float32))
    strength = np.asarray(scaled.resize((width, height), Image.Resampling.BILINEAR))[:, :, None]
    grey = np.asarray(photo, np.float32).mean(axis=2, keepdims=True)
    pale = 90.0 + 0.6 * grey
    shaded = _HEAT * (0.35 + 0.65 * grey / 255.0)
    mixed = pale * (1.0 - 0.85 * strength) + shaded * 0.85 * strength
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def draw(explanation: Explanation, photo: NDArray | None = None, title: str = "") -> bytes:
    """A PNG: the photo and its heat map; bars for ingredients; instructions, their words the darker the heavier.

    Args:
        explanation: what to draw.
        photo: [height, width, 3] in [0, 255], as the model reads it, where the explanation is of a photo.
        title: above it all.

    Returns:
        The file's bytes.
    """
    has_photo, has_recipe = explanation.image is not None and photo is not None, bool(explanation.ingredients)
    has_recipe = has_recipe or bool(explanation.instructions)
    columns = 2 * has_photo + 2 * has_recipe
    figure, axes = charts.figure(columns, width=3.6 * columns, height=4.2)
    figure.suptitle(title)
    if has_photo:
        assert explanation.image is not None
        assert photo is not None
        for axis, picture, name in (
            (axes[0], np.asarray(photo).clip(0, 255).astype(np.uint8), "photo"),
            (axes[1], heat(photo, explanation.image), "attention"),
        ):
            axis.imshow(picture)
            axis.set_title(name, fontsize=9)
            axis.set_axis_off()
    if has_recipe:
        _draw_bars(axes[-2], explanation.ingredients)
        _draw_words(axes[-1], explanation.instructions)
    return charts.png(figure)


def examples(model: Any, dataset: "RecipeDataset", split: str) -> list[dict[str, Any]]:
    """What a report shows: the first pairs of a split, the photo beside its heat map, lines and words with strengths.

    Args:
        model: any; without ``attention`` there is nothing to show.
        dataset: whose texts and photos.
        split: of the dataset.

    Returns:
        Dicts with ``title``, ``photo`` and ``heat`` (uint8 pictures ``[side, side, 3]``), ``ingredients`` and
        ``instructions``: lists of dicts ``strength`` (percent of the part's heaviest line) and ``words``: lists of
        ``text`` and ``strength`` (percent of the line's heaviest word).
    """
    if not hasattr(model, "attention"):
        return []
    from kfood.data.pipeline import recipe_batches

    batch = next(iter(recipe_batches(dataset, split, model.spec, EXAMPLES, training=False)))
    inputs = {name: np.asarray(values) for name, values in batch.items() if name != schema.ID}
    titles = [text[schema.TITLE] for text in itertools.islice(dataset.texts(split), EXAMPLES)]
    shown = []
    explanations = explain(model, inputs, dataset.words, dataset.ingredients)
    for title, photo, explanation in zip(titles, inputs[schema.IMAGE], explanations, strict=True):
        assert explanation.image is not None
        shown.append(
            {
                "title": title,
                "photo": photo.clip(0, 255).astype(np.uint8),
                "heat": heat(photo, explanation.image),
                "ingredients": _strengths(explanation.ingredients),
                "instructions": _strengths(explanation.instructions),
            }
        )
    return shown


def _sentences(batch):
    """Instruction tokens, the title as the first row of a recipe that has one, as the model reads them."""
    tokens = np.asarray(batch[schema.INSTRUCTIONS])
    if schema.TITLE not in batch:
        return tokens
    title = np.asarray(batch[schema.TITLE])[:, None, :]
    width = max(title.shape[2], tokens.shape[2])
    title, tokens = (np.pad(part, [(0, 0), (0, 0), (0, width - part.shape[2])]) for part in (title, tokens))
    untitled = ~title.any(axis=2, keepdims=True)
    return np.where(untitled, np.concatenate([tokens, title], axis=1), np.concatenate([title, tokens], axis=1))


def _lines(tokens, weights, word_weights, vocabulary) -> list[Line]:
    lines = []
    for row, weight, of_words in zip(tokens, weights, word_weights, strict=True):
        known = [(int(token), float(share)) for token, share in zip(row, of_words, strict=True) if token]
        if known:
            lines.append(Line(float(weight), [(_word(token, vocabulary), share) for token, share in known]))
    return lines


def _word(token, vocabulary):
    return vocabulary[token - schema.FIRST_TOKEN_ID] if token >= schema.FIRST_TOKEN_ID else UNKNOWN


def _strengths(lines: list[Line]) -> list[dict[str, Any]]:
    heaviest = max((line.weight for line in lines), default=1.0) or 1.0
    return [
        {
            "strength": round(100 * line.weight / heaviest),
            "words": [
                {"text": word, "strength": round(100 * share / (max(share for _, share in line.words) or 1.0))}
                for word, share in line.words
            ],
        }
        for line in lines
    ]


def _draw_bars(axes, lines):
    axes.set_title("ingredients", fontsize=9)
    axes.grid(visible=False)
    axes.barh(range(len(lines)), [100 * line.weight for line in lines], color=charts.colour(0))
    axes.set_yticks(range(len(lines)), [_short(line.text, 24) for line in lines], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("weight, %", fontsize=8)


def _draw_words(axes, lines):
    """Words one after the other; both the line's and the word's weight darken a word."""
    axes.set_title("instructions", fontsize=9)
    axes.set_axis_off()
    axes.set(xlim=(0, 44), ylim=(0, 1))
    placed, left, row = [], 0, 0
    for shown in _strengths(lines):
        for word in shown["words"]:
            if left and left + len(word["text"]) > 44:
                left, row = 0, row + 1
            placed.append((left, row, word["text"], word["strength"] * shown["strength"] / 1e4))
            left += len(word["text"]) + 1
        left, row = 0, row + 1
    height = 1.0 / max(row, 14)
    for place, down, text, strength in placed:
        axes.text(
            place,
            1.0 - (down + 0.5) * height,
            text,
            family="monospace",
            fontsize=min(7.0, 220 * height),
            verticalalignment="center",
            bbox={"facecolor": charts.colour(0), "alpha": 0.8 * strength, "edgecolor": "none", "pad": 0.8},
        )


def _short(text, length):
    return text if len(text) <= length else text[: length - 1] + "…"
