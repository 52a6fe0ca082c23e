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
    """ACME Eq. 2, one direction, no mining: mean over every (anchor, its farthest positive, negative)."""
    terms = []
    for i, anchor in enumerate(anchors):
        near = max(euclidean(anchor, item) for j, item in enumerate(gallery) if positives[i][j])
        for j, item in enumerate(gallery):
            if not positives[i][j]:
                terms.append(max(0.0, near - euclidean(anchor, item) + margin))
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


def cosine_distance(a, b):
    """One minus the cosine of two vectors."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return 1.0 - dot / (np.sqrt(sum(float(x) ** 2 for x in a)) * np.sqrt(sum(float(y) ** 2 for y in b)))


def pixel_distance(a, b):
    """Root mean square difference of two pictures."""
    return euclidean(np.ravel(a), np.ravel(b)) / np.sqrt(np.size(a))


def two_level_ranking(query, positive, v_query, v_positive, v_negative, margin, v_margin, negatives, adaptive):
    """R2GAN Eq. 2 in one direction: both levels, triplet by triplet."""
    levels: tuple[list, list] = ([], [])
    n = len(query)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        near = cosine_distance(query[i], positive[i])
        v_near = pixel_distance(v_query[i], v_positive[i])
        if negatives == "mean":
            far = [cosine_distance(query[i], np.mean([np.asarray(positive[j], float) for j in others], axis=0))]
            v_far = [pixel_distance(v_query[i], v_negative[i])]
        else:
            if negatives == "hard":
                others = [min(others, key=lambda j: cosine_distance(query[i], positive[j]))]
            far = [cosine_distance(query[i], positive[j]) for j in others]
            v_far = [pixel_distance(v_query[i], v_positive[j]) for j in others]
        levels[0].extend(max(near - d + margin, 0.0) for d in far)
        levels[1].extend(max(v_near - d + v_margin, 0.0) for d in v_far)
    return [sum(terms) / max(sum(t > 0 for t in terms) if adaptive else len(terms), 1) for terms in levels]


def r2gan_reconstruction(real, image_born, recipe_born, beta):
    """R2GAN Eq. 6 with means in place of sums; each argument is (features, picture)."""

    def apart(a, b):
        return np.mean([(float(x) - float(y)) ** 2 for x, y in zip(np.ravel(a), np.ravel(b), strict=True)])

    features = apart(real[0], image_born[0]) + apart(image_born[0], recipe_born[0])
    pixels = apart(real[1], image_born[1]) + apart(image_born[1], recipe_born[1])
    return (features + beta * pixels) / 2


def adaptive_class_triplets(anchors, gallery, labels, background, margin):
    """AdaMine's semantic loss, one direction: every (a, p, n) of known classes, divided by how many are not 0."""
    terms = []
    for a in range(len(anchors)):
        for p in range(len(gallery)):
            for n in range(len(gallery)):
                known = background not in (labels[a], labels[p], labels[n])
                if known and p != a and labels[p] == labels[a] and labels[n] != labels[a]:
                    near, far = cosine_distance(anchors[a], gallery[p]), cosine_distance(anchors[a], gallery[n])
                    terms.append(max(near - far + margin, 0.0))
    active = [term for term in terms if term > 0]
    return sum(active) / len(active) if active else 0.0


def jne_cosine_loss(images, recipes, margin, share):
    """JNE's pairwise loss in expectation: a matching recipe with probability ``share``, else any other one."""
    n = len(images)
    matching = np.mean([cosine_distance(images[i], recipes[i]) for i in range(n)])
    other = [
        max(0.0, (1.0 - cosine_distance(images[i], recipes[j])) - margin) for i in range(n) for j in range(n) if i != j
    ]
    return share * matching + (1.0 - share) * np.mean(other)


def symmetric_cross_entropy(similarities):
    """CLIP's loss from scaled similarities."""
    n = len(similarities)
    rows = [-np.log(np.exp(similarities[i][i]) / sum(np.exp(similarities[i][j]) for j in range(n))) for i in range(n)]
    columns = [
        -np.log(np.exp(similarities[i][i]) / sum(np.exp(similarities[j][i]) for j in range(n))) for i in range(n)
    ]
    return (np.mean(rows) + np.mean(columns)) / 2


