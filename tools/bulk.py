"""Work that falls into pieces: one after the other in this process, or by Apache Beam in many, on one machine or more.

A piece leaves what it makes on disk, whole or not at all, and may be done twice: Beam's runners repeat what failed.
With workers on several machines every path has to mean the same folder to all of them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Make = Callable[[], Callable[..., object]]
"""Called once in each worker: what does a piece. Beam sends it there, so it has to be possible to pickle it."""


@dataclasses.dataclass(frozen=True)
class Beam:
    """How Apache Beam is to run.

    Attributes:
        runner: as Beam names it: DirectRunner, FnApiRunner, FlinkRunner, SparkRunner, DataflowRunner, ….
        options: Beam's other options, as on its command line.

    Raises:
        ModuleNotFoundError: Beam is missing.
        ValueError: an option that this Beam does not know.
    """

    runner: str
    options: Sequence[str] = ()

    def __post_init__(self):
        try:
            from apache_beam.options import pipeline_options
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"--runner {self.runner}: expected Apache Beam, which is not installed: pip install 'kfood[beam]', or "
                "leave --runner out to do the work in this process."
            ) from error
        pipeline_options.PipelineOptions([f"--runner={self.runner}", *self.options])

    def run(self, pieces: Iterable[Any], make: Make) -> None:
        """Does all pieces, and waits for the end.

        Raises:
            OSError: the pipeline failed.
            ValueError: likewise, or there is no such runner.
        """
        from kfood.tools import beam_pipeline

        beam_pipeline.run(pieces, make, [f"--runner={self.runner}", *self.options])


def beam(runner: str, options: Sequence[str]) -> Beam | None:
    """How Beam is to run, or None where it is not to.

    Args:
        runner: its runner; empty: none.
        options: for Beam.

    Raises:
        ValueError: options without a runner.
    """
    if options and not runner:
        raise ValueError(
            f"expected --runner with what follows --, Apache Beam's options, received {' '.join(options)}."
        )
    return Beam(runner, options) if runner else None


def divided(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """A command's own arguments, and, behind a bare ``--``, those for Beam."""
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], tuple(arguments[end + 1 :])
