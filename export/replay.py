"""Ask a SavedModel everything that its warm-up file asks, and compare the answers with those recorded there.

Needs TensorFlow and tensorflow-serving-api, and nothing of kfood: copied anywhere, it shows that a bundle serves
without the package that made it::

    python replay.py BUNDLE/saved_model/1
"""

import pathlib
import sys


def replay(path: str) -> dict[str, float]:
    """Run every request of the warm-up file.

    Args:
        path: folder of a SavedModel version.

    Returns:
        Signature → largest difference from the recorded answer.

    Raises:
        ValueError: a signature that was not asked, or an answer that differs by more than 1e-4 of its range.
    """
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    model = tf.saved_model.load(path)
    differences = {}
    for record in tf.data.TFRecordDataset(str(pathlib.Path(path) / "assets.extra" / "tf_serving_warmup_requests")):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log
        name = log.request.model_spec.signature_name
        inputs = {key: tf.constant(tf.make_ndarray(proto)) for key, proto in log.request.inputs.items()}
        received = model.signatures[name](**inputs)
        for key, proto in log.response.outputs.items():
            expected = tf.make_ndarray(proto)
            difference = float(np.abs(received[key].numpy() - expected).max())
            if not difference <= 1e-4 * max(1.0, float(np.ptp(expected))):
                raise ValueError(f"{name}: expected the recorded {key}, received one that differs by {difference:.3g}.")
            differences[name] = max(difference, differences.get(name, 0.0))
    missing = sorted(set(model.signatures) - set(differences) - {"serving_default"})
    if missing:
        raise ValueError(f"{path}: expected a warm-up request for every signature, received none for {missing}.")
    return differences


if __name__ == "__main__":
    for signature, largest in replay(sys.argv[1]).items():
        print(f"{signature:<24} {largest:.1e}")
