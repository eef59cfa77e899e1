"""Reading anyone's pictures rightly, and carrying recipes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.errors import PictureError
from pixmix_cli.storage import images
from tests.conftest import picture


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_lossless_formats_keep_every_pixel(image_format: str) -> None:
    pixels = picture(1, 31, 17)
    data = images.encode(pixels, image_format)
    np.testing.assert_array_equal(images.decode_rgb(data, "x"), pixels)


def test_jpeg_is_written_without_chroma_subsampling() -> None:
    data = images.encode(picture(1, 32, 32), "jpeg", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_recipe_comes_back_out_of_the_picture(image_format: str) -> None:
    recipe = '{"layers":[1,2],"name":"x"}'
    data = images.encode(picture(1, 16, 16), image_format, recipe=recipe)
    assert images.read_recipe(data, "x") == recipe


def test_recipe_longer_than_a_jpeg_comment_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        images.encode(picture(1, 8, 8), "jpeg", recipe="x" * 70_000)


def test_cmyk_jpeg_becomes_the_same_rgb() -> None:
    pixels = picture(2, 40, 40)
    data = encoded(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=100)
    difference = images.decode_rgb(data, "x").astype(int) - pixels
    assert np.abs(difference).mean() < 3


def test_grey_becomes_three_equal_channels() -> None:
    grey = picture(3, 20, 20)[:, :, 0]
    found = images.decode_rgb(encoded(Image.fromarray(grey), "PNG"), "x")
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, 2))


def test_palette_colours_are_looked_up() -> None:
    image = Image.fromarray(picture(4, 20, 20)).quantize(16)
    expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode_rgb(encoded(image, "PNG"), "x"), expected)


def test_alpha_is_dropped_as_torchvision_does() -> None:
    pixels = picture(5, 20, 20)
    rgba = np.dstack([pixels, np.full((20, 20), 7, np.uint8)])
    found = images.decode_rgb(encoded(Image.fromarray(rgba, "RGBA"), "PNG"), "x")
    np.testing.assert_array_equal(found, pixels)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = np.array([[0, 257, 32896, 65535]], np.uint16)
    found = images.decode_rgb(encoded(Image.fromarray(grey), "PNG"), "x")
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (found[..., 0] == found[..., 2]).all()


def test_exif_rotation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(picture(6, 10, 30)), "JPEG", exif=exif)
    assert images.decode_rgb(data, "x").shape == (10, 30, 3)


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.fromarray(picture(seed, 16, 16)) for seed in (7, 8)]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    np.testing.assert_array_equal(images.decode_rgb(data, "x"), picture(7, 16, 16))


def test_float_pixels_are_refused_with_the_reason() -> None:
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(PictureError, match=r"f\.tif: floating-point"):
        images.decode_rgb(encoded(image, "TIFF"), "f.tif")


def grey_tiff(values: list[int], bits: int, sample_format: int) -> bytes:
    """A TIFF of one row. sample_format: 1 unsigned, 2 signed (TIFF 6.0, section 19)."""
    if bits == 12:
        row = int("".join(f"{value:012b}" for value in values), 2).to_bytes(len(values) * 3 // 2)
    else:
        kind = ("<i" if sample_format == 2 else "<u") + str(bits // 8)
        row = np.array(values, kind).tobytes()
    entries = {256: len(values), 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1}
    entries |= {279: len(row), 339: sample_format}
    table = b"".join(struct.pack("<HHIHH", tag, 3, 1, n, 0) for tag, n in entries.items())
    head = struct.pack("<2sHI", b"II", 42, 8 + len(row))
    return head + row + struct.pack("<H", len(entries)) + table + bytes(4)


@pytest.mark.parametrize(("bits", "sample_format"), [(32, 1), (32, 2), (16, 2)])
def test_grey_levels_in_wide_whole_numbers_stay_as_they_are(bits: int, sample_format: int) -> None:
    data = grey_tiff([0, 6, 234, 255], bits, sample_format)
    assert images.decode_rgb(data, "x")[0].tolist() == [[v] * 3 for v in (0, 6, 234, 255)]


def test_grey_of_12_bits_is_scaled_by_its_own_range() -> None:
    data = grey_tiff([0, 2048, 4095, 16], 12, 1)
    assert images.decode_rgb(data, "x")[0, :, 0].tolist() == [0, 128, 255, 1]


@pytest.mark.parametrize("value", [-1, 256, 70_000])
def test_wide_whole_numbers_that_are_no_grey_levels_are_refused(value: int) -> None:
    with pytest.raises(PictureError, match=r"i\.tif: .* no known range"):
        images.decode_rgb(grey_tiff([0, value], 32, 2), "i.tif")


def test_a_picture_file_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"

    def field(record: int, number: int, content: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, record, number, len(content)) + content

    # IPTC/NAA: a picture of 3:60 grey, 40 x 40, uncompressed inside, whatever those bytes are
    iptc = field(3, 20, b"\0\0\0\x28") + field(3, 30, b"\0\0\0\x28") + field(3, 60, b"\1\0")
    iptc += field(3, 120, b"\1") + field(8, 10, eps)
    for data in (eps, iptc):
        with pytest.raises(PictureError, match="not a picture"):
            images.decode_rgb(data, "x.jpg")
        with pytest.raises(PictureError, match="not a picture"):
            images.read_recipe(data, "x.jpg")
    assert not (tmp_path / "ran").exists()


def png(rows: int, colour: int, depth: int, interlaced: bool = False) -> bytes:
    """A PNG that promises 30 rows of 20 pixels, with data for the first rows only."""
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    lines = [(20 * bits + 7) // 8] * rows
    if interlaced:
        passes = [(0, 8), (4, 8), (0, 4), (2, 4), (0, 2), (1, 2), (0, 1)]
        downs = [(0, 8), (0, 8), (4, 8), (0, 4), (2, 4), (0, 2), (1, 2)]
        lines = []
        for (left, across), (top, down) in zip(passes, downs):
            columns = len(range(left, 20, across))
            lines += [(columns * bits + 7) // 8] * len(range(top, 30, down))
        lines = lines[: len(lines) - (30 - rows)]
    raw = b"".join(b"\0" + b"\1" * length for length in lines)
    header = struct.pack(">IIBBBBB", 20, 30, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"PLTE", bytes(range(6))), (b"IDAT", zlib.compress(raw))]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in [*chunks, (b"IEND", b"")]:
        out += struct.pack(">I", len(data)) + kind + data
        out += struct.pack(">I", zlib.crc32(kind + data))
    return out


COLOURS = [(0, 1), (0, 8), (0, 16), (2, 8), (3, 8), (4, 8), (6, 8), (6, 16)]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), COLOURS)
def test_a_png_that_ends_early_is_damaged(colour: int, depth: int, interlaced: bool) -> None:
    assert images.decode_rgb(png(30, colour, depth, interlaced), "x.png").shape == (30, 20, 3)
    for rows in (1, 29):
        with pytest.raises(PictureError, match=r"x\.png: "):
            images.decode_rgb(png(rows, colour, depth, interlaced), "x.png")


def test_a_png_that_ends_black_is_whole() -> None:
    pixels = picture(1, 30, 20)
    pixels[-3:] = 0
    for data in (encoded(Image.fromarray(pixels), "PNG"), images.encode(pixels, "png")):
        np.testing.assert_array_equal(images.decode_rgb(data, "x"), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000"])
def test_a_picture_of_too_many_pixels_is_refused_by_name_and_count(kind: str) -> None:
    data = encoded(Image.fromarray(picture(1, 300, 200)), kind)
    with pytest.raises(PictureError, match=r"big: 200 x 300 .*60000 pixels.*--max-pixels"):
        images.decode_rgb(data, "big", max_pixels=59_999)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_picture_of_just_as_many_pixels_is_read(kind: str) -> None:
    data = encoded(Image.fromarray(picture(1, 300, 200)), kind)
    assert images.decode_rgb(data, "big", max_pixels=90_000).shape == (300, 200, 3)


def test_a_format_that_needs_more_memory_may_have_fewer_pixels() -> None:
    image = Image.fromarray(picture(1, 300, 200))
    images.decode_rgb(encoded(image, "JPEG"), "x", max_pixels=60_000)
    with pytest.raises(PictureError, match="this format takes"):
        images.decode_rgb(encoded(image, "WEBP"), "x", max_pixels=60_000)


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 30,000 x 30,000 pixels."""
    data = bytearray(png(30, 2, 8))
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_a_header_that_promises_30000_squared_pixels_is_refused() -> None:
    with pytest.raises(PictureError, match=r"bomb\.png: .*900000000 pixels"):
        images.decode_rgb(bomb(), "bomb.png")


