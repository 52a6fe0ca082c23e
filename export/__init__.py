"""SavedModel, ONNX, bundles, the parity gate, and a runtime that needs neither TensorFlow nor Keras.

Nothing is imported here, so that :mod:`kfood.export.runtime` stays light:

- :mod:`kfood.export.bundle`: ``export_bundle`` writes a bundle, all its files behind the parity gate,
- :mod:`kfood.export.saved_model` and :mod:`kfood.export.onnx`: the two formats,
- :mod:`kfood.export.parity`: what each exported file has to agree with, and within which bound,
- :mod:`kfood.export.card`: the bundle's ``card.md``,
- :mod:`kfood.export.runtime`: ``Bundle.open(path).encode_photos([...])`` with onnxruntime and NumPy alone.
"""
