"""Recipe–photo pairs of one's own: found, split, counted; leaks between splits."""

import csv
import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kfood.data import pairs
from kfood.data.dataset import RecipeRecord, open_dataset
from kfood.data.drops import Drops
from kfood.data.leaks import LeakCheck, photo_hash
from kfood.data.overview import Overview
from kfood.tools.main import main


def picture(seed, size=(96, 64)):
    """A smooth random picture: JPEG bytes."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(encoded, "JPEG", quality=92)
    return encoded.getvalue()


def recipe(number, **more):
    return {
        "title": f"Soup number {number}",
        "ingredients": [f"{number} onions", "1 l water"],
        "instructions": ["Chop.", "Boil."],
        **more,
    }


@pytest.fixture
def own(tmp_path):
    """Twenty recipes in a CSV and their photos under names of their own."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    with open(tmp_path / "recipes.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Dish name", "Ingredients", "Directions", "Image_Name"])
        for number in range(20):
            folder = "photos/more" if number % 2 else "photos"
            (tmp_path / folder / f"IMG {number}.jpg").write_bytes(picture(number))
            content = recipe(number)
            writer.writerow(
                [content["title"], repr(content["ingredients"]), "\n".join(content["instructions"]), f"IMG {number}"]
            )
    return tmp_path


def prepare(*arguments):
    return main(["prepare", "pairs", *map(str, arguments)])


def test_a_csv_and_a_folder_become_a_dataset(own, capsys):
    assert prepare("--recipes", own / "recipes.csv", "--photos", own / "photos", "--out", own / "data") == 0
    data = open_dataset(own / "data")
    assert data.splits == {"train": 16, "val": 2, "test": 2}
    assert {"onions", "water"} <= set(data.ingredients)
    told = " ".join(capsys.readouterr().out.split())
    assert "title read from Dish name; ingredients read from Ingredients; instructions read from Directions" in told
    assert "(20 pictures), then beside the recipe files" in told
    with Image.open(own / "data" / "pairs.png") as image:
        assert image.width > 1000
    assert json.loads((own / "data" / "prepare.json").read_text())["leaks"]["found"] == []


def scanned(source, photos=None, **options):
    found = pairs.Pairs(source, photos, **options)
    found.scan()
    return found


def ids(found):
    return {split: [record.id for record in found.records(split)] for split in ("train", "val", "test")}


def write(path, recipes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(recipes))
    return path


def test_shares_are_exact_and_a_recipe_keeps_its_place_by_seed(tmp_path):
    rows = [recipe(number, id=f"r{number}", image=f"{number}") for number in range(40)]
    for number in range(40):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number, (32, 32)))
    source = write(tmp_path / "a.json", rows)
    first = ids(scanned(source, seed=1, val_share=0.25, test_share=0.1))
    assert {split: len(own) for split, own in first.items()} == {"train": 26, "val": 10, "test": 4}
    write(tmp_path / "a.json", rows[::-1])
    again = ids(scanned(source, seed=1, val_share=0.25, test_share=0.1))
    assert {split: set(own) for split, own in again.items()} == {split: set(own) for split, own in first.items()}
    assert ids(scanned(source, seed=2, val_share=0.25, test_share=0.1)) != first


def test_recipes_to_train_on_are_kept_without_photos_on_request(tmp_path):
    rows = [recipe(number, id=f"r{number}", image=f"{number}") for number in range(20)]
    for number in range(0, 20, 2):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number, (32, 32)))
    source = write(tmp_path / "a.json", rows)
    found = scanned(source, val_share=0.2, test_share=0.2, keep_without_photos=True)
    kept = ids(found)
    alone = list(found.records("without_photos"))
    assert found.candidates == {"train": len(kept["train"]), "val": 4, "test": 4, "without_photos": len(alone)}
    assert all(int(record.id[1:]) % 2 and record.photos == [] and record.instructions for record in alone)
    others = ids(scanned(source, val_share=0.2, test_share=0.2))
    assert kept == others
    told = found.dropped.by_reason["photo file missing"]
    assert told["count"] == 10 - len(alone)
    assert not {name.split()[0] for name in told["first"]} & {record.id for record in alone}


def test_splits_by_a_column_and_unknown_ones_are_named(tmp_path):
    for number in range(4):
        (tmp_path / f"r{number}.jpg").write_bytes(picture(number, (32, 32)))
    names = ["training", "dev", "Test", "holdout"]
    rows = [recipe(number, id=f"r{number}", fold=names[number]) for number in range(4)]
    found = scanned(write(tmp_path / "a.json", rows), columns={"split": "fold"})
    assert ids(found) == {"train": ["r0"], "val": ["r1"], "test": ["r2"]}
    assert found.dropped.by_reason["unknown split"]["first"] == ["r3"]


