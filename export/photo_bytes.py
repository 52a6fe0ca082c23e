"""Encoded photos into pictures inside a TensorFlow graph: the picture of :mod:`kfood.photo_files`, or none.

The graph reads JPEG and PNG, upright by EXIF and XMP, transparent parts on white, with the same limits, all known from
the file's bytes before anything is decoded. What it cannot do it does not guess: another format (WebP, GIF, BMP, HEIC,
…), a compressed XMP and a PNG's EXIF written as text, an orientation that is no integer, too many pixels, bytes or
parts, a damaged file. Such a photo has no picture, and does not keep others from theirs.

TensorFlow has no operator that catches the error of another, but a dataset can leave out an element that failed.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from kfood.data import images
from kfood.photo_files import MAX_BYTES, MAX_PIXELS

MOST_PARTS = 10_000
"""Segments of a JPEG's header, chunks of a PNG, that are walked through."""

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_PNG_RAW_EXIF = b"Raw profile type exif\0"
_XMP_ORIENTATION = r'\C*?tiff:Orientation(?:="|>)([0-9])\C*'

_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""Adobe's mark of four inks as they are; without it TensorFlow takes them as not inverted."""

_FRAMES = [marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)]
"""Markers of a JPEG's segment that says its size."""

_ROWS = 64
"""Rows that are laid on white at once."""


class _Header(NamedTuple):
    """What the bytes of a file say.

    ``good``: whether its picture is read here; ``width``, ``height``; ``mark``: orientation, 1 to 8; ``clear``: whether
    parts of it may be transparent; ``inks``: whether it has four of them without Adobe's mark.
    """

    good: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    mark: tf.Tensor
    clear: tf.Tensor
    inks: tf.Tensor


