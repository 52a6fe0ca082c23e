"""What every engine promises, from building to reopening after a kill, beside the plainest search."""

import dataclasses
import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import vector_items
from oracles import brute_force
from vector_items import DIM, SOURCE, Encoder

from kfood import search
from kfood.search import engines, exact, faiss_engines, milvus, updating

LEAST = {"exact": 1, "int8": 1, "binary": 0.6, "faiss-flat": 1, "faiss-hnsw": 0.95, "faiss-ivfpq": 0.6, "milvus": 0.95}
"""How much of the exact answer is found, at least; of rows taken at random it would be a quarter, or less."""

PACKAGES = {"faiss": ("faiss",), "milvus": ("pymilvus", "milvus_lite")}


@pytest.fixture(params=engines.NAMES)
def name(request, monkeypatch):
    """Every engine whose package is here, made to work on some hundred rows, and to follow every change at once."""
    for package in PACKAGES.get(request.param.split("-")[0], ()):
        pytest.importorskip(package, reason=f"needs kfood[{request.param.split('-')[0]}]")
    monkeypatch.setattr("kfood.search.building._RECALL_QUERIES", 20)
    monkeypatch.setattr("kfood.search.index.BLOCK", 0)  # few rows are searched by the engine, too
    monkeypatch.setattr(faiss_engines.Faiss, "lag", lambda self, place: 0)
    monkeypatch.setattr(milvus.Milvus, "lag", lambda self, place: 0)
    small = dataclasses.replace(faiss_engines.ENGINES["ivfpq"], least=256, candidates=(20, 100))
    monkeypatch.setitem(faiss_engines.ENGINES, "ivfpq", small)
    monkeypatch.setattr("kfood.search.binary.Binary.candidates", (20, 100))
    return request.param


def check(path, vectors, distance, random, least, **options):
    """Searches both sides: all that is found is there, at its distance, and nearly all of it is the nearest."""
    index = search.Index.open(path)
    assert len(index) == len(vectors)
    ids = list(vectors)
    hits, wanted = 0, 0
    for place, side in enumerate(("photos", "recipes")):
        gallery = np.array([vectors[id][place] for id in ids])
        for query in [gallery[0], *random.normal(size=(4, DIM)).astype(np.float32), gallery[-1] + np.float32(0.01)]:
            expected = dict(zip(ids, brute_force(query, gallery, distance), strict=True))
            found = index.search(query, side, 5, **options)
            assert len(found) == min(5, len(ids))
            assert len({result.id for result in found}) == len(found)
            assert [result.rank for result in found] == list(range(1, len(found) + 1))
            distances = [result.distance for result in found]
            assert distances == sorted(distances)
            assert distances == pytest.approx([expected[result.id] for result in found], abs=1e-9)
            assert all(result.title == f"soup {result.id}" for result in found)
            near = sorted(expected.values())[: len(found)]
            hits += sum(distance <= near[-1] + 1e-9 for distance in distances)
            wanted += len(found)
    assert hits >= least * wanted
    everything = index.search(gallery[0], "recipes", len(ids) + 7, **options)
    assert [result.distance for result in everything] == pytest.approx(
        np.sort(brute_force(gallery[0], gallery, distance)), abs=1e-9
    )
    return index


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "dot"])
def test_a_life(name, distance, tmp_path, monkeypatch):
    monkeypatch.setattr(updating, "WORTH", 0)
    random = np.random.default_rng(3)
    path, encoder = tmp_path / "index", Encoder(distance)
    least = LEAST[name]
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(400)])
    description = search.build_index(path, encoder, vector_items.items(vectors), engine=name, **SOURCE)
    assert description["engine"]["rows"] == 400
    index = check(path, vectors, distance, random, least)
    if name != "exact":
        assert all(least <= description["engine"]["recall"][side] <= 1 for side in ("photos", "recipes"))
        picked = index._finder("photos")(index.embeddings("photos")[0], 2, None)
        assert 2 <= len(picked) <= 100  # it picks, or all the rest here would be of the index

    more = vector_items.pairs(random, [f"b{number}" for number in range(37)] + [f"a{number}" for number in range(7)])
    given = [*vector_items.items(vector_items.pairs(random, ["b3", "a2"])), *vector_items.items(more)]
    change = search.add_items(path, encoder, given, **SOURCE)  # b3 and a2 come twice: the later counts
    assert change == search.Change(37, 7, 0, (), 437)
    vectors |= more
    check(path, vectors, distance, random, least)

    gone = [f"a{number}" for number in range(5, 25)] + ["b0"]
    assert search.delete_items(path, gone) == search.Change(0, 0, 21, (), 416)
    for id in gone:
        del vectors[id]
    index = check(path, vectors, distance, random, least)
    assert index.description["engine"]["rows"] == index.description["rows"] == 446
    assert (path / "1").is_dir()

    gone = list(vectors)[:300]  # more than are left: these are written anew
    search.delete_items(path, gone)
    for id in gone:
        del vectors[id]
    index = check(path, vectors, distance, random, least)
    assert index.description["rows"] == 116
    assert not (path / "1").exists()

    search.delete_items(path, list(vectors))
    index = search.Index.open(path)
    assert (len(index), index.search(np.ones(DIM), "photos", 3), index.rows) == (0, [], {})
    one = vector_items.pairs(random, ["only"])
    search.add_items(path, encoder, vector_items.items(one), **SOURCE)
    check(path, one, distance, random, 1)


