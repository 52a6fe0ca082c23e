"""MCEN: equations, what draws its latent when, padding, variants, saving, export, learning."""

import dataclasses

import keras
import numpy as np
import oracles
import pytest
from export_model import INGREDIENTS, WORDS, make_run, make_spec
from keras import ops

from kfood import schema
from kfood.configs import experiment
from kfood.configs.mcen import VARIANTS
from kfood.export import runtime
from kfood.export.bundle import export_bundle
from kfood.layers.attention_towers import AttentionEncoderConfig
from kfood.layers.image import ImageEncoderConfig
from kfood.losses import alignment, reconstruction
from kfood.models import mcen
from kfood.models.mcen import MCEN, MCENConfig
from kfood.models.phases import OptimizerConfig

TINY = MCENConfig(
    image_encoder=ImageEncoderConfig("small", "", (4, 8)),
    recipe_encoder=AttentionEncoderConfig(word_size=6, units=4, start_range=0.0, dropout=0.0),
    embedding_size=12,
    latent_size=8,
    output_dropout=0.0,
    stage_epochs=2,
    kl_epochs=4,
    optimizer=OptimizerConfig(1e-2, clip_value=5.0),
)


def _model(spec, compiled=True, **changes):
    model = MCEN(dataclasses.replace(TINY, **changes), spec)
    if compiled:
        model.compile(run_eagerly=True)  # a step or two: quicker than tracing the graph
    return model


def _recipes(batch, spec):
    return {name: batch[name] for name in spec.recipe_inputs()}


@pytest.mark.parametrize("negatives", ["all", "active"])
def test_equation_13_in_both_directions(rng, negatives):
    image, recipe = (rng.normal(size=(5, 4)).astype("float32") for _ in range(2))
    image[1] = 3.0 * recipe[1] + 0.01  # a pair whose triplets are satisfied: the two means differ
    active = negatives == "active"
    expected = oracles.cosine_triplets(image, recipe, 0.3, active) + oracles.cosine_triplets(recipe, image, 0.3, active)
    assert float(mcen.retrieval_loss(image, recipe, 0.3, negatives)) == pytest.approx(expected, rel=1e-5)


def test_equations_15_and_16(rng):
    moments = [
        rng.normal(size=(2, 3)),
        rng.uniform(0.2, 2, (2, 3)),
        rng.normal(size=(2, 3)),
        rng.uniform(0.2, 2, (2, 3)),
    ]
    single = [np.asarray(x, "float32") for x in moments]
    got = float(alignment.gaussian_kl(*single))  # two rows of three dimensions
    assert got == pytest.approx(3 * oracles.gaussian_kl(*moments), rel=1e-4)
    assert float(alignment.gaussian_kl(*single, dimensions="mean")) == pytest.approx(
        oracles.gaussian_kl(*moments), rel=1e-4
    )
    assert got != pytest.approx(3 * oracles.gaussian_kl(*moments[2:], *moments[:2]), rel=0.01)  # not symmetric
    same = [np.asarray(x, "float32") for x in moments[:2]] * 2
    assert float(alignment.gaussian_kl(*same)) == pytest.approx(0.0, abs=1e-6)


def test_kl_and_consistency_are_of_the_posteriors_and_priors(tiny_spec, tiny_batch):
    """Eq. 15: KL(q(z^v) ‖ p(z^v)) and the recipe's; Eq. 16: KL(p(z^v) ‖ p(z^r)); summed over the 8 dimensions of z."""
    for dimensions, factor in (("sum", 8), ("mean", 1)):
        model = _model(tiny_spec, compiled=False, kl_dimensions=dimensions)
        features = model.embed(tiny_batch, training=False)
        named = model.losses_of("encoders", features, tiny_batch, training=False)

        def moments(name, features=features):
            # In float64: the oracle's grid may be far finer than its mean in float32.
            return [np.asarray(features[f"{name}_{moment}"], "float64") for moment in ("mean", "deviation")]

        for loss, one, other in (
            ("kl_image", "image_posterior", "image_prior"),
            ("kl_recipe", "recipe_posterior", "recipe_prior"),
            ("consistency", "image_prior", "recipe_prior"),
        ):
            expected = factor * oracles.gaussian_kl(*moments(one), *moments(other))
            assert float(named[loss]) == pytest.approx(expected, rel=1e-3, abs=1e-6), loss


