"""Distances between two sets of embeddings: ``[m, d] × [n, d] → [m, n]``.

Small always means near, so that a miner or a loss need not know which one it was given.
"""

from keras import ops

_SMALLEST_SQUARE = 1e-12
"""Under the square root: keeps its gradient finite where two embeddings coincide."""


def squared_euclidean(a, b):
    """Squared Euclidean distance of every row of ``a`` to every row of ``b``.

    Args:
        a: float ``[m, d]``.
        b: float ``[n, d]``.

    Returns:
        float ``[m, n]``, never negative.
    """
    squares_a = ops.sum(ops.square(a), axis=1)[:, None]
    squares_b = ops.sum(ops.square(b), axis=1)[None, :]
    return ops.maximum(squares_a + squares_b - 2.0 * ops.matmul(a, ops.transpose(b)), 0.0)


def euclidean(a, b):
    """Euclidean distance of every row of ``a`` ``[m, d]`` to every row of ``b`` ``[n, d]``: float ``[m, n]``."""
    return ops.sqrt(ops.maximum(squared_euclidean(a, b), _SMALLEST_SQUARE))


def cosine(a, b):
    """One minus the cosine of every row of ``a`` ``[m, d]`` with every row of ``b`` ``[n, d]``: float ``[m, n]``."""
    return 1.0 - ops.matmul(ops.normalize(a, axis=1), ops.transpose(ops.normalize(b, axis=1)))


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
    return 1.0 - ops.sum(ops.normalize(a, axis=1) * ops.normalize(b, axis=1), axis=1)


def euclidean_of_pairs(a, b):
    """Euclidean distance of each row of ``a`` ``[n, d]`` to the same row of ``b`` ``[n, d]``: float ``[n]``."""
    return ops.sqrt(ops.maximum(ops.sum(ops.square(a - b), axis=1), _SMALLEST_SQUARE))