def pairwise_sigmoid(logits, same):
    """SigLIP's loss (Zhai et al. 2023, Algorithm 1); the pairs of ``same`` off the diagonal are left out."""
    n, total = len(logits), 0.0
    for i in range(n):
        for j in range(n):
            if i == j or not same[i][j]:
                z = 1.0 if i == j else -1.0
                total -= np.log(sigmoid(z * logits[i][j]))
    return total / n


def gru_step(x, hidden, kernel, recurrent_kernel, bias):
    """One step of a GRU (gates z, r, h; the reset gate after the recurrent product, which has a bias of its own)."""
    units = len(hidden)
    from_input, from_state = x @ kernel + bias[0], hidden @ recurrent_kernel + bias[1]
    new = np.zeros(units)
    for k in range(units):
        z = sigmoid(from_input[k] + from_state[k])
        r = sigmoid(from_input[units + k] + from_state[units + k])
        candidate = np.tanh(from_input[2 * units + k] + r * from_state[2 * units + k])
        new[k] = z * hidden[k] + (1.0 - z) * candidate
    return new


def gru(inputs, kernel, recurrent_kernel, bias, length, backward):
    """States of a GRU at each of the first ``length`` steps; backward: each having seen what comes after it."""
    hidden = np.zeros(recurrent_kernel.shape[0])
    states = {}
    for t in range(length - 1, -1, -1) if backward else range(length):
        hidden = gru_step(inputs[t], hidden, kernel, recurrent_kernel, bias)
        states[t] = hidden
    return [states[t] for t in range(length)]


def attention_pooling(context, query, w, u, v):
    """MCEN Eq. 1 and 2 over the rows of ``context``, none of them padding: (s, α)."""
    scores = [float(v @ np.tanh(query @ w + h @ u)) for h in context]
    total = sum(np.exp(score) for score in scores)
    weights = [np.exp(score) / total for score in scores]
    return sum(weight * h for weight, h in zip(weights, context, strict=True)), weights


def gaussian_kl(mean, deviation, other_mean, other_deviation, points=40_001):
    """KL of two diagonal Gaussians by integrating p log(p / q) on a grid, a dimension at a time; averaged over all."""
    total = 0.0
    for row in range(len(mean)):
        for m, s, n, t in zip(mean[row], deviation[row], other_mean[row], other_deviation[row], strict=True):
            x = np.linspace(m - 12 * s, m + 12 * s, points)
            log_p = -0.5 * ((x - m) / s) ** 2 - np.log(s)
            log_q = -0.5 * ((x - n) / t) ** 2 - np.log(t)
            p = np.exp(log_p) / np.sqrt(2 * np.pi)
            total += float(np.sum(p * (log_p - log_q)) * (x[1] - x[0]))
    return total / np.size(mean)


def cosine(a, b):
    """Similarity of two vectors."""
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def cosine_triplets(anchors, gallery, margin, active):
    """MCEN Eq. 13: mean over triplets of [s(a, n) - s(a, p) + m]+; active: over those that are not 0."""
    terms = []
    for i, anchor in enumerate(anchors):
        for j, item in enumerate(gallery):
            if i != j:
                terms.append(max(0.0, cosine(anchor, item) - cosine(anchor, gallery[i]) + margin))
    return sum(terms) / (sum(term > 0 for term in terms) if active else len(terms))


# Metric learning: embeddings of one batch and their labels.


def unit(vector):
    """Of length 1."""
    return np.asarray(vector, float) / np.sqrt(sum(float(x) ** 2 for x in vector))


def positives_of(labels, a):
    """The other items of a's class."""
    return [i for i in range(len(labels)) if i != a and labels[i] == labels[a]]


def negatives_of(labels, a):
    """The items of other classes."""
    return [i for i in range(len(labels)) if labels[i] != labels[a]]


def all_pairs(labels):
    """Ordered positive pairs and ordered negative pairs."""
    anchors = range(len(labels))
    return (
        [(a, p) for a in anchors for p in positives_of(labels, a)],
        [(a, n) for a in anchors for n in negatives_of(labels, a)],
    )


def contrastive(embeddings, positive_pairs, negative_pairs, margin, of_positive=lambda d: d):
    """α-sampling paper, Eq. 5; Eq. 6 with ``of_positive`` = log(1 + d)."""
    pull = [of_positive(euclidean(embeddings[a], embeddings[p])) for a, p in positive_pairs]
    push = [max(margin - euclidean(embeddings[a], embeddings[n]), 0.0) for a, n in negative_pairs]
    return float(np.mean(pull) + np.mean(push))


