"""Pictures: bytes to arrays and back, by Pillow, and by simplejpeg where it does the same faster.

simplejpeg calls libjpeg-turbo, as Pillow does, without the detours: the pixels of a colour or grey
JPEG are the same. Its encoder takes the quicker of the library's transforms below quality 96, which
adds a twentieth to the coding error (2.5 levels instead of 2.4, RMS, at quality 95). Whatever it
refuses (CMYK, damaged files) and every other format Pillow reads, and Pillow's word on it counts.

Policy, the same as torchvision's ImageFolder loader: the first frame, converted to RGB, alpha
dropped, EXIF rotation not applied. Beyond it, 16-bit grey pictures are scaled to 8 bits (Pillow's
own conversion clips them at 255), a PNG that ends early is damaged (Pillow leaves the rest black),
and what would take too much memory is refused from its header.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError, features
from PIL import __version__ as pillow_version

from pixmix_cli.errors import PictureError
from pixmix_cli.units import MAX_PIXELS

try:
    import simplejpeg
except ImportError:  # no wheel for this platform: Pillow does it all
    simplejpeg = None

U8 = NDArray[np.uint8]

# torchvision's list, so that a folder means the same here and in training
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
FORMATS = {"jpeg": "jpg", "png": "png", "webp": "webp"}  # --image-format: file extension
RECIPE_LIMIT = 65_533  # bytes in a JPEG: a segment's length field has 16 bits
_CODEC_FEATURE = {"jpeg": "jpg", "png": "zlib", "webp": "webp"}
_JPEG_START = b"\xff\xd8\xff"
_JPEG_SPACES = ("YCbCr", "RGB", "Gray")  # those whose way to RGB is the library's own
SCRATCH_BYTES = 16 << 20  # a larger picture gets memory of its own, so that a worker's stays flat
_IMAGE_DESCRIPTION = 0x010E  # EXIF tag that carries the recipe in WebP

# What Pillow may take bytes for, in the order in which it tries. Left out are formats that hand the
# file to another program (EPS to Ghostscript), those that open whatever lies inside them (IPTC),
# and stubs for libraries that applications register.
READ_FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "DIB", "JPEG2000", "AVIF", "ICO", "TGA",
    "PCX", "SGI", "QOI", "PSD", "DDS", "CUR", "DCX", "FLI", "MSP", "SUN", "XBM", "XPM", "IM",
)  # fmt: skip

# Memory that one picture may take, its file included. The rates are bytes a pixel at the peak of
# `decode_rgb`, measured on 5000 x 5000 pixels: Pillow's own 4 and the result's 3; libwebp holds two
# whole frames, OpenJPEG counts in 32 bits. A JPEG of several scans is kept as coefficients.
_BUDGET = 7.5  # bytes for each of MAX_PIXELS: 503 MB, so that a whole worker stays under 700 MB
OWN_PIXELS = 5 * MAX_PIXELS // 2  # for checks of what pixmix made, a WebP of 8192 x 8192 too
_QUICK_JPEG, _QUICK_JPEG_OF_SCANS = 3, {"444": 9, "422": 7, "440": 7, "420": 6, "Gray": 5}
_RATES = {
    "JPEG": 7,
    "MPO": 7,
    "PNG": 7,
    "BMP": 7,
    "PPM": 7,
    "TIFF": 7,
    "GIF": 7,
    "TGA": 7,
    "AVIF": 11,
    "WEBP": 16,
}
_RATE_OF_SCANS, _RATE = 12, 20
STRIP = 1 << 20  # pixels that are converted at a time
_TIFF_BITS, _TIFF_SAMPLE_FORMAT = 258, 339
_PNG_START = b"\x89PNG\r\n\x1a\n"
_ICON_STARTS = (b"\0\0\1\0", b"\0\0\2\0")


def is_picture_name(name: str) -> bool:
    """Whether a file name ends like a picture."""
    return name.lower().endswith(EXTENSIONS)


class Scratch:
    """Memory for one decoded picture after the other: fresh memory costs a third of a decode."""

    def __init__(self) -> None:
        """Nothing is allocated yet."""
        self._memory = np.empty(0, np.uint8)

    def room(self, length: int) -> U8 | None:
        """(at least length,) uint8, the same memory every time; None for more than it keeps."""
        if length > SCRATCH_BYTES:
            return None
        if len(self._memory) < length:
            self._memory = np.empty(min(2 * length, SCRATCH_BYTES), np.uint8)
        return self._memory


def decode_rgb(
    data: bytes, name: str, scratch: Scratch | None = None, max_pixels: int = MAX_PIXELS
) -> U8:
    """Decode a picture.

    data        the file's bytes
    name        for the error message
    scratch     where the pixels may be put; they are then good until its next use
    max_pixels  what a picture may have; each also stands for 7.5 bytes of memory, which a picture
                of a costly format fills with fewer
    returns     (h, w, 3) uint8 RGB
    raises      PictureError: empty, not a picture, truncated, too large, float pixels
    """
    if not data:
        raise PictureError(f"{name}: the file is empty")
    quick = _decode_jpeg(data, name, scratch, max_pixels)
    if quick is not None:
        return quick
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(data, name, max_pixels) as picture:
                rate = _RATES.get(picture.format or "", _RATE)
                if picture.format in ("JPEG", "MPO") and _has_several_scans(data):
                    rate = _RATE_OF_SCANS
                _check_size(picture.size, rate, len(data), name, max_pixels)
                picture.load()
                if picture.format == "PNG":
                    _check_png_is_whole(data, picture, name)
                return _to_rgb(picture, name)
    except UnidentifiedImageError:
        raise PictureError(f"{name}: not a picture that Pillow {pillow_version} can read") from None
    except Image.DecompressionBombError as error:
        told = re.search(r"\d+", str(error))
        raise PictureError(
            f"{name}: {told[0] if told else 'too many'} pixels, more than {max_pixels} "
            "(bake --max-pixels)"
        ) from None
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name}: too large for the memory there is") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: {reason}") from None


def size_of(data: bytes, name: str) -> tuple[int, int]:
    """(height, width) of a picture, from its header. Raises PictureError."""
    with _header(data, name) as picture:
        return picture.height, picture.width


@contextlib.contextmanager
def _header(data: bytes, name: str) -> Iterator[Image.Image]:
    """A picture of which only what stands before the pixels is read. Raises PictureError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(data, name, MAX_PIXELS) as picture:
                yield picture
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{name}: not a picture that Pillow {pillow_version} can read") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: {reason}") from None


