"""PNG by strips: Pillow reads back what was written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.storage.png import encode_strips
from tests.conftest import picture


@pytest.mark.parametrize("rows", [1, 7, 90])
@pytest.mark.parametrize("kind", ["photograph", "noise", "flat"])
def test_pillow_reads_the_same_pixels_however_they_are_cut(rows: int, kind: str) -> None:
    pixels = picture(3, 90, 50)
    if kind == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    if kind == "flat":
        pixels = np.full((90, 50, 3), 255, np.uint8)
    strips = (pixels[top : top + rows] for top in range(0, 90, rows))
    data = b"".join(encode_strips(50, 90, strips))
    read = Image.open(io.BytesIO(data))
    assert read.mode == "RGB"
    assert (np.asarray(read) == pixels).all()


def test_a_picture_with_grain_is_about_as_small_as_pillow_s() -> None:
    smooth = np.asarray(Image.fromarray(picture(3, 60, 60)).resize((300, 300))).astype(int)
    grain = np.random.default_rng(0).normal(0, 3, smooth.shape)
    pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert len(b"".join(encode_strips(300, 300, [pixels]))) < 1.1 * len(out.getvalue())


def test_strips_that_do_not_fit_are_refused() -> None:
    strip = np.zeros((2, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="2 rows in a picture 3 high"):
        list(encode_strips(5, 3, [strip]))
    with pytest.raises(ValueError, match="a picture 4 wide"):
        list(encode_strips(4, 2, [strip]))
