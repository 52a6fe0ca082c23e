"""A prepared dataset's folder, and the batches streamed from it."""

import collections
import dataclasses
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from kfood import schema
from kfood.data import builder, images, pipeline, streams
from kfood.data.dataset import RecipeRecord, open_dataset

SIZES = {"train": 23, "val": 7, "test": 5}
SIDE = 16


def photo(recipe, index):
    """A picture that tells its recipe (red), which of the photos it is (green), and its columns (blue)."""
    array = np.empty((SIDE, SIDE + 4, 3), np.uint8)
    array[..., 0] = 8 * recipe + 20
    array[..., 1] = 32 * index + 20
    array[..., 2] = np.linspace(0, 250, SIDE + 4)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


def record(split, index):
    sentences = index % 4 + 1
    return RecipeRecord(
        id=f"{split}{index}",
        title=f"Dish {index}",
        ingredients=[f"{n + 1} cups of item{'abc'[n]}" for n in range(index % 3 + 1)],
        ingredient_names=[f"Item{'abc'[n]}" for n in range(index % 3 + 1)],
        instructions=["Stir, then serve."] * sentences,
        class_id=index % 2,
        photos=[photo(index, n) for n in range(1 + index % 7)],
        instruction_vectors=np.full((sentences, 3), index + 1, np.float32),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "data"
    builder.write_recipes(
        path,
        "counted",
        {split: [record(split, index) for index in range(size)] for split, size in SIZES.items()},
        classes=["background", "dish"],
        short_side=SIDE,
        min_word_count=1,
        min_ingredient_count=1,
        instruction_vectors=3,
    )
    return path


@pytest.fixture(scope="module")
def dataset(folder):
    return open_dataset(folder)


def spec_of(dataset, **limits):
    defaults = {"image_size": 14, "ingredients": 2, "ingredient_words": 4, "instructions": 3, "instruction_words": 2}
    return dataset.spec(**{**defaults, **limits})


def training(dataset, batch_size=5, **options):
    return pipeline.recipe_batches(dataset, "train", spec_of(dataset), batch_size, training=True, **options)


def take(stream, count):
    return list(stream.take(count).as_numpy_iterator())


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for left, right in zip(first, second, strict=True):
        assert list(left) == list(right)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])


@pytest.fixture(scope="module")
def with_recipes_alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "data"
    alone = [dataclasses.replace(record("alone", 20 + index), photos=[]) for index in range(7)]
    return builder.write_recipes(
        path,
        "alone",
        {split: [record(split, index) for index in range(9)] for split in SIZES} | {"without_photos": alone},
        classes=["background", "dish"],
        short_side=SIDE,
        min_word_count=1,
        min_ingredient_count=1,
        instruction_vectors=3,
    )


def test_recipes_without_photos_stand_beside_each_batch(with_recipes_alone):
    spec = spec_of(with_recipes_alone, title_words=2)

    def stream(**options):
        made = pipeline.recipe_batches(with_recipes_alone, "train", spec, 4, training=True, seed=5, **options)
        return take(made, 8)  # four epochs of two batches

    plain, both = stream(), stream(without_photos=5)
    for alone, batch in zip(plain, both, strict=True):
        for name, values in alone.items():
            np.testing.assert_array_equal(batch[name], values)
        extra = {name for name in batch if name not in alone}
        assert extra == {f"without_photo_{name}" for name in spec.recipe_inputs()}
        assert batch["without_photo_title"].shape == (5, 2)
    seen = {with_recipes_alone.words[word - 2] for batch in both for word in batch["without_photo_title"][:, 1]}
    assert seen == {str(number) for number in range(20, 27)}
    for epoch in range(4):
        rows = np.concatenate([both[2 * epoch + step]["without_photo_title"][:, 1] for step in range(2)])
        assert len(set(rows[:7])) == 7  # all of them, before any comes again
        assert len(rows) == 10
    assert_same(stream(without_photos=5, first_epoch=2)[:4], both[4:])
    assert_same(stream(without_photos=0), plain)


def test_without_such_recipes_nothing_is_added(dataset):
    assert_same(take(training(dataset, without_photos=3), 2), take(training(dataset), 2))


def test_dataset_reads_back(dataset):
    assert dataset.splits == SIZES
    assert dataset.classes == ["background", "dish"]
    assert dataset.ingredients == ["itema", "itemb", "itemc"]
    assert dataset.instruction_vectors == 3
    assert dataset.spec().word_vocabulary == len(dataset.words) + 2
    assert dataset.spec().ingredient_vocabulary == 5
    assert dataset.spec(title_words=4).title_words == 4
    rows = list(dataset.texts("train"))
    wanted = [record("train", int(row["id"].removeprefix("train"))) for row in rows]
    assert sorted(row["id"] for row in rows) == sorted(f"train{i}" for i in range(23))
    for row, source in zip(rows, wanted, strict=True):
        assert row == {name: getattr(source, name) for name in row}
    assert list(dataset.photos("train")) == [source.photos[0] for source in wanted]
    assert [dataset.photo("train", index) for index in (22, 0, 7)] == [wanted[index].photos[0] for index in (22, 0, 7)]


