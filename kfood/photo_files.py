"""Photo files: what is read of them, and the picture that is made of one. Pillow and NumPy alone.

Training (``kfood prepare``), the runtime, and what the runtime gives to an ONNX file all read a photo by
:func:`decode`, so that they see one picture; the SavedModel's graph and the example in JavaScript follow the same
rules, and refuse what they cannot do:

- The first frame, or the default picture, of what has several. Of a GIF whose frame is smaller than its canvas, the
  rest is white.
- Upright: turned by the camera's mark, which is the orientation in EXIF (JPEG's and PNG's, before or after the pixels,
  WebP's, …), or where that has none, in XMP. A damaged EXIF counts as none.
- What is transparent, by an alpha channel, a palette or a transparent colour, lies on white: of a level ``c`` with
  alpha ``a``, ``(c * a + 255 * (255 - a) + 127) // 255``.
- Four inks (CMYK) are taken as Adobe writes them in a JPEG, inverted, with Adobe's mark and without:
  ``stored * stored_black // 255``. Colour profiles are not applied.
- Of 16 bits the high 8 count.
- At most :data:`MAX_PIXELS` and :data:`MAX_BYTES`, known from the header and the size, before anything is decoded.

Nothing of kfood is imported: this file, and runtime.py beside it, work copied out of the package.
"""

import contextlib
import functools
import io
import math
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

MAX_PIXELS = 64_000_000
"""A photo of more pixels (height × width) is refused from its header, before it is decoded."""

MAX_BYTES = 64_000_000
"""A file of more bytes is refused unread."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""By Pillow's names; AVIF from Pillow 11.3 on, HEIF (HEIC) with pillow-heif. None that is handed to another program."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif")
"""Endings by which a folder's files are taken for photos; what they hold is told by their content."""

_ORIENTATION = 0x0112

_ROWS = 256
"""Rows that are computed at once where a level takes more than its byte."""


class UnreadablePhotoError(OSError):
    """Not a photo that can be read.

    Attributes:
        reason: in a few words, without the file's name.
    """

    def __init__(self, message: str, reason: str = "unreadable photo"):
        super().__init__(message)
        self.reason = reason


class LargePhotoError(ValueError):
    """More pixels or bytes than are read; attribute ``reason`` as above."""

    def __init__(self, message: str, reason: str = "photo too large"):
        super().__init__(message)
        self.reason = reason


def decode(photo: str | os.PathLike | bytes) -> np.ndarray:
    """Decode a photo.

    Args:
        photo: a path, or an encoded photo.

    Returns:
        uint8 ``[height, width, 3]``, RGB, upright, on white.

    Raises:
        FileNotFoundError: no such file.
        UnreadablePhotoError: an OSError: not a photo, one of a format that is not read here, or a damaged one.
        LargePhotoError: a ValueError: more than :data:`MAX_PIXELS` pixels or :data:`MAX_BYTES` bytes.
        ValueError: neither a path nor bytes.
    """
    with opened(photo) as image:
        return upright(image)


@contextlib.contextmanager
def opened(photo: str | os.PathLike | bytes) -> Iterator[Any]:
    """A photo's header, checked: a Pillow image, not decoded yet; what fails inside is an UnreadablePhotoError.

    Args, Raises: as for :func:`decode`.
    """
    from PIL import Image

    # Pillow warns of damaged EXIF, of large pictures and of palettes, which is all dealt with here. Not by
    # catch_warnings, which threads cannot share.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    where, source = _source(photo)
    try:
        image = Image.open(source, formats=_formats())
    except Image.DecompressionBombError as error:
        raise LargePhotoError(f"{where}: expected at most {MAX_PIXELS:,} pixels, received more ({error}).") from error
    except Exception as error:  # Pillow's plugins raise anything on damaged headers
        raise _refusal(where, source) from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise LargePhotoError(f"{where}: expected at most {MAX_PIXELS:,} pixels, received {width:,} × {height:,}.")
        try:
            yield image
        except Exception as error:  # a damaged picture can fail in any way inside a decoder
            raise UnreadablePhotoError(
                f"{where}: expected a whole {image.format} photo, received a damaged one ({error})."
            ) from error


def upright(image: Any) -> np.ndarray:
    """The pixels of an opened photo, by the rules above: uint8 ``[height, width, 3]``.

    Args:
        image: of :func:`opened`; or a photo that Pillow reduces while decoding it (``draft``).
    """
    tile = image.tile[0] if image.tile else None
    image.load()  # decodes all of it: a truncated file fails here, and a PNG's EXIF may come last
    pixels = _rgb(image, "" if tile is None else str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]))
    if image.format == "GIF" and tile is not None:
        left, top, right, bottom = tile[1]
        pixels[:top], pixels[bottom:], pixels[:, :left], pixels[:, right:] = 255, 255, 255, 255
    return np.ascontiguousarray(turned(pixels, orientation(image)))


