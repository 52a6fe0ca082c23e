"""Embeds in forks of this process, each killed at another line; run by test_search_parts.py.

Arguments: a folder to work in, how many lines from one death to the next. Of each death is printed as JSON: the line's
number, whether the folder was there afterwards, which parts were, and which were made in the end.
"""

import json
import os
import pathlib
import shutil
import sys

import vector_items
from killed import killed_at

from kfood import folders
from kfood.search import parts, rows


def main(folder, step):
    """See the module."""
    out, line, alive = folder / "out", 1, False
    while not alive:
        child = os.fork()
        if not child:
            killed_at(line, (parts.__file__, rows.__file__, folders.__file__))
            vector_items.embed(out)
            os._exit(0)
        alive = os.waitpid(child, 0)[1] == 0
        there = out.exists()
        left = sorted(int(path.name) for path in folder.glob(".out.unfinished/0*"))
        made = [] if there else vector_items.embed(out)
        whole = len(parts.Embeddings.open(out))
        # A temporary folder whose process died before it could lock it is left alone, as kfood/folders.py says.
        names = sorted(path.name for path in folder.iterdir() if path.suffix != ".partial" or (path / "lock").exists())
        print(json.dumps({"line": line, "there": there, "left": left, "made": made, "whole": whole, "names": names}))
        shutil.rmtree(folder)
        folder.mkdir()
        line += step


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
