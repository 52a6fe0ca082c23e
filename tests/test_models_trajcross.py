"""TrajCross: each equation and layer against naive loops, variants, and that position decides where shape cannot."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from kfood import schema
from kfood.configs import experiment
from kfood.layers import trajectory as layers
from kfood.layers import waves
from kfood.models import trajcross
from kfood.models.trajcross import TrajCross, TrajCrossConfig
from tests.test_models_contract import TINY

SPEC = schema.TrajectorySpec(32, 20, centre_x=5.5, centre_y=5.5, extent=6.0)


def tiny(variant="", **changes):
    chosen = experiment("trajcross", "small", variant, TINY["trajcross"])
    return TrajCross(dataclasses.replace(chosen.model, **changes), SPEC)


def test_noise_contrastive_against_loops(rng):
    """Eq. 10 with exp, over all others, both ways."""
    logits = rng.normal(size=(5, 5))
    total = 0.0
    for i in range(5):
        down = sum(math.exp(logits[i, j]) for j in range(5))
        across = sum(math.exp(logits[j, i]) for j in range(5))
        total += -math.log(math.exp(logits[i, i]) / down) - math.log(math.exp(logits[i, i]) / across)
    found = trajcross.noise_contrastive(keras.ops.convert_to_tensor(logits, "float32"))
    assert float(found) == pytest.approx(total / 10, rel=1e-5)


def test_sampled_negatives_are_so_many_others(rng):
    """With equal logits the loss is log(1 + |ψ|); with 0 or n - 1 it is the whole batch's."""
    equal = keras.ops.zeros((7, 7))
    seed = keras.random.SeedGenerator(0)
    for negatives in (1, 3, 6):
        loss = trajcross.noise_contrastive(equal, negatives, seed)
        assert float(loss) == pytest.approx(math.log(1 + negatives), rel=1e-5)
    logits = keras.ops.convert_to_tensor(rng.normal(size=(7, 7)), "float32")
    whole = float(trajcross.noise_contrastive(logits))
    assert float(trajcross.noise_contrastive(logits, 6, seed)) == pytest.approx(whole, rel=1e-5)
    assert float(trajcross.noise_contrastive(logits, 50, seed)) == pytest.approx(whole, rel=1e-5)
    drawn = {round(float(trajcross.noise_contrastive(logits, 2, seed)), 5) for _ in range(6)}
    assert len(drawn) > 1
    assert max(drawn) < whole


def test_modality_loss_against_the_logarithms():
    """Trajectories are 1, images 0."""
    right = trajcross.modality_loss(np.array([[2.0]], "float32"), np.array([[-1.0]], "float32"))
    sigmoid = lambda z: 1 / (1 + math.exp(-z))  # noqa: E731
    assert float(right) == pytest.approx(-math.log(sigmoid(2.0)) - math.log(1 - sigmoid(-1.0)), rel=1e-5)


def wave(value, index):
    if index == 0:
        return 1.0
    octave = (index - 1) // 2
    function = math.sin if index % 2 else math.cos
    return 2 ** (-octave / 4) * function(math.pi * 2**octave * value)


def test_line_moments_against_loops(rng):
    """Means along the line, by length: each segment by four points in its middle parts."""
    points = rng.uniform(-1, 1, (2, 4, 2)).astype("float32")
    found = np.asarray(waves.LineMoments(2)(points))
    for row in range(2):
        for a in range(5):
            for b in range(5):
                total = length = 0.0
                for s in range(3):
                    start, end = points[row, s], points[row, s + 1]
                    own = math.hypot(math.dist(start, end), 1e-3)
                    for part in (0.125, 0.375, 0.625, 0.875):
                        x, y = start + part * (end - start)
                        total += own / 4 * wave(y, a) * wave(x, b)
                    length += own
                assert found[row, 5 * a + b] == pytest.approx(total / length, abs=1e-5)


def test_picture_moments_against_loops(rng):
    pictures = rng.uniform(0, 255, (2, 6, 6, 3)).astype("float32")
    location = np.array([[-0.5, 0.7, 0.3, -0.1], [0.0, 0.2, 0.4, -0.2]], "float32")
    found = np.asarray(waves.PictureMoments(2)(pictures, location))
    for row, (left, top, right, bottom) in enumerate(location):
        ink = 255 - pictures[row].mean(-1) + 1e-3
        for a in range(5):
            for b in range(5):
                total = 0.0
                for i in range(6):
                    for j in range(6):
                        x, y = left + (j + 0.5) / 6 * (right - left), top + (i + 0.5) / 6 * (bottom - top)
                        total += ink[i, j] * wave(y, a) * wave(x, b)
                assert found[row, 5 * a + b] == pytest.approx(total / ink.sum(), abs=1e-5)


