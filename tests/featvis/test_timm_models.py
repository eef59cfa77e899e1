"""timm's networks, where timm is installed; without it one line says so."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from featvis.config import FeatVisConfig
from featvis.errors import FeatVisError, UnknownModelError, WeightsUnavailableError
from featvis.layers import layers_of, list_layers
from featvis.models import load_network
from featvis.render import render
from tests.conftest import Cli, one_line_error

pytestmark = pytest.mark.torch

TINY = "timm:test_resnet"  # 0.5 million weights, made for tests


def test_without_timm_one_line_says_how_to_get_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # what importing it then raises is ImportError
    code, _, err = cli("render-featvis", "--model", TINY, "-o", tmp_path / "o")
    assert code == 2
    assert "pixmix[timm]" in one_line_error(err)


class TestWithTimm:
    """Skipped as a whole where timm is missing."""

    @pytest.fixture(autouse=True)
    def _needs_timm(self) -> None:
        pytest.importorskip("timm", reason="needs timm: pip install 'pixmix[timm]'")

    @pytest.mark.parametrize(
        ("name", "layer", "channels", "axis"),
        [
            ("timm:resnet18", "layer3", 256, 1),
            ("timm:vit_tiny_patch16_224", "blocks.3", 192, 2),
            ("timm:swin_tiny_patch4_window7_224", "layers.1", 192, 3),
            ("timm:convnext_atto", "stages.2", 160, 1),
        ],
    )
    def test_layers_are_listed_without_weights(
        self, name: str, layer: str, channels: int, axis: int
    ) -> None:
        found = {each.name: each for each in layers_of(name)}
        assert (found[layer].channels, found[layer].axis) == (channels, axis)
        assert found["output"].channels == 1000

    @pytest.mark.parametrize("name", [TINY, "timm:test_vit", "timm:test_convnext"])
    def test_a_few_steps_raise_a_channel(self, name: str) -> None:
        network = load_network(name, "random", seed=1)
        layer = list_layers(network)[-6]
        config = FeatVisConfig(
            size=48, steps=8, batch_size=1, zoom_min=1, zoom_max=1, rotation=0, jitter=0,
            max_restarts=0,
        )  # fmt: skip
        done = render(network, layer, [1], config, [np.random.default_rng(0)])
        assert (done.end > done.start).all()

    @pytest.mark.parametrize("ending", [".pth", ".safetensors"])
    def test_a_local_checkpoint_with_another_head_loads(
        self, cli: Cli, tmp_path: Path, ending: str
    ) -> None:
        from featvis.architectures import build

        path = tmp_path / f"tuned{ending}"
        state = build(TINY, 7).state_dict()
        if ending == ".pth":
            torch.save(state, path)
        else:
            save_file(state, path)
        network = load_network(TINY, str(path))
        assert network.num_classes == 7
        loaded = network.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in loaded.items())
        code, _, err = cli(
            "render-featvis", "--model", TINY, "--weights", path, "--objective", "logit",
            "--size", 32, "--steps", 1, "-o", tmp_path / "o", "-j", 1, "--device", "cpu",
        )  # fmt: skip
        assert code == 0, err
        manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
        assert manifest["options"]["model"] == TINY
        assert "timm" in manifest["versions"]
        assert len((tmp_path / "o" / "manifest.jsonl").read_text().splitlines()) == 7

    @pytest.mark.parametrize(
        ("name", "near"),
        [("timm:resnet1x", "timm:resnet18"), ("timm:resnet18.nobody", "timm:resnet18.")],
    )
    def test_unknown_names_suggest_the_nearest(self, name: str, near: str) -> None:
        with pytest.raises(UnknownModelError) as caught:
            load_network(name, "random")
        assert near in (caught.value.hint or "")

    def test_weights_are_named_in_the_model(self) -> None:
        with pytest.raises(UnknownModelError) as caught:
            load_network("timm:resnet18", "a1_in1k")
        assert "timm:resnet18.a1_in1k" in (caught.value.hint or "")

    def test_weights_that_cannot_be_downloaded_are_said_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import timm

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError("no route to host\nand more")

        monkeypatch.setattr(timm, "create_model", refuse)
        with pytest.raises(WeightsUnavailableError, match=r"\(no route to host\)") as caught:
            load_network(TINY)
        assert "--weights FILE" in (caught.value.hint or "")

    def test_a_fixed_size_network_takes_its_own_size_only(self) -> None:
        network = load_network("timm:test_vit", "random")
        side = network.input_size
        assert network.fixed_size
        with pytest.raises(FeatVisError, match=f"{side} pixels only"):
            render(
                network, "output", [0], FeatVisConfig(network_size=side + 32),
                [np.random.default_rng(0)],
            )  # fmt: skip
