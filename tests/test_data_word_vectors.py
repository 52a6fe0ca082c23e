"""Word vectors in word2vec's formats, and recipe tables that start from them."""

import keras
import numpy as np
import pytest
from conftest import TINY_RUN

from kfood.data import word_vectors
from kfood.data.dataset import open_dataset
from kfood.models import load_run
from kfood.tools.main import main

WORDS = ["salt", "olive_oil", "crème", "salt"]
VECTORS = np.array([[1.5, -2.0, 0.25], [3.0, 4.0, 5.0], [0.5, 0.0, -1.0], [9.0, 9.0, 9.0]], "float32")


def as_text(words, vectors):
    lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(words, vectors.tolist(), strict=True)]
    return "\n".join([f"{len(words)} {vectors.shape[1]}", *lines, ""]).encode()


def as_binary(words, vectors, end=b"\n"):
    rows = [w.encode() + b" " + row.astype("<f4").tobytes() + end for w, row in zip(words, vectors, strict=True)]
    return f"{len(words)} {vectors.shape[1]}\n".encode() + b"".join(rows)


FILES = {
    "text.vec": as_text(WORDS, VECTORS),
    "no_last_break.txt": as_text(WORDS, VECTORS).rstrip(b"\n"),
    "word2vec.bin": as_binary(WORDS, VECTORS),
    "without_breaks.bin": as_binary(WORDS, VECTORS, b""),
}


@pytest.mark.parametrize("name", FILES)
def test_both_formats(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    width, found = word_vectors.read(tmp_path / name, ["crème", "salt", "pepper"])
    assert width == 3
    assert set(found) == {"crème", "salt"}
    np.testing.assert_array_equal(found["salt"], VECTORS[0])  # the first of two
    np.testing.assert_array_equal(found["crème"], VECTORS[2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.vec", b"salt 1 2 3\n", "expected a first line 'count width'"),
        ("a.bin", b"\x80\x02}q\x00.", "expected a first line 'count width'"),
        ("a.bin", b"4 1000000000\nsalt ", r"expected 4 vectors of width 1000000000 \(at most 10000\)"),
        ("a.bin", b"1000000000 3\nsalt ", "which take at least 14000000000 bytes; received 5"),
        ("a.vec", b"1000000000 3\nsalt ", "which take at least 8000000000 bytes"),
        ("a.bin", as_binary(WORDS, VECTORS)[:-6], "received"),
        ("a.bin", b"1 3\n" + b"x" * 5000, "vector 1 of 1: .* a longer word"),
        ("a.vec", b"2 3\nsalt 1 2 3\npepper 1 2    \n", "vector 2 of 2: "),
        ("a.vec", b"1 3\nsalt 1 2 x\n", "vector 1 of 1: could not convert"),
        ("a.vec", b"1 3\nsalt 1 2 nan\n", "word 'salt': expected finite"),
        ("a.bin", as_binary(["salt"], np.array([[1, np.inf, 0]], "float32")), "word 'salt': expected finite"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        word_vectors.read(tmp_path / name, ["salt"])
    with pytest.raises(FileNotFoundError, match="expected a file of word vectors"):
        word_vectors.read(tmp_path / "none.bin", ["salt"])


def test_tables_start_from_them(rng):
    tokens = keras.Input((2,), dtype="int32")
    encoder = keras.Model(tokens, keras.layers.Embedding(5, 3, name="ingredient_names")(tokens))
    before = encoder.get_layer("ingredient_names").get_weights()[0]
    vectors = {"olive_oil": VECTORS[1], "salt": VECTORS[0]}
    shares = word_vectors.start_tables(
        encoder, vectors, {"words": ["salt"], "ingredient_names": ["saffron", "olive oil", "salt"]}
    )
    assert shares == {"ingredient_names": (2, 3)}
    after = encoder.get_layer("ingredient_names").get_weights()[0]
    np.testing.assert_array_equal(after, [*before[:3], VECTORS[1], VECTORS[0]])  # ids 0 and 1 are reserved


@pytest.mark.slow
def test_training_starts_from_a_file_and_needs_it_no_more(kitchen, tmp_path, capsys):
    words = open_dataset(kitchen).words
    vectors = np.arange(6 * len(words), dtype="float32").reshape(-1, 6) / 100
    path, run = tmp_path / "own.vec", tmp_path / "run"
    path.write_bytes(as_text(words[1:], vectors[1:]))
    still = ("optimizer.learning_rate=0", f"recipe_encoder.vectors={path}")
    arguments = ["--preset", "small", *(part for setting in (*TINY_RUN, *still) for part in ("--set", setting))]
    train = ["train", "acme", "--data", str(kitchen), "--epochs", "1", *arguments]
    assert main([*train, "--run", str(run), "--variant", "TL"]) == 0
    assert f"words: {len(words) - 1} of {len(words)} start from {path}" in capsys.readouterr().out
    path.unlink()
    table = load_run(run).encoders["recipe"].get_layer("words").get_weights()[0]
    np.testing.assert_array_equal(table[3:], vectors[1:])
    assert np.abs(table[2] - vectors[0]).max() > 0
    assert main([*train, "--run", str(tmp_path / "other")]) == 2
    assert "expected a file of word vectors" in capsys.readouterr().err
    path.write_bytes(as_text(WORDS, VECTORS))
    assert main([*train, "--run", str(tmp_path / "other")]) == 2
    assert f"recipe_encoder.word_size: expected 3, the width of {path}, received 6" in capsys.readouterr().err
    path.write_bytes(as_text(["zyzzyva"], vectors[:1]))
    assert main([*train, "--run", str(tmp_path / "other")]) == 2
    assert f"expected words of the dataset in {path}, received none" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "other").exists()
