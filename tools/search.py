"""Search an index by a photo, a recipe, or a text; neither TensorFlow nor the dataset is needed.

A photo finds recipes, or photos in an index of photos alone; a recipe or a text finds photos; `--to` changes that. A
recipe is a JSON file with any of the keys title (a string), ingredients and instructions (lists of strings). A text is
read as a recipe: whole as its title and its one instruction, and cut at commas as its ingredients.

Examples:
    kfood search INDEX --image soup.jpg
    kfood search INDEX --image soup.jpg --gallery-picture found.png --explain
    kfood search INDEX --recipe soup.json --top 10 --gallery-picture found.png
    kfood search INDEX --text "tomato soup, basil" --to recipes
"""

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:
    import numpy as np

    from kfood.export.runtime import Bundle
    from kfood.search import Result


@dataclasses.dataclass(frozen=True)
class Search:
    """Arguments of ``kfood search``."""

    index: tyro.conf.Positional[pathlib.Path]
    """Index, made by `kfood index`."""
    image: pathlib.Path | None = None
    """Photo to search by."""
    recipe: pathlib.Path | None = None
    """Recipe to search by, a JSON file."""
    text: str | None = None
    """Text to search by."""
    top: int = 5
    """How many to find."""
    to: Literal["photos", "recipes"] | None = None
    """What to search among; recipes for a photo where there are any, photos otherwise."""
    gallery_picture: pathlib.Path | None = None
    """PNG to draw: the query beside what was found."""
    explain: bool = False
    """Draw there also what the model generates from each embedding: what it has understood (R2GAN, ACME)."""
    bundle: pathlib.Path | None = None
    """The bundle that made the index, if it was moved."""

    def __post_init__(self):
        given = [name for name in ("image", "recipe", "text") if getattr(self, name) is not None]
        if len(given) != 1:
            received = " and ".join(f"--{name}" for name in given) or "none"
            raise ValueError(f"expected one of --image, --recipe and --text, received {received}.")
        if self.explain and self.gallery_picture is None:
            raise ValueError("--explain: expected --gallery-picture OUT.png too, the picture that it adds to.")
        if self.top < 1:
            raise ValueError(f"--top: expected at least 1, received {self.top}.")


def main(arguments: list[str]) -> None:
    """Parses and searches."""
    run(
        tyro.cli(
            Search, args=arguments, prog="kfood search", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
    )


def run(args: Search) -> "list[Result]":
    """Prints what was found as a table, draws it on request, and returns it."""
    import rich

    from kfood.export.runtime import Bundle
    from kfood.search import Index, draw_results, explain

    index = Index.open(args.index)
    path = args.bundle or index.bundle
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected the bundle that made {args.index}; if it was moved, give --bundle.")
    bundle = Bundle.open(path)
    index.check_bundle(bundle)
    if args.image is None and "recipes" not in index.sides:
        raise ValueError(f"expected --image, for {args.index} holds photos alone and its model reads no text.")
    embedding, shown, title = _query(args, bundle)
    side: Literal["photos", "recipes"] = args.to or ("recipes" if args.image and "recipes" in index.sides else "photos")
    results = index.search(embedding, side, args.top)
    rich.print(_table(results, f"{title} → {side} ({index.distance} distance, of {len(index):,})"))
    if args.gallery_picture:
        encoder = "image" if args.image else "recipe"
        explanation = explain(bundle, index, embedding, encoder, results, side) if args.explain else None
        args.gallery_picture.write_bytes(draw_results(shown, results, f"{title}: nearest {side}", explanation))
        made = ", with pictures generated from their embeddings" if explanation else ""
        print(f"{args.gallery_picture}: the query beside what was found{made}.")
    return results


def _query(args: Search, bundle: "Bundle") -> "tuple[np.ndarray, Any, str]":
    """The query's embedding, what to draw of it, and its name."""
    from kfood.export.runtime import decode_photo
    from kfood.search import text_as_recipe

    if args.image:
        photo = decode_photo(args.image)
        return bundle.encode_images([photo])[0], photo, args.image.name
    if args.text is not None:
        recipe = text_as_recipe(args.text, bundle.spec)
        try:
            embedding = bundle.encode_recipes([recipe])[0]
        except ValueError as error:
            raise ValueError(f"--text: expected at least one word, received {args.text!r}.") from error
        return embedding, args.text, f"“{args.text}”"
    assert args.recipe
    recipe = read_recipe(args.recipe)
    try:
        embedding = bundle.encode_recipes([recipe])[0]
    except ValueError as error:
        raise ValueError(f"{args.recipe}: {str(error).removeprefix('recipe 0: ')}") from error
    text = "\n".join([recipe.get("title", ""), *recipe.get("ingredients", [])])
    return embedding, text, recipe.get("title") or args.recipe.name


def read_recipe(path: pathlib.Path) -> dict[str, Any]:
    """A recipe as JSON; raises ValueError where the file holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected a recipe as JSON, received something else ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected one recipe as a JSON object, received a {type(content).__name__}.")
    return content


def _table(results: "list[Result]", title: str) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("rank", "distance", "title", "id", "ingredients", title=escape(title))
    for result in results:
        ingredients = ", ".join(result.ingredients)
        table.add_row(
            str(result.rank),
            f"{result.distance:.4f}",
            escape(result.title),
            escape(result.id),
            escape(ingredients if len(ingredients) <= 80 else ingredients[:79] + "…"),
        )
    return table
