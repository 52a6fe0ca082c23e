"""SavedModel, ONNX, bundles, the parity gate, and a runtime that needs neither TensorFlow nor Keras."""