def test_filters(name, tmp_path):
    """The nearest of those that may be found, not what is left of the nearest; those deleted are not found again."""
    random = np.random.default_rng(4)
    path, encoder = tmp_path / "index", Encoder()
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(400)])

    def ingredients(id):
        number = int(id[1:])
        return ["2 leeks"] * (number % 2) + ["walnuts, chopped"] * (number % 3 == 0) + ["salt"]

    search.build_index(path, encoder, vector_items.items(vectors, ingredients), engine=name, **SOURCE)
    search.delete_items(path, ["a1", "a5"])
    index = search.Index.open(path)
    for having, lacking, chosen in (
        (["leek"], [], lambda number: number % 2),
        (["leek"], ["walnut"], lambda number: number % 2 and number % 3),
        ([], ["leek"], lambda number: number % 2 == 0),
        (["salt"], [], lambda number: True),
        (["beef"], [], lambda number: False),
    ):
        left = {id: pair for id, pair in vectors.items() if id not in ("a1", "a5") and chosen(int(id[1:]))}
        among = index.having(having, lacking)
        assert among.sum() == len(left)
        gallery = np.array([pair[0] for pair in left.values()]).reshape(-1, DIM)
        hits = 0
        for query in random.normal(size=(6, DIM)).astype(np.float32):
            found = index.search(query, "photos", 5, among=among)
            assert all(result.id in left for result in found)
            assert len(found) == min(5, len(left))
            near = np.sort(brute_force(query, gallery, "euclidean"))
            hits += sum(result.distance <= near[4] + 1e-9 for result in found)
        assert hits >= (LEAST[name] * 30 if left else 0)
    assert index.having([], []) is None


def test_what_is_no_number_is_refused(name, tmp_path):
    random = np.random.default_rng(4)
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(300)])
    path, encoder = tmp_path / "index", Encoder()
    for wrong in (np.nan, np.inf):
        for place in (0, 1):
            broken = vector_items.pairs(random, ["b1", "b2"])
            broken["b2"][place][7] = wrong
            message = f"b2: expected an embedding of finite numbers, received one of its {('photos', 'recipes')[place]}"
            with pytest.raises(ValueError, match=message):
                search.build_index(path, encoder, vector_items.items(vectors | broken), engine=name, **SOURCE)
            assert not path.exists()
    search.build_index(path, encoder, vector_items.items(vectors), engine=name, **SOURCE)
    with pytest.raises(ValueError, match="b2: expected an embedding of finite numbers"):
        search.add_items(path, encoder, vector_items.items(broken), **SOURCE)
    index = check(path, vectors, "euclidean", random, LEAST[name])
    query = np.zeros(DIM)
    query[3] = np.nan
    with pytest.raises(ValueError, match="query: expected finite numbers, received NaN or infinity"):
        index.search(query, "photos")


