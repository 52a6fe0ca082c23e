r"""Linear discriminants of classes for classes yet unseen, in closed form: probabilistic LDA (Ioffe 2006).

Features are taken for sums of a class's own vector and of what varies within it, ``x = μ + y + ε``, both normal. With
the covariances ``S_w`` of ε and ``S_b`` of y there is a linear map after which ε has the covariance I and y a diagonal
one, Ψ. A photo then tells y as well as ``ψ_k / (ψ_k + 1)`` of each component's variance, so that component weighs
``√(ψ_k / (ψ_k + 1))``. What C classes leave unknown of Ψ:

- only C - 1 components of it are seen above 0; others vary between classes yet unseen;
- each is known from C means alone.

So the mean of those seen is added to every ψ. Without it unseen classes are told apart worse than without any map.
"""

from keras import ops

from kfood.layers.canonical import ridged_factor, solve_transposed
from kfood.layers.directions import leading_directions


def discriminant_projection(xx, shares, xy, size, ridge):
    """The map, cut to the leading directions of what it makes of the features.

    Args:
        xx: float ``[p, p]``, covariance of the features.
        shares: float ``[c]``, of each class among the photos; 0 of one that has none.
        xy: float ``[p, c]``, covariance of the features with each class's indicator.
        size: directions kept; at most p.
        ridge: as of :func:`kfood.layers.canonical.canonical_projections`, of ``S_w``.

    Returns:
        Float ``[p, size]``, to be multiplied with centred features from the left.
    """
    width = xx.shape[0]
    between = xy / ops.sqrt(ops.maximum(shares, 1e-12))  # of which S_b is the product with its transpose
    within = xx - ops.matmul(between, ops.transpose(between))
    factor = ridged_factor(within, ridge)
    left, deviations, _ = ops.linalg.svd(ops.linalg.solve_triangular(factor, between, lower=True), full_matrices=False)
    seen = min(width, between.shape[1] - 1)
    left, spread = left[:, :seen], ops.square(deviations[:seen])
    prior = ops.maximum(ops.mean(spread), 1e-12)
    unseen = ops.sqrt(prior / (prior + 1.0))
    weights = ops.sqrt((spread + prior) / (spread + prior + 1.0))
    weighed = unseen * ops.eye(width) + ops.matmul(left * (weights - unseen), ops.transpose(left))
    kernel = solve_transposed(factor, weighed)  # [p, p]
    varied = ops.convert_to_numpy(ops.matmul(ops.transpose(kernel), ops.matmul(xx, kernel)))
    return ops.matmul(kernel, leading_directions(varied, size))
