"""Losses: pure functions of ``keras.ops`` grouped by theme."""