def test_another_bundle_is_refused(name, tmp_path):
    random = np.random.default_rng(4)
    vectors, path = vector_items.pairs(random, ["a", "b"]), tmp_path / "index"
    search.build_index(path, Encoder(), vector_items.items(vectors), engine=name, **SOURCE)
    before = (path / "index.json").read_bytes()
    more = vector_items.items(vector_items.pairs(random, ["c"]))
    with pytest.raises(ValueError, match=r"expected the bundle that made the index .*abab.*received .*0000"):
        search.add_items(path, Encoder(sha256="00" * 32), more, **SOURCE)
    with pytest.raises(ValueError, match="precision: expected float32, as of the index, received int8"):
        search.add_items(path, Encoder(), more, precision="int8", **SOURCE)
    photos = [dataclasses.replace(each, recipe=None) for each in more]
    with pytest.raises(ValueError, match="items: expected photos and recipes, received photos"):
        search.add_items(path, Encoder(), photos, **SOURCE)
    with pytest.raises(ValueError, match="expected ids of its items, received 2 that are not: 'x', 'y'; nothing was"):
        search.delete_items(path, ["a", "x", "y"])
    assert (path / "index.json").read_bytes() == before
    check(path, vectors, "euclidean", random, 1)


KILLED = """
import os, signal, sys
import numpy as np
sys.path[:0] = [sys.argv[3]]
import vector_items
from kfood import search
from kfood.search import engines, faiss_engines, milvus
name, path = sys.argv[1:3]
faiss_engines.Faiss.lag = milvus.Milvus.lag = lambda self, place: 0
random = np.random.default_rng(4)
engine = engines.engine(name)
if name == "faiss-ivfpq":
    object.__setattr__(engine, "least", 256)
old = vector_items.pairs(random, [f"a{number}" for number in range(300)])
new = vector_items.pairs(random, ["a1", "a2", "b1"])
search.build_index(path, vector_items.Encoder(), vector_items.items(old), engine=name, **vector_items.SOURCE)
print("built", flush=True)
extend, seen = type(engine).extend, []
def killed(self, place, gallery, start):
    extend(self, place, gallery, start)
    seen.append(place.side)
    if len(seen) == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # one side's engine holds the new rows, and nobody has noted it
type(engine).extend = killed
search.add_items(path, vector_items.Encoder(), vector_items.items(new), **vector_items.SOURCE)
"""


def test_killed_while_the_engine_follows(name, tmp_path):
    path = tmp_path / "index"
    here = str(pathlib.Path(__file__).parent)
    run = subprocess.run([sys.executable, "-c", KILLED, name, path, here], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, "built\n"), run.stderr
    random = np.random.default_rng(4)
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(300)])
    vectors |= vector_items.pairs(random, ["a1", "a2", "b1"])
    index = check(path, vectors, "euclidean", random, LEAST[name])
    assert index.description["engine"]["rows"] == 300
    more = vector_items.pairs(random, ["a2", "b1", "b2"])
    search.add_items(path, Encoder(), vector_items.items(more), **SOURCE)
    search.delete_items(path, ["a7"])
    vectors = {id: pair for id, pair in (vectors | more).items() if id != "a7"}
    index = check(path, vectors, "euclidean", random, LEAST[name])
    assert index.description["engine"]["rows"] == 306


@pytest.mark.parametrize("name", ["faiss-hnsw", "milvus"], indirect=True)
def test_an_engine_may_stay_behind(name, tmp_path, monkeypatch):
    """What it does not hold yet the index compares itself; it follows when that is worth it."""
    random = np.random.default_rng(3)
    path = tmp_path / "index"
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(300)])
    search.build_index(path, Encoder(), vector_items.items(vectors), engine=name, **SOURCE)
    monkeypatch.setattr(type(engines.engine(name)), "lag", lambda self, place: 10)
    for step, rows in (("b", 300), ("c", 320)):
        more = vector_items.pairs(random, [f"{step}{number}" for number in range(10)])
        search.add_items(path, Encoder(), vector_items.items(more), **SOURCE)
        vectors |= more
        assert check(path, vectors, "euclidean", random, 0.95).description["engine"]["rows"] == rows