@pytest.mark.parametrize(
    ("said", "lies"),
    [
        ("a/b/soup.jpg", "a/b/soup.jpg"),
        ("soup", "a/b/soup.jpg"),
        ("SOUP.JPEG", "a/b/soup.jpg"),
        ("/home/me/pictures/soup.png", "soup.jpg"),
        ("C:\\pictures\\soup.png", "soup.jpg"),
        ("https://example.org/x/soup%201.jpg?width=3", "soup 1.jpg"),
        (["soup-1.jpg", "soup-2.jpg"], "soup-2.jpg"),
        ('["soup.jpg"]', "soup.jpg"),
        ({"@type": "ImageObject", "url": "https://example.org/soup.jpg"}, "soup.jpg"),
        (None, "r0.jpg"),
        (None, "Soup number 0.jpg"),
        (None, "soup-number-0.webp"),
    ],
)
def test_ways_to_say_which_photo(tmp_path, said, lies):
    (tmp_path / "photos" / lies).parent.mkdir(parents=True)
    (tmp_path / "photos" / lies).write_bytes(picture(1, (32, 32)))
    source = write(tmp_path / "x" / "a.json", [recipe(0, id="r0", image=said)])
    found = scanned(source, tmp_path / "photos", val_share=0.1, test_share=0.1)
    assert ids(found)["train"] == ["r0"]


def test_photos_that_cannot_be_used_have_their_reasons(tmp_path):
    (tmp_path / "photos" / "b").mkdir(parents=True)
    (tmp_path / "photos" / "twice.jpg").write_bytes(picture(1, (32, 32)))
    (tmp_path / "photos" / "b" / "twice.png").write_bytes(picture(2, (32, 32)))
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    rows = [
        recipe(0, id="r0", image="https://example.org/a.jpg"),
        recipe(1, id="r1", image="gone.jpg"),
        recipe(2, id="r2", image="twice"),
        recipe(3, id="r3", image="broken.jpg"),
        recipe(4, id="r4"),
        recipe(5, id="r4"),
        {"title": "No more than a name", "id": "r6"},
    ]
    found = scanned(write(tmp_path / "x" / "a.json", rows), tmp_path / "photos")
    assert ids(found) == {"train": [], "val": [], "test": []}
    assert {reason: drop["first"] for reason, drop in found.dropped.by_reason.items()} == {
        "photo is a URL, not fetched": ["r0 (a.json)"],
        "photo file missing": ["r1 (a.json#2)"],
        "several photos of that name": ["r2 (a.json#3)"],
        "unreadable photo": ["r3 (a.json#4)"],
        "no photo found": ["r4 (a.json#5)"],
        "duplicate id": ["r4"],
        "neither ingredients nor instructions": ["r6"],
    }


def test_covers_beside_recipe_files_of_folders_of_their_own(tmp_path):
    for number in range(3):
        write(tmp_path / f"Soup {number}" / "recipe.json", recipe(number))
        (tmp_path / f"Soup {number}" / "full.jpg").write_bytes(picture(number, (32, 32)))
        (tmp_path / f"Soup {number}" / "thumb.jpg").write_bytes(picture(9, (32, 32)))
    found = scanned(tmp_path)
    records = [record for split in ("train", "val", "test") for record in found.records(split)]
    assert [photo_hash(record.photos[0]) for record in records] == [
        photo_hash(picture(int(record.title[-1]), (32, 32))) for record in records
    ]
    assert len(records) == 3


def test_classes_of_titles():
    titles = {
        "a": "Beef stew with carrots",
        "b": "Quick beef stew",
        "c": "Beef Stew",
        "d": "Apple pie",
        "e": "Pear pie",
        "f": "Cherry pie (easy)",
        "g": "Water",
    }
    names, number = pairs.classes_of_titles(titles, 3)
    assert names == ["background", "beef stew", "pie"]
    assert number == {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 2}


def record(name, photo, title="Soup", ingredients=("x",)):
    return RecipeRecord(name, title, list(ingredients), ["x"], ["Boil."], 0, [photo])


