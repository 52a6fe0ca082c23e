"""Encoded photos of many kinds, made here: every orientation, colour mode, transparency and container."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

MARKS = range(1, 9)


def scene(height=48, width=72):
    """uint8 [height, width, 3]: smooth, and another picture whichever way it is turned or mirrored."""
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    levels = np.stack([255 * x, 200 * y + 30 * np.sin(9 * x), 255 * (1 - x) * (1 - y)], -1)
    levels[: height // 3, : width // 4] = (250, 40, 20)
    levels[-height // 4 :, width // 2 :, 2] = 240
    return np.clip(levels, 0, 255).astype(np.uint8)


def alpha(height=48, width=72):
    """uint8 [height, width]: from nothing to all, and a hole."""
    levels = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    levels[height // 2 :, : width // 3] = 0
    return levels


def saved(image, kind, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(mark, kind=3, order="<", count=1):
    """EXIF with two tags, the second the orientation; kind 3 = SHORT, 4 = LONG."""
    value = struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *((mark, 0) if kind == 3 else (mark,)))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    other = struct.pack(f"{order}HHIHH", 0x0106, 3, 1, 2, 0)
    entry = struct.pack(f"{order}HHI", 0x0112, kind, count) + value
    return head + struct.pack(f"{order}H", 2) + other + entry + bytes(4)


def xmp(mark, element=False):
    orientation = f"<tiff:Orientation>{mark}</tiff:Orientation>" if element else ""
    attribute = "" if element else f' tiff:Orientation="{mark}"'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="é"{attribute}>{orientation}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def segment(jpeg, *contents, marker=0xE1):
    """A JPEG with segments put behind its start."""
    put = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for content in contents)
    return jpeg[:2] + put + jpeg[2:]


def jpeg_exif(jpeg, *contents):
    return segment(jpeg, *(b"Exif\0\0" + content for content in contents))


def jpeg_xmp(jpeg, content):
    return segment(jpeg, b"http://ns.adobe.com/xap/1.0/\0" + content)


def without_adobe(jpeg):
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(rows, depth, colour, before=(), after=()):
    """A PNG of rows of bytes as they are stored, with chunks (kind, content) before and after the pixels."""
    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    half = len(data) // 2
    chunks = [(b"IHDR", head), *before, (b"IDAT", data[:half]), (b"IDAT", data[half:]), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def big(levels):
    """Rows of 16 bits a level, the high byte first."""
    return [row.astype(">u2").tobytes() for row in levels.reshape(len(levels), -1)]


def text_chunk(content, packed=False):
    """iTXt of XMP."""
    data = zlib.compress(content) if packed else content
    return b"iTXt", b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"\0\0" + data


def turned_photos():
    """{name: encoded} of every orientation in every place where one may stand."""
    pixels = scene()
    rows = [row.tobytes() for row in pixels]
    jpeg, found = saved(pixels, "JPEG", quality=95, subsampling=0), {}
    for mark in MARKS:
        found[f"jpeg exif {mark}"] = jpeg_exif(jpeg, tiff(mark))
        found[f"jpeg exif big-endian {mark}"] = jpeg_exif(jpeg, tiff(mark, order=">"))
        found[f"jpeg exif long {mark}"] = jpeg_exif(jpeg, tiff(mark, kind=4, order="<>"[mark % 2]))
        found[f"jpeg xmp {mark}"] = jpeg_xmp(jpeg, xmp(mark, element=mark % 2 == 0))
        found[f"png eXIf before {mark}"] = png(rows, 8, 2, before=[(b"eXIf", tiff(mark))])
        found[f"png eXIf after {mark}"] = png(rows, 8, 2, after=[(b"eXIf", tiff(mark, order=">"))])
        found[f"png xmp {mark}"] = png(rows, 8, 2, before=[text_chunk(xmp(mark))])
        found[f"webp exif {mark}"] = saved(pixels, "WEBP", lossless=True, exif=tiff(mark))
        found[f"webp xmp {mark}"] = saved(pixels, "WEBP", lossless=True, xmp=xmp(mark))
    return found


def photos():
    """{name: encoded} of every colour mode and container, and of marks that do not turn."""
    pixels, clear = scene(), alpha()
    rgba = np.dstack([pixels, clear])
    grey = Image.fromarray(pixels).convert("L")
    wide = pixels.astype(np.uint16) * 256 + 77
    levels = np.asarray(grey)
    jpeg, cmyk = saved(pixels, "JPEG"), saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95)
    rows, palette = [row.tobytes() for row in pixels], Image.fromarray(pixels).quantize(16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [Image.fromarray(np.roll(rgba, shift, axis=1)) for shift in (0, 20)]
    nibbles = [bytes(row[0::2] // 16 * 16 + row[1::2] // 16) for row in levels]
    level = int(levels[20, 40])
    return {
        "jpeg": jpeg,
        "jpeg progressive": saved(pixels, "JPEG", progressive=True),
        "jpeg subsampled": saved(pixels, "JPEG", subsampling=2),
        "jpeg grey": saved(grey, "JPEG"),
        "jpeg trailing": jpeg + b"more",
        "jpeg profile": saved(pixels, "JPEG", icc_profile=profile),
        "jpeg exif 0": jpeg_exif(jpeg, tiff(0)),
        "jpeg exif 9": jpeg_exif(jpeg, tiff(9)),
        "jpeg exif damaged": jpeg_exif(jpeg, b"II*\0\xff\xff\xff\x7f"),
        "jpeg exif cut": jpeg_exif(jpeg, tiff(6)[:20]),
        "jpeg exif in two": jpeg_exif(jpeg, tiff(6)[:25], tiff(6)[25:]),
        "jpeg exif over xmp": jpeg_xmp(jpeg_exif(jpeg, tiff(3)), xmp(6)),
        "jpeg exif 0 over xmp": jpeg_xmp(jpeg_exif(jpeg, tiff(0)), xmp(6)),
        "jpeg cmyk": cmyk,
        "jpeg cmyk turned": jpeg_exif(cmyk, tiff(6)),
        "jpeg cmyk unmarked": without_adobe(cmyk),
        "png": png(rows, 8, 2),
        "png grey": saved(grey, "PNG"),
        "png palette": saved(palette, "PNG"),
        "png palette clear": saved(palette, "PNG", transparency=3),
        "png palette alpha": saved(palette, "PNG", transparency=bytes(range(0, 256, 17))),
        "png rgba": saved(rgba, "PNG"),
        "png rgba turned": saved(rgba, "PNG", exif=tiff(8)),
        "png la": saved(np.dstack([levels, clear]), "PNG"),
        "png grey clear": png([row.tobytes() for row in levels], 8, 0, before=[(b"tRNS", struct.pack(">H", level))]),
        "png rgb clear": png(rows, 8, 2, before=[(b"tRNS", struct.pack(">HHH", *map(int, pixels[2, 2])))]),
        "png 1 bit": saved(grey.convert("1"), "PNG"),
        "png 1 bit clear": saved(grey.convert("1"), "PNG", transparency=0),
        "png 4 bits": png(nibbles, 4, 0),
        "png 4 bits clear": png(nibbles, 4, 0, before=[(b"tRNS", struct.pack(">H", level // 16))]),
        "png 16 bits grey": png(big(wide[..., 0]), 16, 0),
        "png 16 bits grey clear": png(
            big(wide[..., 0]), 16, 0, before=[(b"tRNS", struct.pack(">H", int(wide[5, 5, 0])))]
        ),
        "png 16 bits rgb": png(big(wide), 16, 2),
        "png 16 bits rgba": png(big(np.dstack([wide, clear.astype(np.uint16) * 257])), 16, 6),
        "png 16 bits la": png(big(np.dstack([wide[..., 0], clear.astype(np.uint16) * 257])), 16, 4),
        "png animated": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "webp": saved(pixels, "WEBP", quality=90),
        "webp alpha": saved(rgba, "WEBP", lossless=True, exact=True),
        "webp animated": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
        "gif": saved(palette, "GIF"),
        "gif clear": saved(palette, "GIF", transparency=3),
        "gif animated": saved(palette, "GIF", save_all=True, append_images=[Image.fromarray(pixels[::-1]).quantize(8)]),
        "bmp": saved(pixels, "BMP"),
        "tiff": saved(pixels, "TIFF"),
        "tiff turned": saved(pixels, "TIFF", tiffinfo={0x0112: 6}),
        "avif": saved(pixels, "AVIF"),
    }


def of_size(width, height):
    """A PNG of that size in its header and next to nothing behind it: decoding it would fail otherwise."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def unread():
    """{name: encoded} of what no door reads."""
    pixels = scene()
    jpeg, rows = saved(pixels, "JPEG"), [row.tobytes() for row in pixels]
    return {
        "nothing": b"",
        "text": b"<html>not a photo</html>",
        "jpeg cut": jpeg[: len(jpeg) // 2],
        "jpeg head": jpeg[:30],
        "png cut": png(rows, 8, 2)[:-60],
        "png of 400 million": of_size(20_000, 20_000),
        "png of 81 million": of_size(9_000, 9_000),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    }
