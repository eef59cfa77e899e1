"""Trains the network of our own: a small torchvision classifier that has seen only fractals.

    python -m training.fractal_network -o featvis/weights/fractals-squeezenet1_1.safetensors

A category is a fractal recipe; its instances are renderings of the recipe with its maps, colours,
frame and ground moved a little, as in Anderson & Farrell (2022), "Improving Fractal Pre-training".
Telling the recipes apart under strong augmentation is only the means: what counts is that the
channels on the way like many different textures, so that pictures which excite them are worth
mixing.

Views are turned by a few degrees only: with every angle allowed, channels learn spots, which look
the same from everywhere, and hardly a line (featvis/weights/README.md says what was tried).
Batch normalisation follows every convolution while training and is folded into the convolutions at
the end, since squeezenet has none. Most, not all, instances of a category
keep its palette, so that neither colour nor shape alone tells categories apart.

Rendering takes all cores, training one CUDA device. Rendered pictures and every draw follow from
--seed; the weights also from the GPU and its libraries.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import platform
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fractals import color, quality
from fractals.config import FractalConfig
from fractals.generate import generate_fractal, render_recipe, warm_up
from fractals.ifs import MAX_SINGULAR_VALUE
from fractals.recipe import largest_singular_value
from pixmix_cli.pipelines.inspect import measures

U8 = NDArray[np.uint8]
Recipe = dict[str, Any]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_BYTES = 3_000_000  # of the shipped file
RETRIES = 2  # of an instance that is a dud, each with half the movement


@dataclass(frozen=True)
class Settings:
    """Everything that decides the weights. The defaults are those of the shipped file."""

    architecture: str = "squeezenet1_1"  # of torchvision
    categories: int = 1000  # fractal recipes
    instances: int = 26  # pictures a category to learn from
    held_out: int = 2  # pictures a category to measure accuracy on
    picture_size: int = 256  # side of the pictures, pixels
    points_per_pixel: float = 10.0
    movement: float = 0.04  # largest change of a map's coefficient in an instance
    palette_kept: float = 0.85  # share of instances that keep the category's palette
    input_size: int = 128  # side of what the network sees in training, pixels
    crop_min: float = 0.25  # smallest side of a crop, share of the picture's
    rotation: float = 12.0  # degrees either way, of an instance and again of a view of it
    hue: float = 0.35  # turn of all hues of a view, radians either way
    noise: float = 0.03  # largest standard deviation of the noise added, of pictures in [0, 1]
    cutmix: float = 0.4  # share of batches in which pictures have a window of another
    batch_size: int = 512
    steps: int = 6200
    learning_rate: float = 0.004  # peak; AdamW, linear warm-up over 5%, then a cosine to 0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    seed: int = 0


# ---------------------------------------------------------------- pictures


def draw_recipes(settings: Settings) -> list[Recipe]:
    """The categories: one recipe each, no dud among them."""
    config = FractalConfig("mixed", settings.picture_size, settings.points_per_pixel)
    jobs = [(config, settings.seed, k) for k in range(settings.categories)]
    with multiprocessing.get_context("fork").Pool() as pool:
        return pool.starmap(_draw_recipe, jobs, chunksize=4)


def _draw_recipe(config: FractalConfig, seed: int, category: int) -> Recipe:
    return dict(generate_fractal(config, np.random.default_rng((seed, 0, category))).recipe)


def move_recipe(
    recipe: Recipe,
    rng: np.random.Generator,
    movement: float,
    palette_kept: float,
    rotation: float,
) -> Recipe:
    """An instance of the recipe's category.

    movement      largest change of a coefficient of a map; 0 leaves the maps as they are
    palette_kept  probability that the colours stay, up to a small shift
    rotation      of the frame, degrees either way
    returns       a new recipe; frame, ground, veil and tone are moved whatever the movement
    """
    moved = copy.deepcopy(recipe)
    hue = float(rng.uniform())
    keeps = rng.uniform() < palette_kept
    for layer in moved["layers"]:
        for one in [*layer["maps"], *([layer["final"]] if layer["final"] else [])]:
            _move_map(one, layer["kind"], rng, movement)
        _move_frame(layer["frame"], rng, rotation)
        layer["sampling_seed"] = int(rng.integers(0, 1 << 53))
        layer["palette"] = (
            _move_palette(layer["palette"], rng) if keeps else color.draw_palette(rng, hue)
        )
        tone = layer["tone"]
        tone["solidity"] *= float(rng.uniform(0.8, 1.25))
        tone["shade"] *= float(rng.uniform(0.5, 1.0))
        tone["highlight"] *= float(rng.uniform(0.5, 1.0))
    if rng.uniform() < 0.6:
        moved["ground"] = color.draw_ground(rng, hue)
    veil = moved["veil"]
    if veil is not None and rng.uniform() < 0.3:
        moved["veil"] = veil = None
    if veil is not None:
        main = moved["layers"][0]
        veil["maps"], veil["final"] = main["maps"], main["final"]
        _move_frame(veil["frame"], rng, rotation)
        veil["sampling_seed"] = int(rng.integers(0, 1 << 53))
        veil["palette"] = _move_palette(veil["palette"], rng)
    return moved


def _move_map(one: Recipe, kind: str, rng: np.random.Generator, movement: float) -> None:
    affine = np.array(one["affine"]) + rng.uniform(-movement, movement, 6)
    if kind == "affine":
        a, b, _, d, e, _ = affine
        # the generator's own limit: a map that hardly contracts leaves the frame
        over = largest_singular_value(a, b, d, e) / MAX_SINGULAR_VALUE
        if over > 1.0:
            affine[[0, 1, 3, 4]] /= over
    else:
        for variation in one["variations"]:
            variation[1] *= float(rng.uniform(0.9, 1.1))
    one["affine"] = [float(v) for v in affine]


def _move_frame(frame: Recipe, rng: np.random.Generator, rotation: float) -> None:
    reach = 0.15 * frame["width"]
    frame["center"] = [v + float(rng.uniform(-reach, reach)) for v in frame["center"]]
    frame["width"] = max(frame["width"] * math.exp(rng.uniform(-0.35, 0.25)), 1e-4)
    frame["angle"] = (frame["angle"] + float(rng.uniform(-rotation, rotation)) / 360.0) % 1.0


def _move_palette(palette: list[list[float]], rng: np.random.Generator) -> list[list[float]]:
    # in OKLab: every colour a little its own way, lightness a little more
    moves = rng.uniform(-1.0, 1.0, (len(palette), 3)) * (0.05, 0.025, 0.025)
    points = np.clip(np.array(palette) + moves, (0.0, -0.5, -0.5), (1.0, 0.5, 0.5))
    return [[float(v) for v in point] for point in points]


def render_instance(recipe: Recipe, settings: Settings, category: int, instance: int) -> U8:
    """(side, side, 3) uint8; moved less where the first tries are duds."""
    side = settings.picture_size
    rng = np.random.default_rng((settings.seed, 1, category, instance))
    best: tuple[float, U8] | None = None
    for attempt in range(RETRIES + 1):
        movement = settings.movement * 0.5**attempt
        moved = move_recipe(recipe, rng, movement, settings.palette_kept, settings.rotation)
        pixels = render_recipe(moved, side, settings.points_per_pixel)
        small = np.rint(measures.shrink(pixels, quality.CHECK_SIZE)).astype(np.uint8)
        check = quality.check_picture(small)
        if best is None or check.score > best[0]:
            best = check.score, pixels
        if not check.dud:
            break
    assert best is not None  # the loop ran
    return best[1]


_job: tuple[list[Recipe], Settings, U8]  # set before the workers are forked


def _render_category(category: int) -> None:
    recipes, settings, out = _job
    for instance in range(out.shape[1]):
        out[category, instance] = render_instance(recipes[category], settings, category, instance)


def render_all(settings: Settings, path: Path) -> None:
    """Every instance of every category, on all cores.

    path  of the .npy file made: (categories, held_out + instances, side, side, 3) uint8
    """
    global _job
    began = time.perf_counter()
    warm_up()  # compiled here once, inherited by the workers
    recipes = draw_recipes(settings)
    side = settings.picture_size
    shape = (settings.categories, settings.held_out + settings.instances, side, side, 3)
    out = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    _job = recipes, settings, out
    with multiprocessing.get_context("fork").Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(_render_category, range(shape[0])), 1):
            if done % 100 == 0 or done == shape[0]:
                _say(f"rendered {done}/{shape[0]} categories, {_since(began)}")


# ---------------------------------------------------------------- augmentation


def augment(pictures: Tensor, settings: Settings, rng: torch.Generator) -> Tensor:
    """Random crop, turn, stretch, colours and noise, a picture each its own.

    pictures  (n, h, h, 3) uint8
    returns   (n, 3, input_size, input_size) float32 in [0, 1]
    """
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=rng, device=device)

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=rng, device=device) < p

    side = torch.exp(uniform(math.log(settings.crop_min), 0.0))
    stretch = torch.exp(uniform(-0.2, 0.2))
    turn = math.radians(settings.rotation)
    angle = uniform(-turn, turn)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    free = 1.0 - side
    rows = (
        torch.stack([side * stretch * cosine, -side / stretch * sine, free * uniform(-1, 1)]),
        torch.stack([side * stretch * sine, side / stretch * cosine, free * uniform(-1, 1)]),
    )
    theta = torch.stack(rows).permute(2, 0, 1)
    size = settings.input_size
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    values = pictures.permute(0, 3, 1, 2).float().div_(255.0)
    views = F.grid_sample(values, grid, "bilinear", "reflection", align_corners=False)

    # colours: a turn of hue, saturation, contrast, brightness; hue anywhere, or none, at times
    hue = torch.where(chance(0.1), uniform(-math.pi, math.pi), uniform(-settings.hue, settings.hue))
    saturation = torch.where(chance(0.1), uniform(0.0, 0.3), uniform(0.6, 1.4))
    matrix = _hue_turn(hue) @ _saturation(saturation)
    contrast, brightness = uniform(0.6, 1.4), uniform(-0.15, 0.15)
    flat = torch.baddbmm(
        (0.5 + brightness).view(n, 1, 1),
        matrix * contrast.view(n, 1, 1),
        views.flatten(2) - 0.5,
    )
    noise = torch.randn(flat.shape, generator=rng, device=device)
    flat = flat + noise * uniform(0.0, settings.noise).view(n, 1, 1)
    return flat.view_as(views).clamp(0.0, 1.0)


def _hue_turn(angle: Tensor) -> Tensor:
    # rotation of RGB about the grey axis (Rodrigues): (n,) radians to (n, 3, 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) / 3**0.5
    c, s = torch.cos(angle).view(-1, 1, 1), torch.sin(angle).view(-1, 1, 1)
    eye = torch.eye(3, device=angle.device)
    return c * eye + s * cross + (1 - c) * torch.full_like(eye, 1 / 3)


def _saturation(amount: Tensor) -> Tensor:
    # towards grey below 1, away from it above: (n,) to (n, 3, 3)
    luma = torch.tensor([0.299, 0.587, 0.114], device=amount.device).expand(3, 3)
    eye = torch.eye(3, device=amount.device)
    share = amount.view(-1, 1, 1)
    return share * eye + (1 - share) * luma


def cutmix(views: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Every picture with one window of another (Yun et al., 2019).

    returns  the pictures, whose window (n,), and the share of the picture that is the window
    """
    n, side = len(views), views.shape[-1]
    device = views.device
    order = torch.randperm(n, generator=rng, device=device)
    width, x, y = torch.rand(3, generator=rng, device=device).tolist()
    width = max(1, round(side * (0.25 + 0.5 * width)))
    x, y = round(x * (side - width)), round(y * (side - width))
    mixed = views.clone()
    mixed[:, :, y : y + width, x : x + width] = views[order, :, y : y + width, x : x + width]
    return mixed, order, (width / side) ** 2