def most_bytes(max_pixels: int) -> int:
    """Memory that one picture may take, bytes, where it may have so many pixels."""
    return int(_BUDGET * max_pixels)


def check_length(length: int, name: str, max_pixels: int) -> None:
    """Refuse a file that is too long to be read into memory, before it is. Raises PictureError."""
    most = most_bytes(max_pixels)
    if length > most:
        raise PictureError(
            f"{name}: a file of {length} bytes, more than the {most} that one picture may take "
            f"with a limit of {max_pixels} pixels (bake --max-pixels)"
        )


def check_pixels(height: int, width: int, name: str, max_pixels: int) -> None:
    """Refuse a picture of too many pixels. Raises PictureError."""
    if height * width > max_pixels:
        raise PictureError(
            f"{name}: {width} x {height} are {height * width} pixels, more than {max_pixels} "
            "(bake --max-pixels)"
        )


def _check_size(size: tuple[int, int], rate: int, length: int, name: str, max_pixels: int) -> None:
    """Refuse a picture that would take too much memory to decode.

    size    width, height
    rate    bytes a pixel while it is decoded
    length  of the file, bytes
    raises  PictureError
    """
    width, height = size
    check_pixels(height, width, name, max_pixels)
    need = length + rate * width * height
    if need > most_bytes(max_pixels):
        raise PictureError(
            f"{name}: {width} x {height} are {height * width} pixels, and this format takes "
            f"{need // 1_000_000} MB to decode them, more than the "
            f"{most_bytes(max_pixels) // 1_000_000} MB of a limit of {max_pixels} pixels "
            "(bake --max-pixels)"
        )


SMALL = 8192  # bytes of a JPEG; copying the pixels of larger ones costs more than Pillow's start


def decode_pil(data: bytes, name: str) -> Image.Image:
    """What `decode_rgb` gives as a PIL picture, of a set that pixmix made. Raises PictureError."""
    if len(data) >= SMALL and data.startswith(_JPEG_START):
        try:
            with _opened(data, name, OWN_PIXELS) as picture:
                picture.load()
            if picture.mode == "RGB":
                return picture
        except Exception:  # whatever it is, the next line says it in words
            pass
    return Image.fromarray(decode_rgb(data, name, None, OWN_PIXELS))


