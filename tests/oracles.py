"""Naive references, written from the papers with loops and NumPy alone: slow, obvious, and independent of the code."""

import numpy as np


def euclidean(a, b):
    """Distance of two vectors."""
    return float(np.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))))


def hard_triplet(anchors, gallery, positives, margin):
    """ACME Eq. 2, one direction, hard mining: mean over anchors of [max d(a,p) - min d(a,n) + margin]+."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        to_positives = [euclidean(anchor, item) for j, item in enumerate(gallery) if positives[i][j]]
        to_negatives = [euclidean(anchor, item) for j, item in enumerate(gallery) if not positives[i][j]]
        if to_negatives:
            total += max(0.0, max(to_positives) - min(to_negatives) + margin)
    return total / len(anchors)


def all_triplets(anchors, gallery, positives, margin):
    """ACME Eq. 2, one direction, no mining: mean over every (anchor, its one positive, negative)."""
    terms = []
    for i, anchor in enumerate(anchors):
        (positive,) = [item for j, item in enumerate(gallery) if positives[i][j]]
        for j, item in enumerate(gallery):
            if not positives[i][j]:
                terms.append(max(0.0, euclidean(anchor, positive) - euclidean(anchor, item) + margin))
    return sum(terms) / len(terms)


def sigmoid(x):
    """Of a number."""
    return 1.0 / (1.0 + np.exp(-float(x)))


def discriminator(real_logits, fake_logits):
    """ACME Eq. 4 as the discriminator minimises it."""
    real = np.mean([np.log(sigmoid(x)) for x in np.ravel(real_logits)])
    fake = np.mean([np.log(1.0 - sigmoid(x)) for x in np.ravel(fake_logits)])
    return -(real + fake)


def cross_entropy(logits, labels, background):
    """Mean of -log softmax over items of another class than the background."""
    terms = []
    for row, label in zip(logits, labels, strict=True):
        if label != background:
            total = sum(np.exp(float(x)) for x in row)
            terms.append(-np.log(np.exp(float(row[label])) / total))
    return float(np.mean(terms)) if terms else 0.0


def binary_cross_entropy(logits, targets):
    """Mean over all entries."""
    terms = []
    for row, wanted in zip(logits, targets, strict=True):
        for x, t in zip(row, wanted, strict=True):
            terms.append(-np.log(sigmoid(x)) if t else -np.log(1.0 - sigmoid(x)))
    return float(np.mean(terms))


def multi_label_margin(probabilities, targets):
    """Torch's MultiLabelMarginLoss as documented: targets are indices up to the first -1; mean over the batch."""
    losses = []
    for x, y in zip(probabilities, targets, strict=True):
        indices = []
        for value in y:
            if value < 0:
                break
            indices.append(int(value))
        total = 0.0
        for j in indices:
            for i in range(len(x)):
                if i not in indices:
                    total += max(0.0, 1.0 - (float(x[j]) - float(x[i])))
        losses.append(total / len(x))
    return float(np.mean(losses))


def kl_to_standard_normal(mean, log_variance):
    """Of each dimension: (σ² + μ² - 1 - log σ²) / 2; averaged."""
    terms = []
    for m, lv in zip(np.ravel(mean), np.ravel(log_variance), strict=True):
        variance = np.exp(float(lv))
        terms.append((variance + float(m) ** 2 - 1.0 - np.log(variance)) / 2.0)
    return float(np.mean(terms))


def lstm(inputs, kernel, recurrent_kernel, bias, length, reverse):
    """Final state of an LSTM (gates i, f, c, o; sigmoid and tanh) over the first ``length`` steps."""
    units = recurrent_kernel.shape[0]
    hidden, cell = np.zeros(units), np.zeros(units)
    steps = range(length - 1, -1, -1) if reverse else range(length)
    for t in steps:
        gates = inputs[t] @ kernel + hidden @ recurrent_kernel + bias
        i, f, c, o = (gates[k * units : (k + 1) * units] for k in range(4))
        i, f, o = (1.0 / (1.0 + np.exp(-g)) for g in (i, f, o))
        cell = f * cell + i * np.tanh(c)
        hidden = o * np.tanh(cell)
    return hidden