# ---------------------------------------------------------------- network


def build(settings: Settings) -> nn.Module:
    """The architecture with a batch normalisation after every convolution."""
    torch.manual_seed(settings.seed)
    model = torchvision.models.get_model(
        settings.architecture, weights=None, num_classes=settings.categories
    )
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # augmentation is enough
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            _replace(model, name, nn.Sequential(module, nn.BatchNorm2d(module.out_channels)))
    return model


def plain(model: nn.Module) -> nn.Module:
    """A copy of a network of `build` as torchvision makes it, normalisation folded, eval mode."""
    folded = copy.deepcopy(model).eval()
    for name, module in list(folded.named_modules()):
        if (
            isinstance(module, nn.Sequential)
            and len(module) == 2
            and isinstance(module[0], nn.Conv2d)
            and isinstance(module[1], nn.BatchNorm2d)
        ):
            _replace(folded, name, fuse_conv_bn_eval(module[0], module[1]))
    return folded


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _normalised(views: Tensor) -> Tensor:
    mean = torch.tensor(IMAGENET_MEAN, device=views.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=views.device).view(1, 3, 1, 1)
    return ((views - mean) / std).contiguous(memory_format=torch.channels_last)


def _learning_rate(settings: Settings, step: int) -> float:
    warm = max(1, settings.steps // 20)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    t = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * t))


def train(settings: Settings, pictures: Tensor, device: str) -> nn.Module:
    """Learns to tell the categories apart.

    pictures  (categories, instances, side, side, 3) uint8 on the device
    returns   the network, batch normalisation not yet folded
    """
    model = build(settings).to(device).train()
    model.to(memory_format=torch.channels_last)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=settings.learning_rate)
    torch.backends.cudnn.benchmark = True
    autocast = torch.autocast("cuda", torch.bfloat16) if device != "cpu" else nullcontext()
    rng = torch.Generator(device).manual_seed(settings.seed)
    instances = pictures.shape[1]
    flat = pictures.flatten(0, 1)
    began = time.perf_counter()
    order = torch.empty(0, dtype=torch.int64, device=device)
    for step in range(settings.steps):
        while len(order) < settings.batch_size:
            again = torch.randperm(len(flat), generator=rng, device=device)
            order = torch.cat([order, again])
        chosen, order = order[: settings.batch_size], order[settings.batch_size :]
        views = augment(flat[chosen], settings, rng)
        labels = chosen // instances
        others, share = labels, 0.0
        if torch.rand((), generator=rng, device=device).item() < settings.cutmix:
            views, partner, share = cutmix(views, rng)
            others = labels[partner]

        with autocast:
            logits = model(_normalised(views)).float()
        smooth = settings.label_smoothing
        loss = (1 - share) * F.cross_entropy(logits, labels, label_smoothing=smooth)
        if share > 0.0:
            loss = loss + share * F.cross_entropy(logits, others, label_smoothing=smooth)
        for group in adam.param_groups:
            group["lr"] = _learning_rate(settings, step)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        if (step + 1) % 500 == 0 or step + 1 == settings.steps:
            right = (logits.argmax(1) == labels).float().mean().item()
            _say(
                f"step {step + 1}/{settings.steps}: loss {loss.item():.3f}, "
                f"right {right:.3f} of the last batch as trained, {_since(began)}"
            )
    return model


