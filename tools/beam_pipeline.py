"""The one pipeline of Apache Beam: every piece of :mod:`kfood.tools.bulk` goes to some worker."""

from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from kfood.tools.bulk import Make


class _Worker(beam.DoFn):
    """Does pieces; made ready once in each worker.

    Beam's RunInference would put its own batches together; these are a piece's own, so that what is computed does not
    depend on who computes it.
    """

    def __init__(self, make: Make):
        self._make = make

    def setup(self) -> None:
        self._do = self._make()

    def process(self, piece: Any) -> None:
        self._do(piece)


def run(pieces: Iterable[Any], make: Make, arguments: Sequence[str]) -> None:
    """As :meth:`kfood.tools.bulk.Beam.run`.

    Args:
        pieces: small, for they are part of the pipeline that is sent.
        make: what does them.
        arguments: as on Beam's command line.
    """
    options = PipelineOptions(list(arguments))
    try:
        with beam.Pipeline(options=options) as pipeline:
            # Without it the pieces would stay together, with the one worker that creates them.
            pipeline | beam.Create(list(pieces)) | beam.Reshuffle() | beam.ParDo(_Worker(make))
    except RuntimeError as error:  # a worker's failure, with its traceback for a message
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise OSError(f"the pipeline failed: {lines[-1] if lines else 'the runner does not say why.'}") from error
