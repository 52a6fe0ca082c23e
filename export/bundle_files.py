"""A bundle's files: listed, checked, read, and run by onnxruntime; NumPy beside."""

import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

FORMAT = 3
"""Version of the bundle's layout that this file reads."""

MANIFEST = "kfood.json"

_DESCRIPTION = ("model", "embedding_size", "distance", "spec", "preprocessing", "encoders", "decoders")


class BundleFiles:
    """The files of a bundle; open them with :meth:`BundleFiles.open`.

    Attributes:
        path: the folder.
        manifest: content of ``kfood.json``.
        sha256: sha256 (hex) of ``kfood.json``.
    """

    def __init__(self, path, manifest, sha256, providers, threads):
        self.path = path
        self.manifest = manifest
        self.sha256 = sha256
        self._providers = list(providers)
        self._threads = threads
        self._sessions: dict[str, Any] = {}

    @classmethod
    def open(cls, path: str | pathlib.Path, providers: Sequence[str | tuple[str, dict]], threads: int) -> "BundleFiles":
        """As :meth:`kfood.export.runtime.Bundle.open`, whose arguments these are."""
        path = pathlib.Path(path)
        file = path / MANIFEST
        if not file.is_file():
            raise FileNotFoundError(f"{path}: expected a bundle made by `kfood export`, found no {MANIFEST} in it.")
        content = file.read_bytes()
        manifest = _manifest(file, content)
        for name, entry in manifest["files"].items():
            inside = pathlib.PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
                raise ValueError(f"{file}: expected paths inside the bundle, received {name!r}.")
            part = path / name
            if not part.is_file():
                raise FileNotFoundError(f"{path}: expected the file {name}, which {MANIFEST} lists, but it is missing.")
            if part.stat().st_size != int(entry["size"]):
                raise ValueError(
                    f"{part}: expected {int(entry['size'])} bytes, received {part.stat().st_size}; the bundle is "
                    "damaged."
                )
        if isinstance(providers, str):
            raise ValueError(f"providers: expected a list of names, received {providers!r}; write [{providers!r}].")
        if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
            raise ValueError(f"threads: expected 0 or a positive integer, received {threads!r}.")
        return cls(path, manifest, hashlib.sha256(content).hexdigest(), providers, threads)

    def read(self, name: str) -> bytes:
        """As :meth:`kfood.export.runtime.Bundle.read`."""
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise ValueError(f"{self.path}: expected one of {sorted(self.manifest['files'])}, received {name!r}.")
        content = (self.path / name).read_bytes()
        received = hashlib.sha256(content).hexdigest()
        if received != entry["sha256"]:
            raise ValueError(
                f"{self.path / name}: expected sha256 {entry['sha256'][:12]}…, received {received[:12]}…; "
                "the file was changed after the export."
            )
        return content

    def session(self, name: str) -> Any:
        """An ``onnxruntime.InferenceSession`` of one of the files, made when first asked for.

        Raises:
            ValueError: as :meth:`read`, or an execution provider that is not at hand, or does not start.
        """
        if name not in self._sessions:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.log_severity_level = 3  # errors; on machines without a GPU it warns about devices it cannot list
            names = [provider if isinstance(provider, str) else provider[0] for provider in self._providers]
            available = onnxruntime.get_available_providers()
            unknown = [name for name in names if name not in available]
            if unknown or not names:
                raise ValueError(f"providers: expected some of {available}, received {names}.")
            session = onnxruntime.InferenceSession(self.read(name), options, providers=self._providers)
            if names[0] not in session.get_providers():  # onnxruntime falls back to the CPU with only a log line
                raise ValueError(
                    f"providers: expected {names[0]} to start, received {session.get_providers()}; "
                    "its libraries or its device are missing."
                )
            self._sessions[name] = session
        return self._sessions[name]


def check_list(values, name, single):
    """Refuse one of what a list of is expected: it would be taken apart into letters or keys."""
    if isinstance(values, single) or not isinstance(values, Iterable):
        raise ValueError(f"{name}: expected a list, received {type(values).__name__}; put it in a list.")


def checked_inputs(
    name: str, inputs: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, np.ndarray], int]:
    """Arrays as the manifest says that a network takes them, and the number of their rows.

    Raises:
        ValueError: others than these, of another shape, of numbers of another kind, or of several numbers of rows.
    """
    if set(inputs) != set(wanted):
        raise ValueError(f"{name}: expected the inputs {sorted(wanted)}, received {sorted(inputs)}.")
    arrays = {key: _checked(name, key, inputs[key], of_this) for key, of_this in wanted.items()}
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1:
        sizes = {key: len(array) for key, array in arrays.items()}
        raise ValueError(f"{name}: expected inputs of the same number of rows, received {sizes}.")
    return arrays, counts.pop()


def _checked(name, key, array, wanted):
    array = np.asarray(array)
    dtype, shape = np.dtype(wanted["dtype"]), wanted["shape"]
    compatible = np.issubdtype(array.dtype, np.integer) if dtype.kind == "i" else array.dtype.kind in "fu"
    if array.ndim != len(shape) or list(array.shape[1:]) != shape[1:] or not compatible:
        expected = ", ".join(["n", *map(str, shape[1:])])
        raise ValueError(f"{name}: expected {key} {dtype} [{expected}], received {array.dtype} {list(array.shape)}.")
    return np.ascontiguousarray(array, dtype)


def _manifest(file, content):
    """The description of a bundle, of this format and whole."""
    try:
        manifest = json.loads(content)
        received = manifest["format"]
        for entry in manifest["files"].values():
            str(entry["sha256"]), int(entry["size"])
        missing = [key for key in _DESCRIPTION if key not in manifest] if received == FORMAT else []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: expected the description of a bundle, received {error!r}.") from error
    if received != FORMAT:
        raise ValueError(
            f"{file}: expected a bundle of format {FORMAT}, received format {received!r}; export the run again."
        )
    if missing:
        raise ValueError(f"{file}: expected the description of a bundle, received one without {', '.join(missing)}.")
    return manifest
