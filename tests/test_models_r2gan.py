"""R2GAN: equations against naive references, its variants, and a generator that depends on the embedding."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
from keras import ops
from test_models_contract import make

from kfood import backend
from kfood.configs.r2gan import VARIANTS
from kfood.layers.image import ImageEncoderConfig
from kfood.models import r2gan
from kfood.models.r2gan import R2GANConfig


def _floats(*arrays):
    return [np.asarray(array, "float32") for array in arrays]


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("negatives", ["mean", "hard", "all"])
def test_equation_2(rng, negatives, adaptive):
    query, positive = _floats(rng.normal(size=(5, 4)), rng.normal(size=(5, 4)))
    v_query, v_positive, v_negative = _floats(*(rng.uniform(-1, 1, (5, 4, 2, 3)) for _ in range(3)))
    config = R2GANConfig(margin=0.4, picture_margin=0.15, negatives=negatives, adaptive=adaptive)
    same = np.eye(5, dtype=bool)
    got = r2gan.ranking_losses(query, positive, (v_query, v_positive, v_negative), same, config)
    expected = oracles.two_level_ranking(
        query, positive, v_query, v_positive, v_negative, 0.4, 0.15, negatives, adaptive
    )
    assert expected[0] > 0
    assert expected[1] > 0
    np.testing.assert_allclose([float(x) for x in got], expected, rtol=1e-4)
    one_level = r2gan.ranking_losses(query, positive, None, same, config)
    assert (float(one_level[0]), float(one_level[1])) == (float(got[0]), 0.0)


@pytest.mark.parametrize("negatives", ["mean", "hard", "all"])
def test_photos_of_one_recipe_are_never_negatives(rng, negatives):
    """Eq. 2 with items 0, 2 and 3 of one recipe and 1 and 4 of another, query by query."""
    numbers = [7, 3, 7, 7, 3]
    query, positive = _floats(rng.normal(size=(5, 4)), rng.normal(size=(5, 4)))
    config = R2GANConfig(margin=0.9, negatives=negatives, adaptive=False)
    same = np.equal.outer(numbers, numbers)
    terms = []
    for i in range(5):
        others = [positive[j] for j in range(5) if numbers[j] != numbers[i]]
        near = oracles.cosine_distance(query[i], positive[i])
        if negatives == "mean":
            far = [oracles.cosine_distance(query[i], np.mean(others, axis=0))]
        else:
            far = [oracles.cosine_distance(query[i], other) for other in others]
        if negatives == "hard":
            far = [min(far)]
        if negatives == "all":
            near = max(oracles.cosine_distance(query[i], positive[j]) for j in range(5) if numbers[j] == numbers[i])
        terms += [max(0.0, near - one + 0.9) for one in far]
    got = float(r2gan.ranking_losses(query, positive, None, same, config)[0])
    assert got == pytest.approx(np.mean(terms), rel=1e-4)
    assert got != pytest.approx(float(r2gan.ranking_losses(query, positive, None, np.eye(5, dtype=bool), config)[0]))


@pytest.mark.parametrize("negatives", ["mean", "hard", "all"])
@pytest.mark.parametrize("adaptive", [True, False])
def test_a_query_without_a_negative_counts_nothing(rng, negatives, adaptive):
    query, positive = _floats(rng.normal(size=(3, 4)), rng.normal(size=(3, 4)))
    pictures = _floats(*(rng.uniform(-1, 1, (3, 4, 2, 3)) for _ in range(3)))
    config = R2GANConfig(negatives=negatives, adaptive=adaptive)
    for rows in (1, 3):  # a batch of one; one recipe's photos
        sides = [picture[:rows] for picture in pictures]
        got = r2gan.ranking_losses(query[:rows], positive[:rows], sides, np.ones((rows, rows), bool), config)
        assert [float(level) for level in got] == [0.0, 0.0]


def test_satisfied_triplets_count_only_where_they_are_not_divided_out(rng):
    """Four queries at their pairs, one far from its own: the adaptive mean is five times the plain one."""
    query = np.eye(5, dtype="float32")
    positive = query.copy()
    positive[0] = [0, 1, 0, 0, 0]
    config = R2GANConfig(margin=0.05)
    plain = dataclasses.replace(config, adaptive=False)
    adaptive, mean = (
        float(r2gan.ranking_losses(query, positive, None, np.eye(5, dtype=bool), c)[0]) for c in (config, plain)
    )
    assert mean > 0
    assert adaptive == pytest.approx(5 * mean, rel=1e-5)


def test_the_negative_is_the_mean_of_the_others(rng):
    embeddings = rng.normal(size=(4, 3)).astype("float32")
    got = ops.convert_to_numpy(r2gan.mean_of_others(embeddings, np.eye(4, dtype=bool)))
    for row in range(4):
        mean = np.mean([embeddings[other] for other in range(4) if other != row], axis=0)
        np.testing.assert_allclose(got[row], mean / np.linalg.norm(mean), rtol=1e-5)


def test_equations_3_to_5(rng):
    real, image, recipe = _floats(*(rng.normal(size=(4, 1)) for _ in range(3)))
    assert float(r2gan.discriminator_1_loss(real, image)) == pytest.approx(oracles.discriminator(real, image), rel=1e-5)
    assert float(r2gan.discriminator_2_loss(image, recipe)) == pytest.approx(
        oracles.discriminator(image, recipe), rel=1e-5
    )
    logs = [np.mean([np.log(1 - oracles.sigmoid(x)) for x in side.ravel()]) for side in (image, recipe)]
    assert float(r2gan.generator_loss(image, recipe, "minimax")) == pytest.approx(np.mean(logs), rel=1e-5)
    assert float(r2gan.generator_loss(image, None, "minimax")) == pytest.approx(logs[0], rel=1e-5)
    logs = [np.mean([-np.log(oracles.sigmoid(x)) for x in side.ravel()]) for side in (image, recipe)]
    assert float(r2gan.generator_loss(image, recipe, "non_saturating")) == pytest.approx(np.mean(logs), rel=1e-5)


def test_equation_6(rng):
    real, image_born, recipe_born = (_floats(rng.normal(size=(2, 3)), rng.normal(size=(2, 4, 5))) for _ in range(3))
    expected = oracles.r2gan_reconstruction(real, image_born, recipe_born, 0.7)
    assert float(r2gan.reconstruction_loss(real, image_born, recipe_born, 0.7)) == pytest.approx(expected, rel=1e-5)
    # Real photos do not enter the second half: only image-born pictures do.
    assert expected != pytest.approx(oracles.r2gan_reconstruction(real, real, recipe_born, 0.7))
    # recipe-born pictures against the photo: β weighs the second difference there too
    of_photo = oracles.r2gan_reconstruction(image_born, real, recipe_born, 0.7)
    found = r2gan.reconstruction_loss(real, image_born, recipe_born, 0.7, recipe_like=real)
    assert float(found) == pytest.approx(of_photo, rel=1e-5)
    assert of_photo != pytest.approx(expected)


def test_equation_7(rng):
    first, second = _floats(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)))
    labels = np.array([1, 0, 2, 2], "int32")
    expected = oracles.cross_entropy(first, labels, 0) + oracles.cross_entropy(second, labels, 0)
    assert float(r2gan.semantic_loss(first, second, labels)) == pytest.approx(expected, rel=1e-5)


def test_equations_8_and_9_weigh_the_terms(tiny_spec):
    paper = R2GANConfig(image_encoder=ImageEncoderConfig("small", "", (4, 8)), generator_width=4, discriminator_width=4)
    phases = r2gan.R2GAN(paper, tiny_spec).phases
    weights = {phase.name: dict(phase.weights) for phase in phases}
    assert weights["discriminator_1"] == {"discriminator_1": 1.0}
    assert weights["discriminator_2"] == {"discriminator_2": 1.0}
    assert weights["generator"] == {"generator": 1.0, "reconstruction": 1.0}
    assert weights["encoders"] == {
        "ranking": 1.0,
        "picture_ranking": 0.1,
        "reconstruction": 0.01,
        "semantic": 0.01,
    }


def test_the_model_computes_what_the_equations_say(tiny_spec, tiny_batch):
    """Every named loss from the model's own networks, called one by one."""
    model = make("r2gan", tiny_spec)
    named = {name: float(value) for name, value in model.compute_losses(tiny_batch).items()}
    image, recipe = (ops.convert_to_numpy(x) for x in model(tiny_batch).values())

    def picture(embeddings):
        return ops.convert_to_numpy(model.generator(embeddings, training=False))

    photos = tiny_batch["image"].reshape(8, 16, 2, 16, 2, 3).mean((2, 4)) / 127.5 - 1
    v_image, v_recipe = picture(image), picture(recipe)
    seen = {
        name: [[ops.convert_to_numpy(x) for x in network(side, training=False)] for side in (photos, v_image, v_recipe)]
        for name, network in (("1", model.discriminator_1), ("2", model.discriminator_2))
    }

    def negative(embeddings):
        means = np.stack([np.delete(embeddings, row, 0).mean(0) for row in range(8)])
        return picture((means / np.linalg.norm(means, axis=1, keepdims=True)).astype("float32"))

    margins = (model.config.margin, model.config.picture_margin)
    both = [
        oracles.two_level_ranking(image, recipe, v_image, v_recipe, negative(recipe), *margins, "mean", True),
        oracles.two_level_ranking(recipe, image, v_recipe, v_image, negative(image), *margins, "mean", True),
    ]
    assert named["ranking"] == pytest.approx(both[0][0] + both[1][0], rel=1e-3)
    assert named["picture_ranking"] == pytest.approx(both[0][1] + both[1][1], rel=1e-3)
    logit = {name: [side[1] for side in sides] for name, sides in seen.items()}
    assert named["discriminator_1"] == pytest.approx(oracles.discriminator(logit["1"][0], logit["1"][1]), rel=1e-3)
    assert named["discriminator_2"] == pytest.approx(oracles.discriminator(logit["2"][1], logit["2"][2]), rel=1e-3)
    fooled = [np.mean([-np.log(oracles.sigmoid(x)) for x in np.ravel(side)]) for side in (logit["1"][1], logit["2"][2])]
    assert named["generator"] == pytest.approx(np.mean(fooled), rel=1e-3)
    sides = [(phi, pixels) for (phi, _), pixels in zip(seen["1"], (photos, v_image, v_recipe), strict=True)]
    assert named["reconstruction"] == pytest.approx(
        oracles.r2gan_reconstruction(*sides, model.config.pixel_weight), rel=1e-3
    )


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_variants_have_their_parts_and_train(tiny_spec, tiny_batch, variant):
    model = make("r2gan", tiny_spec, variant=variant)
    phases = [phase.name for phase in model.phases]
    names = set(model.phases[-1].weights)
    assert ("discriminator_1" in phases) == ("generator" in phases) == (variant != "Semantic only")
    assert ("discriminator_2" in phases) == (variant in ("R2GAN", "GAN*", "R2GAN-Semantic", "R2GAN-"))
    assert ("picture_ranking" in names) == (variant not in ("Semantic only", "R2GAN-"))
    assert ("semantic" in names) == (variant != "R2GAN-Semantic")
    assert ("picture" in model.decoders) == (variant != "Semantic only")
    logs = model.train_on_batch(tiny_batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())


