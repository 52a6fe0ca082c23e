"""Tracks: formats, projection, windows, splits, and everything that is wrong with a file."""

import itertools
import json
import os
import tracemalloc

import numpy as np
import pytest

from kfood.data import tracks
from kfood.data.tracks import Tracks

ORIGIN = (0.0, 0.0)


def write(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ucy_univ_gives_the_number_of_windows_that_is_known(shared):
    found = list(Tracks(shared / "data/ucy/univ/test").windows(20, 2, origin=ORIGIN, longest_gap=10))
    assert len(found) == 12_359
    assert {window.points.shape for window in found} == {(20, 2)}
    assert {window.last - window.first for window in found} == {190.0}


def test_windows_of_interleaved_tracks(tmp_path):
    """Two pedestrians in the same frames: each window has one's points alone, in order, every ``stride`` of them."""
    rows = [f"{10 * t}\t{p}\t{100 * p + t}\t{-t}" for t in range(7) for p in (1, 2)]
    path = write(tmp_path, "a.txt", "\n".join(rows))
    found = {(w.track, w.first): w.points for w in Tracks(path).windows(3, 2, origin=ORIGIN)}
    assert set(found) == {(f"a/{p}", 10.0 * t) for p in (1, 2) for t in (0, 2, 4)}
    np.testing.assert_array_equal(found["a/2", 20.0], [[202, -2], [203, -3], [204, -4]])


def test_a_gap_starts_a_track_anew(tmp_path):
    path = write(tmp_path, "a.csv", "".join(f"{t},{t},0\n" for t in (0, 1, 2, 9, 10, 11, 12)))
    found = [w.first for w in Tracks(path).windows(3, 1, origin=ORIGIN, longest_gap=2)]
    assert found == [0, 9, 10]
    assert len(list(Tracks(path).windows(3, 1, origin=ORIGIN))) == 5


def test_projection_against_the_great_circle():
    """Independent: haversine distances around 47° N; and a date line in between."""
    origin = (8.5, 47.0)

    def haversine(a, b):
        (lon1, lat1), (lon2, lat2) = np.radians(a), np.radians(b)
        h = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
        return 2 * tracks.EARTH_RADIUS * np.arcsin(np.sqrt(h))

    for place in ((8.51, 47.0), (8.5, 47.02), (8.45, 46.97)):
        assert np.hypot(*tracks.project(*place, origin)) == pytest.approx(haversine(origin, place), rel=2e-3)
    east, north = tracks.project(8.6, 47.1, origin)
    assert east > 0 < north
    assert tracks.project(-179.9, 0.0, (179.9, 0.0))[0] == pytest.approx(haversine((179.9, 0), (-179.9, 0)), rel=1e-6)


def test_geojson_and_gpx_give_the_same_track(tmp_path):
    places = [(8.5 + 1e-4 * k, 47.0 - 2e-4 * k) for k in range(5)]
    line = {"type": "LineString", "coordinates": places}
    json_file = write(tmp_path / "j", "walk.geojson", json.dumps({"type": "Feature", "geometry": line}))
    points = "".join(
        f'<trkpt lat="{y}" lon="{x}"><time>2024-05-01T10:00:0{k}Z</time></trkpt>' for k, (x, y) in enumerate(places)
    )
    gpx = f'<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>{points}</trkseg></trk></gpx>'
    gpx_file = write(tmp_path / "g", "walk.gpx", gpx)
    first, second = (tracks.read_track(path, places[0]) for path in (json_file, gpx_file))
    np.testing.assert_allclose(first[:, 1:], second[:, 1:])
    np.testing.assert_allclose(np.diff(second[:, 0]), 1.0)
    assert first[-1, 1] > 0 > first[-1, 2]
    assert Tracks(json_file).origin() == places[0]


BAD = {
    "not finite": ("1 1 nan 0\n", "a.txt:1"),
    "not as many numbers as the rows before": ("1 1 0 0\n2 1 0\n3 1 0 0\n", "a.txt:2"),
    "not a row of 2, 3, 4 or 8 numbers": ("1 2 3 4 5\n", "a.txt:1"),
    "not a row of numbers": ("1 1 0 0\n1 1 0 O\n2 1 0 0\n", "a.txt:2"),
    "no row of numbers": ("frame ped x y\n", "a.txt"),
    "first row names no columns of a track (frame, id, x, y), or one twice": ("lon,lat\n1,2\n3,4\n", "a.txt:1: lon"),
    "first row names no columns x and y": ("t,x\n1,2\n3,4\n", "a.txt:1: t x"),
    "empty file": ("", "a.txt"),
    "repeated timestamp": ("1 1 0 0\n1 1 0 1\n", "a/1 at 1"),
    "timestamp before the last": ("5 1 0 0\n1 1 0 1\n", "a/1 at 1"),
    "fewer than 2 points in a row": ("1 7 0 0\n", "a/7"),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_rows_are_counted_and_named(tmp_path, reason):
    text, name = BAD[reason]
    write(tmp_path, "a.txt", text)
    write(tmp_path, "good.txt", "1 1 0 0\n2 1 0 1\n")
    found = Tracks(tmp_path)
    assert [w.track for w in found.windows(2, 1, origin=ORIGIN)][-1:] == ["good/1"]
    assert found.dropped.by_reason[reason] == {"count": 1, "first": [name]}


def test_names_keep_every_digit_and_folder(tmp_path):
    for folder, walker in (("2023", 1000001), ("2024", 1000002)):
        write(tmp_path / folder, "a.txt", f"1 {walker} 0 0\n2 {walker} 0 1\n")
    found = list(Tracks(tmp_path).windows(2, 1, origin=ORIGIN))
    assert [window.track for window in found] == ["2023/a.txt/1000001", "2024/a.txt/1000002"]


def test_an_empty_field_is_a_missing_number(tmp_path):
    write(tmp_path, "a.csv", "1,7,3,4\n2,7,,4\n3,7,3,\n4, 7, 3, 5\n")
    found = Tracks(tmp_path)
    assert [(point.time, point.x, point.y) for point in found.points()] == [(1, 3, 4), (4, 3, 5)]
    assert found.dropped.by_reason["not finite"] == {"count": 2, "first": ["a.csv:2", "a.csv:3"]}


SAME_WALK = {
    "plain": "0 1 0 0\n6 1 0.5 -1.25\n12 1 1 2\n",
    "tabs and decimal commas": "0\t1\t0\t0\r\n6\t1\t0,5\t-1,25\r\n12\t1\t1,0\t2\r\n",
    "semicolons and decimal commas": "0;1;0;0\n6;1;0,5;-1,25\n12;1;1,0;2,0\n",
    "commas, a mark and a header": "\ufeffframe, id, x, y\n0, 1, 0, 0\n6, 1, .5, -1.25\n12, 1, 1, 2\n",
    "columns in another order": '"y";"X";"frame";"ped";"v_x"\n0;0;0;1;9\n-1,25;0,5;6;1;9\n2;1;12;1;9\n',
    "a header in a comment": "# frame\tpedestrian_id\tpos_x\tpos_y\n0\t1\t0\t0\n6\t1\t0.5\t-1.25\n12\t1\t1\t2\n",
    "obsmat": "0 1 0 7 0 9 9 9\n 6.0e0 1.0e0 5e-1 7 -1.25 9 9 9\n12 1 1 7 2 9 9 9\n",
}


@pytest.mark.parametrize("name", SAME_WALK)
def test_rows_of_all_programs_are_the_same_walk(tmp_path, name):
    path = write(tmp_path, "a.csv", SAME_WALK[name])
    found = Tracks(path)
    (window,) = found.windows(3, 1, origin=ORIGIN)
    assert found.dropped.by_reason == {}
    np.testing.assert_array_equal(window.points, [[0, 0], [0.5, -1.25], [1, 2]])
    np.testing.assert_array_equal(tracks.read_track(path), [[0, 0, 0], [6, 0.5, -1.25], [12, 1, 2]])


@pytest.mark.parametrize("name", ["coordtimes.geojson", "crlf_semicolon.csv", "decimal_comma.csv", "eth_obsmat.txt"])
def test_cases_of_others_are_read(shared, name):
    """80 points of x = k / 10, y = sin(2 x) up to three decimals, in metres; another in degrees, with times."""
    path = shared / "cases/tracks" / name
    found = Tracks(path)
    track = tracks.read_track(path, found.origin() if found.geographic else None)
    assert len(track) == 80
    assert found.dropped.by_reason == {}
    if found.geographic:
        np.testing.assert_allclose(np.diff(track[:, 0]), 30)
        assert list(found.windows(3, 1, origin=found.origin(), longest_gap=10)) == []  # as of GPX
    else:
        np.testing.assert_allclose(track[:, 1], np.arange(80) / 10)
        np.testing.assert_allclose(track[:, 2], np.sin(2 * track[:, 1]), atol=1e-3)


def gpx(*segments):
    """Segments of points, each its time or None."""
    made = ""
    for times in segments:
        points = "".join(
            f'<trkpt lat="{47 + k / 1e4}" lon="8.5">{"" if t is None else f"<time>{t}</time>"}</trkpt>'
            for k, t in enumerate(times)
        )
        made += f"<trkseg>{points}</trkseg>"
    return f'<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk>{made}</trk></gpx>'


TIMES = [f"2024-05-01T10:00:0{k}Z" for k in range(4)]
UNTIMED = "no time, on a track that has times"


@pytest.mark.parametrize("lacking", [0, 1, 3])
def test_times_and_numbers_of_points_are_not_mixed(tmp_path, lacking):
    """In GPX and in GeoJSON; a segment without any time beside it keeps its points."""
    times = [None if k == lacking else time for k, time in enumerate(TIMES)]
    xml = write(tmp_path / "x", "a.gpx", gpx(times, [None] * 3))
    places = [[8.5, 47 + k / 1e4] for k in range(4)]
    feature = {
        "type": "Feature",
        "properties": {"coordTimes": times},
        "geometry": {"type": "LineString", "coordinates": places},
    }
    other = {"type": "LineString", "coordinates": places[:3]}
    collection = {"type": "FeatureCollection", "features": [feature, {"type": "Feature", "geometry": other}]}
    text = write(tmp_path / "j", "a.geojson", json.dumps(collection))
    for path in (xml, text):
        found = Tracks(path)
        points = list(found.points())
        expected = [1714557600.0 + k for k in range(4) if k != lacking]
        assert [point.time for point in points] == [*expected, 1, 2, 3]
        ((reason, drop),) = found.dropped.by_reason.items()
        assert (reason, drop["count"]) == (UNTIMED, 1)
        assert drop["first"][0].endswith(f"point {lacking + 1}")
    alone = write(tmp_path, "q.gpx", gpx(times))
    with pytest.raises(ValueError, match=rf"expected usable points alone, received q\.gpx.*: {UNTIMED}"):
        tracks.read_track(alone, (8.5, 47))


def test_times_of_togeojson(tmp_path):
    places = [[[8.5, 47], [8.5, 47.1]], [[8.6, 47], [8.6, 47.1]]]
    several = {"type": "MultiLineString", "coordinates": places}
    newer = {"coordinateProperties": {"times": [TIMES[:2], TIMES[2:]]}}
    path = write(tmp_path, "a.json", json.dumps({"type": "Feature", "properties": newer, "geometry": several}))
    assert [point.time - 1714557600 for point in Tracks(path).points()] == [0, 1, 2, 3]
    wrong = {"coordTimes": [TIMES[:2], TIMES[:1]]}
    features = [{"type": "Feature", "properties": each, "geometry": several} for each in (wrong, newer)]
    path = write(tmp_path, "b.json", json.dumps({"type": "FeatureCollection", "features": features}))
    found = Tracks(path)
    assert len(list(found.points())) == 4
    assert found.dropped.by_reason == {"not as many times as points": {"count": 1, "first": ["b.json, feature 1"]}}


@pytest.mark.parametrize(
    ("feature", "reason"),
    [
        ({"type": "Feature", "properties": {}}, "feature without a geometry"),
        ({"type": "Feature", "geometry": {"type": "LineString"}}, "malformed feature"),
        ({"type": "Feature", "geometry": {"type": "LineString", "coordinates": "[]"}}, "malformed feature"),
        ({"type": "Feature", "geometry": {"coordinates": []}}, "malformed feature"),
        ({"geometry": None}, "malformed feature"),
        ("feature", "malformed feature"),
        (None, "malformed feature"),
        ({"type": "Feature", "geometry": None}, None),  # a feature without a place
        ({"type": "Feature", "geometry": {"type": "Point", "coordinates": [8, 47]}}, None),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_feature_without_a_line_costs_no_other(tmp_path, feature, reason, place):
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[8, 47], [8.1, 47]]}}
    features = [line, line]
    features.insert(place, feature)
    content = json.dumps({"type": "FeatureCollection", "features": features})
    found = Tracks(write(tmp_path, "a.geojson", "\ufeff" + content))
    assert [point.track for point in found.points()] == ["a/1", "a/1", "a/2", "a/2"]
    expected = {} if reason is None else {reason: {"count": 1, "first": [f"a.geojson, feature {place + 1}"]}}
    assert found.dropped.by_reason == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('<rte><rtept lat="1" lon="2"/></rte>', "no track, but routes"),
        ('<wpt lat="1" lon="2"/>', "no track, but waypoints"),
        ('<wpt lat="1" lon="2"/><rte><rtept lat="1" lon="2"/></rte>', "no track, but routes and waypoints"),
        ("", "no track, but nothing"),
    ],
)
def test_gpx_without_a_track_is_named(tmp_path, content, reason):
    found = Tracks(write(tmp_path, "a.gpx", f"<gpx>{content}</gpx>"))
    assert list(found.points()) == []
    assert found.dropped.by_reason == {reason: {"count": 1, "first": ["a.gpx"]}}


