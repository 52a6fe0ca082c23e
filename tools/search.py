"""Search an index by a photo, a recipe, or a text; neither TensorFlow nor the dataset is needed.

A photo finds recipes, or photos in an index of photos alone; a recipe or a text finds photos; a trajectory (rows of
time, x, y in metres, GPX or GeoJSON) finds map pictures, and these trajectories; `--to` changes that. A
recipe is a file of any format that `kfood prepare pairs` reads: JSON, a saved page, Cooklang, …. A text is
read as a recipe: whole as its title and its one instruction, and cut at commas as its ingredients.

Examples:
    kfood search INDEX --image soup.jpg
    kfood search INDEX --image soup.jpg --gallery-picture found.png --explain
    kfood search INDEX --recipe soup.json --top 10 --gallery-picture found.png
    kfood search INDEX --text "tomato soup, basil" --to recipes
    kfood search INDEX --image soup.jpg --with leek --without "olive oil" nuts
    kfood search INDEX --trajectory track.csv
    kfood search INDEX --image map.png --location 3.5 12 13.5 2
"""

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from kfood.export.runtime import Bundle
    from kfood.search import Index, Result, Side


@dataclasses.dataclass(frozen=True)
class Search:
    """Arguments of ``kfood search``."""

    index: tyro.conf.Positional[pathlib.Path]
    """Index, made by `kfood index`."""
    image: pathlib.Path | None = None
    """Photo to search by."""
    recipe: pathlib.Path | None = None
    """Recipe to search by, a file of any format."""
    text: str | None = None
    """Text to search by."""
    trajectory: pathlib.Path | None = None
    """Track to search by: .csv or .txt in metres, .gpx or .geojson in degrees; it is read at evenly spaced times."""
    location: tuple[float, float, float, float] | None = None
    """Of a map picture given as --image: left, top, right, bottom, in metres; by default the whole scene's, for a model
    of pictures of it."""
    top: int = 5
    """How many to find."""
    to: Literal["photos", "recipes", "trajectories"] | None = None
    """What to search among; recipes or trajectories for a photo where there are any, photos otherwise."""
    with_: Annotated[tuple[str, ...], tyro.conf.arg(name="with")] = ()
    """Ingredients that what is found has: all the words of a name in one line of its own."""
    without: tuple[str, ...] = ()
    """Ingredients that what is found has not."""
    gallery_picture: pathlib.Path | None = None
    """PNG to draw: the query beside what was found."""
    explain: bool = False
    """Draw there also what the model generates from each embedding: what it has understood (R2GAN, ACME)."""
    bundle: pathlib.Path | None = None
    """The bundle that made the index, if it was moved."""

    def __post_init__(self):
        given = [name for name in ("image", "recipe", "text", "trajectory") if getattr(self, name) is not None]
        if len(given) != 1:
            received = " and ".join(f"--{name}" for name in given) or "none"
            raise ValueError(f"expected one of --image, --recipe, --text and --trajectory, received {received}.")
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


def bundle_of(index: "Index", path: pathlib.Path | None) -> "Bundle":
    """The bundle that made an index, in the index's precision.

    Args:
        index: opened.
        path: where it is, if it was moved.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is another one.
    """
    from kfood.export.runtime import Bundle

    path = path or index.bundle
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected the bundle that made {index.path}; if it was moved, give --bundle.")
    bundle = Bundle.open(path)
    index.check_bundle(bundle)
    return bundle if index.precision == "float32" else Bundle.open(path, precision=index.precision)


def run(args: Search) -> "list[Result]":
    """Prints what was found as a table, draws it on request, and returns it."""
    import rich

    from kfood.search import Index, draw_results, explain

    index = Index.open(args.index)
    bundle = bundle_of(index, args.bundle)
    if (args.recipe or args.text is not None) and "recipes" not in index.sides:
        raise ValueError(f"expected --image, for {args.index} holds no recipes and its model reads no text.")
    if args.trajectory and "trajectories" not in index.sides:
        raise ValueError(f"--trajectory: expected an index of trajectories, received {args.index} of others.")
    embedding, shown, title = _query(args, bundle)
    other: Side = next((name for name in index.sides if name != "photos"), "photos")
    side: Side = args.to or (other if args.image else "photos")
    results = index.search(embedding, side, args.top, among=index.having(args.with_, args.without))
    if not results:
        raise ValueError(f"--with, --without: expected ingredients that leave something to find in {args.index}.")
    rich.print(_table(results, f"{title} → {side} ({index.distance} distance, of {len(index):,})"))
    if args.gallery_picture:
        encoder = "image" if args.image else "trajectory" if args.trajectory else "recipe"
        explanation = explain(bundle, index, embedding, encoder, results, side) if args.explain else None
        args.gallery_picture.write_bytes(draw_results(shown, results, f"{title}: nearest {side}", explanation))
        made = ", with pictures generated from their embeddings" if explanation else ""
        print(f"{args.gallery_picture}: the query beside what was found{made}.")
    return results