def test_photo_index_is_checked(dataset):
    with pytest.raises(IndexError, match="expected an index from 0 to 4, received 5"):
        dataset.photo("test", 5)


def test_tfds_reads_the_same_folder(dataset):
    examples = list(tfds.builder_from_directory(dataset.path / "recipes" / "1.0.0").as_dataset(split="val"))
    assert len(examples) == SIZES["val"]
    example = examples[0]
    source = record("val", int(example["id"].numpy().decode().removeprefix("val")))
    assert example["images"].numpy().tolist() == source.photos[:5]
    np.testing.assert_array_equal(example["instruction_vectors"], source.instruction_vectors)


def test_evaluation_is_one_pass_in_disk_order(dataset):
    spec = spec_of(dataset, title_words=2)
    batches = take(pipeline.recipe_batches(dataset, "val", spec, 3, training=False), -1)
    assert [len(batch["id"]) for batch in batches] == [3, 3, 1]
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    rows = list(dataset.texts("val"))
    assert [name.decode() for name in whole["id"]] == [row["id"] for row in rows]
    assert list(whole) == [
        "id",
        "image",
        "title",
        "ingredients",
        "instructions",
        "ingredient_ids",
        "class_id",
        "recipe_number",
    ]
    numbers = whole["recipe_number"]
    assert (numbers.dtype, len(set(numbers.tolist()))) == (np.int64, 7)
    again = take(pipeline.recipe_batches(dataset, "val", spec, 2, training=False), -1)  # the same in other batches
    np.testing.assert_array_equal(np.concatenate([batch["recipe_number"] for batch in again]), numbers)
    for name, (shape, dtype) in {**spec.image_inputs(), **spec.recipe_inputs()}.items():
        assert whole[name].shape == (7, *shape)
        assert whole[name].dtype == dtype

    def word_id(word):
        return dataset.words.index(word) + 2 if word in dataset.words else 1

    for i, row in enumerate(rows):
        index = int(row["id"].removeprefix("val"))
        decoded = images.decode_image(tf.constant(photo(index, 0)))
        np.testing.assert_array_equal(whole["image"][i], images.evaluation_transform(decoded, 14))
        assert whole["title"][i].tolist() == [word_id("dish"), word_id(str(index))]
        lines = [[word_id(w) for w in (str(n + 1), "cups", "of", f"item{'abc'[n]}")] for n in range(index % 3 + 1)]
        assert whole["ingredients"][i].tolist() == [*lines, [0] * 4, [0] * 4][:2]
        steps = [[word_id("stir"), word_id("then")]] * (index % 4 + 1)
        assert whole["instructions"][i].tolist() == [*steps, [0, 0], [0, 0]][:3]
        names = [dataset.ingredients.index(f"item{'abc'[n]}") + 2 for n in range(index % 3 + 1)]
        assert whole["ingredient_ids"][i].tolist() == [*names, 0, 0][:2]
        assert whole["class_id"][i] == index % 2


def test_ingredient_names_as_input(dataset):
    spec = spec_of(dataset, ingredient_unit="name", ingredient_words=1)
    batch = take(pipeline.recipe_batches(dataset, "val", spec, 7, training=False), 1)[0]
    np.testing.assert_array_equal(batch["ingredients"][..., 0], batch["ingredient_ids"])


def test_sentence_vectors_are_cut_and_padded(dataset):
    spec = spec_of(dataset, instruction_vectors=3)
    batch = take(pipeline.recipe_batches(dataset, "val", spec, 7, training=False), 1)[0]
    assert "instructions" not in batch
    assert batch["instruction_vectors"].dtype == np.float32
    for name, vectors in zip(batch["id"], batch["instruction_vectors"], strict=True):
        index = int(name.decode().removeprefix("val"))
        rows = np.arange(3) < index % 4 + 1
        np.testing.assert_array_equal(vectors, np.repeat(rows[:, None] * (index + 1.0), 3, axis=1))


@pytest.fixture(scope="module")
def epochs(dataset):
    """Four epochs of four batches of five, seed 3."""
    return take(training(dataset, seed=3), 16)


@pytest.fixture(scope="module")
def draws(dataset):
    """Sixty epochs of the whole split, seed 0: recipe index → its pictures."""
    pictures = collections.defaultdict(list)
    for batch in take(training(dataset, batch_size=23), 60):
        for name, image in zip(batch["id"].tolist(), batch["image"], strict=True):
            pictures[int(name.decode().removeprefix("train"))].append(image)
    return pictures


def test_an_epoch_holds_each_recipe_at_most_once_in_full_batches(dataset, epochs):
    assert pipeline.steps_per_epoch(dataset, "train", 5) == 4
    orders = [[name for batch in epochs[i : i + 4] for name in batch["id"].tolist()] for i in (0, 4, 8, 12)]
    assert all(len(ids) == len(set(ids)) == 20 for ids in orders)
    assert len(set(map(tuple, orders))) == 4
    assert len(set(map(frozenset, orders))) > 1  # which recipes are left over differs too