def pictures(photos: tf.Tensor, size: int, short_side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Encoded photos → what an image encoder receives.

    Args:
        photos: string [batch].
        size: side of the picture, pixels.
        short_side: of the resized photo, pixels; 0: both of its sides are ``size``.

    Returns:
        float32 [batch, size, size, 3] in [0, 255], black where there is none; int32 [batch]: 1 where a photo was read,
        0 where not.
    """
    blank = tf.zeros([size, size, 3]), tf.constant(0)

    def read(data):
        return images.evaluation_transform(decode(data), size, short_side), tf.constant(1)

    def read_or_blank(data):
        # An empty picture cannot be resized either.
        found = tf.data.Dataset.from_tensors(data).map(read).ignore_errors()
        picture, readable = found.concatenate(tf.data.Dataset.from_tensors(blank)).take(1).get_single_element()
        return tf.ensure_shape(picture, blank[0].shape), tf.ensure_shape(readable, [])

    # A photo of the most pixels takes some 500 MB while it is read: few at a time.
    at_once = None if tf.executing_eagerly() else 4
    return tf.map_fn(read_or_blank, photos, fn_output_signature=(tf.float32, tf.int32), parallel_iterations=at_once)


# Traced once a process, not for each photo of a test and each endpoint.
@functools.partial(tf.function, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode(data: tf.Tensor) -> tf.Tensor:
    """Decode one encoded photo.

    Args:
        data: string scalar: JPEG or PNG.

    Returns:
        uint8 [height, width, 3], RGB, upright, on white; [0, 0, 3] of what is not read here.

    Raises:
        tf.errors.InvalidArgumentError: a damaged picture.
    """
    nothing = _Header(tf.constant(False), _int(0), _int(0), _int(1), tf.constant(False), tf.constant(False))
    fits = tf.strings.length(data) <= MAX_BYTES
    is_png = tf.strings.substr(data, 0, 8) == _PNG
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    header = _Header(
        *tf.case(
            [(fits & is_png, lambda: _png_header(data)), (fits & is_jpeg, lambda: _jpeg_header(data))],
            default=lambda: nothing,
        )
    )
    small = (header.width > 0) & (header.height > 0) & (header.width * header.height <= MAX_PIXELS)

    def picture():
        def jpeg():
            parts = tf.strings.substr(data, 0, 2), _ADOBE, tf.strings.substr(data, 2, MAX_BYTES)
            return images.decode_image(tf.cond(header.inks, lambda: tf.strings.join(parts), lambda: data))

        pixels = tf.case(
            [
                (is_png & header.clear, lambda: _on_white(tf.io.decode_png(data, channels=4))),
                (is_png, lambda: tf.io.decode_png(data, channels=3)),
            ],
            default=jpeg,
        )
        return _turned(pixels, header.mark)

    return tf.cond(header.good & small, picture, lambda: tf.zeros([0, 0, 3], tf.uint8))


def _jpeg_header(data) -> _Header:
    raw = tf.io.decode_raw(data, tf.uint8)

    def more(part, at, *_):
        return (at >= 0) & (at + 4 <= tf.size(raw, tf.int64)) & (part < MOST_PARTS)

    def step(part, at, ended, frame, adobe, exif, xmp):
        marker, length = tf.cast(raw[at + 1], tf.int64), _number(raw[at + 2 : at + 4])
        padding = (raw[at] != 0xFF) | (marker == 0xFF) | (marker == 0)
        alone = (marker == 0x01) | ((marker >= 0xD0) & (marker <= 0xD9))
        segment = ~padding & ~alone
        is_frame = segment & tf.reduce_any(marker == tf.constant(_FRAMES, tf.int64))
        content = tf.strings.substr(data, at + 4, tf.maximum(length - 2, 0))
        is_exif = segment & (marker == 0xE1) & _starts(content, _EXIF)
        is_xmp = segment & (marker == 0xE1) & _starts(content, _JPEG_XMP)
        ended |= segment & (marker == 0xDA)
        after = at + tf.where(padding, _int(1), tf.where(alone, _int(2), 2 + length))
        return (
            part + 1,
            # The pixels follow; or an end comes too early, and there is no picture.
            tf.where(ended | (~padding & (marker == 0xD9)), _int(-1), after),
            ended,
            tf.where(is_frame, tf.strings.substr(data, at + 4, 6), frame),
            adobe | (segment & (marker == 0xEE) & _starts(content, b"Adobe")),
            # Of several segments Pillow makes one.
            tf.strings.join([exif, tf.where(is_exif, _without(content, _EXIF), b"")]),
            tf.where(is_xmp, content, xmp),
        )

    first = (tf.constant(0), _int(2), tf.constant(False), *map(tf.constant, (b"", False, b"", b"")))
    _, _, ended, frame, adobe, exif, xmp = tf.while_loop(more, step, first)
    frame = tf.concat([tf.io.decode_raw(frame, tf.uint8), tf.zeros([6], tf.uint8)], 0)[:6]
    mark, known = _orientation(exif, xmp)
    return _Header(
        good=ended & known & (frame[0] == 8),
        width=_number(frame[3:5]),
        height=_number(frame[1:3]),
        mark=mark,
        clear=tf.constant(False),
        inks=(frame[5] == 4) & ~adobe,
    )


def _png_header(data) -> _Header:
    raw = tf.io.decode_raw(data, tf.uint8)

    def more(part, at, *_):
        return (at >= 0) & (at + 12 <= tf.size(raw, tf.int64)) & (part < MOST_PARTS)

    def step(part, at, ended, clear, exif, xmp, known):
        length, kind = _number(raw[at : at + 4]), tf.strings.substr(data, at + 4, 4)
        text = (kind == b"iTXt") | (kind == b"tEXt") | (kind == b"zTXt")
        # Of other chunks, which may be long, nothing is copied.
        content = tf.strings.substr(data, at + 8, tf.where(text | (kind == b"eXIf"), length, _int(0)))
        is_xmp = text & _starts(content, _PNG_XMP)
        flag = tf.strings.substr(tf.strings.join([content, _PNG_XMP, b"\0"]), len(_PNG_XMP), 1)  # of any length
        packed = (kind == b"zTXt") | ((kind == b"iTXt") & (flag != b"\0"))
        is_raw = text & _starts(content, _PNG_RAW_EXIF)
        return (
            part + 1,
            tf.where(kind == b"IEND", _int(-1), at + 12 + length),
            ended | (kind == b"IEND"),
            clear | (kind == b"tRNS"),
            tf.where(kind == b"eXIf", content, exif),
            tf.where(is_xmp, content, xmp),
            known & ~(is_xmp & packed) & ~is_raw,
        )

    first = (tf.constant(0), _int(8), *map(tf.constant, (False, False, b"", b"", True)))
    _, _, ended, clear, exif, xmp, read = tf.while_loop(more, step, first)
    head = tf.concat([raw, tf.zeros([26], tf.uint8)], 0)[:26]
    mark, known = _orientation(exif, xmp)
    return _Header(
        good=ended & read & known,
        width=_number(head[16:20]),
        height=_number(head[20:24]),
        mark=mark,
        clear=clear | (head[25] == 4) | (head[25] == 6),
        inks=tf.constant(False),
    )


def _orientation(exif, xmp):
    """(int64: 1 to 8, whether it is known) of a TIFF's content and of XMP, ``""`` where there is none."""
    # Some writers put the mark of the segment twice, or into a PNG.
    raw = tf.io.decode_raw(_without(_without(exif, _EXIF), _EXIF), tf.uint8)
    raw = tf.concat([raw, tf.zeros([8], tf.uint8)], 0)
    size = tf.size(raw, tf.int64) - 8
    signature = _number(raw[:4])
    little, big = signature == 0x49492A00, signature == 0x4D4D002A
    swapped = (signature == 0x4949002A) | (signature == 0x4D4D2A00) | (signature // 256 == 0x49492B)
    swapped |= (signature == 0x4D4D002B) | (signature == 0x4D4D2B00)

    def number(bytes_):
        return tf.where(little, _number(tf.reverse(bytes_, [-1])), _number(bytes_))

    start = tf.clip_by_value(number(raw[4:8]), 0, size)
    count = number(raw[start : start + 2])
    entries = raw[start + 2 : tf.minimum(start + 2 + 12 * count, size)]
    entries = tf.reshape(entries[: tf.size(entries) // 12 * 12], [-1, 12])
    entries = tf.boolean_mask(entries, number(entries[:, :2]) == 0x0112)
    has = (little | big) & (size >= 8) & (tf.shape(entries)[0] > 0)
    # The last one counts; a row of zeros stands for none.
    entry = tf.concat([tf.zeros([1, 12], tf.uint8), entries], 0)[-1]
    kind, values = number(entry[2:4]), number(entry[4:8])
    short, long = (kind == 3) | (kind == 8), (kind == 4) | (kind == 9)
    value = tf.where(short, number(entry[8:10]), number(entry[8:12]))
    in_xmp = tf.strings.regex_full_match(xmp, _XMP_ORIENTATION)
    found = tf.where(in_xmp, tf.strings.regex_replace(xmp, _XMP_ORIENTATION, r"\1"), b"1")
    value = tf.where(has, value, tf.strings.to_number(found, tf.int64))
    mark = tf.where((value >= 1) & (value <= 8), value, _int(1))
    return mark, ~swapped & (~has | ((short | long) & (values == 1)))


def _turned(pixels, mark):
    """As :func:`kfood.photo_files.turned`."""
    pixels = tf.cond(mark >= 5, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels)
    mirrored, upended = (tf.reduce_any(mark == tf.constant(marks, tf.int64)) for marks in ([2, 3, 6, 7], [3, 4, 7, 8]))
    pixels = tf.cond(mirrored, lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(upended, lambda: tf.reverse(pixels, [0]), lambda: pixels)


def _on_white(pixels):
    """uint8 [height, width, 4] → [height, width, 3], some rows at a time."""
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    blocks = tf.reshape(tf.pad(pixels, [[0, -height % _ROWS], [0, 0], [0, 0]]), [-1, _ROWS * width, 4])

    def block(levels):
        levels = tf.cast(levels, tf.uint16)  # no sum is above 65,152
        alpha = levels[:, 3:]
        white = tf.constant(255, tf.uint16)
        made = levels[:, :3] * alpha + white * (white - alpha) + tf.constant(127, tf.uint16)
        return tf.cast(made // white, tf.uint8)

    return tf.reshape(tf.map_fn(block, blocks, fn_output_signature=tf.uint8), [-1, width, 3])[:height]


def _number(digits):
    """uint8 [..., n], the highest first → int64 [...]; shorter ones at the end of a file count as they are."""
    digits = tf.cast(digits, tf.int64)
    places = 8 * tf.range(tf.shape(digits, tf.int64)[-1] - 1, -1, -1, dtype=tf.int64)
    return tf.reduce_sum(tf.bitwise.left_shift(digits, places), -1)


def _int(value):
    return tf.constant(value, tf.int64)


def _starts(content, with_):
    return tf.strings.substr(content, 0, len(with_)) == with_


def _without(content, start):
    """A string without what it may start with."""
    skipped = tf.where(_starts(content, start), len(start), 0)
    return tf.strings.substr(content, skipped, MAX_BYTES)
