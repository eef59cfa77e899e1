"""Reading anyone's pictures rightly, and carrying recipes."""

from __future__ import annotations

import io

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


def test_32_bit_values_beyond_16_bits_are_refused() -> None:
    image = Image.fromarray(np.full((4, 4), 70_000, np.int32))
    with pytest.raises(PictureError, match="16 bits"):
        images.decode_rgb(encoded(image, "TIFF"), "i.tif")


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


def bomb() -> bytes:
    """A PNG of 40 bytes or so whose header promises 30,000 x 30,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def test_decompression_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(PictureError, match="decompression bomb"):
        images.decode_rgb(bomb(), "bomb.png")


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
