"""What TensorFlow Serving reads beside a SavedModel: warm-up requests, and its two configuration files.

::

    saved_model/1/assets.extra/tf_serving_warmup_requests    PredictionLog, one for every signature, of real examples
    serving/models.config                                    which model the server loads, and from where
    serving/batching.config                                  how it joins requests into batches

The server joins requests of different lengths by repeating the first value of a tensor, which would put a recipe's
first line where nothing belongs. So ``batching.config`` does not pad, and the signatures to batch are those whose
inputs have one shape: ``encode_image_bytes``, ``encode_recipe_lines`` and the tensors; not ``encode_recipe_text``.
"""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kfood import schema
from kfood.export import parity
from kfood.export.examples import Examples
from kfood.export.saved_model import Endpoint

WARMUP = "assets.extra/tf_serving_warmup_requests"

_MODELS = """\
# tensorflow_model_server --model_config_file=…/models.config --rest_api_port=8501 --port=8500
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"  # the bundle's folder saved_model, which holds 1/
    model_platform: "tensorflow"
  }}
}}
"""

_BATCHING = """\
# --enable_batching --batching_parameters_file=…/batching.config
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 4 }  # as many as the server has cores
allowed_batch_sizes: 1
allowed_batch_sizes: 4
allowed_batch_sizes: 16
allowed_batch_sizes: 32
# pad_variable_length_inputs stays off: it pads with a tensor's first value.
"""


def write_configs(part: pathlib.Path, name: str) -> None:
    """Write ``models.config`` and ``batching.config`` into the bundle ``part`` for a model called ``name``."""
    (part / "serving").mkdir()
    (part / "serving" / "models.config").write_text(_MODELS.format(name=name), encoding="utf-8")
    (part / "serving" / "batching.config").write_text(_BATCHING, encoding="utf-8")


def check_installed() -> None:
    """Raise ModuleNotFoundError if the messages of TensorFlow Serving are missing (the extra ``serving``)."""
    if importlib.util.find_spec("tensorflow_serving") is None:
        raise ModuleNotFoundError(
            "warm-up requests: expected tensorflow-serving-api, received none; pip install 'kfood[serving]'."
        )


def write_warmup(
    path: pathlib.Path, name: str, endpoints: Mapping[str, Endpoint], examples: Examples, sources: Mapping[str, str]
) -> int:
    """Write a request for every endpoint, with the answer that Keras gives.

    Args:
        path: the SavedModel's folder.
        name: of the model.
        endpoints: all that it has.
        examples: where photos and recipes come from.
        sources: decoder → encoder whose embeddings it takes.

    Returns:
        The number of requests.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    file = path / WARMUP
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with tf.io.TFRecordWriter(str(file)) as records:
        for endpoint in endpoints.values():
            batch = _request(endpoint, endpoints, examples, sources)
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, endpoint.name
            for key, array in batch.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            response = predict_pb2.PredictResponse()
            for key, tensor in endpoint.function(parity.as_tensors(batch)).items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            log.predict_log.response.CopyFrom(response)
            records.write(log.SerializeToString())
            written += 1
    return written


def _request(endpoint, endpoints, examples, sources) -> dict[str, Any]:
    """Inputs of two real examples."""
    if endpoint.name.startswith("decode_"):
        source = endpoints[f"encode_{sources[endpoint.name.removeprefix('decode_')]}"]
        inputs = {key: examples.inputs[key][:2] for key in source.inputs}
        return {"embedding": source.function(parity.as_tensors(inputs))["embedding"].numpy()}
    if endpoint.name.endswith("_bytes"):
        given = {key: examples.inputs[key][:2] for key in endpoint.inputs}
        return {**given, schema.IMAGE: np.array(examples.photos[:2], object)}
    if endpoint.name.endswith(("_text", "_lines")):
        return parity.text_batch(examples.recipes[:2], endpoint)
    return {key: examples.inputs[key][:2] for key in endpoint.inputs}
