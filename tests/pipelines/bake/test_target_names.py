"""Names of the pictures of --format imagefolder: each once, whatever the source's names."""

from __future__ import annotations

import array
import random
import tracemalloc
from collections import Counter
from pathlib import PurePosixPath

import pytest

from pixmix_cli.pipelines.bake.formats import imagefolder
from pixmix_cli.sources.pictures import Folder, Pictures
from pixmix_cli.sources.source import Source

CLASSES = ("A", "B", "a", "c.d", "ss", "ß")


def source_of(classes, files):
    """An ImageFolder of these files in each class."""
    pictures, labels = Pictures(), array.array("i")
    for label, (name, inside) in enumerate(zip(classes, files)):
        for file in inside:
            above, _, last = file.rpartition("/")
            pictures.begin(Folder(f"{name}/{above}/" if above else f"{name}/", ""))
            pictures.add(last, 1)
            labels.append(label)
    return Source("", "imagefolder", tuple(classes), pictures, labels, "")


def naive_names(source):
    """Every name at once: the stem, else the whole name, else that with the index."""
    whole = [
        f"{source.classes[label]}/" + ref.name.partition("/")[2].replace("::", "__")
        for ref, label in zip(source.pictures, source.labels)
    ]
    names = [str(PurePosixPath(name).with_suffix("")) for name in whole]
    for longer in (whole, [f"{name}-{index}" for index, name in enumerate(whole)]):
        seen = Counter(name.casefold() for name in names)
        names = [a if seen[a.casefold()] == 1 else b for a, b in zip(names, longer)]
    return names


def names_of(source):
    return list(imagefolder.TargetNames(source, imagefolder.naming_of(source)))


@pytest.mark.parametrize("seed", range(40))
def test_names_are_those_of_the_slow_rule(seed):
    rng = random.Random(seed)
    words = ("a", "A", "b", ".", ".jpg", ".png", "x", "-0", "::", "s/", "S/", "ß", "SS")
    files = []
    for _ in CLASSES:
        drawn = {
            "".join(rng.choices(words, k=rng.randrange(4))) + rng.choice((".jpg", ".png", ".JPG"))
            for _ in range(8)
        }
        files.append(sorted(name for name in drawn if name[0] != "." and "/." not in name))
    source = source_of(CLASSES, files)
    assert names_of(source) == naive_names(source)


def test_texts_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(imagefolder, "hash", lambda text: len(text), raising=False)
    source = source_of(["a"], [["x.jpg", "x.png", "y.jpg", "z.jpg"]])
    assert names_of(source) == ["a/x.jpg", "a/x.png", "a/y", "a/z"]


def test_names_of_any_other_source_are_numbers():
    source = source_of(["b", "c"], [["../x.jpg"], ["y.jpg"]])
    object.__setattr__(source, "kind", "list")
    assert list(imagefolder.TargetNames(source, b"")) == ["b/000000000", "c/000000001"]


def test_names_are_not_held():
    files = [[f"n{label:08d}_{number}.JPEG" for number in range(1000)] for label in range(20)]
    source = source_of([f"n{label:08d}" for label in range(20)], files)
    tracemalloc.start()
    try:
        imagefolder.naming_of(source)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(source.pictures)  # bytes a picture; the names would take 500