def test_equation_19_falls_as_the_correlation_rises(rng):
    made, wanted = (rng.normal(size=(4, 6)).astype("float32") for _ in range(2))
    expected = 1 - np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(made, wanted, strict=True)])
    assert float(reconstruction.uncorrelated(made, wanted)) == pytest.approx(expected, rel=1e-5)
    assert float(reconstruction.uncorrelated(3 * wanted + 2, wanted)) == pytest.approx(0.0, abs=1e-6)
    assert float(reconstruction.uncorrelated(-wanted, wanted)) == pytest.approx(2.0, rel=1e-6)
    both = {"image": made, "recipe": wanted}
    one = mcen.reconstruction_loss(both, {"image": wanted, "recipe": wanted})
    assert float(one) == pytest.approx(expected, rel=1e-5)


def test_equations_6_and_7(rng):
    network = mcen.gaussian(3, 2, 0.0, "prior")
    summary = rng.normal(size=(4, 3)).astype("float32")
    mean, deviation = network.predict_on_batch(summary)
    w, b, w2, b2 = (weight.numpy() for name in ("mean", "deviation") for weight in network.get_layer(name).weights)
    np.testing.assert_allclose(mean, summary @ w + b, atol=1e-6)
    np.testing.assert_allclose(deviation, np.log1p(np.exp(summary @ w2 + b2)) + mcen.SMALLEST_DEVIATION, atol=1e-6)
    _, deviation = mcen.gaussian(3, 2, 0.25, "prior").predict_on_batch(summary)
    np.testing.assert_allclose(deviation, 0.25 + mcen.SMALLEST_DEVIATION, rtol=1e-5)


def test_equation_20_weighs_the_terms(tiny_spec, tiny_batch):
    model = _model(tiny_spec)
    model.begin_epoch(2)
    weights = {name: float(weight) for name, weight in model.phases[-1].weights.items()}
    assert weights == pytest.approx(
        {
            "retrieval": 1.0,
            "kl_image": 1e-4 + 0.5 * (0.1 - 1e-4),
            "kl_recipe": 1e-4 + 0.5 * (0.1 - 1e-4),
            "consistency": 0.002,
            "reconstruction": 0.008,
        }
    )
    logs = model.test_on_batch(tiny_batch, return_dict=True)
    assert logs["loss"] == pytest.approx(sum(weight * logs[name] for name, weight in weights.items()), rel=1e-5)


def _schedule(model, epochs):
    rows = []
    for epoch in range(epochs):
        model.begin_epoch(epoch)
        rows.append((float(model.kl_weight), [name for name in model.latent_modalities if float(model.drawn[name])]))
    return rows


def test_stages_and_annealing(tiny_spec):
    model = _model(tiny_spec, compiled=False, settle_epochs=1)
    weights, drawn = zip(*_schedule(model, 7), strict=True)
    assert drawn == ([], ["recipe"], ["recipe"], ["image"], ["image"], ["recipe"], ["recipe"])
    steps = np.array([0, 0, 1, 2, 3, 4, 4]) / 4
    np.testing.assert_allclose(weights, 1e-4 + steps * (0.1 - 1e-4), rtol=1e-5)
    both = _model(tiny_spec, compiled=False, stage_epochs=0, kl_epochs=0)
    assert _schedule(both, 1) == [(pytest.approx(0.1), ["image", "recipe"])]
    assert _schedule(_model(tiny_spec, compiled=False, image_latent=False), 3)[2][1] == ["recipe"]


