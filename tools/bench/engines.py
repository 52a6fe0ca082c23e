"""What finds rows in a gallery of millions: built, searched by one query at a time, and compared with the exact answer.

The gallery is synthetic and clustered, as embeddings are. Each engine has a process and one thread of its own.

Examples:
    kfood bench engines --folder SCRATCH
    kfood bench engines --folder SCRATCH --n 100000 --engines exact milvus --build-minutes 10
"""

import concurrent.futures
import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import shutil
import time
from typing import Any

import numpy as np

from kfood.search import engines as kinds
from kfood.tools.bench import timing

TOP = 10
"""Of the exact nearest, how many are to be found."""

_BLOCK = 10_000
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Engines:
    """Build time, size, memory, queries a second and recall of every engine, on one core."""

    folder: pathlib.Path
    """Where the gallery and the engines' files are kept, and found again by the next run; 4 GB, and as much more."""
    n: int = 1_000_000
    """Rows."""
    dim: int = 1_024
    """Width of the embeddings."""
    engines: tuple[kinds.EngineName, ...] = kinds.NAMES
    """Which."""
    queries: int = 1_000
    """Queries."""
    seconds: float = 60
    """After so many an engine's queries end, if there are at least 20."""
    build_minutes: float | None = None
    """An engine that takes more of the processor to be built is given up; not on Windows."""
    out: pathlib.Path | None = None
    """JSON to write."""

    def __post_init__(self):
        for name, least in {"n": 100, "dim": 2, "queries": 20}.items():
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected at least {least}, received {getattr(self, name)}.")


def measure(args: Engines) -> dict[str, float]:
    """Makes the gallery where it is not there yet, and measures engine after engine.

    Returns:
        "engine: figure" → value; nothing of an engine that was given up.
    """
    args.folder.mkdir(parents=True, exist_ok=True)
    gallery, queries, truth = prepare(args.folder, args.n, args.dim, args.queries)
    for name in _THREADS:
        os.environ[name] = "1"  # read when a process loads its libraries
    figures: dict[str, dict[str, float]] = {}
    for name in args.engines:
        place = (name, args.folder / name, gallery, args.n)
        try:
            _alone(build, *place, args.build_minutes)
        except concurrent.futures.process.BrokenProcessPool:
            if args.build_minutes is None:
                raise
            print(f"{name}: not built in {args.build_minutes:g} minutes of the processor", flush=True)
            continue
        figures[name] = _alone(search, *place, queries, truth, args.seconds)
        print(f"{name}: done, load {os.getloadavg()[0]:.1f}", flush=True)
        if args.out is not None:
            args.out.write_text(json.dumps({"n": args.n, "dim": args.dim, "engines": figures}, indent=2) + "\n")
    return {f"{name}: {key}": value for name, values in figures.items() for key, value in values.items()}


