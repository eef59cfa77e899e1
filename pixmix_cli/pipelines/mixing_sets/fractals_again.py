"""generate-fractals --from: recipes rendered again, larger if wished.

A recipe comes from a picture that pixmix made, or from a file of JSON, perhaps edited by hand. It
is checked before anything is computed from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError, PictureError, PixMixError
from pixmix_cli.outputs.file_names import MANIFEST, ROWS
from pixmix_cli.outputs.run_plan import Input, RunPlan
from pixmix_cli.pipelines.mixing_sets.fractals import (
    ALGORITHM,
    TASK_PICTURES,
    TASK_PIXELS,
)
from pixmix_cli.pipelines.mixing_sets.job import Made, MixingSetJob, PictureTask
from pixmix_cli.pipelines.mixing_sets.plan import (
    MixingSetPlan,
    pending_pictures,
    storage_options,
)
from pixmix_cli.pipelines.mixing_sets.tone import UNTONED, recorded, tone_of, toned
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.pictures import Folder, PictureRef, Pictures, digest_of
from pixmix_cli.storage import images
from pixmix_cli.storage.files import canonical_json
from pixmix_cli.storage.missing import missing

MAX_RECIPE = 1 << 20  # bytes of a recipe file: the longest that is allowed has 300 KB
UNKNOWN_SIZE = 512  # pixels, for cutting tasks where each recipe has its own size


@dataclass(frozen=True, slots=True)
class Again:
    """How recipes are to be rendered; None: as each recipe says."""

    size: int | None
    points_per_pixel: float | None
    contrast: float | None = None  # as `toned` has these two
    saturation: float | None = None

    @property
    def tone(self) -> dict[str, float]:
        """What is asked for of contrast and saturation, by name."""
        tone = {"contrast": self.contrast, "saturation": self.saturation}
        return {name: value for name, value in tone.items() if value is not None}


def read_recipe(ref: PictureRef) -> dict[str, Any]:
    """The checked recipe in a picture or JSON file.

    raises  StorageError; PictureError when there is none, or none that can be rendered
    """
    from fractals.recipe import check_recipe

    is_json = ref.path.endswith(".json")
    if is_json and ref.length > MAX_RECIPE:
        raise PictureError(f"{ref.name}: {ref.length} bytes are too many for a recipe")
    data = ref.read()
    try:
        text = data.decode() if is_json else images.read_recipe(data, ref.name)
    except UnicodeDecodeError:
        raise PictureError(f"{ref.name}: no recipe, not even text") from None
    if not text:
        raise PictureError(f"{ref.name}: carries no recipe (it was not made by pixmix)")
    try:
        recipe = json.loads(text)
        if isinstance(recipe, dict) and "model" in recipe:
            raise ValueError("it is a feature visualization's, which render-featvis makes")
        check_recipe(recipe)
        tone_of(recipe)
        canonical_json(recipe)  # also what nobody asked for must be writable: no NaN
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            reason = f"carries no recipe, what it says is no JSON ({error})"
        else:
            reason = " ".join(str(error).split())
        raise PictureError(f"{ref.name}: {reason}") from None
    return dict(recipe)


@dataclass(frozen=True, slots=True)
class RecipeMaker:
    """Renders recipes in a worker."""

    again: Again
    image_format: str

    @staticmethod
    def preload(*_: Any) -> None:
        """Import what fractals need."""
        from fractals import render_recipe  # noqa: F401

    def __call__(self, task: PictureTask) -> list[Made]:
        """The task's pictures; payload: where each recipe is."""
        return [self._one(index, ref) for index, ref in zip(task.indices, task.payload)]

    def _one(self, index: int, ref: PictureRef) -> Made:
        from fractals import render_recipe

        try:
            recipe = with_wishes(read_recipe(ref), self.again, ref.name)
            if self.image_format == "jpeg" and len(canonical_json(recipe)) > images.RECIPE_LIMIT:
                raise PictureError(
                    f"{ref.name}: its recipe is too long for a JPEG", "--image-format png"
                )
        except PixMixError as error:
            return Made(index, None, facts={"from": ref.name}, error=str(error))
        facts = {"from": ref.name, "layers": [layer["kind"] for layer in recipe["layers"]]}
        pixels = toned(render_recipe(recipe), **tone_of(recipe))
        return Made(index, pixels, recipe, facts)