def test_an_icon_cannot_hide_a_larger_picture() -> None:
    inner = encoded(Image.fromarray(picture(1, 300, 200)), "PNG")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    data = b"\0\0\1\0\1\0" + entry + inner
    with pytest.raises(PictureError, match="60000 pixels"):
        images.decode_rgb(data, "x.ico", max_pixels=50_000)


def test_a_file_too_long_for_memory_is_refused_before_it_is_read() -> None:
    images.check_length(7_500_000, "x", 1_000_000)
    with pytest.raises(PictureError, match="a file of 7500001 bytes"):
        images.check_length(7_500_001, "x", 1_000_000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1", "I;16"])
def test_strips_give_the_pixels_of_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(picture(5, 61, 47))
    if mode == "I;16":
        image = Image.fromarray(picture(5, 61, 47)[..., 0].astype(np.uint16) * 251)
    elif mode != "RGB":
        image = image.convert(mode)
    data = encoded(image, "TIFF")
    whole = images.decode_rgb(data, "x")
    monkeypatch.setattr(images, "STRIP", 47 * 8)
    np.testing.assert_array_equal(images.decode_rgb(data, "x"), whole)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not a picture"),
        (images.encode(picture(9, 64, 64), "jpeg")[:-400], "truncated"),
        (images.encode(picture(9, 64, 64), "png")[:200], "x.jpg"),
    ],
)
def test_broken_files_are_named_with_a_reason_on_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason) as caught:
        images.decode_rgb(data, "x.jpg")
    assert "x.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_codec_names_what_wrote_the_bytes() -> None:
    assert set(images.codec("jpeg")) == {"simplejpeg"}
    assert set(images.codec("png")) == {"pillow", "zlib", "png-strategy"}


