"""Encoders in int8 and float16, and what they cost: kept where retrieval does not suffer.

An image encoder is quantised statically: its convolutions compute in int8, on ranges taken from training photos. (All
operators in int8 cost it more: of ACME ``small`` on real photos 46 % of the first results stayed, in place of 87 %.)

A recipe encoder is quantised dynamically: word vectors and matrices are int8, ranges are taken as they come. Its LSTMs
and GRUs hold int8 weights, a scale a row, and compute in float32: onnxruntime's own int8 LSTM was seen to give other
embeddings (cosine 0.87 to float32's), and it has no int8 GRU.

Activations meet weights of 7 bits: with 8, processors without VNNI instructions overflow. float16 is for GPUs; a CPU
computes it by going to and fro.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import onnx

from kfood import schema
from kfood.evaluation import metrics, retrieval
from kfood.export import parity
from kfood.export.examples import Examples

Precision = Literal["int8", "float16"]
PRECISIONS: tuple[Precision, ...] = ("int8", "float16")

MOST_LOST = 0.01
"""A precision is kept if R@10 falls by less, in every direction."""

LEAST_ITEMS = 12
"""In a gallery of ten (eleven photos, without the query) everything is among the first ten, and R@10 says nothing."""

_BATCH = 32
_LARGE_BATCH = 64


def convert(encoder: bytes, precision: Precision, calibration: Mapping[str, np.ndarray]) -> bytes:
    """An encoder in another precision; its inputs and outputs stay as they are.

    Args:
        encoder: serialized ONNX model, float32.
        precision: which.
        calibration: inputs of training items.
    """
    model = onnx.load_from_string(encoder)
    if precision == "float16":
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.transformers import float16

        half = ONNXModel(float16.convert_float_to_float16(model, keep_io_types=True))
        # What two operations want in float32 is cast twice, by the same name.
        distinct = {tuple(node.output): node for node in half.model.graph.node}
        del half.model.graph.node[:]
        half.model.graph.node.extend(distinct.values())
        half.topological_sort()  # the casts of its inputs come last
        return half.model.SerializeToString()
    return _int8(model, calibration)


def _int8(model, calibration):
    import logging
    import pathlib
    import tempfile

    from onnxruntime import quantization

    folder = tempfile.TemporaryDirectory()
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises steps that were taken
    try:
        given, prepared, made = (
            str(pathlib.Path(folder.name) / f"{name}.onnx") for name in ("given", "prepared", "made")
        )
        inputs = [value.name for value in model.graph.input]
        if schema.IMAGE in inputs:
            onnx.save(model, given)
            quantization.shape_inference.quant_pre_process(given, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                made,
                _Reader({name: calibration[name] for name in inputs}),
                op_types_to_quantize=["Conv"],
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        else:
            _store_recurrences(model)
            quantization.quantize_dynamic(
                model,
                made,
                op_types_to_quantize=["Gather", "MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=quantization.QuantType.QInt8,
            )
        return pathlib.Path(made).read_bytes()
    finally:
        root.setLevel(level)
        folder.cleanup()


def _store_recurrences(model):
    """The weights of recurrences as int8 with a scale a row, both directions' together."""
    recurrences = [node for node in model.graph.node if node.op_type in ("LSTM", "GRU")]
    names = {node.input[position] for node in recurrences for position in (1, 2)}  # W and R; nodes may share them
    first = []
    for constant in [constant for constant in model.graph.initializer if constant.name in names]:
        name, values = constant.name, onnx.numpy_helper.to_array(constant)  # [directions, gates * units, width]
        scale = np.maximum(np.abs(values).max(axis=(0, 2)), 1e-12).astype(np.float32) / 127
        codes = np.rint(values / scale[:, None]).astype(np.int8)
        constant.CopyFrom(onnx.numpy_helper.from_array(codes, f"{name}_int8"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(scale, f"{name}_scale"))
        inputs = [f"{name}_int8", f"{name}_scale"]
        first.append(onnx.helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantized", axis=1))
    nodes = [*first, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


class _Reader:
    """Batches of calibration photos, in the form that onnxruntime asks for."""

    def __init__(self, inputs):
        starts = range(0, len(inputs[schema.IMAGE]), 8)
        self._batches = iter([{name: array[start : start + 8] for name, array in inputs.items()} for start in starts])

    def get_next(self):
        """The next batch, or None."""
        return next(self._batches, None)


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How well some embeddings find each other.

    Attributes:
        recall: direction → ``{"R@1", "R@10"}``, from 0 to 1.
        nearest: direction → int64 [queries]: the row that each finds first.
    """

    recall: dict[str, dict[str, float]]
    nearest: dict[str, np.ndarray]

    def agreement(self, other: "Retrieval") -> float:
        """Share of the queries of all directions that find the same row first."""
        return float(np.mean([self.nearest[name] == other.nearest[name] for name in self.nearest]))

    def lost(self, other: "Retrieval", figure: str) -> float:
        """By how much a recall of ``other`` is lower, in the direction where most."""
        return max(self.recall[name][figure] - other.recall[name][figure] for name in self.recall)


def judges(items: int) -> bool:
    """Whether that many items are enough for R@10 to say anything."""
    return items >= LEAST_ITEMS


def keeps(reference: Retrieval, found: Retrieval) -> bool:
    """Whether R@10 falls by less than :data:`MOST_LOST` in every direction, of items enough to judge."""
    if not judges(min(len(rows) for rows in reference.nearest.values())):
        return False
    return round(reference.lost(found, "R@10"), 9) < MOST_LOST  # 0.06 - 0.05 is a hair less than 0.01


def measure_retrieval(
    embeddings: Mapping[str, np.ndarray], labels: np.ndarray | None, distance: metrics.Distance
) -> Retrieval:
    """Both directions of two encoders' embeddings of pairs, or one encoder's photos among themselves.

    Args:
        embeddings: encoder → float32 [n, dim].
        labels: class ids of photos, for one encoder.
        distance: how they are compared.
    """
    if labels is not None:
        ((name, vectors),) = embeddings.items()
        ranks = retrieval.rank_positives(vectors, labels, distance=distance, within=10)
        recall = {f"R@{k}": retrieval.recall_at_k(ranks, k) for k in (1, 10)}
        # The nearest to a photo is itself.
        return Retrieval({f"{name}_to_{name}": recall}, {f"{name}_to_{name}": _first(vectors, vectors, distance, 1)})
    (a, first), (b, second) = embeddings.items()
    both = metrics.ranks_both(first, second, distance=distance)
    names = f"{a}_to_{b}", f"{b}_to_{a}"
    return Retrieval(
        {
            name: {f"R@{k}": metrics.recall_at_k(ranks, k) for k in (1, 10)}
            for name, ranks in zip(names, both, strict=True)
        },
        {names[0]: _first(first, second, distance), names[1]: _first(second, first, distance)},
    )


def _first(queries, gallery, distance, place=0):
    return np.array([metrics.nearest(query, gallery, distance=distance, k=place + 1)[0][place] for query in queries])


def embed(encoder: bytes | Callable[[dict[str, np.ndarray]], np.ndarray], inputs: Mapping[str, np.ndarray]):
    """Run an encoder on arrays, in batches: float32 [n, dim].

    Args:
        encoder: serialized ONNX model, or what :func:`kfood.export.parity.onnx_run` makes of one.
        inputs: what it takes, and more.
    """
    if isinstance(encoder, bytes):
        names = [value.name for value in onnx.load_from_string(encoder).graph.input]
        encoder = parity.onnx_run(encoder)
        inputs = {name: inputs[name] for name in names}
    count = len(next(iter(inputs.values())))
    starts = range(0, count, _BATCH)
    return np.concatenate(
        [encoder({name: array[start : start + _BATCH] for name, array in inputs.items()}) for start in starts]
    )


def milliseconds(encoder: bytes, inputs: Mapping[str, np.ndarray], batch: int, repeats: int = 7) -> float:
    """The quickest run of a batch, in ms, after one to warm up.

    Args:
        encoder: serialized ONNX model.
        inputs: what it takes, and more; at least ``batch`` rows, or they are repeated.
        batch: rows.
        repeats: runs.
    """
    names = [value.name for value in onnx.load_from_string(encoder).graph.input]
    rows = np.arange(batch) % len(inputs[names[0]])
    given, run = {name: inputs[name][rows] for name in names}, parity.onnx_run(encoder)
    run(given)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run(given)
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def try_all(
    encoders: Mapping[str, bytes], examples: Examples, distance: metrics.Distance
) -> tuple[dict[str, Any], dict[str, dict[Precision, bytes]]]:
    """Convert every encoder to every precision, and measure each against float32, the other encoder left as it is.

    Args:
        encoders: name → serialized ONNX model, float32.
        examples: what to measure on, and to calibrate with.
        distance: how embeddings are compared.

    Returns:
        For the bundle's manifest: what was measured on, and encoder → precision → figures, ``float32`` among them
        (bytes, milliseconds at batch 1, items a second at batch 64, R@1 and R@10 by direction; of the others also the
        share of queries with the same first result, and whether it was kept); and the models that were kept.
    """
    embedded = {name: embed(encoder, examples.inputs) for name, encoder in encoders.items()}
    measure = functools.partial(measure_retrieval, labels=examples.labels, distance=distance)
    reference = measure(embedded)
    figures: dict[str, Any] = {}
    kept: dict[str, dict[Precision, bytes]] = {name: {} for name in encoders}
    for name, encoder in encoders.items():
        figures[name] = {"float32": _figures(encoder, examples, reference)}
        for precision in PRECISIONS:
            converted = convert(encoder, precision, examples.calibration)
            found = measure(embedded | {name: embed(converted, examples.inputs)})
            keep = keeps(reference, found)
            figures[name][precision] = {
                **_figures(converted, examples, found),
                "top1_agreement": reference.agreement(found),
                "kept": keep,
            }
            if keep:
                kept[name][precision] = converted
    measured = {
        "dataset": examples.dataset,
        "split": examples.split,
        "items": len(next(iter(embedded.values()))),
        "calibration": len(next(iter(examples.calibration.values()))),
        "encoders": figures,
    }
    return measured, kept


def _figures(encoder, examples, found):
    large = milliseconds(encoder, examples.inputs, _LARGE_BATCH, repeats=2)
    return {
        "bytes": len(encoder),
        "milliseconds": milliseconds(encoder, examples.inputs, 1),
        "items_per_second": 1e3 * _LARGE_BATCH / large,
        "recall": found.recall,
    }


def photo_agreement(
    pixels: Callable[[dict[str, np.ndarray]], np.ndarray],
    embedded: Mapping[str, np.ndarray],
    name: str,
    examples: Examples,
    distance: metrics.Distance,
    others: Iterable[str] = (),
) -> dict[str, float]:
    """An encoder that takes photos as they are, against the training pipeline's pictures.

    Args:
        pixels: the encoder: ``image`` uint8 [1, height, width, 3], and what else it takes → float32 [1, dim].
        embedded: encoder → float32 [n, dim] of the pipeline's inputs.
        name: which of them ``pixels`` is.
        examples: where the photos are.
        distance: how embeddings are compared.
        others: what else the encoder takes.

    Returns:
        ``largest_difference`` of an embedding, ``top1_agreement`` of retrieval.
    """
    from kfood.data import images

    received = np.empty_like(embedded[name])
    for row, photo in enumerate(examples.photos):
        given = {other: examples.inputs[other][row : row + 1] for other in others}
        received[row] = pixels({schema.IMAGE: images.decode_image(photo).numpy()[None], **given})[0]
    measure = functools.partial(measure_retrieval, labels=examples.labels, distance=distance)
    return {
        "largest_difference": float(np.abs(received - embedded[name]).max()),
        "top1_agreement": measure(embedded).agreement(measure({**embedded, name: received})),
    }
