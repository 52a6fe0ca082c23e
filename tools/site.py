"""Make a folder that searches in the browser: the page of `kfood serve` without its service.

Any server of files shows it. Photos and recipes are encoded in the browser by onnxruntime-web, which npm fetches while
the folder is made (or give a copy, where there is no network). The page loads nothing from elsewhere, and what is
searched by does not leave the browser. For galleries of some thousands: a browser loads all embeddings and texts.

The encoders are those that made the index: `kfood index --precision int8` makes a smaller site, where the bundle kept
int8.

Examples:
    kfood site INDEX --out SITE
    python -m http.server --directory SITE --bind 127.0.0.1        # then open http://127.0.0.1:8000
    kfood site INDEX --out SITE --overwrite --onnxruntime-web onnxruntime-web-1.30.0.tgz
"""

import dataclasses
import pathlib
import sys

import tyro


@dataclasses.dataclass(frozen=True)
class Site:
    """Arguments of ``kfood site``."""

    index: tyro.conf.Positional[pathlib.Path]
    """Index, made by `kfood index`."""
    out: pathlib.Path
    """Folder to make."""
    bundle: pathlib.Path | None = None
    """The bundle that made the index, if it was moved."""
    onnxruntime_web: pathlib.Path | None = None
    """Copy of npm's package onnxruntime-web: its folder, or the archive that `npm pack onnxruntime-web` leaves. By
    default npm fetches it."""
    overwrite: bool = False
    """Replace OUT if it is a site."""


def main(arguments: list[str]) -> None:
    """Parses and builds."""
    run(tyro.cli(Site, args=arguments, prog="kfood site", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)))


def run(args: Site) -> None:
    """Makes the folder and says how large it is."""
    import rich.progress

    from kfood import folders
    from kfood.search import Index
    from kfood.site import MANY, build_site, by_npm, from_copy
    from kfood.site.building import MARKER
    from kfood.tools.search import bundle_of

    folders.check_output(args.out, kind="sites", marker=MARKER, overwrite=args.overwrite)  # before anything is fetched
    index = Index.open(args.index)
    bundle = bundle_of(index, args.bundle)
    if len(index) > MANY:
        print(
            f"kfood site: {len(index):,} items are many for a browser, which loads them all; from {MANY:,} on "
            "`kfood serve` answers sooner.",
            file=sys.stderr,
        )
    runtime = from_copy(args.onnxruntime_web) if args.onnxruntime_web else by_npm()
    with rich.progress.Progress(console=rich.progress.Console(stderr=True), transient=True) as progress:
        task = progress.add_task("items", total=len(index))
        description = build_site(
            args.out,
            index,
            bundle,
            runtime,
            overwrite=args.overwrite,
            advance=lambda count: progress.advance(task, count),
        )
    total = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file())
    precisions = ", ".join(f"{name} {entry['precision']}" for name, entry in description["encoders"].items())
    print(
        f"{args.out}: {len(index):,} items, {total / 1e6:.1f} MB, of which a browser loads "
        f"{description['bytes'] / 1e6:.1f} and the photos that it shows (encoders: {precisions}; "
        f"onnxruntime-web {runtime.version})."
    )
    print(f"Any server of files shows it: python -m http.server --bind 127.0.0.1 --directory {args.out}")