def test_gan_star_shows_its_second_discriminator_real_photos(tiny_spec, tiny_batch):
    model = make("r2gan", tiny_spec, variant="GAN*")
    features = model.embed(tiny_batch, training=False)
    got = float(model.losses_of("discriminator_2", features, tiny_batch, training=False)["discriminator_2"])
    real, recipe = (
        ops.convert_to_numpy(model.discriminator_2(features[name], training=False)[1])
        for name in ("real_picture", "recipe_picture")
    )
    assert got == pytest.approx(oracles.discriminator(real, recipe), rel=1e-5)


@pytest.mark.parametrize("weight", ["0.001", "1000"])
def test_the_encoders_losses_do_not_reach_the_generator(tiny_spec, tiny_batch, weight):
    """G makes the pictures of the ranking loss, and moves by its own two losses alone."""
    model = make("r2gan", tiny_spec, overrides=(f"picture_ranking_weight={weight}",))
    for phase in model.phases:
        model.optimizers[phase.name].learning_rate = 0.0
    kernel = model.generator.get_layer("picture").kernel
    own = dict(model.phases[-2].weights)
    assert list(own) == ["generator", "reconstruction"]

    def objective():
        features = model.embed(tiny_batch, training=True)
        named = model.losses_of("encoders", features, tiny_batch, training=True)
        return (sum(factor * named[name] for name, factor in own.items()),) * 2

    _, (expected,) = backend.gradients(objective, [kernel])
    model.optimizers["generator"].apply = lambda gradients, variables: seen.append(
        next(g for g, v in zip(gradients, variables, strict=True) if v is kernel)
    )
    seen: list = []
    model.train_on_batch(tiny_batch)
    np.testing.assert_allclose(seen[0].numpy(), expected.numpy(), rtol=1e-3, atol=1e-6)


