"""The file that says what a folder of embeddings is: an index's, and that of what `kfood embed` made."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from kfood.search.items import Encoder


def read(
    file: pathlib.Path, version: int, *, folder: str, what: str, command: str, look: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """What it says; the files that it names are not looked at.

    Args:
        file: in the folder.
        version: of the layout, its key ``format``.
        folder: what the folder is called where there is none.
        what: it describes.
        command: that makes it.
        look: called with a description of this version; raises where something is not as it has to be.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is broken, or of another format.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file.parent}: expected {folder} made by `{command}`, found no {file.name} in it.")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        received = description["format"]
        if received == version:
            look(description)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: expected the description of {what}, received {error!r}.") from error
    if received != version:
        raise ValueError(
            f"{file}: expected {what} of format {version}, received format {received!r}; run `{command}` again."
        )
    return description


def check_bundle(
    path: pathlib.Path, description: Mapping[str, Any], encoder: Encoder, *, what: str, again: str
) -> None:
    """Refuses another bundle than made what is described.

    Args:
        path: of the folder.
        description: of it.
        encoder: the bundle.
        what: the bundle made.
        again: what is to be done with this one.

    Raises:
        ValueError: embeddings of different bundles cannot be compared.
    """
    expected = description["bundle"]["sha256"]
    if encoder.sha256 != expected:
        raise ValueError(
            f"{path}: expected the bundle that made {what} ({description['model']}, sha256 {expected[:12]}…), received "
            f"{encoder.path} ({encoder.model}, {encoder.sha256[:12]}…); {again} with this bundle."
        )