def test_an_engine_that_is_not_there_follows_later(tmp_path, monkeypatch):
    random, path = np.random.default_rng(3), tmp_path / "index"
    vectors = vector_items.pairs(random, ["a", "b", "c"])
    search.build_index(path, Encoder(), vector_items.items(vectors), engine="int8", **SOURCE)

    def extend(self, place, gallery, start):
        raise ConnectionError("the server is gone.")

    more = vector_items.pairs(random, ["b", "d"])
    with monkeypatch.context() as patch:
        patch.setattr("kfood.search.int8.Int8.extend", extend)
        with pytest.raises(ConnectionError, match=r"the server is gone\. The items are changed all the same"):
            search.add_items(path, Encoder(), vector_items.items(more), **SOURCE)
        assert check(path, vectors | more, "euclidean", random, 1).description["engine"]["rows"] == 3
    search.delete_items(path, ["a"])
    vectors = {id: pair for id, pair in (vectors | more).items() if id != "a"}
    assert check(path, vectors, "euclidean", random, 1).description["engine"]["rows"] == 5


def test_few_rows_have_no_product_codes(tmp_path):
    pytest.importorskip("faiss", reason="needs kfood[faiss]")
    random = np.random.default_rng(3)
    vectors = vector_items.pairs(random, [f"a{number}" for number in range(30)])
    path = tmp_path / "index"
    search.build_index(path, Encoder(), vector_items.items(vectors), engine="faiss-ivfpq", **SOURCE)
    assert check(path, vectors, "euclidean", random, 1).description["engine"]["rows"] == 0


@pytest.mark.parametrize(("probes", "looked_at"), [(2, 2), (25, 25), (1, 12)])
def test_as_many_lists_are_looked_at_as_the_file_says(rng, tmp_path, monkeypatch, probes, looked_at):
    """A file of earlier versions says 1: a quarter of them, as those versions did."""
    faiss = pytest.importorskip("faiss", reason="needs kfood[faiss]")
    monkeypatch.setattr(faiss_engines, "_PROBES", probes)
    engine = dataclasses.replace(faiss_engines.ENGINES["ivfpq"], candidates=(1, 1000))
    gallery = rng.normal(size=(1000, 16)).astype(np.float32)
    place = engines.Place(tmp_path, "photos", "euclidean")
    engine.extend(place, gallery, 0)
    index = faiss.read_index(str(tmp_path / "photos.1000.faiss"))
    assert (index.nlist, index.nprobe) == (50, probes)  # 20 rows a list
    assert index.quantizer.sa_code_size() == 2 * 16  # float16
    query = gallery[7]
    lists = np.sort(index.quantizer.search(query[None], looked_at)[1][0])
    rows = [
        faiss.rev_swig_ptr(index.invlists.get_ids(int(each)), index.invlists.list_size(int(each))) for each in lists
    ]
    found = engine.finder(place, gallery)(query, 5, None)
    assert sorted(found) == sorted(np.concatenate(rows))


@pytest.mark.parametrize(
    ("rows", "lists"), [(19, 1), (10_000, 500), (100_000, 2_530), (1_000_000, 8_000), (10**8, 8_000)]
)
def test_lists_grow_with_the_root_of_the_rows(rows, lists):
    """Eight times as many, each learned from twenty of at most 160,000 rows."""
    assert faiss_engines._product_codes(rows, 1024) == f"IVF{lists},PQ256x4fs"


def test_equal_ids_are_one_item(tmp_path):
    random = np.random.default_rng(3)
    first, second = vector_items.pairs(random, ["a", "b"]), vector_items.pairs(random, ["a"])
    given = [*vector_items.items(first), *vector_items.items(second)]
    search.build_index(tmp_path / "index", Encoder(), given, **SOURCE)
    check(tmp_path / "index", first | second, "euclidean", random, 1)


