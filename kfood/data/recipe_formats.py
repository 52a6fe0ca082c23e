"""Recipe files as people have them, told apart by their content.

=========================== ======================================================================================
content                     formats
=========================== ======================================================================================
JSON, JSON lines            schema.org/Recipe (alone, in ``@graph``), Nextcloud Cookbook, Mealie, Tandoor, Paprika,
                            Recipe1M's entries, RecipeNLG, and objects with fields of the usual names, alone, in lists
                            or by id (:mod:`kfood.data.recipe_fields`)
HTML                        a saved page with schema.org/Recipe, by ``recipe-scrapers``
tables                      ``.csv``, ``.tsv``; Parquet, by ``pyarrow``; a row a recipe
XML                         RecipeML
text                        Cooklang (``.cook``), by ``cooklang-py``; MealMaster
archives                    zip and gzip of any of these: ``.paprikarecipes``, exports of Tandoor and Mealie
=========================== ======================================================================================

The libraries come with the extra ``kfood[recipes]``.
"""

import csv
import dataclasses
import gzip
import io
import itertools
import json
import os
import pathlib
import re
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from kfood import photo_files
from kfood.data.recipe_fields import Recipe, RecipeError, clean, read_fields, recipes_in

LARGEST_FILE = 4 << 30
"""Bytes of a file that is read, and of what an archive unpacks to."""

LARGEST_MEMBER = 256 << 20
"""Bytes that one member of an archive may unpack to."""

SUFFIXES = (
    ".json .jsonl .ndjson .csv .tsv .parquet .html .htm .xml .recipeml .cook .mmf .mm .txt .zip .gz .paprikarecipes "
    ".paprikarecipe"
).split()
"""Endings by which files of a folder are taken for recipes."""

_MAGIC = {
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture or another RIFF file",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
    b"SQLite format 3": "an SQLite database",
    b"\x7fELF": "a program",
}


@dataclasses.dataclass(frozen=True)
class Found:
    """A recipe and where it stands.

    Attributes:
        where: file, member of an archive and number within it, for messages.
        recipe: the recipe, or None where there is a reason against it.
        reason: why there is none.
        folder: the file's folder; photos may lie beside it.
    """

    where: str
    recipe: Recipe | None
    reason: str = ""
    folder: pathlib.Path | None = None


def read_recipes(source: str | os.PathLike, columns: Mapping[str, str] | None = None) -> Iterator[Found]:
    """Every recipe of a file, or of a folder's files and those of its folders.

    Args:
        source: a file of any format, or a folder.
        columns: what a recipe holds → the field or column that holds it, where its name is none of the usual ones.

    Yields:
        Recipes in the order of the files' names and within them; what cannot be used with its reason.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a single file that is no recipe file; or a folder without any.
    """
    source = pathlib.Path(source)
    if source.is_dir():
        files = _files(source)
        if not files:
            raise ValueError(f"{source}: expected recipe files ({' '.join(SUFFIXES)}) in it, received none.")
        for path in files:
            try:
                yield from _read_file(path, path.relative_to(source).as_posix(), columns or {})
            except ValueError as error:
                yield Found(path.relative_to(source).as_posix(), None, f"not read: {_reason(error)}")
    else:
        if not source.is_file():
            raise FileNotFoundError(f"{source}: expected a file of recipes or a folder of such files, found none.")
        try:
            yield from _read_file(source, source.name, columns or {})
        except ValueError as error:
            raise ValueError(f"{source}: expected recipes; {_reason(error)}.") from error


