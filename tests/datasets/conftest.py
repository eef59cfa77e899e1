"""Small sets in every format, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.pipelines.bake.formats.registry import FORMATS

Bake = Callable[..., Path]


@pytest.fixture(scope="session")
def bake(tmp_path_factory: pytest.TempPathFactory, photos: Path, mixing: Path) -> Bake:
    """Bake the photographs, in this process: bake("--copies", 2, ...)."""
    from pixmix_cli.main import run

    def call(
        *words: object, source: object = photos, weighted: bool = False, code: int = 0
    ) -> Path:
        out = tmp_path_factory.mktemp("baked") / "out"
        sets = () if weighted else ("--mixing-set", mixing)
        usual = (*sets, "--size", 32, "-j", 1, "-q", "-o", out)
        assert run([str(word) for word in ("bake", source, *usual, *words)]) == code
        return out

    return call


@pytest.fixture(scope="session")
def sets(bake: Bake) -> dict[str, Path]:
    """Two copies and a plain one of the photographs, lossless, in seven shards: by format."""
    png = ("--image-format", "png", "--shard-size", 5)
    more: dict[str, tuple[object, ...]] = {
        name: png if FORMATS[name].sharded else png[:2] for name in FORMATS
    }
    more["npy"] = ()
    return {
        name: bake("--format", name, "--copies", 2, "--plain", 1, *words)
        for name, words in more.items()
    }
