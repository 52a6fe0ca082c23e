"""Encoders, generators and discriminators, written with ``keras.ops``."""
