"""Linear discriminants: against NumPy, by symmetric whitening, and on classes that were not there to learn from."""

import numpy as np
import pytest
from keras import ops

from kfood.layers.discriminant import discriminant_projection


def drawn(rng, classes, photos, width=12, seen=5):
    """Features of classes that differ along a few directions, in noise that is loud along others; and their labels."""
    mixing = np.random.default_rng(1).normal(size=(width, width))
    loud = np.where(np.arange(width) < seen, 0.5, 4.0)
    own = np.where(np.arange(width) < seen, 1.5, 0.1) * rng.normal(size=(classes, width))
    labels = np.repeat(np.arange(classes), photos)
    return (own[labels] + loud * rng.normal(size=(len(labels), width))) @ mixing + 3.0, labels


def moments(x, labels, classes):
    """Covariance of features, shares of classes, covariances of features with each class's indicator; by loops."""
    mean = x.mean(axis=0)
    xx = sum(np.outer(row - mean, row - mean) for row in x) / len(x)
    shares = np.array([np.mean(labels == each) for each in range(classes)])
    xy = np.zeros((x.shape[1], classes))
    for row, label in zip(x, labels, strict=True):
        for each in range(classes):
            xy[:, each] += (row - mean) * ((label == each) - shares[each]) / len(x)
    return xx, shares, xy


def expected_map(x, labels, size, ridge):
    """Of the module's docstring, in other steps: features centred → components."""
    mean, width, found = x.mean(axis=0), x.shape[1], np.unique(labels)
    means = {each: x[labels == each].mean(axis=0) for each in found}
    within = sum(np.outer(row - means[one], row - means[one]) for row, one in zip(x, labels, strict=True)) / len(x)
    between = sum(np.sum(labels == one) * np.outer(m - mean, m - mean) for one, m in means.items()) / len(x)
    values, vectors = np.linalg.eigh(within + ridge * np.trace(within) / width * np.eye(width))
    white = vectors / np.sqrt(values) @ vectors.T
    psi, components = np.linalg.eigh(white @ between @ white)
    psi = np.maximum(psi, 0) + np.sort(psi)[::-1][: len(found) - 1].mean()
    weighed = components * np.sqrt(psi / (psi + 1)) @ components.T @ white
    _, leading = np.linalg.eigh(weighed @ ((x - mean).T @ (x - mean) / len(x)) @ weighed.T)
    return (leading[:, ::-1][:, :size].T @ weighed).T


@pytest.mark.parametrize("size", [12, 7])
def test_components_by_definition(rng, size):
    x, labels = drawn(rng, 6, 20)
    x, labels = x[:-7], labels[:-7]  # of one class fewer photos
    found = ops.convert_to_numpy(discriminant_projection(*map(np.float32, moments(x, labels, 6)), size, 0.01))
    assert found.shape == (12, size)
    centred = x - x.mean(axis=0)
    ours, theirs = centred @ found, centred @ expected_map(x, labels, size, 0.01)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=2e-3 * np.abs(theirs @ theirs.T).max())


def test_a_class_without_photos_changes_nothing(rng):
    x, labels = drawn(rng, 6, 20)
    xx, shares, xy = map(np.float32, moments(x, labels, 6))
    shares, xy = np.append(shares, np.float32(0)), np.append(xy, np.zeros((12, 1), "float32"), axis=1)
    weighs = discriminant_projection(xx, shares, xy, 12, 0.01)
    assert np.all(np.isfinite(weighs))


def first_of_its_class(x, labels):
    """Share of photos whose nearest other one, by cosine, is of their class."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    hits = 0
    for i, row in enumerate(x):
        similarity = x @ row
        similarity[i] = -2
        hits += labels[similarity.argmax()] == labels[i]
    return hits / len(x)


def test_unseen_classes_are_told_apart(rng):
    """Better than as they are, and than whitened."""
    x, labels = drawn(rng, 8, 60, width=30)
    mean = x.mean(axis=0)
    kernel = ops.convert_to_numpy(discriminant_projection(*map(np.float32, moments(x, labels, 8)), 30, 1e-4))
    new, unseen = drawn(np.random.default_rng(3), 10, 20, width=30)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    plain, whitened, ours = (
        first_of_its_class((new - mean) @ matrix, unseen) for matrix in (np.eye(30), vectors / np.sqrt(values), kernel)
    )
    assert ours > max(plain, whitened) + 0.1