def orientation(image: Any) -> int:
    """The camera's mark, of an image that was loaded: 1 (upright) … 8, and 1 for anything else."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged in any way
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turned(pixels: np.ndarray, mark: int) -> np.ndarray:
    """A picture ``[height, width, channels]`` upright: a view of it."""
    if mark >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if mark in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if mark in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _source(photo):
    """(the photo in words, what Pillow opens)."""
    source: Any = photo
    if isinstance(photo, bytes):
        where, size, source = f"photo of {len(photo)} bytes", len(photo), io.BytesIO(photo)
    elif isinstance(photo, (str, os.PathLike)):
        where = str(photo)
        if not os.path.exists(photo):
            raise FileNotFoundError(f"{where}: expected a photo, found no such file.")
        if not pathlib.Path(photo).is_file():  # a pipe would be waited for
            raise UnreadablePhotoError(f"{where}: expected a photo, received what is no file.", "no file")
        size = os.path.getsize(photo)
    else:
        raise ValueError(f"photo: expected a path, or an encoded photo as bytes, received {type(photo).__name__}.")
    if size > MAX_BYTES:
        raise LargePhotoError(f"{where}: expected at most {MAX_BYTES:,} bytes, received {size:,}.", "file too large")
    return where, source


@functools.cache
def _formats() -> list[str]:
    """The formats that are read here."""
    from PIL import Image, features

    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN and (name != "AVIF" or features.check("avif"))]


def _refusal(where, source):
    """Why a file could not be opened, its format named where it has one."""
    if isinstance(source, io.BytesIO):
        head = source.getvalue()[:12]
    else:
        with open(source, "rb") as file:
            head = file.read(12)
    wanted = ", ".join(_formats())
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis") and "AVIF" not in _formats():
        return UnreadablePhotoError(
            f"{where}: expected a photo ({wanted}), received an AVIF photo; Pillow 11.3 and newer read it.",
            "AVIF photo: needs Pillow 11.3",
        )
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1") and "HEIF" not in _formats():
        return UnreadablePhotoError(
            f"{where}: expected a photo ({wanted}), received a HEIC photo; pip install 'kfood[photos]' to read it.",
            "HEIC photo: needs pillow-heif",
        )
    return UnreadablePhotoError(f"{where}: expected a photo ({wanted}), received something else.")


def _rgb(image, stored):
    """Pixels of a loaded image on white, not turned: uint8 [height, width, 3]. ``stored``: Pillow's raw mode."""
    clear = image.info.get("transparency")
    if image.mode == "F" or (image.mode.startswith("I") and image.format not in ("PNG", "TIFF")):
        raise ValueError(f"expected levels of 8 or 16 bits, received {image.mode}")
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("expected levels of 8 or 16 bits, received more")
        shown = (levels >> 8).astype(np.uint8)
        if isinstance(clear, int):
            shown[levels == clear] = 255
        return np.repeat(shown[..., None], 3, axis=2)
    if image.mode == "CMYK":
        return _by_rows(lambda inks: (255 - inks[..., :3]) * (255 - inks[..., 3:]) // 255, np.asarray(image))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or (image.mode == "P" and clear is not None):
        return _by_rows(_on_white, np.asarray(image if image.mode == "RGBA" else image.convert("RGBA")))
    pixels = np.array(image.convert("RGB"))
    if clear is not None:
        if "16" in stored:
            raise ValueError("expected a transparent colour of 8 bits, received one of 16")  # Pillow keeps 8 of pixels
        if isinstance(clear, int):  # a level as stored, which Pillow stretches to 8 bits
            bits = 1 if image.mode == "1" else int(stored[2:]) if stored in ("L;2", "L;4") else 8
            clear = clear * 255 // (2**bits - 1)
        pixels[(pixels == np.array(clear)).all(axis=2)] = 255
    return pixels


def _on_white(levels):
    """uint16 [..., 4] → [..., 3]; no sum is above 65,152."""
    alpha = levels[..., 3:]
    return (levels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255


def _by_rows(function, pixels):
    """A function of uint16 [rows, width, 4] on uint8 pixels, some rows at a time: uint8 [height, width, 3]."""
    made = np.empty((*pixels.shape[:2], 3), np.uint8)
    for start in range(0, len(pixels), _ROWS):
        made[start : start + _ROWS] = function(pixels[start : start + _ROWS].astype(np.uint16))
    return made


def evaluation_transform(image: np.ndarray, size: int, short_side: int, where: str = "image") -> np.ndarray:
    """Resize (bilinear, antialiased), and take the centre.

    Each side becomes ``floor(side * short_side / short + 1/2)``, or, with a short side of 0, ``size``; the crop starts
    at ``(resized - size) // 2``; only its pixels are computed. This is ``kfood.data.images.evaluation_transform`` up to
    the rounding of float32.

    Args:
        image: ``[height, width, 3]``, uint8, or float in [0, 255].
        size: side of the result, pixels.
        short_side: of the resized picture, pixels; 0: both of its sides are ``size``.
        where: the picture's name in a message.

    Returns:
        float32 ``[size, size, 3]`` in [0, 255].

    Raises:
        ValueError: another shape or type, or values outside [0, 255].
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{where}: expected [height, width, 3], received {list(image.shape)}.")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.floating):
            raise ValueError(f"{where}: expected uint8 or float, received {image.dtype}.")
        low, high = image.min(), image.max()
        if not (low >= 0 and high <= 255):  # written so that NaN fails
            raise ValueError(f"{where}: expected values from 0 to 255, received values from {low} to {high}.")
    short = min(image.shape[:2])
    for axis in (0, 1):
        side = image.shape[axis]
        resized = (2 * side * short_side + short) // (2 * short) if short_side else size
        image = _resample(image, axis, resized, (resized - size) // 2, size)
    return image


def _resample(image, axis, resized, start, size):
    """Positions ``start`` … ``start + size - 1`` of ``axis`` resized to ``resized``, as float32."""
    side = image.shape[axis]
    scale = side / resized
    reach = max(scale, 1.0)  # the triangle's half width in source pixels: wider than a pixel where it shrinks
    centres = (start + np.arange(size) + 0.5) * scale
    first = np.maximum(np.ceil(centres - reach - 0.5).astype(int), 0)
    taps = min(2 * math.ceil(reach) + 1, side)
    sources = first[:, None] + np.arange(taps)
    weights = np.maximum(1 - np.abs(sources + 0.5 - centres[:, None]) / reach, 0) * (sources < side)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    sources = np.minimum(sources, side - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    result = 0.0
    for tap in range(taps):
        result = result + np.take(image, sources[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return result
