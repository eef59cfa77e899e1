"""The arms of the comparison: what a network sees in each epoch.

plain, cutout, mixup, cutmix   from the shelf, on the device
noise                          PixMix with coloured 1/f noise: the control for structure
fractals                       PixMix with fractals of ours, made on the spot
self                           PixMix without a mixing set: where it would mix a picture in, it
                               mixes in one more augmented copy: the control for the set
PATH[:W],PATH[:W]              PixMix with these mixing sets, W how often each is picked from; noise
                               and fractals may be among them. pixmix:PATH says the same
FOLDER                         a set that `pixmix bake` made; epoch e shows copy e mod N

After a recipe @N says how many copies there are: epoch e shows copy e mod N. @all is one copy an
epoch. @online mixes anew in each epoch, as `mixing.PixMix` does in a DataLoader, without baking.

PixMix arms with a mixing set are baked by `pixmix bake --preset cifar` with the training seed, and
only normalised in training. With +crop at the end of a recipe they are baked whole, by
`--crop none --no-flip`. These and all others get PixMix's flip and padded crop in each epoch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.safety.data import Part
from benchmarks.safety.noise import coloured_noise
from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.outputs.file_names import MANIFEST
from pixmix_cli.sources.mixing_set import weighted_paths
from pixmix_cli.storage import images
from pixmix_cli.storage.files import write_whole

SHELF = ("plain", "cutout", "mixup", "cutmix")
MADE = ("noise", "fractals")
SELF = "self"
WHOLE = "+crop"
MADE_SIZE, MADE_COUNT = 72, 200  # pixels and pictures of a mixing set made on the spot


@dataclass(frozen=True)
class Arm:
    """A name and what it means.

    copies  what stood after @: a number, all, online, or nothing
    whole   whether copies are baked whole, and flipped and cropped in training
    """

    name: str
    recipe: str
    copies: str = ""
    whole: bool = False

    @property
    def is_mixed(self) -> bool:
        """Whether this benchmark mixes its pictures."""
        return self.recipe in (*MADE, SELF) or self.recipe.startswith("pixmix:")

    @property
    def is_live(self) -> bool:
        """Whether they are mixed by the process that trains on them."""
        return self.is_mixed and (self.copies == "online" or self.recipe == SELF)

    @property
    def is_baked_here(self) -> bool:
        """Whether `pixmix bake` makes them first."""
        return self.is_mixed and not self.is_live

    @property
    def is_given(self) -> bool:
        """Whether the caller baked them."""
        return not self.is_mixed and self.recipe not in SHELF

    def copies_for(self, epochs: int, default: int | None) -> int:
        """How many copies a run shows in turn: one an epoch, unless the arm or the run says so."""
        if self.copies in ("all", "online"):
            return epochs
        return min(epochs, int(self.copies or default or epochs))

    @property
    def words(self) -> list[str]:
        """The mixing sets of a pixmix: recipe, each with its weight if it has one."""
        return self.recipe.removeprefix("pixmix:").split(",")

    @property
    def mixing_sets(self) -> list[Path]:
        """The folders that a pixmix: recipe names."""
        return [Path(str(path)) for path in weighted_paths(self.words)[0]]


def parse(text: str) -> Arm:
    """NAME=RECIPE, or a recipe that is its own name.

    raises  InputError for a recipe that is neither known nor a set of pictures, or a missing folder
    """
    name, _, recipe = text.rpartition("=")
    name = name or recipe.replace("@", "-")
    if "/" in name or not name or not recipe:
        raise InputError(f"--arm {text}: it needs a plain name", f"--arm NAME={recipe}")
    whole = recipe.endswith(WHOLE) and not Path(recipe).exists()
    recipe, copies = _copies(text, recipe.removesuffix(WHOLE) if whole else recipe)
    if whole and (recipe in (*SHELF, SELF) or copies == "online"):
        raise InputError(f"--arm {text}: {WHOLE} is for baked pictures")
    arm = Arm(name, recipe, copies, whole)
    if recipe in (*SHELF, *MADE, SELF) or (Path(recipe) / "classes.json").is_file():
        if copies and not arm.is_mixed:
            raise InputError(f"--arm {text}: @ is for pictures that are mixed here")
        if arm.is_given:
            _check_baked(text, Path(recipe))
        return arm
    if not recipe.startswith("pixmix:"):
        arm = Arm(name, f"pixmix:{recipe}", copies, whole)
    for folder in arm.mixing_sets:
        if str(folder) not in MADE and not folder.exists():
            known = ", ".join((*SHELF, *MADE, SELF))
            raise InputError(
                f"--arm {text}: {folder} is no recipe ({known}), and no mixing set or baked set is"
                " there"
            )
    return arm


def _copies(text: str, recipe: str) -> tuple[str, str]:
    """What stands before @ and after it."""
    before, at, after = recipe.rpartition("@")
    if not at or Path(recipe).exists():
        return recipe, ""
    if after not in ("all", "online") and not (after.isdecimal() and int(after) > 0):
        raise InputError(f"--arm {text}: after @ stands a number of copies, all or online")
    return before, after


def _check_baked(text: str, folder: Path) -> None:
    if not (folder / MANIFEST).is_file():
        raise InputError(f"--arm {text}: {folder} was not baked to its end", "pixmix bake --resume")


def make_mixing_set(recipe: str, folder: Path) -> Path:
    """The mixing set of a recipe that makes its own, made unless it is there."""
    place = folder / recipe
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if recipe == "noise":
        for number in range(MADE_COUNT):
            picture = coloured_noise(np.random.default_rng([7, number]), MADE_SIZE)
            write_whole(place / f"{number:06d}.png", images.encode(picture, "png"))
    else:
        count = ["-n", str(MADE_COUNT), "--size", str(MADE_SIZE), "--image-format", "png"]
        _pixmix(["generate-fractals", *count, "-o", str(place / "fractals")])
    (place / "done").touch()
    return place


def sets_of(arm: Arm, folder: Path) -> list[str]:
    """The mixing sets of an arm as --mixing-set takes them; those that are made here are made.

    folder  where
    """
    if not arm.is_mixed or arm.recipe == SELF:
        return []
    words = []
    for word in arm.words:
        name, colon, weight = word.partition(":")
        if name in MADE:
            word = f"{make_mixing_set(name, folder)}{colon}{weight}"
        words.append(word)
    return words


def bake(
    mixing_sets: Sequence[str], source: Part, out: Path, copies: int, seed: int, whole: bool = False
) -> Path:
    """Bake the copies that one run trains on.

    mixing_sets  as --mixing-set takes them: a path, and a weight after a colon if there is one
    whole        neither cropped nor flipped
    raises       PixMixError with what bake said
    """
    sets = [word for text in mixing_sets for word in ("--mixing-set", text)]
    recipe = ["--preset", "cifar", "--copies", str(copies), "--seed", str(seed)]
    if whole:
        recipe += ["--crop", "none", "--no-flip"]
    place = ["--format", "npy", "-o", str(out), "--overwrite"]
    _pixmix(["bake", *source.words, *sets, *recipe, *place])
    return out


def _pixmix(words: list[str]) -> None:
    command = [sys.executable, "-m", "pixmix_cli.main", *words, "-qq"]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise PixMixError(f"pixmix {words[0]} failed: {done.stderr.strip()}")