@pytest.mark.parametrize("name", ["a.gpx", "a.geojson", "a.txt", "a.csv"])
@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><gpx/>',
        b"[" * 200_000,
        b'{"features": [' * 50_000,
        b"\0" * 99,
    ],
)
def test_what_is_no_track_fails_in_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    found = Tracks(path)
    assert list(found.points()) == []
    assert sum(drop["count"] for drop in found.dropped.by_reason.values()) >= 1
    with pytest.raises(ValueError, match="expected usable points alone"):
        tracks.read_track(path, (0.0, 0.0) if found.geographic else None)


def test_names_that_utf_8_has_no_bytes_for_are_escaped(tmp_path):
    """They become ids and names of classes."""
    path = tmp_path / os.fsdecode(b"caf\xe9 \x1b[2J.txt")
    path.write_text("1 1 0 0\n2 1 0 1\n")
    found = Tracks(tmp_path)
    assert found.recordings == ["caf\\udce9 \\x1b[2J"]
    assert [point.track for point in found.points()] == ["caf\\udce9 \\x1b[2J/1"] * 2


def test_a_pipe_is_left_out_of_a_folder_and_refused_by_itself(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    write(tmp_path, "b.txt", "1 1 0 0\n")
    assert [path.name for path in Tracks(tmp_path).files] == ["b.txt"]
    with pytest.raises(ValueError, match="which is neither"):
        Tracks(tmp_path / "a.txt")


def test_latitude_91_and_broken_files_are_counted(tmp_path):
    line = {"type": "LineString", "coordinates": [[8, 91], [8, 47], [8.1, 47], [200, 3]]}
    write(tmp_path, "a.geojson", json.dumps(line))
    write(tmp_path, "b.geojson", "{")
    write(tmp_path, "c.gpx", "<gpx><trkseg><trkpt lat='47' lon='8'/><trkpt lat='x' lon='8'/>")
    found = Tracks(tmp_path)
    assert len(list(found.windows(2, 1, origin=(8, 47)))) == 1
    counts = {reason: drop["count"] for reason, drop in found.dropped.by_reason.items()}
    assert counts == {
        "latitude beyond 90 or longitude beyond 180 degrees": 2,
        "not GeoJSON": 1,
        "no latitude and longitude": 1,
        "broken XML from here on": 1,
        "fewer than 2 points in a row": 1,
    }


def test_long_collections_and_segments_stream(tmp_path):
    """What is held does not grow with the number of features, or with a segment's points."""
    count = 3_000
    feature = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[8, 47], [8.1, 47], [8.2, 47]]}}
    features = ", ".join([json.dumps(feature)] * count)
    write(tmp_path / "j", "a.geojson", f'{{"type": "FeatureCollection", "features": [{features}]}}')
    points = '<trkpt lat="47" lon="8"><ele>400</ele></trkpt>' * (3 * count)
    write(tmp_path / "g", "a.gpx", f"<gpx><trk><trkseg>{points}</trkseg></trk></gpx>")
    for folder in ("j", "g"):
        tracemalloc.start()
        assert sum(1 for _ in Tracks(tmp_path / folder).points()) == 3 * count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000, folder
    broken = write(tmp_path, "b.geojson", f'{{"type": "FeatureCollection", "features": [{features}')
    found = Tracks(broken)
    assert sum(1 for _ in found.points()) == 3 * count
    assert list(found.dropped.by_reason) == ["broken GeoJSON from here on"]