@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_codes_pick_what_lies_near(rng, tmp_path, kind, monkeypatch):
    """A hundred candidates of four thousand, in several blocks: a wrong code or row finds a fortieth."""
    engine = engines.engine(kind)
    monkeypatch.setattr(type(engine), "candidates", (1, 100))
    monkeypatch.setattr(exact, "BLOCK", 512)
    # Of few dimensions in many, or all would be about equally far.
    gallery = (rng.normal(size=(4000, 4)) @ rng.normal(size=(4, 61)) * np.linspace(0.2, 2, 61) + 3).astype(np.float32)
    place = engines.Place(tmp_path, "photos", "euclidean")
    engine.extend(place, gallery[:3000], 0)
    engine.extend(place, gallery, 3000)
    size = (tmp_path / "photos.codes").stat().st_size
    assert size == {"int8": 4000 * 61, "binary": 4000 * 8}[kind]
    find = engine.finder(place, gallery)
    for query in gallery[[7, 3999]] + rng.normal(size=(2, 61)).astype(np.float32) * 0.01:
        picked = find(query, 5, None)
        assert len(np.unique(picked)) == 100
        nearest = np.argsort(np.linalg.norm(gallery - query, axis=1))[:10]
        assert nearest[0] in picked
        assert np.isin(nearest, picked).mean() > {"int8": 0.95, "binary": 0.6}[kind]
        among = np.ones(4000, bool)
        among[nearest] = False
        assert not np.isin(nearest, find(query, 5, among)).any()


def test_an_index_opens_its_engine_once_a_side(name, rng, tmp_path, monkeypatch):
    vectors = vector_items.pairs(rng, [f"a{number}" for number in range(300)])
    search.build_index(tmp_path / "index", Encoder(), vector_items.items(vectors), engine=name, **SOURCE)
    kind, opened = type(engines.engine(name)), []
    finder = kind.finder
    monkeypatch.setattr(
        kind, "finder", lambda self, place, rows: opened.append(place.side) or finder(self, place, rows)
    )
    index = search.Index.open(tmp_path / "index")
    for side in ("photos", "recipes", "photos"):
        index.search(np.ones(DIM), side, 3)
    index.warm()
    assert opened == ["photos", "recipes"]


def test_engines_are_refused_by_name(tmp_path):
    items = vector_items.items(vector_items.pairs(np.random.default_rng(0), ["a"]))
    for options, message in (
        ({"engine": "pq"}, "engine: expected one of exact, int8, .*, milvus, received 'pq'"),
        ({"address": "http://a:1"}, "address: expected none, for only milvus has a server"),
    ):
        with pytest.raises(ValueError, match=message):
            search.build_index(tmp_path / "index", Encoder(), items, **options, **SOURCE)


@pytest.mark.parametrize(("name", "package"), [("faiss-hnsw", "faiss"), ("milvus", "pymilvus")])
def test_missing_packages_are_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    items = vector_items.items(vector_items.pairs(np.random.default_rng(0), ["a"]))
    with pytest.raises(ModuleNotFoundError, match=rf"--engine {name[:5]}.*pip install 'kfood\[{name.split('-')[0]}\]'"):
        search.build_index(tmp_path / "index", Encoder(), items, engine=name, **SOURCE)
    assert list(tmp_path.iterdir()) == []