def test_a_line_and_its_picture_have_the_same_moments(rng):
    """Whatever the window: the reason for them."""
    from kfood.data.drawing import Style, picture

    walk = np.cumsum(rng.normal(0.3, 0.2, (20, 2)), axis=0)
    ground = layers.Ground(walk.mean(0).tolist(), 10.0)
    line = np.asarray(waves.LineMoments(3)(ground(walk[None].astype("float32"))))
    for _ in range(3):
        pixels, location = picture(walk, Style(64), rng)
        seen = waves.PictureMoments(3)(pixels[None].astype("float32"), ground(location[None]))
        np.testing.assert_allclose(np.asarray(seen), line, atol=0.1)
        elsewhere = np.asarray(waves.PictureMoments(3)(pixels[None].astype("float32"), ground(location[None] + 2)))
        assert np.abs(elsewhere - line).max() > 0.5


def test_sketch_against_loops_and_is_of_shape_alone(rng):
    points = np.array([[[0, 0], [2, 0], [2, 1]], [[1, 1], [1, 1], [1, 1]]], "float32")
    layer = layers.Sketch(16, thickness=2.0, least=0.5)
    found = np.asarray(layer(points))
    scale = (16 - 6) / 2
    for i in range(16):
        for j in range(16):
            x, y = (j + 0.5 - 8) / scale + 1, -(i + 0.5 - 8) / scale + 0.5
            far = min(math.hypot(x - min(max(x, 0), 2), y), math.hypot(x - 2, y - min(max(y, 0), 1))) * scale
            assert found[0, i, j, 0] == pytest.approx(255 * (1 - min(max(1.5 - far, 0), 1)), abs=0.05), (i, j)
    moved = np.asarray(layer(3.0 * points + np.array([5, -2], "float32")))
    np.testing.assert_allclose(moved[0], found[0], atol=0.5)
    assert found[1].min() < 200  # what stands still is a dot


def test_a_sketch_of_the_scene_is_where_the_line_is():
    """The ground fills it, whatever the line: the L lies where its points do, and moves with them."""
    points = np.array([[[-0.5, -0.25], [0.25, -0.25], [0.25, 0.5]]], "float32")
    layer = layers.Sketch(22, "scene", thickness=2.0)
    scale = (22 - 6) / 2
    found = np.asarray(layer(points))[0, :, :, 0]
    for i in range(22):
        for j in range(22):
            x, y = (j + 0.5 - 11) / scale, -(i + 0.5 - 11) / scale
            along = math.hypot(x - min(max(x, -0.5), 0.25), y + 0.25)
            far = min(along, math.hypot(x - 0.25, y - min(max(y, -0.25), 0.5))) * scale
            assert found[i, j] == pytest.approx(255 * (1 - min(max(1.5 - far, 0), 1)), abs=0.05), (i, j)
    moved = np.asarray(layer(points + np.array([2, -1], "float32") / scale))[0, :, :, 0]  # 2 pixels right, 1 down
    np.testing.assert_allclose(moved[1:, 2:], found[:-1, :-2], atol=0.1)
    assert keras.layers.deserialize(keras.layers.serialize(layer)).frame == "scene"


def test_wide_cnn_against_loops(rng):
    """A kernel as wide as the picture moves down a row at a time, and every result is kept."""
    picture = keras.Input((8, 8, 1))
    network = keras.Model(picture, layers.wide_cnn(picture, (3,), 4, "w"))
    kernel = network.get_layer("w_3").kernel.numpy()
    assert kernel.shape == (3, 8, 1, 4)
    pixels = rng.normal(size=(2, 8, 8, 1)).astype("float32")
    found = network.predict_on_batch(pixels).reshape(2, 6, 4)
    for row in range(6):
        wanted = np.maximum(np.einsum("nhwc,hwcf->nf", pixels[:, row : row + 3], kernel), 0.0)
        np.testing.assert_allclose(found[:, row], wanted, atol=1e-5)


def test_text_cnn_against_loops(rng):
    """Nothing beyond the trajectory's ends is read: "a vector with different lengths", then its maximum."""
    sequence = keras.Input((5, 3))
    network = keras.Model(sequence, layers.text_cnn(sequence, (2, 5), 4, "t"))
    values = rng.normal(size=(2, 5, 3)).astype("float32")
    network.get_layer("t_2").bias.assign([-3.0, 0.0, 0.5, 1.0])
    found = network.predict_on_batch(values).reshape(2, 2, 4)
    for place, height in enumerate((2, 5)):
        kernel, bias = network.get_layer(f"t_{height}").weights
        seen = [
            np.einsum("nhc,hcf->nf", values[:, k : k + height], kernel.numpy()) + bias.numpy()
            for k in range(5 - height + 1)
        ]
        np.testing.assert_allclose(found[:, place], np.maximum(np.max(seen, axis=0), 0.0), atol=1e-5)