def margin_loss(embeddings, labels, positive_pairs, negative_pairs, beta, margin, of_positive=lambda d: d):
    """Wu et al. 2017, section 4.2; the α-sampling paper's Eq. 8 with ``of_positive`` = log(1 + d)."""
    terms = []
    for a, p in positive_pairs:
        terms.append(max(0.0, margin + of_positive(euclidean(embeddings[a], embeddings[p])) - beta[labels[a]]))
    for a, n in negative_pairs:
        terms.append(max(0.0, margin - euclidean(embeddings[a], embeddings[n]) + beta[labels[a]]))
    return sum(terms) / max(sum(term > 0 for term in terms), 1)


def released_margin_loss(embeddings, labels, positive_pairs, negative_pairs, beta, margin):
    """The α-sampling paper's released code: √2 log(1 + hinge) of positives, over the tuples with a term above 0."""
    total = active = 0
    for (a, p), (_, n) in zip(positive_pairs, negative_pairs, strict=True):
        hinge = max(0.0, margin + euclidean(embeddings[a], embeddings[p]) - beta[labels[a]])
        pull = np.sqrt(2) * np.log(1 + hinge)
        push = max(0.0, margin - euclidean(embeddings[a], embeddings[n]) + beta[labels[a]])
        total += pull + push
        active += pull > 0 or push > 0
    return total / max(active, 1)


def triplets_of_tuples(embeddings, tuples, margin, of_positive=lambda d: d):
    """Mean of [d_ap - d_an + m]+ over tuples (a, p, n)."""
    terms = []
    for a, p, n in tuples:
        near = of_positive(euclidean(embeddings[a], embeddings[p]))
        terms.append(max(0.0, near - euclidean(embeddings[a], embeddings[n]) + margin))
    return float(np.mean(terms))


def batch_triplets(embeddings, labels, margin, of_positive=lambda d: d):
    """Mean of [d_ap - d_an + m]+ over every triplet of the batch."""
    terms = []
    for a in range(len(labels)):
        for p in positives_of(labels, a):
            for n in negatives_of(labels, a):
                near = of_positive(euclidean(embeddings[a], embeddings[p]))
                terms.append(max(0.0, near - euclidean(embeddings[a], embeddings[n]) + margin))
    return float(np.mean(terms))


def semi_hard_triplets(embeddings, labels, margin):
    """Schroff et al. 2015, section 3.2: the nearest negative beyond each positive, else the farthest."""
    terms = []
    for a in range(len(labels)):
        far = [euclidean(embeddings[a], embeddings[n]) for n in negatives_of(labels, a)]
        for p in positives_of(labels, a):
            own = euclidean(embeddings[a], embeddings[p])
            beyond = [d for d in far if d > own]
            terms.append(max(0.0, own - (min(beyond) if beyond else max(far)) + margin))
    return float(np.mean(terms))


def n_pair(embeddings, labels):
    """Sohn 2016, section 3.2: each class's first two items are its pair."""
    pairs = []
    for label in dict.fromkeys(labels):
        items = [i for i in range(len(labels)) if labels[i] == label]
        if len(items) > 1:
            pairs.append((items[0], items[1]))
    terms = []
    for i, (a, p) in enumerate(pairs):
        total = 0.0
        for j, (_, other) in enumerate(pairs):
            if j != i:
                total += np.exp(float(embeddings[a] @ embeddings[other]) - float(embeddings[a] @ embeddings[p]))
        terms.append(np.log(1.0 + total))
    return float(np.mean(terms))


def n_pair_of_tuples(embeddings, labels, tuples):
    """The same over tuples (a, p, n): negatives are the positives of tuples of another class and n, each once."""
    e, terms = np.asarray(embeddings, float), []
    for a, p, n in tuples:
        others = {other for _, other, _ in tuples if labels[other] != labels[a]} | {n}
        terms.append(np.log(1.0 + sum(np.exp(e[a] @ e[j] - e[a] @ e[p]) for j in others)))
    return float(np.mean(terms))


def lifted_structure(embeddings, labels, margin, of_positive=lambda d: d):
    """Song et al. 2016, Eq. 4: over unordered positive pairs."""
    terms = []
    for i in range(len(labels)):
        for j in positives_of(labels, i):
            if i < j:
                total = sum(
                    np.exp(margin - euclidean(embeddings[side], embeddings[k]))
                    for side in (i, j)
                    for k in negatives_of(labels, side)
                )
                near = of_positive(euclidean(embeddings[i], embeddings[j]))
                terms.append(max(0.0, np.log(total) + near) ** 2)
    return sum(terms) / (2 * len(terms))