def test_milvus_says_who_is_not_there(tmp_path, monkeypatch):
    pytest.importorskip("pymilvus", reason="needs kfood[milvus]")
    items = vector_items.items(vector_items.pairs(np.random.default_rng(0), ["a", "b"]))
    with pytest.raises(ValueError, match="expected that of a Milvus server, http://HOST:19530, received 'here'"):
        search.build_index(tmp_path / "index", Encoder(), items, engine="milvus", address="here", **SOURCE)
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:1: expected a Milvus server"):
        search.build_index(
            tmp_path / "index", Encoder(), items, engine="milvus", address="http://127.0.0.1:1", **SOURCE
        )
    assert list(tmp_path.iterdir()) == []
    search.build_index(tmp_path / "index", Encoder(), items, engine="milvus", **SOURCE)
    description = json.loads((tmp_path / "index/index.json").read_text())
    description["engine"]["key"] = "other"
    (tmp_path / "index/index.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"expected the collection kfood_other_photos, .* received none"):
        search.Index.open(tmp_path / "index").warm()


@pytest.mark.parametrize(
    ("coded", "kind", "parameters"), [(301, "HNSW", {"M": 32, "efConstruction": 128}), (300, "IVF_SQ8", {"nlist": 1})]
)
def test_milvus_lite_builds_what_it_is_told(rng, tmp_path, monkeypatch, coded, kind, parameters):
    pytest.importorskip("milvus_lite", reason="needs kfood[milvus]")
    monkeypatch.setattr("kfood.search.index.BLOCK", 0)
    monkeypatch.setattr(milvus, "_CODED", coded)
    monkeypatch.setattr(milvus.Milvus, "lag", lambda self, place: 0)
    vectors, path = vector_items.pairs(rng, [f"a{number}" for number in range(300)]), tmp_path / "index"
    description = search.build_index(path, Encoder(), vector_items.items(vectors), engine="milvus", **SOURCE)
    place = engines.Place(path / "1", "photos", "euclidean", key=description["engine"]["key"])
    told = milvus._connect(place).describe_index(milvus._name(place), "vector")
    assert (told["index_type"], told["params"]) == (kind, parameters)
    more = vector_items.pairs(rng, ["a3", "b1"])
    search.add_items(path, Encoder(), vector_items.items(more), **SOURCE)
    check(path, vectors | more, "euclidean", rng, 0.95)


def test_milvus_at_an_address(tmp_path, monkeypatch):
    """Two indexes share a server, here that of Milvus Lite; what replaces one takes its collections away."""
    pytest.importorskip("milvus_lite", reason="needs kfood[milvus]")
    import pymilvus
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    monkeypatch.setattr("kfood.search.index.BLOCK", 0)
    monkeypatch.setattr(updating, "WORTH", 0)
    server, database, port = start_server_in_thread(data_dir=str(tmp_path / "server"), host="127.0.0.1", port=0)
    try:
        options = {"engine": "milvus", "address": f"http://127.0.0.1:{port}", **SOURCE}
        random = np.random.default_rng(8)
        first = vector_items.pairs(random, [f"a{number}" for number in range(60)])
        other = vector_items.pairs(random, [f"b{number}" for number in range(40)])
        search.build_index(tmp_path / "first", Encoder(), vector_items.items(first), **options)
        search.build_index(tmp_path / "other", Encoder(), vector_items.items(other), **options)
        more = vector_items.pairs(random, ["a1", "c1"])
        search.add_items(tmp_path / "first", Encoder(), vector_items.items(more), **SOURCE)
        search.delete_items(tmp_path / "first", ["a2", "a3"])
        first = {id: pair for id, pair in (first | more).items() if id not in ("a2", "a3")}
        index = check(tmp_path / "first", first, "euclidean", random, 0.95)
        check(tmp_path / "other", other, "euclidean", random, 0.95)
        client = pymilvus.MilvusClient(options["address"])
        rows = {name: client.get_collection_stats(name)["row_count"] for name in client.list_collections()}
        key = index.description["engine"]["key"]
        assert rows.pop(f"kfood_{key}_photos") == rows.pop(f"kfood_{key}_recipes") == 59  # none that is deleted
        assert list(rows.values()) == [40, 40]
        before = index.search(np.ones(DIM), "recipes", 5)
        search.delete_items(tmp_path / "first", list(first)[:40])  # those left are written anew
        assert index.search(np.ones(DIM), "recipes", 5) == before  # by itself, its collection being gone
        first = dict(list(first.items())[40:])
        index = check(tmp_path / "first", first, "euclidean", random, 0.95)
        assert index.description["engine"]["key"] != key
        search.build_index(tmp_path / "other", Encoder(), vector_items.items(first), overwrite=True, **options)
        check(tmp_path / "other", first, "euclidean", random, 0.95)
        assert len(client.list_collections()) == 4
        assert not list(tmp_path.rglob("milvus.db"))
    finally:
        server.stop(grace=0)
        database.close()
