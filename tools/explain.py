"""Draw where a model looks in a photo and in a recipe, or how its training went.

With a photo: a heat map over it. With a recipe: weights of its ingredients, and its instructions with heavy words dark.
With both, which should belong together: the attention with which each looks at the other in training. With neither:
losses, KL divergences of the latents, and recall over the epochs. A recipe is a JSON file with any of the keys title (a
string), ingredients and instructions (lists of strings).

Examples:
    kfood explain RUN --image soup.jpg --out soup.png
    kfood explain RUN --recipe soup.json --out soup.png
    kfood explain RUN --out training.png
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    from kfood.evaluation.attention import Explanation


@dataclasses.dataclass(frozen=True)
class Explain:
    """Arguments of ``kfood explain``."""

    run: tyro.conf.Positional[pathlib.Path]
    """Run folder, made by `kfood train`."""
    out: pathlib.Path
    """PNG to draw."""
    image: pathlib.Path | None = None
    """Photo to look at."""
    recipe: pathlib.Path | None = None
    """Recipe to look at, a JSON file."""
    weights: Literal["best", "last"] = "best"
    """Of the best epoch on validation, or of the last."""


def main(arguments: list[str]) -> None:
    """Parses and draws."""
    run(tyro.cli(Explain, args=arguments, prog="kfood explain", description=__doc__))


def run(args: Explain) -> "Explanation | None":
    """Draws; of a photo or a recipe also prints the heaviest ingredients, and returns all weights."""
    from kfood import folders
    from kfood.evaluation import attention, curves

    if args.image is None and args.recipe is None:
        folders.write_whole({args.out: curves.draw_training(args.run)})
        print(f"{args.out}: the training of {args.run}.")
        return None

    from kfood.data.dataset import read_vocabulary
    from kfood.models import load_run

    model: Any = load_run(args.run, weights=args.weights)
    words, ingredients = (read_vocabulary(args.run, name) for name in ("words", "ingredients"))
    batch: dict[str, Any] = {}
    if args.image is not None:
        batch |= _photo(args.image, model.spec)
    if args.recipe is not None:
        batch |= _recipe(args.recipe, model.spec, words, ingredients)
    both = args.image is not None and args.recipe is not None
    asks = [side for side in getattr(model, "latent_modalities", ()) if both]
    (explanation,) = attention.explain(model, batch, words, ingredients, asked=bool(asks))
    photo = batch["image"][0] if args.image is not None else None
    title = " and ".join(path.name for path in (args.image, args.recipe) if path is not None)
    folders.write_whole({args.out: attention.draw(explanation, photo, title)})
    for line in sorted(explanation.ingredients, key=lambda line: -line.weight)[:5]:
        print(f"{100 * line.weight:5.1f} %  {line.text}")
    asked = f", the {' and the '.join(asks)} as its partner asks" if asks else ""
    print(f"{args.out}: where {model.name} looks{asked}.")
    return explanation


def _photo(path: pathlib.Path, spec: Any) -> dict[str, Any]:
    import numpy as np

    from kfood.data.images import evaluation_transform
    from kfood.export.runtime import decode_photo

    return {"image": np.asarray(evaluation_transform(decode_photo(path), spec.image_size, spec.short_side))[None]}


def _recipe(path: pathlib.Path, spec: Any, words: list[str], ingredients: list[str]) -> dict[str, Any]:
    import numpy as np

    from kfood import schema
    from kfood.data.text import RecipeTokenizer
    from kfood.tools.search import read_query

    content = read_query(path, spec.ingredient_unit)
    # A line without a word is passed over by the tokenizer; here it gives an empty list its shape and type.
    lines_of = {name: [[*content[name], ""]] for name in ("ingredients", "instructions")}
    tokenizer = RecipeTokenizer(spec, words, ingredients)
    tokens = tokenizer([content["title"]], lines_of["ingredients"], lines_of["instructions"])
    found = {name: np.asarray(values) for name, values in tokens.items()}
    if not any((values > schema.UNKNOWN_ID).any() for values in found.values()):
        raise ValueError(f"{path}: expected at least one word that the model knows, received none.")
    return found