def test_metres_beside_degrees_are_refused(tmp_path):
    write(tmp_path, "a.txt", "1 1 0 0\n")
    write(tmp_path, "b.gpx", "<gpx/>")
    with pytest.raises(ValueError, match="received both"):
        Tracks(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a file or folder"):
        Tracks(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2\n", "at least 2 points"),
        ("", "empty file"),
        ("0,1,1\n1,nan,1\n", "not finite"),
        ("0,1,1\n0,2,1\n", "rising times"),
        ("0,1,1,1\n0,2,1,1\n", "received 2 of 2"),
    ],
)
def test_a_query_is_not_repaired(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        tracks.read_track(write(tmp_path, "q.csv", text))


def test_resampling_fills_dropped_points_evenly():
    track = np.array([[0, 0, 0], [1, 1, 10], [4, 4, 40]], float)
    np.testing.assert_allclose(tracks.resample(track, 5), [[k, 10 * k] for k in range(5)])


def test_splits(rng):
    names = [f"p{k}" for k in rng.integers(0, 60, 1000)]
    paper = tracks.split_windows(names, "paper", test_share=0.2, val_share=0.1, seed=0)
    assert np.bincount(paper).tolist() == [720, 80, 200]
    apart = tracks.split_windows(names, "pedestrian", test_share=0.2, val_share=0.1, seed=0)
    by_name = {name: {int(own) for other, own in zip(names, apart, strict=True) if other == name} for name in names}
    assert all(len(splits) == 1 for splits in by_name.values())
    assert np.abs(np.bincount(apart) - [720, 80, 200]).max() < 60
    assert any(np.diff(paper) != 0)
    assert len({p for p, s in zip(names, paper, strict=True) if s == 2}) > 50


def test_a_long_file_streams(tmp_path):
    """What is held does not grow with the file: 8,000 rows of 20 walkers who come and go, within a window's worth."""
    path = tmp_path / "long.txt"
    with path.open("w") as file:
        file.writelines(f"{t} {p} {t % 97} {p}\n" for t in range(400) for p in range(20))
    tracemalloc.start()
    count = sum(1 for _ in Tracks(path).windows(20, 2, origin=ORIGIN))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20 * (1 + (400 - 20) // 2)
    assert peak < 400_000  # the rows are over 1 MB as points
    assert len(list(itertools.islice(Tracks(path).points(), 3))) == 3
