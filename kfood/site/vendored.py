"""onnxruntime-web, which runs encoders in a browser: taken into a site when that is made, never fetched by a page."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping

VERSION = "1.30.0"
"""What is taken from npm: the version that the tests are run with."""

FILES = {
    "ort.wasm.min.mjs": "ort.js",  # servers know .js; not all know .mjs, and a browser runs only what they know
    "ort-wasm-simd-threaded.mjs": "ort-wasm.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm.wasm",
}
"""Files of the package's folder dist → their names in a site."""

SHA256 = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of ``VERSION``; npm itself checks what it fetches, and this checks npm."""


@dataclasses.dataclass(frozen=True)
class OnnxruntimeWeb:
    """Files of onnxruntime-web.

    Attributes:
        version: the package's own.
        files: name in a site → content.
    """

    version: str
    files: Mapping[str, bytes]


def from_copy(path: pathlib.Path) -> OnnxruntimeWeb:
    """From a copy of the npm package: an unpacked folder, or the archive that ``npm pack onnxruntime-web`` leaves.

    Raises:
        FileNotFoundError: nothing there, or one of ``FILES`` is missing.
        ValueError: an archive or a package that cannot be read, or ``VERSION`` with other content.
    """
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            try:
                with tarfile.open(path) as archive:
                    wanted = ["package/package.json", *(f"package/dist/{name}" for name in FILES)]
                    for name in set(wanted) & set(archive.getnames()):
                        member = archive.extractfile(name)
                        assert member is not None, name
                        to = pathlib.Path(folder, name)
                        to.parent.mkdir(parents=True, exist_ok=True)
                        to.write_bytes(member.read())
            except (tarfile.TarError, EOFError) as error:
                raise ValueError(f"{path}: expected an archive of npm's onnxruntime-web, received {error}.") from error
            return _checked(pathlib.Path(folder, "package"), path)
    return _checked(path, path)


def by_npm() -> OnnxruntimeWeb:
    """From npm's registry, ``VERSION``.

    Raises:
        FileNotFoundError: npm is not installed.
        OSError: it cannot fetch the package; its own words say why.
    """
    instead = "or give a copy of that package: --onnxruntime-web FOLDER_OR_TGZ"
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(
            f"expected npm, which fetches onnxruntime-web {VERSION}, found none; install Node.js, {instead}."
        )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [npm, "pack", f"onnxruntime-web@{VERSION}", "--silent"], cwd=folder, capture_output=True, text=True
        )
        archives = list(pathlib.Path(folder).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            said = " ".join((done.stderr or done.stdout).split())[-200:] or f"exit status {done.returncode}"
            raise OSError(f"expected npm to fetch onnxruntime-web {VERSION}, received: {said}; try again, {instead}.")
        return from_copy(archives[0])


def _checked(folder: pathlib.Path, where: pathlib.Path) -> OnnxruntimeWeb:
    contents = {}
    for name in ("package.json", *(f"dist/{name}" for name in FILES)):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{where}: expected a copy of npm's package onnxruntime-web, found no {name} in it."
            )
        contents[pathlib.PurePosixPath(name).name] = (folder / name).read_bytes()
    try:
        version = str(json.loads(contents["package.json"])["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: expected npm's package onnxruntime-web, received {error!r}.") from error
    for name, expected in SHA256.items() if version == VERSION else ():
        received = hashlib.sha256(contents[name]).hexdigest()
        if received != expected:
            raise ValueError(f"{where}: expected {name} of sha256 {expected[:12]}…, received {received[:12]}….")
    return OnnxruntimeWeb(version, {FILES[name]: contents[name] for name in FILES})
