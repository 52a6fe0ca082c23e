"""Sizes of the models, against the published figure and a count by hand."""

import itertools
import json

import pytest

from kfood.models import MODELS
from kfood.tools.main import main


def _describe(capsys, *arguments):
    assert main(["describe", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_describe_small_counts_every_parameter_once(capsys):
    got = _describe(capsys, "acme", "--preset", "small")
    assert got["parameters"] == sum(got["by_part"].values())
    assert got["parameters"] == got["encoder_parameters"] + got["training_only_parameters"]
    shared = 256 * 256 + 2 * 256  # FC, one for both encoders
    assert got["encoder_parameters"] == sum(got["by_encoder"].values()) - shared
    assert got["embedding_size"] == 256
    assert set(got["by_encoder"]) == {"image", "recipe"}
    assert got["inputs"]["image"]["image"]["shape"] == [None, 96, 96, 3]
    without = _describe(capsys, "acme", "--preset", "small", "--variant", "TL")
    assert got["parameters"] - without["parameters"] > 0
    assert got["by_encoder"] == without["by_encoder"]
    assert (without["encoder_parameters"], without["training_only_parameters"]) == (got["encoder_parameters"], 0)


@pytest.mark.slow
def test_published_acme_is_within_two_percent_of_the_published_size(capsys):
    """98.6 M: MCEN's Table 3. 30,000 words and 4,102 ingredients, two reserved ids each."""
    got = _describe(capsys, "acme", "--preset", "published")
    assert got["vocabulary"] == {"words": 30_002, "ingredients": 4_104, "classes": 1_048}
    assert got["parameters"] == pytest.approx(98.6e6, rel=0.02)
    resnet = 23_587_712  # keras.applications, without its head
    assert got["by_encoder"]["image"] == resnet + (2048 * 1024 + 1024) + (1024 * 1024 + 4 * 1024)


@pytest.mark.slow
def test_published_r2gan_is_within_two_percent_of_the_published_size(capsys):
    """89.9 M: MCEN's Table 3; the encoders are ACME's without the shared layer."""
    got = _describe(capsys, "r2gan", "--preset", "published")
    assert got["parameters"] == pytest.approx(89.9e6, rel=0.02)
    assert got["by_part"]["discriminator_1"] == got["by_part"]["discriminator_2"] == _discriminator(128)
    assert got["training_only_parameters"] == got["parameters"] - sum(got["by_encoder"].values())


def _discriminator(width):
    """Four 4 × 4 convolutions without bias, each with the four rows of its normalisation, then one logit."""
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    convolutions = sum(16 * a * b for a, b in itertools.pairwise(channels))
    return convolutions + 4 * sum(channels[1:]) + 16 * channels[-1] + 1


@pytest.mark.parametrize("command", ["describe", "train"])
def test_help_names_every_model(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert [name for name in MODELS if name not in shown] == []