def prepare(folder: pathlib.Path, n: int, dim: int, queries: int) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Files of a gallery float32 [n, dim], of queries float32 [queries, dim], and of the rows nearest to these, int64
    [queries, TOP], nearest first; all of length 1, so that every distance orders them alike.

    A row is the sum of its cluster's centre, of which there are n / 100 of very different sizes, of a part from 64
    directions that all clusters have in common, and of a little noise. A query is a row with some of the second and
    third parts added, as the other side of a pair is.
    """
    paths = tuple(folder / f"{name}-{n}-{dim}-{queries}.npy" for name in ("gallery", "queries", "truth"))
    if all(path.exists() for path in paths):
        return paths
    random = np.random.default_rng(0)
    centres = _unit(random.standard_normal((max(n // 100, 1), dim), dtype=np.float32))
    directions = random.standard_normal((64, dim), dtype=np.float32)

    def parts(rows, common, noise):
        shared = _unit(random.standard_normal((rows, 64), dtype=np.float32) @ directions)
        return common * shared + noise * _unit(random.standard_normal((rows, dim), dtype=np.float32))

    part = folder / "gallery.part.npy"
    gallery = np.lib.format.open_memmap(part, "w+", np.float32, (n, dim))
    for start in range(0, n, _BLOCK):
        rows = min(_BLOCK, n - start)
        clusters = (len(centres) * random.random(rows) ** 2).astype(np.int64)
        gallery[start : start + rows] = _unit(centres[clusters] + parts(rows, 0.8, 0.3))
    gallery.flush()
    asked = _unit(gallery[np.sort(random.choice(n, queries, queries > n))] + parts(queries, 0.5, 0.3))
    best, rows_of = np.full((queries, 0), np.float32(0)), np.zeros((queries, 0), np.int64)
    for start in range(0, n, _BLOCK):
        cosines = np.concatenate([best, asked @ gallery[start : start + _BLOCK].T], axis=1)
        rows = np.broadcast_to(np.arange(start, min(start + _BLOCK, n)), (queries, min(_BLOCK, n - start)))
        rows = np.concatenate([rows_of, rows], axis=1)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :TOP]
        best, rows_of = np.take_along_axis(cosines, order, 1), np.take_along_axis(rows, order, 1)
    np.save(paths[1], asked)
    np.save(paths[2], rows_of)
    os.replace(part, paths[0])
    return paths


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _alone(function, *args):
    """What a function returns in a process of its own: its memory is its own, and where there is a limit on the
    processor, as in building, Linux tells the time of it in steps too large for a query.
    """
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def build(name: str, folder: pathlib.Path, gallery_path, n, minutes) -> None:
    """Builds an engine in its folder, unless a run before did; the system kills a process that takes too long."""
    built = _built(folder, n)
    if built.exists():
        return
    engine = kinds.engine(name)
    gallery = np.load(gallery_path, mmap_mode="r")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if minutes is not None:
        import resource

        most = math.ceil(time.process_time() + 60 * minutes)
        resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    wall, cpu = time.perf_counter(), time.process_time()
    place = _place(folder)
    engine.extend(place, gallery, 0)
    figures = {"build wall, s": time.perf_counter() - wall, "build CPU, s": time.process_time() - cpu}
    engine.close(place)
    figures["build peak memory, GB"] = timing.peak_memory()
    built.write_text(json.dumps(figures))


def search(name: str, folder: pathlib.Path, gallery_path, n, queries_path, truth_path, seconds) -> dict[str, Any]:
    """Searches with what was built."""
    from kfood.search.exact import nearest

    gallery = np.load(gallery_path, mmap_mode="r")
    queries, truth = np.load(queries_path), np.load(truth_path)
    figures = json.loads(_built(folder, n).read_text())
    figures["files, GB"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
    before = time.perf_counter()
    find = kinds.engine(name).finder(_place(folder), gallery)
    figures["open, s"] = time.perf_counter() - before

    def found_for(query):
        rows = find(query, TOP, None)
        return nearest(query, gallery, distance="euclidean", top=TOP, candidates=rows)[0]

    for query in queries[-10:]:  # pages that come from the disk once
        found_for(query)
    walls, cpus, hits, start = [], [], 0, time.perf_counter()
    for query, expected in zip(queries, truth, strict=True):
        if len(walls) >= 20 and time.perf_counter() - start > seconds:
            break
        wall, cpu = time.perf_counter(), time.process_time()
        found = found_for(query)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        hits += len(np.intersect1d(found, expected))
    memory = _memory()
    return figures | {
        "queries": len(walls),
        "queries/s": len(walls) / sum(walls),
        "p50, ms": 1e3 * float(np.median(walls)),
        "p99, ms": 1e3 * float(np.quantile(walls, 0.99)),
        "CPU p50, ms": 1e3 * float(np.median(cpus)),
        "recall@10": hits / (TOP * len(walls)),
        "own memory, GB": memory["RssAnon"],
        "mapped, GB": memory["RssFile"],
        "load": os.getloadavg()[0],
    }


def _place(folder):
    return kinds.Place(folder, "photos", "euclidean", key="bench")


def _built(folder, n):
    return folder / f"built-{n}.json"


def _memory() -> dict[str, float]:
    """GB (1e9 bytes) of this process: its own, and files' mapped pages that it has touched."""
    lines = (line.split() for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return {line[0][:-1]: int(line[1]) * 1024 / 1e9 for line in lines if line[0] in ("RssAnon:", "RssFile:")}