# ---------------------------------------------------------------- figures and file


@torch.no_grad()
def measure(model: nn.Module, pictures: Tensor, input_size: int) -> dict[str, Any]:
    """Figures on held-out pictures, shrunk whole to the input size, float32.

    pictures  (categories, n, side, side, 3) uint8 on the model's device
    returns   top1, and a convolution each: share of channels whose ReLU never opens on any of
              the pictures, and the standard deviation after the ReLU
    """
    last: dict[str, Tensor] = {}
    peaks: dict[str, Tensor] = {}
    moments: dict[str, list[float]] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            last[name] = output.clamp_min(0.0)  # in-place ReLUs come later

        return hook

    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    handles = [m.register_forward_hook(note(n)) for n, m in convolutions.items()]
    right = total = 0
    flat = pictures.flatten(0, 1)
    for start in range(0, len(flat), 256):
        part = flat[start : start + 256]
        values = part.permute(0, 3, 1, 2).float() / 255.0
        views = F.interpolate(
            values, size=(input_size, input_size), mode="bilinear", antialias=True
        )
        guesses = model(_normalised(views)).argmax(1)
        labels = torch.arange(start, start + len(part), device=flat.device) // pictures.shape[1]
        right += int((guesses == labels).sum())
        total += len(part)
        for name, values in last.items():
            peak = values.amax((0, 2, 3))
            peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak
            moments.setdefault(name, []).append(float(values.std()))
    for handle in handles:
        handle.remove()
    return {
        "top1": right / total,
        "pictures": total,
        "dead": {name: float((peak <= 0.0).float().mean()) for name, peak in peaks.items()},
        "std": {name: sum(values) / len(values) for name, values in moments.items()},
    }