def read_recipe(path: str | os.PathLike) -> Recipe:
    """The one recipe of a file of any format.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds no recipe, or several.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a file with one recipe, received a folder.")
    return _only(path, read_recipes(path))


def parse_recipe(data: bytes, name: str = "recipe", *, largest: int = LARGEST_MEMBER) -> Recipe:
    """The one recipe of a file's bytes, of any format but Parquet, whose tables are for many.

    Args:
        data: the file.
        name: the file's; its ending tells Cooklang and tables.
        largest: bytes that an archive may unpack to.

    Raises:
        ValueError: bytes that hold no recipe, or several.
    """
    try:
        if data.startswith(b"PAR1"):
            raise RecipeError("received Parquet, a table of many")
        if data.startswith(b"PK\x03\x04"):
            return _only(name, _read_zip(io.BytesIO(data), name, {}, largest=largest))
        return _only(name, _read_content(data, name, name, {}, largest))
    except RecipeError as error:
        raise ValueError(f"{name}: expected a recipe; {_reason(error)}.") from error


def _only(where: str | os.PathLike, recipes: Iterator[Found]) -> Recipe:
    found = list(itertools.islice(recipes, 2))
    usable = [item for item in found if item.recipe is not None]
    if not usable:
        reason = found[0].reason if found else "none in it"
        raise ValueError(f"{where}: expected a recipe, received none ({reason}).")
    if len(found) > 1:
        raise ValueError(f"{where}: expected one recipe, received several.")
    assert usable[0].recipe is not None
    return usable[0].recipe


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Regular files below a folder with the ending of a recipe file, hidden ones left out, in string order."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            pathlib.Path(root, name)
            for name in sorted(names)
            if not name.startswith(".") and pathlib.PurePath(name).suffix.lower() in SUFFIXES
        ]
    return [path for path in found if path.is_file()]


def _read_file(path: pathlib.Path, where: str, columns: Mapping[str, str]) -> Iterator[Found]:
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise RecipeError(f"received a file of {size:,} bytes, more than {LARGEST_FILE:,}")
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"PAR1"):
        found = _read_table(_parquet_rows(path), where, columns)
    elif path.suffix.lower() in (".csv", ".tsv"):
        found = _read_csv(path, where, columns)
    elif head.startswith(b"PK\x03\x04"):
        found = _read_zip(path, where, columns)
    else:
        found = _read_content(path.read_bytes(), path.name, where, columns)
    for item in found:
        yield dataclasses.replace(item, folder=path.parent)


def _read_content(
    data: bytes, name: str, where: str, columns: Mapping[str, str], largest: int = LARGEST_MEMBER
) -> Iterator[Found]:
    """The recipes of a file's bytes; ``name`` tells Cooklang, which looks like any text."""
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise RecipeError(f"received {kind}")
    if data.startswith(b"\x1f\x8b"):
        data = _gunzip(data, largest)
        if data.startswith(b"\x1f\x8b"):
            raise RecipeError("received gzip within gzip")
        yield from _read_content(data, name.removesuffix(".gz"), where, columns, largest)
        return
    text = _decode(data)
    start = text.lstrip()[:400]
    if name.lower().endswith((".csv", ".tsv")):
        yield from _read_table(_csv_rows(io.StringIO(text), name), where, columns)
    elif name.lower().endswith(".cook"):
        yield from _one(where, lambda: _cooklang(text, name))
    elif start.startswith(("{", "[")):
        yield from _read_json(text, where, columns)
    elif re.search(r"<(?:recipeml|recipe)\b", start) and "<html" not in start.lower():
        yield from _recipeml(text, where)
    elif start.startswith("<"):
        yield from _one(where, lambda: _html(text))
    elif re.search(r"(?im)^(?:-{5}|M{5}).*meal-?master", text):
        yield from _mealmaster(text, where)
    else:
        shown = " ".join(start.split())[:40]
        raise RecipeError(
            f"received text of no format that is known, beginning with {shown!r}" if shown else "it is empty"
        )


def _one(where: str, read: Any) -> Iterator[Found]:
    try:
        yield Found(where, read())
    except RecipeError as error:
        yield Found(where, None, str(error))


def _decode(data: bytes) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise RecipeError(f"received bytes that are not {encoding.removesuffix('-sig').upper()}") from error