def test_a_stream_follows_from_its_seed_whatever_the_global_seed(dataset, epochs):
    tf.random.set_seed(2)
    assert_same(epochs[:9], take(training(dataset, seed=3), 9))
    other = take(training(dataset, seed=4), 1)[0]
    assert other["id"].tolist() != epochs[0]["id"].tolist()


def test_first_epoch_skips_whole_epochs(dataset, epochs):
    assert_same(epochs[8:], take(training(dataset, seed=3, first_epoch=2), 8))


def test_pictures_differ_from_epoch_to_epoch(draws):
    one_photo = [0, 7, 14, 21]
    for index in one_photo:
        assert len({image.tobytes() for image in draws[index]}) > 10  # of 2 × 6 windows, and their mirror images


def test_photos_are_drawn_from_the_first_five(draws):
    assert sorted(draws) == list(range(23))
    for index, pictures in draws.items():
        counts = collections.Counter()
        for image in pictures:
            red, green = image[..., 0].mean(), image[..., 1].mean()
            assert abs(red - (8 * index + 20)) < 3  # the picture belongs to the recipe
            counts[round((green - 20) / 32)] += 1
        photos = min(index % 7 + 1, 5)
        assert sorted(counts) == list(range(photos))
        # 60 draws: each photo 60 / photos times, give or take more than 5 standard deviations of the binomial
        assert max(abs(count - 60 / photos) for count in counts.values()) < 20


def test_augmentation_is_passed_on(dataset, draws):
    strong = take(training(dataset, batch_size=23, augmentation=images.Augmentation(brightness=0.3)), 1)[0]
    indices = [int(name.decode().removeprefix("train")) for name in strong["id"].tolist()]
    plain = np.stack([draws[index][0] for index in indices])
    assert np.abs(plain - strong["image"]).max() > 10
    np.testing.assert_allclose(np.ptp(strong["image"][..., 0], axis=(1, 2)), np.ptp(plain[..., 0], axis=(1, 2)), atol=3)


def test_shuffling_in_blocks_over_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "SHUFFLE_BLOCK", 6)
    files = []
    for file in range(4):
        files.append(str(tmp_path / f"{file}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for item in range(10):
                writer.write(f"{file}{item}".encode())

    def order(key):
        return list(streams.shuffled(files, tf.constant(key)).as_numpy_iterator())

    everything = sorted(f"{file}{item}".encode() for file, item in itertools.product(range(4), range(10)))
    first = order([0, 1])
    assert sorted(first) == everything
    assert first == order([0, 1])
    assert first != order([0, 2])
    assert len({name[:1] for name in first[:6]}) > 1  # files are mixed


def test_batch_larger_than_the_split(dataset):
    with pytest.raises(ValueError, match="batch size: expected from 1 to 23, the items of split 'train'"):
        training(dataset, batch_size=24)
    with pytest.raises(ValueError, match="batch size: expected from 1 to 5"):
        pipeline.steps_per_epoch(dataset, "test", 0)
    with pytest.raises(ValueError, match="batch size: expected at least 1"):
        pipeline.recipe_batches(dataset, "test", spec_of(dataset), 0, training=False)


def test_unknown_split(dataset):
    with pytest.raises(ValueError, match="split: expected one of train, val, test, received 'dev'"):
        pipeline.recipe_batches(dataset, "dev", spec_of(dataset), 2, training=False)


def test_spec_of_another_dataset(dataset):
    other = dataclasses.replace(spec_of(dataset), word_vocabulary=99)
    with pytest.raises(ValueError, match="word vocabulary: expected 99 ids"):
        pipeline.recipe_batches(dataset, "train", other, 2, training=False)
    with pytest.raises(ValueError, match="instruction_vectors: expected 0 or the dataset's width 3, received 8"):
        pipeline.recipe_batches(dataset, "train", spec_of(dataset, instruction_vectors=8), 2, training=False)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_changed_vocabulary_is_noticed(copy):
    words = copy / "vocabulary" / "words.txt"
    words.write_text(words.read_text().replace("stir", "fry"))
    with pytest.raises(ValueError, match="expected the vocabulary that the dataset was made with"):
        open_dataset(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, r"expected format 2 of kind 'recipes', received \(1, 'recipes'\); prepare it anew"),
        ({"kind": "tracks"}, "kind 'recipes'"),
        ({"splits": None}, "not the description of a prepared dataset"),
        ({"vocabulary": {"token_rule": schema.TOKEN_RULE}}, "not the description of a prepared dataset"),
        ({"vocabulary": {}}, r"expected ids by token rule 2, received ids by rule 1, .*: prepare the dataset"),
        ({"vocabulary": {"token_rule": 3}}, "received ids by rule 3, of another version of kfood: prepare the dataset"),
    ],
)
def test_other_descriptions_are_refused(copy, change, message):
    path = copy / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        open_dataset(copy)


def test_damaged_description_is_refused(copy):
    (copy / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match="not the description of a prepared dataset"):
        open_dataset(copy)
