"""JSON of others: byte order marks, and nesting without end."""

import json
import tracemalloc

import pytest

from kfood.data import json_files

TEXTS = ["a[[[[[[", "]]]}", 'quote " [', "back\\", '\\"[', "", "é[", "{" * 700]


def write(path, content, mark=b""):
    path.write_bytes(mark + json.dumps(content, ensure_ascii=False).encode())
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_skipped(tmp_path, mark):
    path = write(tmp_path / "a.json", [{"a": text} for text in TEXTS], mark)
    assert json_files.load(path) == list(json_files.items(path, "item")) == [{"a": text} for text in TEXTS]


def deep(levels):
    return b'[{"a": ' + b"[" * (levels - 2) + b"1" + b"]" * (levels - 2) + b"}]"


@pytest.mark.parametrize("read", [json_files.load, lambda path: list(json_files.items(path, "item"))])
def test_what_is_nested_without_end_is_refused_before_it_takes_memory(tmp_path, read):
    path = tmp_path / "a.json"
    path.write_bytes(deep(json_files.MOST_NESTED))
    assert len(read(path)) == 1
    for levels in (json_files.MOST_NESTED + 1, 200_000):
        path.write_bytes(deep(levels))
        tracemalloc.start()
        with pytest.raises(ValueError, match="nested more than 500 times"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_brackets_in_strings_do_not_count_wherever_a_piece_ends(size):
    content = json.dumps([{"a": [text, [text]]} for text in TEXTS], ensure_ascii=False).encode()
    for levels, refused in ((json_files.MOST_NESTED - 1, False), (json_files.MOST_NESTED, True)):
        text = b"[" + content + b", " + deep(levels) + b"]"
        depth = json_files._Depth()
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        if refused:
            with pytest.raises(ValueError, match="nested"):
                [depth.add(piece) for piece in pieces]
        else:
            [depth.add(piece) for piece in pieces]