def test_config_errors():
    with pytest.raises(ValueError, match="negatives: expected one of"):
        R2GANConfig(negatives="nearest")
    with pytest.raises(ValueError, match="picture_ranking: expected false without adversarial"):
        R2GANConfig(adversarial=False)
    with pytest.raises(ValueError, match="picture_size: expected a power of two"):
        R2GANConfig(picture_size=48)


@pytest.mark.slow
def test_overfits_a_handful_of_pairs(tiny_spec, tiny_batch):
    """Eight pairs are told apart, and each thumbnail is nearer to its own photo than to the others."""
    keras.utils.set_random_seed(1)
    model = make(
        "r2gan",
        tiny_spec,
        compiled=False,
        overrides=("negatives=all", "generator_width=16", "generator_reconstruction_weight=50"),
    )
    model.compile()
    grey = np.linspace(0, 255, 8, dtype="float32")[:, None, None, None]
    tiny_batch["image"] = 0.1 * tiny_batch["image"] + 0.9 * grey  # photos that a mean square can tell apart
    for _ in range(300):
        model.train_on_batch(tiny_batch)
    embeddings = model.predict(tiny_batch, verbose=0)
    cosines = embeddings["image"] @ embeddings["recipe"].T
    assert np.array_equal(cosines.argmax(axis=1), np.arange(8))
    assert np.array_equal(cosines.argmax(axis=0), np.arange(8))
    photos = tiny_batch["image"].reshape(8, 16, 2, 16, 2, 3).mean((2, 4))
    for side in ("recipe", "image"):
        made = model.decoders["picture"].network.predict_on_batch(embeddings[side])
        apart = np.square(made[:, None] - photos[None]).mean((2, 3, 4))
        assert np.mean(apart.argmin(axis=1) == np.arange(8)) >= 0.75