def _gunzip(data: bytes, largest: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            content = file.read(largest + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RecipeError(f"received a damaged gzip file ({error})") from error
    if len(content) > largest:
        raise RecipeError(f"received a gzip file that unpacks to more than {largest:,} bytes")
    return content


def _read_json(text: str, where: str, columns: Mapping[str, str]) -> Iterator[Found]:
    try:
        contents = [json.loads(text)]
    except RecursionError:
        raise RecipeError("received JSON nested too deep") from None
    except ValueError as error:
        contents = _json_lines(text)
        if not contents:
            raise RecipeError(f"received broken JSON ({error})") from error
    if columns and len(contents) == 1 and isinstance(contents[0], list):
        recipes: Iterator[Any] = iter(contents[0])
    elif columns:
        recipes = iter(contents)
    else:
        recipes = recipes_in(contents)
    yield from _read_table(recipes, where, columns, numbered=False)


def _json_lines(text: str) -> list:
    """The values of JSON lines; none where a line among the first is no JSON."""
    values: list = []
    for number, line in enumerate(filter(None, map(str.strip, text.split("\n")))):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            if number < 3:
                return []
            values.append({"ingredients": None, "broken line": number})
    return values


def _read_table(rows: Iterator[Any], where: str, columns: Mapping[str, str], numbered: bool = True) -> Iterator[Found]:
    count = 0
    for count, row in enumerate(rows, start=1):
        place = f"{where}:{count}" if numbered else where if count == 1 else f"{where}#{count}"
        if not isinstance(row, Mapping):
            yield Found(place, None, f"expected an object, received a {type(row).__name__}")
            continue
        try:
            yield Found(place, read_fields(row, columns))
        except RecipeError as error:
            names = ", ".join(str(key)[:40] for key in list(row)[:12])
            yield Found(place, None, f"{error} among {names}")
    if not count:
        raise RecipeError("received none: no object or row with a title, ingredients or instructions in it")


def _read_csv(path: pathlib.Path, where: str, columns: Mapping[str, str]) -> Iterator[Found]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _read_table(_csv_rows(file, path.name), where, columns)
    except UnicodeDecodeError as error:
        raise RecipeError("received bytes that are not UTF-8") from error


def _csv_rows(file: Any, name: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(16 << 20)
    if name.lower().endswith(".tsv"):
        delimiter = "\t"
    else:
        head = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=head.count)
    try:
        for row in csv.DictReader(file, delimiter=delimiter):
            yield {key: value for key, value in row.items() if key and value}
    except csv.Error as error:
        raise RecipeError(f"received a broken table ({error})") from error


def _parquet_rows(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    parquet = _library("pyarrow.parquet", "pyarrow", "Parquet")
    try:
        for batch in parquet.ParquetFile(path).iter_batches(1024):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise RecipeError(f"received a damaged Parquet file ({error})") from error


def _read_zip(
    path: pathlib.Path | io.BytesIO,
    where: str,
    columns: Mapping[str, str],
    depth: int = 0,
    largest: int | None = None,
) -> Iterator[Found]:
    """The recipes of an archive's members; a recipe without a photo of its own gets the picture that lies beside it."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise RecipeError(f"received a damaged zip archive ({error})") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        pictures: dict[str, list[zipfile.ZipInfo]] = {}
        for member in members:
            if pathlib.PurePosixPath(member.filename).suffix.lower() in photo_files.SUFFIXES:
                for folder in list(pathlib.PurePosixPath(member.filename).parents)[:2]:
                    pictures.setdefault(str(folder), []).append(member)
        unpacked, of_one, of_all = 0, largest or LARGEST_MEMBER, largest or LARGEST_FILE
        for member in members:
            name = pathlib.PurePosixPath(member.filename)
            place = f"{where}/{member.filename}"
            if name.suffix.lower() not in SUFFIXES:
                continue
            unpacked += member.file_size
            if member.file_size > of_one or unpacked > of_all:
                yield Found(place, None, "too large")
                continue
            try:
                data = archive.read(member)
                if name.suffix.lower() == ".zip" and depth < 2:
                    found = list(_read_zip(io.BytesIO(data), place, columns, depth + 1, largest))
                else:
                    found = list(_read_content(data, name.name, place, columns, of_one))
            except (RecipeError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                yield Found(place, None, f"not read: {_reason(error)}")
                continue
            beside = pictures.get(str(name.parent), [])
            for item in found:
                yield _with_photo(item, archive, beside, of_one) if len(found) == 1 else item


def _with_photo(item: Found, archive: zipfile.ZipFile, beside: list[zipfile.ZipInfo], largest: int) -> Found:
    if item.recipe is None or any(isinstance(photo, bytes) for photo in item.recipe.photos):
        return item
    photos = tuple(archive.read(member) for member in beside[:5] if member.file_size <= largest)
    return dataclasses.replace(item, recipe=dataclasses.replace(item.recipe, photos=photos or item.recipe.photos))


def _html(text: str) -> Recipe:
    scrapers = _library("recipe_scrapers", "recipe-scrapers", "HTML")
    page = re.search(r"""<link[^>]+rel=["']canonical["'][^>]+href=["'](https?://[^"']+)""", text)
    try:
        found = scrapers.scrape_html(text, org_url=page[1] if page else "https://localhost/", supported_only=False)
    except Exception as error:  # it parses what people wrote, and fails in many ways
        raise RecipeError("received a page without a schema.org/Recipe") from error

    def ask(what: str) -> Any:
        try:
            return getattr(found, what)()
        except Exception:  # a field that is not there is an exception, of many kinds
            return None

    fields = {"title": ask("title"), "ingredients": ask("ingredients"), "instructions": ask("instructions_list")}
    return read_fields({name: value for name, value in {**fields, "image": ask("image")}.items() if value})


def _cooklang(text: str, name: str) -> Recipe:
    cooklang = _library("cooklang_py", "cooklang-py", "Cooklang")
    try:
        recipe = cooklang.Recipe(text)
        ingredients = [
            f"{str(item.quantity or '').replace('%', ' ')} {item.name}".strip() for item in recipe.ingredients
        ]
        steps = [" ".join(str(step).split()) for step in recipe.steps]
        title = recipe.metadata.get("title") if recipe.metadata else None
    except Exception as error:
        raise RecipeError(f"received broken Cooklang ({_reason(error)})") from error
    return Recipe(
        title=clean(title) or clean(name.rsplit(".", 1)[0].replace("-", " ").replace("_", " ")),
        ingredients=[clean(line) for line in ingredients],
        instructions=[clean(step) for step in steps if step and not step.startswith((">>", "--", "["))],
    )


def _recipeml(text: str, where: str) -> Iterator[Found]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise RecipeError(f"received broken XML ({error})") from error
    recipes = [root] if root.tag == "recipe" else list(root.iter("recipe"))
    rows = (
        {
            "title": _xml_text(recipe.find(".//title")),
            "ingredients": [_ingredient_of_recipeml(item) for item in recipe.iter("ing")],
            "instructions": [_xml_text(step) for step in recipe.iter("step")] or _xml_text(recipe.find("directions")),
        }
        for recipe in recipes
    )
    yield from _read_table(rows, where, {}, numbered=False)


def _ingredient_of_recipeml(item: ElementTree.Element) -> str:
    amounts = " ".join(_xml_text(part) for part in (*item.iter("qty"), *item.iter("unit")))
    return f"{amounts} {_xml_text(item.find('item'))} {_xml_text(item.find('prep'))}".strip()


def _xml_text(element: ElementTree.Element | None) -> str:
    return "" if element is None else " ".join(" ".join(element.itertext()).split())


_MEALMASTER_INGREDIENT = re.compile(r"^([ \d./]{7}) ([ A-Za-z]{2}) (\S.*)$")


def _mealmaster(text: str, where: str) -> Iterator[Found]:
    """MealMaster's text: amount, two-letter unit and name in fixed columns, at most two ingredients a line."""
    blocks = re.split(r"(?im)^(?:-{5}|M{5}).*meal-?master.*$", text)[1:]
    rows = []
    for block in blocks:
        title, columns, instructions = "", ([], []), []  # type: ignore[var-annotated]
        for line in re.split(r"(?m)^(?:-{5}|M{5})\s*$", block)[0].splitlines():
            heading = re.match(r"\s*(Title|Categories|Yield|Servings):\s*(.*)", line)
            halves = (line[:41], line[41:])
            if heading:
                title = heading[2] if heading[1] == "Title" else title
            elif re.match(r"^(?:-{5}|M{5})", line):
                continue  # the heading of a group
            elif not instructions and _MEALMASTER_INGREDIENT.match(halves[0].rstrip()):
                for column, half in zip(columns, halves, strict=True):
                    match = _MEALMASTER_INGREDIENT.match(half.rstrip())
                    if match and match[3].startswith("-") and column:
                        column[-1] += " " + match[3].lstrip("- ")
                    elif match:
                        column.append(" ".join(f"{match[1]} {match[2]} {match[3]}".split()))
            elif line.strip():
                instructions.append(line.strip())
        rows.append({"title": title, "ingredients": columns[0] + columns[1], "instructions": " ".join(instructions)})
    yield from _read_table(iter(rows), where, {}, numbered=False)


def _library(module: str, package: str, format_name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RecipeError(
            f"reading {format_name} takes the package {package}, which is not installed: pip install kfood[recipes]"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