def jpegs() -> dict[str, bytes]:
    """JPEGs of every kind that people have, of odd sizes."""
    image = Image.fromarray(picture(11, 75, 101))
    return {
        "4:4:4": encoded(image, "JPEG", subsampling=0, quality=95),
        "4:2:2": encoded(image, "JPEG", subsampling=1),
        "4:2:0": encoded(image, "JPEG", subsampling=2, quality=60),
        "progressive": encoded(image, "JPEG", progressive=True),
        "grey": encoded(image.convert("L"), "JPEG"),
        "rgb": encoded(image, "JPEG", keep_rgb=True),
        "cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "one pixel": encoded(image.crop((0, 0, 1, 1)), "JPEG"),
        "junk after its end": encoded(image, "JPEG") + b"junk",
        "restart markers": encoded(image, "JPEG", restart_marker_rows=1),
    }


@pytest.mark.parametrize("kind", jpegs())
def test_the_quick_decoder_gives_pillows_pixels(kind: str) -> None:
    data = jpegs()[kind]
    expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    scratch = images.Scratch()
    for place in (None, scratch, scratch):
        np.testing.assert_array_equal(images.decode_rgb(data, "x", place), expected)


def test_scratch_memory_is_used_again_and_a_huge_picture_gets_its_own() -> None:
    scratch = images.Scratch()
    data = jpegs()["4:2:0"]
    first = images.decode_rgb(data, "x", scratch)
    assert np.shares_memory(first, images.decode_rgb(data, "x", scratch))
    assert scratch.room(images.SCRATCH_BYTES + 1) is None


def test_the_quick_encoder_is_nearly_as_true_as_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture(12, 64, 64)

    def error() -> float:
        difference = images.decode_rgb(images.encode(pixels, "jpeg"), "x").astype(float) - pixels
        return float(np.sqrt((difference**2).mean()))

    quick = error()
    monkeypatch.setattr(images, "simplejpeg", None)
    assert quick < 1.15 * error()


def test_without_simplejpeg_pillow_does_it_all_and_the_settings_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = jpegs()["4:4:4"]
    with_it, settings = images.decode_rgb(data, "x"), images.reader()
    monkeypatch.setattr(images, "simplejpeg", None)
    np.testing.assert_array_equal(images.decode_rgb(data, "x"), with_it)
    assert "simplejpeg" in settings
    assert "simplejpeg" not in images.reader()
    assert "simplejpeg" not in images.codec("jpeg")


def test_a_recipe_in_a_jpeg_changes_no_pixel_and_is_read_back() -> None:
    pixels = picture(3, 40, 56)
    plain = images.encode(pixels, "jpeg")
    told = images.encode(pixels, "jpeg", recipe='{"version":1}')
    assert images.read_recipe(told, "x") == '{"version":1}'
    assert len(told) == len(plain) + 4 + len('{"version":1}')
    assert (images.decode_rgb(told, "x") == images.decode_rgb(plain, "x")).all()


def test_png_is_lossless_whatever_its_codes() -> None:
    pixels = picture(4, 33, 47)
    assert (images.decode_rgb(images.encode(pixels, "png"), "x") == pixels).all()
