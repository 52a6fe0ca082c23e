"""Serve an index over HTTP: a page to search with, and addresses for programs. Neither TensorFlow nor data is needed.

The page is on `/`, the description of everything else on `/openapi.json`; docs/serve.md shows it with curl. The
service has no passwords: it listens on this machine alone unless --host says otherwise; put a proxy before it.
A new index, written by `kfood index … --overwrite` in the same place, is taken without a request being dropped.
SIGHUP makes it look at once; SIGTERM lets it answer what it has begun, and end.

Examples:
    kfood serve BUNDLE --index INDEX
    kfood serve BUNDLE --index INDEX --port 8080 --batch 32 --limits.megapixels 12
"""

import contextlib
import ctypes
import dataclasses
import pathlib

import tyro

from kfood.serve.limits import Limits


@dataclasses.dataclass(frozen=True)
class Serve:
    """Arguments of ``kfood serve``."""

    bundle: tyro.conf.Positional[pathlib.Path]
    """Bundle, made by `kfood export`."""
    index: pathlib.Path
    """Index, made by `kfood index` with this bundle."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0: all of this machine's."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    batch: int = 16
    """Requests that are encoded together at most; 1: each alone."""
    batch_milliseconds: float = 2.0
    """How long a request waits for others to be encoded with."""
    threads: int = 0
    """Threads that decode photos, encode and search; 0: as many as there are processors."""
    onnx_threads: int = 1
    """Threads of onnxruntime inside an operator, in each of those threads; 0 lets it choose. More than one pay where
    requests are few and processors many."""
    reload_seconds: float = 2.0
    """Between looks whether the index on disk is another; 0: only on SIGHUP."""
    grace_seconds: int = 30
    """How long requests may go on after SIGTERM or Ctrl-C."""
    root_path: str = ""
    """Path under which a proxy shows the service, and which it takes away: /kitchen."""
    limits: Limits = dataclasses.field(default_factory=Limits)


def main(arguments: list[str]) -> None:
    """Parses and serves."""
    run(
        tyro.cli(Serve, args=arguments, prog="kfood serve", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    )


def run(args: Serve) -> None:
    """Serves until it is told to stop."""
    from kfood.export.runtime import MANIFEST, Bundle

    try:
        import threadpoolctl
        import uvicorn

        from kfood.serve.app import create_app
        from kfood.serve.gallery import Shelf
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"kfood serve: expected the package {error.name}, received none; pip install 'kfood[serve]'."
        ) from error

    def opened(precision: str) -> Bundle:
        return Bundle.open(args.bundle, threads=args.onnx_threads, precision=precision)

    shelf = Shelf(args.index, opened, watched=[args.bundle / MANIFEST])
    app = create_app(
        shelf,
        args.limits,
        batch=args.batch,
        batch_wait=args.batch_milliseconds / 1000,
        threads=args.threads,
        reload_seconds=args.reload_seconds,
    )
    _give_memory_back()
    # Every search has a thread of its own; that a product of one takes several more costs far more than it brings.
    threadpoolctl.threadpool_limits(1, user_api="blas")
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        root_path=args.root_path,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=args.grace_seconds,
    )


def _give_memory_back() -> None:
    """Pictures' memory goes back to the system when it is freed; glibc would keep what it has once seen freed."""
    mmap_threshold = -3  # of glibc's malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another system's library
        ctypes.CDLL(None).mallopt(mmap_threshold, 4 << 20)
