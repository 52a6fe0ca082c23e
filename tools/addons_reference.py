"""Write what tensorflow-addons 0.23.0 computes for the losses that kfood has too: the reference of its tests.

That release cannot be imported beside Keras 3, so this file is run on its own, in an environment that holds it and
nothing of kfood (Python 3.9 to 3.11):

    python3.11 -m venv ENV
    ENV/bin/pip install tensorflow-cpu==2.15.1 tensorflow-addons==0.23.0
    ENV/bin/python tools/addons_reference.py tests/addons_reference.json

What the functions are, as read there:
    triplet_hard_loss(labels, embeddings, margin, soft, distance_metric): mean over anchors of ``[max d_ap - min d_an
        + margin]+``, or of ``log(1 + exp(max d_ap - min d_an))`` if soft; "L2" Euclidean distances, "squared-L2" their
        squares; embeddings as given.
    triplet_semihard_loss(labels, embeddings, margin, distance_metric): mean over ordered positive pairs of ``[d_ap -
        d_an + margin]+``, d_an the smallest distance of a negative above d_ap, or else the largest of all negatives.
    contrastive_loss(y, d, margin): of each pair, ``y d² + (1 - y) [margin - d]+²``, y = 1 for a positive pair.
"""

import json
import pathlib
import platform
import sys

CASES = {
    # name: (seed, items, width, classes, whether normalised)
    "unit vectors": (1, 12, 5, 3, True),
    "pairs": (2, 10, 4, 5, True),
    "any length": (3, 9, 3, 3, False),
}


def main(path: pathlib.Path) -> None:
    """Computes every case and writes the file.

    Args:
        path: of the JSON file.
    """
    import numpy as np
    import tensorflow as tf
    import tensorflow_addons as addons

    versions = {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "tensorflow-addons": addons.__version__,
        "numpy": np.__version__,
    }
    cases = []
    for name, (seed, items, width, classes, normalised) in CASES.items():
        generator = np.random.default_rng(seed)
        embeddings = generator.normal(size=(items, width))
        if normalised:
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        embeddings = embeddings.round(6)  # as they are written, so that both sides start from the same numbers
        labels = generator.permutation(np.arange(items) % classes)
        first, second = np.triu_indices(items, 1)
        between = np.linalg.norm(embeddings[first] - embeddings[second], axis=1)
        single = embeddings.astype(np.float32)  # what these functions compute in
        values = {}
        for margin in (0.2, 1.0):
            for metric in ("L2", "squared-L2"):
                values[f"triplet_hard {metric} {margin}"] = float(
                    addons.losses.triplet_hard_loss(labels, single, margin=margin, distance_metric=metric)
                )
                values[f"triplet_semihard {metric} {margin}"] = float(
                    addons.losses.triplet_semihard_loss(labels, single, margin=margin, distance_metric=metric)
                )
            pairs = addons.losses.contrastive_loss(labels[first] == labels[second], between, margin=margin)
            values[f"contrastive {margin}"] = [float(value) for value in pairs]
        values["triplet_hard_soft L2"] = float(addons.losses.triplet_hard_loss(labels, single, soft=True))
        cases.append(
            {
                "name": name,
                "seed": seed,
                "embeddings": embeddings.tolist(),
                "labels": labels.tolist(),
                "values": values,
            }
        )
    text = json.dumps({"versions": versions, "cases": cases})
    path.write_text(text.replace('{"name"', '\n{"name"').replace(', "', ',\n "') + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
