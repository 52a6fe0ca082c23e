"""Datasets on disk, text, images and ``tf.data`` batches. The only part of ``kfood`` written with TensorFlow ops."""
