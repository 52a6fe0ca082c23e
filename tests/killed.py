"""Changes an index in forks of this process, each killed at another line; run by test_search_updating.py.

Arguments: an engine, a folder to work in, how many lines from one death to the next. Each state that a death has left
is printed as JSON: the line's number and the ids, with the first number of each photo.
"""

import json
import os
import pathlib
import shutil
import signal
import sys

import numpy as np
import vector_items

from kfood import search
from kfood.search import faiss_engines, updating

PARTS = tuple(str(pathlib.Path(search.__file__).parent / name) for name in ("updating", "rows", "states", "codes"))


def change(path):
    """Adds two items and replaces one; then deletes so many that the others are written anew."""
    random = np.random.default_rng(7)
    new = vector_items.pairs(random, ["a1", "b1", "b2"])
    search.add_items(path, vector_items.Encoder(), vector_items.items(new), **vector_items.SOURCE)
    there = search.Index.open(path).rows
    search.delete_items(path, [id for id in ("a0", "a1", "a2", "a3", "a4", "b1") if id in there])


def killed_at(line, files=(*PARTS, search.building.__file__)):
    """Makes this process die before a line of some files, those that change indexes: the first is 1."""
    seen = 0

    def trace(frame, event, argument):
        nonlocal seen
        if not frame.f_code.co_filename.startswith(files):
            return None
        if event == "line":
            seen += 1
            if seen == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main(engine, folder, step):
    """See the module."""
    updating.WORTH = 0
    faiss_engines.Faiss.lag = lambda self, place: 0
    folder = pathlib.Path(folder)
    random = np.random.default_rng(6)
    old = vector_items.items(vector_items.pairs(random, [f"a{number}" for number in range(7)]))
    search.build_index(folder / "old", vector_items.Encoder(), old, engine=engine, **vector_items.SOURCE)
    line, alive = 1, False
    while not alive:
        path = folder / f"index{line}"
        shutil.copytree(folder / "old", path)
        child = os.fork()
        if not child:
            killed_at(line)
            change(path)
            os._exit(0)
        alive = os.waitpid(child, 0)[1] == 0
        found = {id: float(photo[0]) for id, (photo, _) in sorted(vector_items.content(path).items())}
        change(path)  # whatever was left, it can be gone on from
        last = {id: float(photo[0]) for id, (photo, _) in sorted(vector_items.content(path).items())}
        left = sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
        print(json.dumps({"line": line, "found": found, "last": last, "left": left}), flush=True)
        shutil.rmtree(path)
        line += step


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