def histogram_loss(embeddings, labels, bins):
    """Ustinova & Lempitsky 2016, section 3, with triangular weights around each node."""
    nodes = np.linspace(-1.0, 1.0, bins)
    width = nodes[1] - nodes[0]
    spread = []
    for pairs in all_pairs(labels):
        weights = np.zeros(bins)
        for a, b in pairs:
            s = cosine(embeddings[a], embeddings[b])
            for r, node in enumerate(nodes):
                weights[r] += max(0.0, 1.0 - abs(s - node) / width)
        spread.append(weights / len(pairs))
    return sum(spread[1][r] * sum(spread[0][: r + 1]) for r in range(bins))


def circle_loss(embeddings, labels, m, gamma, weights_of=None):
    """Sun et al. 2020, Eq. 6 with Eq. 5 and 8; ``weights_of``: embeddings that give the α, which are held constant."""
    weights_of = embeddings if weights_of is None else weights_of
    terms = []
    for a in range(len(labels)):
        near, far = 0.0, 0.0
        for n in negatives_of(labels, a):
            s, still = (cosine(x[a], x[n]) for x in (embeddings, weights_of))
            near += np.exp(gamma * max(still + m, 0.0) * (s - m))
        for p in positives_of(labels, a):
            s, still = (cosine(x[a], x[p]) for x in (embeddings, weights_of))
            far += np.exp(-gamma * max(1 + m - still, 0.0) * (s - (1 - m)))
        if near and far:
            terms.append(np.log(1.0 + near * far))
    return float(np.mean(terms))


def multi_similarity(embeddings, labels, alpha, beta, threshold, tolerance):
    """Wang et al. 2019, Eq. 11, 12 and 15."""
    terms = []
    for a in range(len(labels)):
        alike = [cosine(embeddings[a], embeddings[p]) for p in positives_of(labels, a)]
        other = [cosine(embeddings[a], embeddings[n]) for n in negatives_of(labels, a)]
        if alike and other:
            pull = sum(np.exp(-alpha * (s - threshold)) for s in alike if s < max(other) + tolerance)
            push = sum(np.exp(beta * (s - threshold)) for s in other if s > min(alike) - tolerance)
            terms.append(np.log(1 + pull) / alpha + np.log(1 + push) / beta)
    return float(np.mean(terms))


def smooth_ap(embeddings, labels, temperature):
    """Brown et al. 2020, section 4: ranks counted with sigmoids; the anchor is not in its own gallery."""
    losses = []
    for a in range(len(labels)):
        s = [cosine(embeddings[a], item) for item in embeddings]
        terms = []
        for p in positives_of(labels, a):
            before = {j: sigmoid((s[j] - s[p]) / temperature) for j in range(len(labels)) if j not in (a, p)}
            among = 1.0 + sum(before[j] for j in positives_of(labels, a) if j != p)
            terms.append(among / (1.0 + sum(before.values())))
        if terms:
            losses.append(1.0 - np.mean(terms))
    return float(np.mean(losses))


def pnp(embeddings, labels, assign, temperature):
    """Li et al. 2022: ``assign`` of the number of negatives before each positive."""
    losses = []
    for a in range(len(labels)):
        s = [cosine(embeddings[a], item) for item in embeddings]
        terms = [
            assign(sum(sigmoid((s[n] - s[p]) / temperature) for n in negatives_of(labels, a)))
            for p in positives_of(labels, a)
        ]
        if terms:
            losses.append(np.mean(terms))
    return float(np.mean(losses))


def normalised_softmax(embeddings, labels, proxies, temperature):
    """Zhai & Wu 2019, section 3."""
    terms = []
    for x, y in zip(embeddings, labels, strict=True):
        sums = [np.exp(cosine(x, proxy) / temperature) for proxy in proxies]
        terms.append(-np.log(sums[y] / sum(sums)))
    return float(np.mean(terms))


def proxy_nca(embeddings, labels, proxies, scale):
    """Movshovitz-Attias et al. 2017, Eq. 4, on vectors of length ``scale``."""
    terms = []
    for x, y in zip(embeddings, labels, strict=True):
        weights = [np.exp(-(euclidean(scale * unit(x), scale * unit(proxy)) ** 2)) for proxy in proxies]
        terms.append(-np.log(weights[y] / sum(w for z, w in enumerate(weights) if z != y)))
    return float(np.mean(terms))