VARIANTS = {
    "": ({"image", "location"}, 16, True),
    "nogan": ({"image", "location"}, 16, False),
    "noxy": ({"image"}, 16, True),
    "OnlyTraj": ({"image", "location"}, 16, True),
    "TrajCNN": ({"image", "location"}, 16, True),
    "scene": ({"image", "location"}, 16, True),
    "waves": ({"image", "location"}, 16, True),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_what_the_paper_says(variant, tiny_batch):
    inputs, size, game = VARIANTS[variant]
    model = tiny(variant)
    assert set(model.encoders["image"].input) == inputs
    assert model.embedding_size == size
    assert [phase.name for phase in model.phases] == (["modality_classifier"] if game else []) + ["encoders"]
    names = [layer.name for layer in model.encoders["trajectory"].layers]
    assert ("sketch" in names) == (variant not in ("OnlyTraj", "TrajCNN"))
    assert ("sequence_cnn_3" in names) == (variant == "TrajCNN")
    assert ("line_moments" in names) == (variant == "waves")
    assert not names.count("sketch") or model.encoders["trajectory"].get_layer("sketch").frame == (
        "scene" if variant == "scene" else "line"
    )
    model.compile(run_eagerly=True)
    assert all(np.isfinite(value) for value in model.train_on_batch(tiny_batch, return_dict=True).values())


def test_without_the_picture_only_the_corners_count(tiny_batch):
    model = tiny("location_only")
    inputs = {name: tiny_batch[name] for name in ("image", "location")}
    first = model.encoders["image"].predict_on_batch(inputs)
    np.testing.assert_array_equal(
        first, model.encoders["image"].predict_on_batch({**inputs, "image": 255 - inputs["image"]})
    )
    moved = model.encoders["image"].predict_on_batch({**inputs, "location": inputs["location"] + 1})
    assert np.abs(moved - first).max() > 1e-3


def test_the_game_pulls_opposite_ways(tiny_batch):
    """What the classifier minimises is what the encoders maximise."""
    losses = tiny().compute_losses(tiny_batch)
    assert float(losses["modality"]) == pytest.approx(-float(losses["modality_classifier"]), rel=1e-6)
    assert float(losses["modality_classifier"]) > 0


@pytest.mark.slow
def test_learns_to_tell_places_apart(rng):
    """The same walk at other places: only position can tell, and a few steps are enough."""
    from kfood.data.drawing import Style, picture

    keras.utils.set_random_seed(0)
    model = tiny(negatives=0)
    model.compile()
    walk = np.cumsum(rng.normal(0.1, 0.1, (20, 2)), axis=0)

    def batch(count):
        points = (walk - walk.mean(0) + rng.uniform(2, 9, (count, 1, 2))).astype("float32")
        drawn = [picture(one, Style(32), rng) for one in points]
        images, locations = (np.stack(part).astype("float32") for part in zip(*drawn, strict=True))
        return {"image": images, "location": locations, "trajectory": points}

    model.optimizers["encoders"].learning_rate = 1e-2
    for _ in range(60):
        model.train_on_batch(batch(24))
    found = model.predict(batch(40), verbose=0)
    similar = found["trajectory"] @ found["image"].T
    ranks = (similar > np.diag(similar)[:, None]).sum(axis=1)
    assert ranks.mean() < 8  # chance: 19.5


@pytest.mark.parametrize("preset", ["published", "small"])
def test_presets_are_the_papers_own(preset):
    config = experiment("trajcross", preset).model
    assert isinstance(config, TrajCrossConfig)
    assert config.octaves == 0
    assert config.adversarial
    assert config.location
    assert config.trajectory_shape == "picture"
    for baseline in ("moco", "acmr", "corr_ae", "dbrlm"):
        assert experiment(baseline, preset).model.encoder == config


def test_trajectories_shorter_than_a_filter_are_refused():
    with pytest.raises(ValueError, match="heights: expected at most 4, the points of a trajectory, received 5"):
        TrajCross(TrajCrossConfig(), schema.TrajectorySpec(32, 4))


@pytest.mark.parametrize(
    "wrong", [{"embedding_size": 15}, {"negatives": -1}, {"trajectory_shape": "line"}, {"sketch_frame": "own"}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        TrajCrossConfig(**wrong)
