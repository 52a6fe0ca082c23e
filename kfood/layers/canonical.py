"""Canonical correlation analysis in closed form, of features that arrive batch by batch (Hotelling 1936)."""

import keras
from keras import ops


def canonical_projections(xx, yy, xy, size, ridge):
    """The pairs of directions in which two centred feature sets correlate most.

    ``A = Lx^-ᵀ U``, ``B = Ly^-ᵀ V`` for the singular value decomposition ``Lx^-1 Cxy Ly^-ᵀ = U S Vᵀ`` and the Cholesky
    factors ``Cxx = Lx Lxᵀ``, ``Cyy = Ly Lyᵀ``, with ``ridge`` times its mean added to the diagonal of ``Cxx`` and
    ``Cyy``. (With ``Cxx^½`` in place of ``Lx`` the directions are the same; this takes a fraction of the time.)

    Args:
        xx: float ``[p, p]``, covariance of x.
        yy: float ``[q, q]``, covariance of y.
        xy: float ``[p, q]``, covariance of x with y.
        size: number of pairs kept; at most ``min(p, q)``.
        ridge: in units of the diagonal's mean; at least 1e-6 of its sum, what single precision holds, is added.

    Returns:
        A float ``[p, size]``, B float ``[q, size]``, correlations float ``[size]`` from the highest.
    """
    x, y = ridged_factor(xx, ridge), ridged_factor(yy, ridge)
    half = ops.linalg.solve_triangular(x, xy, lower=True)
    white = ops.linalg.solve_triangular(y, ops.transpose(half), lower=True)  # [q, p]
    right, correlations, left = ops.linalg.svd(white, full_matrices=False)
    return (
        solve_transposed(x, ops.transpose(left)[:, :size]),
        solve_transposed(y, right[:, :size]),
        correlations[:size],
    )


def ridged_factor(covariance, ridge):
    """The Cholesky factor of a covariance ``[n, n]`` with ``ridge`` as of :func:`canonical_projections`."""
    width = covariance.shape[0]
    trace = ops.maximum(ops.trace(covariance), 1e-12)  # 0 of features that never vary
    return ops.linalg.cholesky(covariance + max(ridge / width, 1e-6) * trace * ops.eye(width))


def solve_transposed(factor, columns):
    """``factor^-ᵀ columns`` of a lower triangular factor."""
    return ops.linalg.solve_triangular(ops.transpose(factor), columns, lower=False)


class Moments(keras.layers.Layer):
    """Running sums of two sets of paired features, their squares and their products, batch by batch.

    Sums are taken around the first batch's mean: squares of features far from 0 would lose the covariance in rounding.

    Args:
        first: width of x.
        second: width of y.
    """

    def __init__(self, first, second, **kwargs):
        super().__init__(**kwargs)
        self.widths = (first, second)

    def build(self):
        """All sums are 0."""
        x, y = self.widths

        def zeros(name, *shape):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.count = zeros("count")
        self.origins = [zeros("origin_x", x), zeros("origin_y", y)]
        self.sums = [zeros("sum_x", x), zeros("sum_y", y)]
        self.products = [zeros("xx", x, x), zeros("yy", y, y), zeros("xy", x, y)]
        self.built = True

    def call(self, x, y):
        """Adds float ``[batch, p]`` and float ``[batch, q]``."""
        for origin, features in zip(self.origins, (x, y), strict=True):
            origin.assign(ops.where(self.count > 0.0, ops.convert_to_tensor(origin), ops.mean(features, axis=0)))
        x, y = x - self.origins[0], y - self.origins[1]
        self.count.assign_add(ops.cast(ops.shape(x)[0], "float32"))
        for total, features in zip(self.sums, (x, y), strict=True):
            total.assign_add(ops.sum(features, axis=0))
        for total, (a, b) in zip(self.products, ((x, x), (y, y), (x, y)), strict=True):
            total.assign_add(ops.matmul(ops.transpose(a), b))

    def reset(self):
        """Forgets everything."""
        for variable in (self.count, *self.origins, *self.sums, *self.products):
            variable.assign(ops.zeros_like(variable))

    def means(self):
        """Means of x and y: float ``[p]``, float ``[q]``."""
        return [origin + total / self.count for origin, total in zip(self.origins, self.sums, strict=True)]

    def covariances(self):
        """Covariances of x, of y, and of x with y."""
        x, y = (total / self.count for total in self.sums)
        return [
            total / self.count - a[:, None] * b[None, :]
            for total, (a, b) in zip(self.products, ((x, x), (y, y), (x, y)), strict=True)
        ]