def changed(photo, scale, quality, blur=0.0):
    with Image.open(io.BytesIO(photo)) as image:
        size = (round(image.width * scale), round(image.height * scale))
        copy = image.resize(size, Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(blur))
    encoded = io.BytesIO()
    copy.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def test_leaks_are_found_and_dropped_from_the_larger_split():
    dropped = Drops()
    check = LeakCheck(drop=True, dropped=dropped)
    test = [record("t0", picture(0), "A"), record("t1", picture(1), "B", ("1 cup MILK,", "2 eggs"))]
    train = [
        record("same photo, smaller", changed(picture(0), 0.5, 60), "C"),
        record("same words", picture(3), "b", ("1 cup milk", "2 eggs!")),
        record("another", picture(4), "B", ("1 cup milk", "3 eggs")),
    ]
    assert check.order({"train": 3, "test": 2, "val": 2}) == ["test", "val", "train"]
    assert [item.id for item in check.passing("test", iter(test))] == ["t0", "t1"]
    assert [item.id for item in check.passing("train", iter(train))] == ["another"]
    assert {reason: drop["first"] for reason, drop in dropped.by_reason.items()} == {
        "same photo as in test": ["same photo, smaller = t0"],
        "same recipe as in test": ["same words = t1"],
    }
    assert check.summary()["count"] == [
        {"split": "train", "other_split": "test", "what": "photo", "count": 1},
        {"split": "train", "other_split": "test", "what": "recipe", "count": 1},
    ]


def test_leaks_are_kept_and_told_without_the_flag(own, capsys):
    with open(own / "recipes.csv", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for number in range(20):  # every recipe twice under another title, with a recompressed photo
        copy = changed(picture(number), 0.6, 70)
        (own / "photos" / f"copy {number}.jpg").write_bytes(copy)
        rows.append([f"Copy {number}", "['salt']", "Stir.", f"copy {number}"])
    with open(own / "recipes.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    arguments = ["--recipes", own / "recipes.csv", "--photos", own / "photos"]
    assert prepare(*arguments, "--out", own / "kept", "--test-share", 0.3) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "hold the same photo as test" in told
    assert "Leaks were kept; --drop-leaks leaves them out" in told
    assert sum(open_dataset(own / "kept").splits.values()) == 40
    assert prepare(*arguments, "--out", own / "dropped", "--test-share", 0.3, "--drop-leaks") == 0
    found = json.loads((own / "kept" / "prepare.json").read_text())["leaks"]["found"]
    assert sum(open_dataset(own / "dropped").splits.values()) == 40 - len(found)


def test_a_planted_leak_among_real_photos_is_found(shared):
    from kfood.data.recipe1m import load_photo

    paths = sorted(pathlib.Path(shared, "data/recipes/images").rglob("*.jpg"))
    photos = [load_photo(path, 256) for path in paths]
    chance = np.random.default_rng(5)
    chosen = chance.permutation(len(photos))
    planted, others = chosen[:30], chosen[30:]
    copies = [
        changed(photos[index], float(chance.choice([0.4, 0.7, 1.2])), int(chance.choice([45, 60, 80])))
        if place < 10
        else photos[index]
        for place, index in enumerate(planted)
    ]
    check = LeakCheck(drop=False, dropped=Drops())
    test = [record(f"copy {index}", photo, f"copy {index}") for index, photo in zip(planted, copies, strict=True)]
    train = [record(str(index), photos[index], str(index)) for index in [*planted, *others]]
    assert len(list(check.passing("test", iter(test)))) == 30
    assert len(list(check.passing("train", iter(train)))) == len(photos)
    right = sum(leak.other_id == f"copy {leak.id}" for leak in check.leaks)
    assert right >= 29
    assert len(check.leaks) - right <= 1


def test_overview_samples_every_split():
    seen = Overview(shown=6, seed=1)
    for split in ("train", "test"):
        list(seen.passing(split, iter(record(f"{split}{i}", picture(i), "long title " * 9) for i in range(30))))
    with Image.open(io.BytesIO(seen.draw())) as image:
        assert image.getbbox() is not None
    assert {split for split, _ in seen._kept} == {"train", "test"}


def test_shares_that_leave_nothing_to_train_are_refused(capsys):
    with pytest.raises(SystemExit):
        prepare("--recipes", ".", "--val-share", "0.6", "--test-share", "0.5", "--out", "out")
    assert "expected less than 1 together" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipes", "gone.csv"], "gone.csv: expected a file of recipes or a folder"),
        (["--recipes", ".", "--photos", "gone"], "gone: expected a folder of photos"),
        (["--recipes", "."], "expected recipe files"),
    ],
)
def test_refusals_are_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert prepare(*arguments, "--out", "out") != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
