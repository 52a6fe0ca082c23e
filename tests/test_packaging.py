"""What setup.cfg promises of the package is there, and what is there it promises; extras described, versions kept."""

import configparser
import pathlib
import re

import kfood

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
FOLDERS = {"kfood": ROOT / "kfood", "kfood.export": ROOT / "export", "kfood.tools": ROOT / "tools"}
EXTRAS = {
    name: [line for line in text.split("\n") if line and not line.startswith("#")]
    for name, text in CONFIG["options.extras_require"].items()
}


def lines(section, key):
    return CONFIG[section][key].split()


def packages():
    """Every package's name → its folder, as the tree has them."""
    for name, top in FOLDERS.items():
        for file in top.rglob("__init__.py"):
            inner = file.parent.relative_to(top).parts
            yield ".".join((name, *inner)), file.parent


def test_every_package_is_installed():
    assert sorted(lines("options", "packages")) == sorted(name for name, _ in packages())


def test_every_data_file_is_installed():
    for name, folder in packages():
        inner = [part for other, part in packages() if other != name and folder in part.parents]
        found = {
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc") and not any(one in path.parents for one in inner)
        }
        if name == "kfood.tools":  # what sets a checkout up is no part of the package
            found -= {ROOT / "tools" / script for script in ("demo", "environment", "test")}
        patterns = lines("options.package_data", name) if name in CONFIG["options.package_data"] else []
        assert found == {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}, name


def test_a_released_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", kfood.__version__)
    assert f"\n## {kfood.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_extras_are_described():
    table = (ROOT / "docs" / "commands.md").read_text().split("## Extras")[1]
    described = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(described) == sorted(EXTRAS)


def test_every_requirement_has_a_version_that_was_tested():
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / ".ci" / "constraints.txt").read_text().split("\n")
        if "==" in line
    }
    wanted = [*CONFIG["options"]["install_requires"].split("\n"), *EXTRAS["test"]]
    for line in wanted:
        name = re.split(r"[>=;\[ ]", line.strip())[0].lower().replace("_", "-")
        if not name or name.startswith("#") or "platform_machine !=" in line:  # the other machines' onnxruntime
            continue
        assert name in pinned, line
        assert ">=" in line, line
