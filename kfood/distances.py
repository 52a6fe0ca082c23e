"""Distances between two sets of embeddings: ``[m, d] × [n, d] → [m, n]``.

Small always means near, so that a miner or a loss need not know which one it was given.
"""

import keras
from keras import ops

_SHORTEST = 2e-5
"""Shorter vectors count as no direction. The gradient of a normalised vector is at most the reciprocal, which even
float16 holds."""


def unit_length(vectors, axis=-1):
    """Vectors of length 1 in the same directions; of zeros, zeros, with no gradient.

    It differs from ``keras.ops.normalize`` near 0, whose gradient there is 1e7, its square where embeddings that are
    normalised already are compared by cosine, and NaN under XLA: one empty recipe in a batch reaches all weights so.

    Args:
        vectors: float ``[..., d, ...]``. What is narrower than float32 is computed in float32.
        axis: along which they lie.

    Returns:
        Like ``vectors``; those shorter than 2e-5 become proportionally shorter than 1, and pass no gradient on.
    """
    vectors = ops.convert_to_tensor(vectors)
    dtype = keras.backend.standardize_dtype(vectors.dtype)
    wide = ops.cast(vectors, "float32") if dtype in ("float16", "bfloat16") else vectors
    square = ops.sum(ops.square(wide), axis=axis, keepdims=True)
    wide = ops.where(square < _SHORTEST**2, ops.stop_gradient(wide), wide)
    return ops.cast(wide * ops.rsqrt(ops.maximum(square, _SHORTEST**2)), dtype)


def squared_euclidean(a, b):
    """Squared Euclidean distance of every row of ``a`` to every row of ``b``.

    By ``|a|² + |b|² - 2ab``, which loses what is small beside the norms: a distance of 3e-4 between unit vectors would
    be 0 or twice as large in float32, and a collapsed batch hardly pushed apart. So the mean of ``b`` is taken out of
    both first, which moves no distance; what remains uncertain are close pairs far from that mean. Distances of given
    pairs (:func:`euclidean_of_pairs`) are exact.

    Args:
        a: float ``[m, d]``.
        b: float ``[n, d]``.

    Returns:
        float ``[m, n]``, never negative.
    """
    centre = ops.stop_gradient(ops.mean(b, axis=0))
    a, b = a - centre, b - centre
    squares_a = ops.sum(ops.square(a), axis=1)[:, None]
    squares_b = ops.sum(ops.square(b), axis=1)[None, :]
    return ops.maximum(squares_a + squares_b - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)


def euclidean(a, b):
    """Euclidean distance of every row of ``a`` ``[m, d]`` to every row of ``b`` ``[n, d]``: float ``[m, n]``."""
    return _root(squared_euclidean(a, b))


def cosine(a, b):
    """One minus the cosine of every row of ``a`` ``[m, d]`` with every row of ``b`` ``[n, d]``: float ``[m, n]``."""
    return 1.0 - ops.matmul(unit_length(a), ops.transpose(unit_length(b)))


def negative_dot(a, b):
    """Minus the dot product of every row of ``a`` ``[m, d]`` with every row of ``b`` ``[n, d]``: float ``[m, n]``."""
    return -ops.matmul(a, ops.transpose(b))


DISTANCES = {"euclidean": euclidean, "cosine": cosine, "dot": negative_dot}
"""Names used by configs, evaluation, bundles and search."""


def by_name(name):
    """The function called ``name``.

    Raises:
        ValueError: the name is not one of :data:`DISTANCES`.
    """
    if name not in DISTANCES:
        raise ValueError(f"distance: expected one of {sorted(DISTANCES)}, received {name!r}.")
    return DISTANCES[name]


def cosine_of_pairs(a, b):
    """One minus the cosine of each row of ``a`` ``[n, d]`` with the same row of ``b`` ``[n, d]``: float ``[n]``."""
    return 1.0 - ops.sum(unit_length(a) * unit_length(b), axis=1)


def euclidean_of_pairs(a, b):
    """Euclidean distance of each row of ``a`` ``[n, d]`` to the same row of ``b`` ``[n, d]``: float ``[n]``."""
    return _root(ops.sum(ops.square(a - b), axis=1))


def _root(squares):
    """Square root whose gradient is finite where two embeddings coincide."""
    smallest = 1e-4 if keras.backend.standardize_dtype(squares.dtype) == "float16" else 1e-12  # 0 in float16
    return ops.sqrt(ops.maximum(squares, smallest))