def save(model: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """The weights of a plain network as float16, whole or not at all."""
    state = {
        name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    save_file(state, partial, metadata)
    size = partial.stat().st_size
    if size > MAX_BYTES:
        partial.unlink()
        raise SystemExit(f"{path} would take {size} bytes, at most {MAX_BYTES}: fewer categories")
    partial.replace(path)


def reload(settings: Settings, path: Path, device: str) -> nn.Module:
    """The saved file in torchvision's own architecture: what users get."""
    model = torchvision.models.get_model(
        settings.architecture, weights=None, num_classes=settings.categories
    )
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model.eval().to(device)


# ---------------------------------------------------------------- command


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:.0f} s"


def _machine(device: str) -> str:
    gpu = torch.cuda.get_device_name() if device != "cpu" else "CPU only"
    return (
        f"{gpu}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, numpy {np.__version__}"
    )


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.fractal_network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="safetensors file to make")
    parser.add_argument(
        "--pictures",
        type=Path,
        help=".npy of the rendered pictures: made if missing, used again if there "
        "(default: a temporary file)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for field in fields(Settings):
        kind = type(field.default)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            default=field.default,
            metavar=kind.__name__.upper(),
            help=f"default: {field.default}",
        )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Renders, trains, saves, measures what was saved, prints the figures as JSON."""
    arguments = _arguments(argv)
    settings = Settings(
        **{field.name: getattr(arguments, field.name) for field in fields(Settings)}
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.pictures or Path(temporary) / "pictures.npy"
        if not path.exists():
            render_all(settings, path)
        shape = (settings.categories, settings.held_out + settings.instances)
        stored = np.load(path, mmap_mode="r+")
        if stored.shape[:2] != shape or stored.shape[2] != settings.picture_size:
            raise SystemExit(f"{path} holds {stored.shape}, other settings made it: remove it")
        pictures = torch.from_numpy(stored).to(arguments.device)
    held_out, known = pictures[:, : settings.held_out], pictures[:, settings.held_out :]
    model = train(settings, known, arguments.device)
    metadata = {
        "architecture": settings.architecture,
        "classes": str(settings.categories),
        "input_size": str(settings.input_size),
        "mean": json.dumps(IMAGENET_MEAN),
        "std": json.dumps(IMAGENET_STD),
        "trained_on": "renderings of this project's own fractal recipes, nothing else",
        "script": "training/fractal_network.py",
        "settings": json.dumps(asdict(settings)),
        "machine": _machine(arguments.device),
    }
    save(plain(model), arguments.output, metadata)
    shipped = reload(settings, arguments.output, arguments.device)
    figures = {
        "output": arguments.output.name,
        "bytes": arguments.output.stat().st_size,
        "seconds": round(time.perf_counter() - began, 1),
        "machine": metadata["machine"],
        "held_out": measure(shipped, held_out, settings.input_size),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