def test_fit_moves_the_schedule(tiny_spec, tiny_batch):
    import tensorflow as tf

    model = _model(tiny_spec)
    model.fit(tf.data.Dataset.from_tensors(tiny_batch), epochs=3, verbose=0)
    assert (float(model.drawn["image"]), float(model.drawn["recipe"])) == (1.0, 0.0)
    assert float(model.kl_weight) == pytest.approx(1e-4 + 0.5 * (0.1 - 1e-4))


def test_a_latent_is_drawn_in_its_stage_and_the_priors_mean_otherwise(tiny_spec, tiny_batch):
    model = _model(tiny_spec, compiled=False)
    model.begin_epoch(0)  # the recipe's stage; there is no dropout, and evaluation has the same batch norm here
    model.towers["image"].get_layer("backbone").trainable = False
    first, second = (model.embed(tiny_batch, training=True) for _ in range(2))
    quiet = model.embed(tiny_batch, training=False)
    np.testing.assert_allclose(first["image"], second["image"], atol=1e-6)
    np.testing.assert_allclose(first["image"], quiet["image"], atol=1e-5)
    assert np.abs(first["recipe"] - second["recipe"]).max() > 1e-2
    model.begin_epoch(2)
    first, second = (model.embed(tiny_batch, training=True) for _ in range(2))
    np.testing.assert_allclose(first["recipe"], quiet["recipe"], atol=1e-5)
    assert np.abs(first["image"] - second["image"]).max() > 1e-2


def test_the_draw_has_the_posteriors_moments(tiny_spec, tiny_batch):
    model = _model(tiny_spec, compiled=False)
    model.towers["image"].get_layer("backbone").trainable = False
    model.heads["recipe"] = lambda z, training: z
    bias = model.posteriors["recipe"].get_layer("deviation").bias
    bias.assign(np.linspace(-1, 1, bias.shape[0]))  # a deviation of its own for each dimension
    many = {name: np.repeat(values[:2], 400, axis=0) for name, values in tiny_batch.items()}
    drawn = ops.convert_to_numpy(model.embed(many, training=True)["recipe"]).reshape(2, 400, -1)
    features = model.embed({name: values[:2] for name, values in tiny_batch.items()}, training=False)
    deviation = features["recipe_posterior_deviation"].numpy()
    error = 5 * deviation / np.sqrt(400)
    assert np.all(np.abs(drawn.mean(axis=1) - features["recipe_posterior_mean"]) < error)
    assert np.all(np.abs(drawn.std(axis=1) - deviation) < error)
    assert np.ptp(deviation) > 0.5