def proxy_anchor(embeddings, labels, proxies, scale, margin):
    """Kim et al. 2020, Eq. 4."""
    pull, push = [], []
    for c, proxy in enumerate(proxies):
        own = [cosine(x, proxy) for x, y in zip(embeddings, labels, strict=True) if y == c]
        other = [cosine(x, proxy) for x, y in zip(embeddings, labels, strict=True) if y != c]
        if own:
            pull.append(np.log(1 + sum(np.exp(-scale * (s - margin)) for s in own)))
        push.append(np.log(1 + sum(np.exp(scale * (s + margin)) for s in other)))
    return float(np.mean(pull) + np.mean(push))


def soft_triple(embeddings, labels, centres, scale, gamma, margin, merging):
    """Qian et al. 2019, section 3."""
    terms = []
    for x, y in zip(embeddings, labels, strict=True):
        relaxed = []
        for group in centres:
            s = [cosine(x, w) for w in group]
            weights = [np.exp(value / gamma) for value in s]
            relaxed.append(sum(w * value for w, value in zip(weights, s, strict=True)) / sum(weights))
        own = np.exp(scale * (relaxed[y] - margin))
        others = sum(np.exp(scale * value) for c, value in enumerate(relaxed) if c != y)
        terms.append(-np.log(own / (own + others)))
    each = len(centres[0])
    apart = 0.0
    for group in centres:
        for t in range(each):
            for s in range(t + 1, each):
                apart += np.sqrt(2.0 - 2.0 * cosine(group[s], group[t]))
    return float(np.mean(terms)) + merging * apart / (len(centres) * each * (each - 1))


def ranks_of_positives(embeddings, labels, farness):
    """Query → ranks of its positives, rising, the query left out; negatives exactly as far as a positive come first."""
    found = {}
    for q in range(len(labels)):
        far = {j: farness(embeddings[q], embeddings[j]) for j in range(len(labels)) if j != q}
        places = sorted(far, key=lambda j: (far[j], labels[j] == labels[q]))
        ranks = [place for place, j in enumerate(places, 1) if labels[j] == labels[q]]
        if ranks:
            found[q] = ranks
    return found


def normalised_mutual_information(labels, clusters):
    """Manning et al. 2008, Eq. 16.2 with the entropies' arithmetic mean: 2 I(Ω; C) / (H(Ω) + H(C))."""
    n = len(labels)

    def share(**wanted):
        given = {"label": labels, "cluster": clusters}
        return sum(all(given[key][i] == value for key, value in wanted.items()) for i in range(n)) / n

    information, entropies = 0.0, 0.0
    for label in set(labels):
        entropies -= share(label=label) * np.log(share(label=label))
        for cluster in set(clusters):
            both = share(label=label, cluster=cluster)
            if both:
                information += both * np.log(both / (share(label=label) * share(cluster=cluster)))
    for cluster in set(clusters):
        entropies -= share(cluster=cluster) * np.log(share(cluster=cluster))
    return 2 * information / entropies


def average_precision(ranks, k, divisor):
    """Of one query: precision at each of its positives among the ``k`` nearest."""
    return sum(i / rank for i, rank in enumerate(ranks, 1) if rank <= k) / divisor


def bidirectional_triplets(a, b, margin):
    """H-T's L_bi on cosines: mean over i ≠ j of both hinges."""

    def cosine(x, y):
        return float(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y)))

    terms = []
    for i in range(len(a)):
        for j in range(len(a)):
            if i != j:
                terms.append(
                    max(0.0, cosine(a[i], b[j]) - cosine(a[i], b[i]) + margin)
                    + max(0.0, cosine(b[i], a[j]) - cosine(b[i], a[i]) + margin)
                )
    return float(np.mean(terms)) if terms else 0.0


def brute_force(query, gallery, distance):
    """Distances of a query to each row of a gallery, float64 [n]; 1 - cosine of zeros is 1."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if distance == "euclidean":
        return np.array([np.sqrt(sum((query - row) ** 2)) for row in gallery])
    products = np.array([sum(query * row) for row in gallery])
    if distance == "dot":
        return -products
    norms = np.array([np.sqrt(sum(row**2)) for row in gallery]) * np.sqrt(sum(query**2))
    return 1 - np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