def with_wishes(recipe: dict[str, Any], again: Again, name: str) -> dict[str, Any]:
    """The recipe with the size, points and tone that are asked for.

    raises  PictureError when size and points together are beyond the limits
    """
    from fractals.config import check_points, check_size

    changed = {key: getattr(again, key) for key in ("size", "points_per_pixel")}
    recipe = {**recipe, **{key: value for key, value in changed.items() if value is not None}}
    try:
        check_points(recipe["points_per_pixel"], check_size(recipe["size"]))
    except ValueError as error:
        raise PictureError(f"{name}: {error}") from None
    tone = tone_of(recipe) | again.tone
    untoned = {key: value for key, value in recipe.items() if key not in UNTONED}
    return untoned | recorded(**tone)


def find_recipes(paths: Sequence[Path], warn: Callable[[str], None]) -> Pictures:
    """Where the recipes are: a picture, a .json recipe, a manifest, a folder or a .tar each.

    raises  InputError when one is missing or holds nothing; PictureError for a file with no recipe
            that can be rendered
    """
    refs = Pictures()
    for path in paths:
        if not path.exists():
            raise missing("", path)
        if path.is_file() and path.name in (MANIFEST, ROWS):
            path = path.parent
        if path.is_file() and path.suffix == ".json":
            found = Pictures()
            found.begin(Folder("", str(path.parent)))
            found.add(path.name, path.stat().st_size)
        else:
            found = find_pictures(path, warn)
        if not found:
            raise InputError(f"{path} holds no pictures", "a picture or set that pixmix made")
        if path.is_file() and path.suffix != ".tar":
            try:
                read_recipe(found[0])
            except PictureError as error:
                raise InputError(error.message, error.hint) from None
        refs.extend(found)
    return refs


def plan_fractals_again(
    paths: Sequence[Path], again: Again, job: MixingSetJob, warn: Callable[[str], None]
) -> MixingSetPlan:
    """Find the recipes, check the output; writes nothing.

    again   has the contrast and saturation that are asked for, not the job
    raises  InputError and its kin
    """
    refs = find_recipes(paths, warn)
    job = replace(job, contrast=1.0, saturation=1.0)  # the maker tones as recipes say
    options, versions = storage_options(job)
    del options["seed"]  # nothing is drawn
    options |= {"size": again.size, "points-per-pixel": again.points_per_pixel, **again.tone}
    inputs: dict[str, Input] = {
        "the recipes": {
            "path": " ".join(str(path) for path in paths),
            "pictures": len(refs),
            "sha256": _digest(refs),
        }
    }
    run = RunPlan("generate-fractals", options, {"fractals": ALGORITHM, **versions}, inputs)
    here = pending_pictures(job, run, len(refs), TASK_PICTURES)
    return MixingSetPlan(
        job=job,
        run=run,
        total=len(refs),
        own=here.own,
        pending=here.pending,
        make_maker=RecipeMaker,
        maker_context=(again, job.image_format),
        tasks=lambda pending: _tasks(pending, refs, again.size or UNKNOWN_SIZE),
    )


def _digest(refs: Pictures) -> str:
    """Of names and lengths; of recipe files also what they say, as an edit may keep the length."""
    edited = [hashlib.sha256(ref.read()).hexdigest() for ref in refs if ref.path.endswith(".json")]
    return digest_of(refs, edited)


def _tasks(pending: NDArray[np.int64], refs: Pictures, size: int) -> Iterator[PictureTask]:
    each = max(1, min(TASK_PICTURES, TASK_PIXELS // (size * size)))
    for begin in range(0, len(pending), each):
        indices = tuple(pending[begin : begin + each].tolist())
        yield PictureTask(indices, tuple(refs[index] for index in indices))