def test_encoders_are_independent_and_have_no_posterior(tiny_spec, tiny_batch):
    model = _model(tiny_spec)
    model.train_on_batch(tiny_batch)
    both = model.predict(tiny_batch, verbose=0)
    features = model.embed(tiny_batch, training=False)
    for name, encoder in model.encoders.items():
        np.testing.assert_allclose(np.linalg.norm(both[name], axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(both[name], ops.normalize(features[name], axis=-1), atol=1e-5)
        alone = encoder.predict_on_batch({key: tiny_batch[key][2:3] for key in encoder.input})
        np.testing.assert_allclose(alone, both[name][2:3], atol=1e-5)
        held = {id(variable) for variable in encoder.variables}
        for network in (*model.posteriors.values(), *model.poolings.values(), *model.reconstructors.values()):
            assert not held & {id(variable) for variable in network.variables}
    assert not {id(v) for v in model.encoders["image"].variables} & {id(v) for v in model.encoders["recipe"].variables}


def test_the_posterior_sees_the_other_modality_and_the_prior_does_not(tiny_spec, tiny_batch):
    model = _model(tiny_spec, compiled=False)
    before = model.embed(tiny_batch, training=False)
    changed = tiny_batch | {schema.IMAGE: tiny_batch[schema.IMAGE][::-1]}
    after = model.embed(changed, training=False)
    np.testing.assert_array_equal(after["recipe_prior_mean"], before["recipe_prior_mean"])
    relative = np.abs(after["recipe_posterior_mean"] - before["recipe_posterior_mean"]) / np.abs(
        before["recipe_posterior_mean"]
    )
    assert np.median(relative) > 1e-5


def test_every_variable_learns(tiny_spec, tiny_batch):
    """In one recipe stage and one image stage; what no loss reaches would stay."""
    model = _model(tiny_spec, normalise_summaries=True)
    before = [variable.numpy().copy() for variable in model.trainable_variables]
    for epoch in (0, 2):
        model.begin_epoch(epoch)
        model.train_on_batch(tiny_batch)
    still = [v.path for v, old in zip(model.trainable_variables, before, strict=True) if np.array_equal(old, v.numpy())]
    assert not still
    assert len(model.phases[-1].variables) == len(model.trainable_variables)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_variants_have_their_parts_and_train(tiny_spec, tiny_batch, variant):
    model = _model(tiny_spec, **VARIANTS[variant])
    latent = {"vanilla": (), "recipe": ("recipe",), "image": ("image",)}.get(variant, ("image", "recipe"))
    names = {"retrieval", *(f"kl_{name}" for name in latent)}
    names |= {"consistency"} if len(latent) == 2 else set()
    names |= {"reconstruction"} if variant != "no_reconstruction" else set()
    assert set(model.phases[-1].weights) == names
    for name in mcen.MODALITIES:
        layers = [layer for layer in model.heads[name].layers if isinstance(layer, keras.layers.Dense)]
        assert len(layers) == (1 if name in latent else 2)
    logs = model.train_on_batch(tiny_batch, return_dict=True)
    assert set(logs) == {"loss", *names}
    assert all(np.isfinite(value) for value in logs.values())
    attention = model.attention(tiny_batch)
    assert {
        name for name in ("image", "recipe") if f"{'joint' if name == 'recipe' else name}_asked" in attention
    } == set(latent)


def test_recipe_embedding_does_not_change_with_padding(tiny_spec, tiny_batch):
    wide = dataclasses.replace(
        tiny_spec, ingredients=7, ingredient_words=6, instructions=5, instruction_words=9, title_words=8
    )
    models = [_model(spec, compiled=False) for spec in (tiny_spec, wide)]
    models[1].set_weights(models[0].get_weights())
    batch = _recipes(tiny_batch, tiny_spec)
    batch["instructions"][0] = 0  # a recipe without instructions
    batch["ingredients"][1] = 0
    batch["title"][2] = 0
    padded = {}
    for name, (shape, dtype) in wide.recipe_inputs().items():
        padded[name] = np.zeros((8, *shape), dtype)
        padded[name][tuple(slice(0, n) for n in batch[name].shape)] = batch[name]
    got = models[0].encoders["recipe"].predict_on_batch(batch)
    np.testing.assert_allclose(models[1].encoders["recipe"].predict_on_batch(padded), got, atol=1e-6)
    assert np.ptp(got, axis=0).min() > 1e-4  # and recipes differ
    photos = tiny_batch | padded
    narrow, broad = models[0].embed(tiny_batch | batch, training=False), models[1].embed(photos, training=False)
    for name in ("recipe_posterior_mean", "image_posterior_mean", "recipe_posterior_deviation"):
        np.testing.assert_allclose(broad[name], narrow[name], atol=1e-5)


def test_an_empty_title_is_no_row(tiny_spec, tiny_batch):
    """The recipe is read as by a model without titles, weights of the attention included."""
    models = [_model(spec, compiled=False) for spec in (tiny_spec, dataclasses.replace(tiny_spec, title_words=0))]
    models[1].set_weights(models[0].get_weights())
    batch = {name: values.copy() for name, values in tiny_batch.items()}
    batch["title"][:4] = 0
    with_titles, without = (model.encoders["recipe"].predict_on_batch(_recipes(batch, model.spec)) for model in models)
    np.testing.assert_allclose(with_titles[:4], without[:4], atol=1e-6)
    assert np.abs(with_titles[4:] - without[4:]).max(axis=1).min() > 1e-4
    weights, others = (model.attention(batch) for model in models)
    for name in ("instructions", "joint"):
        np.testing.assert_allclose(weights[name][:4, :3], others[name][:4], atol=1e-6)
        np.testing.assert_array_equal(weights[name][:4, 3], 0.0)


def test_every_part_is_read(tiny_spec, tiny_batch):
    encoder = _model(tiny_spec, compiled=False).encoders["recipe"]
    batch = _recipes(tiny_batch, tiny_spec)
    before = encoder.predict_on_batch(batch)
    for name in batch:
        changed = dict(batch)
        changed[name] = np.where(changed[name] > 0, (changed[name] % 9) + 1, 0).astype("int32")
        assert np.abs(encoder.predict_on_batch(changed) - before).max() > 1e-5, name


def test_ingredient_names_and_no_title(tiny_batch):
    spec = schema.RecipeSpec(32, 4, 1, "name", 3, 5, word_vocabulary=30, ingredient_vocabulary=12, classes=5)
    batch = tiny_batch | {schema.INGREDIENTS: tiny_batch[schema.INGREDIENT_IDS][:, :, None]}
    model = _model(spec)
    assert np.isfinite(model.train_on_batch(batch, return_dict=True)["loss"])
    assert model.attention(batch)["instructions"].shape == (8, 3)


def test_attention_adds_up_and_leaves_padding_out(tiny_spec, tiny_batch):
    model = _model(tiny_spec, compiled=False)
    found = {name: ops.convert_to_numpy(weights) for name, weights in model.attention(tiny_batch).items()}
    assert found["image"].shape == found["image_asked"].shape == (8, 4, 4)
    np.testing.assert_allclose(found["image"].sum(axis=(1, 2)), 1.0, rtol=1e-5)
    there = (tiny_batch["ingredients"] != 0).any(axis=2)
    for name in ("ingredients", "ingredients_asked"):
        np.testing.assert_allclose(found[name].sum(axis=1), 1.0, rtol=1e-5)
        assert np.array_equal(found[name] > 0, there)
    assert np.array_equal(found["ingredient_words"] > 0, tiny_batch["ingredients"] != 0)
    assert found["instruction_words"].shape == (8, 1 + 3, 5)
    assert np.array_equal(found["instruction_words"][:, 0, :4] > 0, tiny_batch["title"] != 0)
    assert set(model.attention({"image": tiny_batch["image"]})) == {"image"}
    changed = tiny_batch | {schema.IMAGE: tiny_batch[schema.IMAGE][::-1]}
    again = {name: ops.convert_to_numpy(weights) for name, weights in model.attention(changed).items()}
    np.testing.assert_allclose(again["ingredients"], found["ingredients"], atol=1e-6)
    assert np.abs(again["ingredients_asked"] - found["ingredients_asked"]).max() > 1e-6


def test_the_heat_map_is_the_photos_attention(tiny_spec, tiny_batch):
    model = _model(tiny_spec, compiled=False)
    (network,) = model.heat_maps().values()
    expected = ops.convert_to_numpy(model.attention(tiny_batch)["image"])
    np.testing.assert_allclose(network.predict_on_batch({"image": tiny_batch["image"]}), expected, rtol=1e-5)


@pytest.mark.slow
def test_export_computes_what_the_model_computes(tmp_path):
    """SavedModel, ONNX and the runtime are held to the Keras model by the export's own gate; here from raw text."""
    spec = make_spec(title_words=3)
    model = _model(spec, compiled=False, normalise_summaries=True)
    manifest = export_bundle(model, make_run(tmp_path / "run"), tmp_path / "bundle")
    assert set(manifest["encoders"]) == {"image", "recipe"}
    bundle = runtime.Bundle.open(tmp_path / "bundle")
    pictures = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    found = bundle.look("image", {"image": pictures})
    np.testing.assert_allclose(found, ops.convert_to_numpy(model.attention({"image": pictures})["image"]), atol=1e-5)
    assert bundle.heat_maps == ("image",)
    assert manifest["heat_maps"]["image"]["outputs"]["weights"]["shape"] == [None, *found.shape[1:]]
    np.testing.assert_allclose(found.sum((1, 2)), 1, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected one with a heat map \['image'\], received 'recipe'"):
        bundle.look("recipe", {"image": pictures})
    assert manifest["distance"] == "cosine"
    assert sorted(manifest["parity"]["onnx"]) == [
        "image_encoder",
        "image_heat_map",
        "image_pixels_encoder",
        "recipe_encoder",
        "recipe_text_encoder",
    ]
    assert max(manifest["parity"]["onnx"].values()) <= 1e-5
    assert max(manifest["parity"]["saved_model"].values()) <= 1e-5
    size = sum(np.prod(v.shape) for encoder in model.encoders.values() for v in encoder.variables)
    assert size < sum(np.prod(v.shape) for v in model.variables)
    bundle = runtime.Bundle.open(tmp_path / "bundle")
    recipe = {"title": "leek soup", "ingredients": ["2 leek", "salt"], "instructions": []}
    ids = {word: place + schema.FIRST_TOKEN_ID for place, word in enumerate(WORDS)}
    tokens = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in spec.recipe_inputs().items()}
    tokens["title"][0, :2] = ids["leek"], ids["soup"]
    tokens["ingredients"][0, 0, :2] = ids["2"], ids["leek"]
    tokens["ingredients"][0, 1, 0] = ids["salt"]
    expected = model.encoders["recipe"].predict_on_batch(tokens)
    np.testing.assert_allclose(bundle.encode_recipes([recipe]), expected, atol=1e-5)
    assert len(INGREDIENTS) + 2 == spec.ingredient_vocabulary


def test_config_errors(tiny_spec):
    with pytest.raises(ValueError, match="negatives: expected one of"):
        MCENConfig(negatives="hard")
    with pytest.raises(ValueError, match="kl_dimensions: expected one of"):
        MCENConfig(kl_dimensions="max")
    with pytest.raises(ValueError, match="stage_epochs: expected at least 0, received -1"):
        MCENConfig(stage_epochs=-1)
    with pytest.raises(ValueError, match="instruction_vectors: expected 0, for MCEN reads words, received 7"):
        MCEN(TINY, dataclasses.replace(tiny_spec, instruction_vectors=7))


def test_published_settings():
    chosen = experiment("mcen", "published")
    config = chosen.model
    assert (config.kl_weight, config.first_kl_weight, config.margin) == (0.1, 1e-4, 0.3)
    assert (chosen.training.epochs, chosen.training.freeze_image_epochs, chosen.training.batch_size) == (130, 30, 32)
    assert (config.optimizer.clip_value, chosen.training.monitor) == (5.0, "recall_at_1")
    assert (config.kl_dimensions, chosen.training.augmentation.flip) == ("sum", False)
    assert (config.settle_epochs, config.normalise_summaries, config.first_deviation) == (0, False, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "millions"), [("vanilla", 48.9), ("recipe", 59.3), ("image", 59.3), ("full", 69.6)]
)
def test_published_sizes_are_within_two_percent_of_table_3(capsys, variant, millions):
    import json

    from kfood.tools.main import main

    assert main(["describe", "mcen", "--variant", variant]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["vocabulary"]["words"] == 30_002
    assert got["parameters"] == pytest.approx(millions * 1e6, rel=0.02)
    assert got["encoder_parameters"] + got["training_only_parameters"] == got["parameters"]


@pytest.mark.slow
def test_overfits_a_handful_of_pairs(tiny_spec, tiny_batch):
    """All losses together: eight pairs are told apart, by the priors' means, after the stages of both modalities."""
    keras.utils.set_random_seed(1)
    model = _model(tiny_spec, compiled=False, normalise_summaries=True, first_deviation=0.1)
    model.compile()
    for epoch in range(8):
        model.begin_epoch(epoch)
        for _ in range(40):
            model.train_on_batch(tiny_batch)
    embeddings = model.predict(tiny_batch, verbose=0)
    between = embeddings["image"] @ embeddings["recipe"].T
    assert np.array_equal(between.argmax(axis=1), np.arange(8))
    assert np.array_equal(between.argmax(axis=0), np.arange(8))