def _query(args: Search, bundle: "Bundle") -> "tuple[np.ndarray, Any, str]":
    """The query's embedding, what to draw of it, and its name."""
    import numpy as np

    from kfood.data.drawing import Style, picture, scene_of
    from kfood.export.runtime import decode_photo
    from kfood.search import text_as_recipe

    if args.image:
        photo = decode_photo(args.image)
        corners = args.location
        placed = "location" in bundle.manifest["encoders"]["image"]["inputs"]
        if placed and corners is None:
            corners = scene_of(bundle.spec)
        if placed and corners is None:
            raise ValueError(
                "--image: expected --location LEFT TOP RIGHT BOTTOM too, the map picture's corners in metres, which "
                "this model reads, received none."
            )
        if args.location is not None and not placed:
            raise ValueError(
                "--location: expected a model that reads where a picture lies, received one that does not."
            )
        location = None if corners is None else _checked_location(corners, bundle.spec)
        return bundle.encode_images([photo], location=location)[0], photo, args.image.name
    if args.trajectory:
        points = read_trajectory(args.trajectory, bundle.spec)
        style = Style(4 * bundle.spec["image_size"], scene=scene_of(bundle.spec))
        shown = picture(points, style, np.random.default_rng(0))[0]
        return bundle.encode("trajectory", {"trajectory": points[None]})[0], shown, args.trajectory.name
    recipe = (
        read_query(args.recipe, bundle.spec["ingredient_unit"])
        if args.recipe
        else text_as_recipe(args.text or "", bundle.spec)
    )
    name = args.recipe or "--text"
    try:
        embedding = bundle.encode_recipes([recipe])[0]
    except ValueError as error:
        raise ValueError(f"{name}: {str(error).removeprefix('recipe 0: ')}") from error
    _, words, known = bundle.read_recipes([recipe])
    if known[0] < words[0]:
        print(f"{name}: the model knows {known[0]} of the {words[0]} words that it reads.")
    if not args.recipe:
        return embedding, args.text, f"“{args.text}”"
    text = "\n".join([recipe.get("title", ""), *recipe.get("ingredients", [])])
    return embedding, text, recipe.get("title") or args.recipe.name


def read_trajectory(path: pathlib.Path, spec: "Mapping[str, Any]") -> "np.ndarray":
    """The track of a file as a model reads it: float32 [points, 2], metres.

    Args:
        path: see :func:`kfood.data.tracks.read_track`.
        spec: the bundle's: points, and the ground.

    Raises:
        ValueError: no such track, or one that lies off the ground that the model was trained on.
    """
    import numpy as np

    from kfood.data.tracks import read_track, resample

    origin = (spec["origin_longitude"], spec["origin_latitude"]) if spec["geographic"] else None
    points = resample(read_track(path, origin), spec["points"])
    centre, reach = np.array([spec["centre_x"], spec["centre_y"]]), 1.5 * spec["extent"]
    if (np.abs(points - centre) > reach).any():
        low, high = centre - reach, centre + reach
        raise ValueError(
            f"{path}: expected a track on the ground that the model was trained on, x from {low[0]:.1f} to "
            f"{high[0]:.1f} m and y from {low[1]:.1f} to {high[1]:.1f} m, received one with a point at "
            f"{', '.join(f'{value:.1f}' for value in points[np.abs(points - centre).max(axis=1).argmax()])}."
        )
    return points.astype(np.float32)


def _checked_location(corners: tuple[float, ...], spec: "Mapping[str, Any]") -> "np.ndarray":
    """Left, top, right and bottom as a model reads them: float32 [1, 4], metres."""
    import numpy as np

    from kfood.data.drawing import scene_of

    left, top, right, bottom = corners
    if not (np.isfinite(corners).all() and left < right and bottom < top):
        raise ValueError(
            "--location: expected left, top, right and bottom in metres, left below right and bottom below top, "
            f"received {' '.join(f'{value:g}' for value in corners)}."
        )
    if "extent" in spec:
        x, y, reach = spec["centre_x"], spec["centre_y"], spec["extent"]
        if left > x + reach or right < x - reach or bottom > y + reach or top < y - reach:
            raise ValueError(
                f"--location: expected a window onto the ground that the model was trained on, x from {x - reach:.1f} "
                f"to {x + reach:.1f} m and y from {y - reach:.1f} to {y + reach:.1f} m, received one beside it."
            )
        scene = scene_of(spec)
        if scene is not None and np.abs(np.subtract(corners, scene)).max() > 0.01 * reach:
            raise ValueError(
                f"--location: expected a picture of the whole scene, {' '.join(f'{value:.2f}' for value in scene)}, as "
                f"the model was trained on, received {' '.join(f'{value:.2f}' for value in corners)}; leave it out."
            )
    return np.array([corners], np.float32)


def read_query(path: pathlib.Path, ingredient_unit: str) -> dict[str, Any]:
    """A recipe file of any format as a model reads it.

    Args:
        path: see :mod:`kfood.data.recipe_formats`.
        ingredient_unit: ``"word"``: lines as written; ``"name"``: clean ingredient names, the file's own or what is
            left of its lines without amounts and units.

    Raises:
        ValueError: the file holds no recipe, or several.
    """
    from kfood.data.recipe_formats import read_recipe
    from kfood.search import recipe_as_query

    return recipe_as_query(read_recipe(path), ingredient_unit)


def _table(results: "list[Result]", title: str) -> Any:
    from rich.markup import escape
    from rich.table import Table

    from kfood.data.names import printable

    def shown(text: str) -> str:
        return escape(printable(text))

    table = Table("rank", "distance", "title", "id", "ingredients", title=shown(title))
    for result in results:
        ingredients = ", ".join(result.ingredients)
        table.add_row(
            str(result.rank),
            f"{result.distance:.4f}",
            shown(result.title),
            shown(result.id),
            shown(ingredients if len(ingredients) <= 80 else ingredients[:79] + "…"),
        )
    return table
