"""Pictures: bytes to arrays and back, by Pillow, and by simplejpeg where it does the same faster.

simplejpeg calls libjpeg-turbo, as Pillow does, without the detours: the pixels of a colour or grey
JPEG are the same. Its encoder takes the quicker of the library's transforms below quality 96, which
adds a twentieth to the coding error (2.5 levels instead of 2.4, RMS, at quality 95). Whatever it
refuses (CMYK, damaged files) and every other format Pillow reads, and Pillow's word on it counts.

Policy, the same as torchvision's ImageFolder loader: the first frame, converted to RGB, alpha
dropped, EXIF rotation not applied. Beyond it, 16-bit grey pictures are scaled to 8 bits (Pillow's
own conversion clips them at 255).
"""

from __future__ import annotations

import io
import json
import warnings
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError, features
from PIL import __version__ as pillow_version

from pixmix_cli.errors import PictureError

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


def decode_rgb(data: bytes, name: str, scratch: Scratch | None = None) -> U8:
    """Decode a picture.

    data     the file's bytes
    name     for the error message
    scratch  where the pixels may be put; they are then good until its next use
    returns  (h, w, 3) uint8 RGB
    raises   PictureError: empty, not a picture, truncated, a decompression bomb, float pixels
    """
    if not data:
        raise PictureError(f"{name}: the file is empty")
    quick = _decode_jpeg(data, scratch)
    if quick is not None:
        return quick
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                return _to_rgb(picture, name)
    except UnidentifiedImageError:
        raise PictureError(f"{name}: not a picture that Pillow {pillow_version} can read") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise PictureError(
            f"{name}: decompression bomb, its header promises more than {limit} million pixels"
        ) from None
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name}: too large for the memory there is") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on hostile bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: {reason}") from None


def _decode_jpeg(data: bytes, scratch: Scratch | None) -> U8 | None:
    """The pixels of an ordinary, whole JPEG; None for everything that Pillow should judge."""
    if simplejpeg is None or not data.startswith(_JPEG_START):
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space not in _JPEG_SPACES or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        room = scratch.room(height * width * 3) if scratch is not None else None
        pixels: U8 = simplejpeg.decode_jpeg(data, "RGB", buffer=room)
        return pixels
    except (ValueError, MemoryError):
        return None


def _to_rgb(picture: Image.Image, name: str) -> U8:
    if picture.mode.startswith("I"):  # 16-bit grey; "I" is how some Pillow versions open it
        grey = np.asarray(picture).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise PictureError(f"{name}: grey values beyond 16 bits have no known range")
        grey8 = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey8[:, :, None], 3, axis=2)
    if picture.mode == "F":
        raise PictureError(f"{name}: floating-point pixels have no known range")
    return np.array(picture.convert("RGB"))


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as picture:
                if "comment" in picture.info:
                    comment = picture.info["comment"]
                    return comment.decode("ascii") if isinstance(comment, bytes) else str(comment)
                if "pixmix" in picture.info:
                    return str(picture.info["pixmix"])
                description = picture.getexif().get(_IMAGE_DESCRIPTION)
                return None if description is None else str(description)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{name}: {reason}") from None


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
