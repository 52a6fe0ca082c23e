"""The directions in which features vary most, of many features."""

import numpy as np

_MORE, _ITERATIONS = 32, 5
"""How many more are carried along, and how often they are refined."""


def leading_directions(products: np.ndarray, count: int) -> np.ndarray:
    """Eigenvectors of the largest eigenvalues, by subspace iteration from a random start (Halko et al. 2011, 4.4).

    Args:
        products: float ``[n, n]``, symmetric, of no negative eigenvalue.
        count: of them, at most ``n``.

    Returns:
        Float ``[n, count]``, orthonormal columns, that of the largest eigenvalue first.
    """
    width = min(count + _MORE, len(products))
    basis = np.random.default_rng(0).normal(size=(len(products), width)).astype(products.dtype)
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(products @ basis)
    _, turned = np.linalg.eigh(basis.T @ products @ basis)
    return (basis @ turned[:, ::-1])[:, :count]