def _decode_jpeg(data: bytes, name: str, scratch: Scratch | None, max_pixels: int) -> U8 | None:
    """The pixels of an ordinary, whole JPEG; None for everything that Pillow should judge.

    raises  PictureError: too large
    """
    if simplejpeg is None or not data.startswith(_JPEG_START):
        return None
    try:
        height, width, space, sampling = simplejpeg.decode_jpeg_header(data)
        if space not in _JPEG_SPACES:
            return None
        rate = _QUICK_JPEG
        if height * width > STRIP and _has_several_scans(data):
            rate = _QUICK_JPEG_OF_SCANS.get(sampling, 9)
        _check_size((width, height), rate, len(data), name, max_pixels)
        room = scratch.room(height * width * 3) if scratch is not None else None
        pixels: U8 = simplejpeg.decode_jpeg(data, "RGB", buffer=room)
        return pixels
    except (ValueError, MemoryError):
        return None


def _has_several_scans(data: bytes) -> bool:
    """Whether a JPEG comes in several scans, as all progressive ones: its coefficients are kept.

    source  ITU T.81, B.2.2 and B.2.3
    """
    place, components = 2, 0
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA:
            return data[place + 4] < components
        if marker in (0xC2, 0xC6, 0xCA, 0xCE):
            return True
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = data[place + 9]
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _opened(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """A picture of which only the header is read. Raises as `Image.open`, PictureError."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and max_pixels > 2 * limit:  # Pillow refuses beyond twice its limit
        Image.MAX_IMAGE_PIXELS = max_pixels // 2 + 1
    if data.startswith(_ICON_STARTS):  # the only ones that are decoded when they are opened
        place = data.find(_PNG_START)
        while place >= 0:
            width, height = struct.unpack(">II", data[place + 16 : place + 24].ljust(8, b"\0"))
            _check_size((width, height), _RATE, len(data), name, max_pixels)
            place = data.find(_PNG_START, place + 1)
    return Image.open(io.BytesIO(data), formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of READ_FORMATS that this Pillow has."""
    Image.init()
    return tuple(name for name in READ_FORMATS if name in Image.OPEN)


def _to_rgb(picture: Image.Image, name: str) -> U8:
    if picture.mode == "F":
        raise PictureError(f"{name}: floating-point pixels have no known range")
    convert = _converter(picture, name)
    width, height = picture.size
    rows = max(1, STRIP // width)
    if height <= rows:
        return convert(picture)
    # strip by strip: all at once, Pillow and NumPy hold the picture four times over
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        pixels[top : top + rows] = convert(picture.crop((0, top, width, min(top + rows, height))))
    return pixels


def _converter(picture: Image.Image, name: str) -> Callable[[Image.Image], U8]:
    """What makes RGB of a piece of the picture. Raises PictureError."""
    if not picture.mode.startswith("I"):
        return lambda piece: np.array(piece.convert("RGB"))
    values = np.asarray(picture)
    low, high = int(values.min()), int(values.max())
    del values
    tags = getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}
    bits = int(np.max(tags.get(_TIFF_BITS, 16)))
    most = 65535
    if bits > 16 or int(np.max(tags.get(_TIFF_SAMPLE_FORMAT, 1))) != 1:
        # whole numbers of a range that no file records: grey levels as they are
        if low < 0 or high > 255:
            raise PictureError(
                f"{name}: grey values of {low} to {high} in {bits} bits have no known range; "
                "grey of 8 or of unsigned 16 bits has one"
            )
        most = 255
    elif bits < 16:
        most = 2**bits - 1
    if low < 0 or high > most:
        raise PictureError(f"{name}: grey values of {low} to {high} are not 0 to {most}")

    def convert(piece: Image.Image) -> U8:
        grey = np.asarray(piece).astype(np.uint32)
        grey8 = ((grey * 255 + most // 2) // most).astype(np.uint8)
        return np.repeat(grey8[:, :, None], 3, axis=2)

    return convert


def _check_png_is_whole(data: bytes, picture: Image.Image, name: str) -> None:
    """Refuse a PNG whose data are a whole stream of too few rows, the rest of which Pillow zeroes.

    Only where the last row is zero, or rows come interlaced, are the data unpacked once more.

    source  PNG specification (W3C, 2003), sections 5.3, 8.2 and 11.2.2
    """
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    interlaced = bool(data[28])
    if not interlaced and np.asarray(picture.crop((0, height - 1, width, height))).any():
        return
    bits = depth * _PNG_CHANNELS[colour]
    promised = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        promised += max(0, rows) * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    left_over = promised - _inflated(data, promised)
    if left_over > 0:
        raise PictureError(
            f"{name}: truncated, its data end {left_over} bytes before the last of {height} rows"
        )


_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# first column and row of each pass, and the steps to the next
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip


def _inflated(data: bytes, enough: int) -> int:
    """Bytes that a PNG's IDAT chunks hold when they are unpacked; counted up to `enough`."""
    stream, total, place = zlib.decompressobj(), 0, len(_PNG_START)
    while total < enough and place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        packed = data[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        while packed and total < enough and not stream.eof:
            total += len(stream.decompress(packed, STRIP))
            packed = stream.unconsumed_tail
        place += length + 12
    return total


def encode(pixels: U8, image_format: str, quality: int = 95, recipe: str | None = None) -> bytes:
    """Encode a picture.

    pixels        (h, w, 3) uint8 RGB
    image_format  "jpeg" (4:4:4), "png" or "webp" (lossless); the last two keep every pixel
    quality       1-100, JPEG only
    recipe        ASCII text carried inside the file: JPEG comment, PNG text "pixmix", WebP EXIF
                  ImageDescription
    returns       the file's bytes; the same for the same arguments, Pillow and codec version
    """
    if image_format == "jpeg":
        comment = None if recipe is None else recipe.encode("ascii")
        if comment is not None and len(comment) > RECIPE_LIMIT:
            raise ValueError(f"a recipe of {len(comment)} bytes does not fit a JPEG comment")
        if simplejpeg is not None:
            pixels = np.ascontiguousarray(pixels)
            data: bytes = simplejpeg.encode_jpeg(pixels, quality, "RGB", "444")
            return data if comment is None else _with_comment(data, comment)
    out = io.BytesIO()
    picture = Image.fromarray(pixels)
    extra: dict[str, Any] = {}
    if image_format == "jpeg":
        if comment is not None:
            extra["comment"] = comment
        picture.save(out, "JPEG", quality=quality, subsampling=0, **extra)
    elif image_format == "png":
        if recipe is not None:
            extra["pnginfo"] = PngImagePlugin.PngInfo()
            extra["pnginfo"].add_text("pixmix", recipe)
        # run lengths and Huffman codes only: pictures full of structure repeat nothing, and zlib's
        # search for repeats took twice the time and left the file 3% larger
        picture.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE, **extra)
    elif image_format == "webp":
        if recipe is not None:
            extra["exif"] = Image.Exif()
            extra["exif"][_IMAGE_DESCRIPTION] = recipe
        picture.save(out, "WEBP", lossless=True, method=0, quality=0, **extra)
    else:
        raise ValueError(f"unknown image format {image_format}")
    return out.getvalue()


def _with_comment(data: bytes, comment: bytes) -> bytes:
    """A JPEG with a comment behind its JFIF header, as Pillow puts it (ITU T.81, B.2.4.5)."""
    begin = 2  # the start marker
    if data[2:4] == b"\xff\xe0":  # APP0; its length counts itself, not its marker
        begin += 2 + int.from_bytes(data[4:6], "big")
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    return data[:begin] + segment + data[begin:]


def read_recipe(data: bytes, name: str) -> str | None:
    """The recipe text that `encode` put into a file, or None.

    raises  PictureError when the bytes are no picture
    """
    with _header(data, name) as picture:
        if "comment" in picture.info:
            comment = picture.info["comment"]
            return comment.decode("ascii") if isinstance(comment, bytes) else str(comment)
        if "pixmix" in picture.info:
            return str(picture.info["pixmix"])
        description = picture.getexif().get(_IMAGE_DESCRIPTION)
        return None if description is None else str(description)


def reader() -> dict[str, str]:
    """Which code turns bytes into pixels, for the settings: another may differ by a level."""
    versions = {"pillow": pillow_version}
    if simplejpeg is not None:
        versions["simplejpeg"] = str(simplejpeg.__version__)
    return versions


def codec(image_format: str) -> dict[str, str]:
    """Which code turns pixels into bytes, for the settings: another version may differ in bytes."""
    if image_format == "jpeg" and simplejpeg is not None:
        return {"simplejpeg": str(simplejpeg.__version__)}
    if image_format == "jpeg" and features.check("libjpeg_turbo"):
        return {"pillow": pillow_version, "libjpeg-turbo": str(features.version("libjpeg_turbo"))}
    name = _CODEC_FEATURE[image_format]
    versions = {"pillow": pillow_version, name: str(features.version(name))}
    return {**versions, "png-strategy": "rle"} if image_format == "png" else versions


def codec_available(image_format: str) -> bool:
    """Whether this Pillow can write the format (WebP is optional in a Pillow build)."""
    return bool(features.check(_CODEC_FEATURE[image_format]))


def recipe_of(data: bytes, name: str) -> dict[str, Any] | None:
    """The recipe inside a picture's bytes, or None when it carries none of ours."""
    text = read_recipe(data, name)
    try:
        recipe = json.loads(text) if text else None
    except ValueError:
        return None
    return recipe if isinstance(recipe, dict) else None
