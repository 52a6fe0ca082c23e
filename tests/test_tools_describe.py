"""Sizes of the models, against the published figure and a count by hand."""

import json

import pytest

from kfood.tools.main import main


def _describe(capsys, *arguments):
    assert main(["describe", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_describe_small_counts_every_parameter_once(capsys):
    got = _describe(capsys, "acme", "--preset", "small")
    assert got["parameters"] == sum(got["by_part"].values())
    assert got["embedding_size"] == 256
    assert set(got["by_encoder"]) == {"image", "recipe"}
    assert got["inputs"]["image"]["image"]["shape"] == [None, 96, 96, 3]
    without = _describe(capsys, "acme", "--preset", "small", "--variant", "TL")
    assert got["parameters"] - without["parameters"] > 0
    assert got["by_encoder"] == without["by_encoder"]


@pytest.mark.slow
def test_published_acme_is_within_two_percent_of_the_published_size(capsys):
    """98.6 M: MCEN's Table 3. 30,000 words and 4,102 ingredients, two reserved ids each."""
    got = _describe(capsys, "acme", "--preset", "published")
    assert got["vocabulary"] == {"words": 30_002, "ingredients": 4_104, "classes": 1_048}
    assert got["parameters"] == pytest.approx(98.6e6, rel=0.02)
    resnet = 23_587_712  # keras.applications, without its head
    assert got["by_encoder"]["image"] == resnet + (2048 * 1024 + 1024) + (1024 * 1024 + 4 * 1024)
