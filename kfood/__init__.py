"""kfood: food retrieval with Keras 3.

Nothing heavy is imported here: ``import kfood`` is quick. Start from

- :mod:`kfood.models` (``ACME`` …) and :mod:`kfood.configs` (their published and small settings),
- :mod:`kfood.data.pipeline` (prepared datasets as ``tf.data`` batches),
- :mod:`kfood.evaluation` (ranks, median rank, recall at k, reports),
- :mod:`kfood.export` (SavedModel, ONNX, the runtime without TensorFlow) and :mod:`kfood.search`.

``keras.models.load_model`` finds every class of kfood once this is imported.
"""

import wrapt

from kfood import saving

__version__ = "0.2.0"

wrapt.when_imported("keras.saving")(saving.register)
