"""What parts share of a source's listing, and when each of them lists for itself."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.errors import InputError, ResumeMismatchError, StorageError
from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.outputs import turns
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.part import Part
from pixmix_cli.pipelines.bake import listing
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs
from pixmix_cli.pipelines.bake.plan import plan_bake, tasks
from pixmix_cli.pipelines.bake.run import run_bake
from pixmix_cli.sources import walk, watched, webdataset
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.stored import StoredPictures
from pixmix_cli.units import Bytes

CLASSES, EACH = 3, 5


def long_ago(*folders):
    """As if they had not been touched for a while; what has just changed is not relied on."""
    for folder in folders:
        os.utime(folder, (1e9, 1e9))


@pytest.fixture(autouse=True)
def later(monkeypatch):
    """Nobody can set a ctime, so an hour has passed since the files here were made."""
    monkeypatch.setattr(watched, "now", lambda: time.time_ns() + HOUR)


HOUR = 3600 * 10**9  # ns


def just_now(folder):
    """As if a folder had changed a moment ago."""
    os.utime(folder, ns=(watched.now(), watched.now()))


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Power does not fail here, and a sync takes long on a busy disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A source in each layout that is shared, and a mixing set."""
    root = tmp_path_factory.mktemp("sets")
    rows = []
    for label in range(CLASSES):
        folder = root / "photos" / f"c{label}"
        folder.mkdir(parents=True)
        for number in range(EACH):
            pixels = np.full((40, 40, 3), 9 * label + number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
            rows.append(f"photos/c{label}/{number}.png,c{label}")
        Image.fromarray(pixels).save(folder / "0.jpg")  # differs from 0.png in the ending alone
        (folder / "note.txt").write_text("passed over")
    (root / "list.csv").write_text("path,label\n" + "\n".join(rows[::-1]) + "\n")
    (root / "mixing").mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(root / "mixing" / "m.png")
    return root


@pytest.fixture
def source(sets, tmp_path):
    """An ImageFolder of this test's own, of links to the pictures."""
    root = tmp_path / "photos"
    for folder in sorted((sets / "photos").iterdir()):
        (root / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            (root / folder.name / file.name).write_bytes(file.read_bytes())
    long_ago(root, *root.iterdir())
    return root


def job_of(source, sets, output, part, layout="webdataset", **fields):
    return BakeJob(
        inputs=Inputs(source, (sets / "mixing",)),
        destination=Destination(output, part=part),
        config=PRESETS["cifar"],
        files=Files(format=layout, shard_size=4, **fields),
    )


def quiet(line):
    pass


def listed_folders(monkeypatch):
    """The folders of sources that are read from here on."""
    found = []
    original = walk._listed

    def counted(folder, warn):
        if "mixing" not in folder:
            found.append(folder)
        return original(folder, warn)

    monkeypatch.setattr(walk, "_listed", counted)
    return found


def described(made):
    """All that tasks say, for all shards of an output."""
    every = tuple((shard, made.job.all_copies) for shard in range(made.shards))
    return [
        (s.index, s.ref.name, s.ref.path, s.ref.length, s.label, s.target, s.pad)
        for task in tasks(replace(made, pending=every))
        for s in task.samples
    ]


def index_of(output):
    return output / ".pixmix" / "listing"


def test_only_the_first_part_lists_folders(source, sets, tmp_path, monkeypatch):
    read = listed_folders(monkeypatch)
    for index in (2, 0, 1):
        plan_bake(job_of(source, sets, tmp_path / "out", Part(index, 3)), quiet)
    assert read == [str(source / f"c{label}") for label in range(CLASSES)]


@pytest.mark.parametrize(
    "fields", [{}, {"shuffle": False}, {"equal": "pad"}, {"equal": "drop-last"}]
)
@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
@pytest.mark.parametrize("kind", ["photos", "list.csv"])
def test_parts_see_what_one_run_sees(sets, tmp_path, layout, kind, fields):
    if fields.get("equal") and not FORMATS[layout].sharded:
        pytest.skip("has no shards that show")
    long_ago(*(sets / "photos").iterdir(), sets / "photos", sets, sets / "list.csv")
    source = sets / kind
    said: list[list[str]] = [[], [], []]
    alone = plan_bake(
        job_of(source, sets, tmp_path / "one", None, layout, **fields), said[0].append
    )
    first = plan_bake(
        job_of(source, sets, tmp_path / "many", Part(1, 2), layout, **fields), said[1].append
    )
    second = plan_bake(
        job_of(source, sets, tmp_path / "many", Part(0, 2), layout, **fields), said[2].append
    )
    for made in (first, second):
        assert isinstance(made.source.pictures, StoredPictures)
        assert made.run == alone.run
        assert described(made) == described(alone)
        assert made.source.counts().tolist() == alone.source.counts().tolist()
        assert set(made.source.pictures.prefixes()) == set(alone.source.pictures.prefixes())
    assert said[0] == said[1] == said[2]


def tars_in(folder, sets):
    """A folder of two tars of three samples each."""
    folder.mkdir(parents=True)
    for number in range(2):
        with tarfile.open(folder / f"{number:06d}.tar", "w") as tar:
            for index in range(3):
                tar.add(sets / "photos" / "c0" / f"{index}.png", f"{number}{index}.png")
                (folder / "cls").write_text(str(number))
                tar.add(folder / "cls", f"{number}{index}.cls")
    (folder / "cls").unlink()
    return folder


def test_tars_are_listed_once_and_again_when_one_has_changed(sets, tmp_path, monkeypatch):
    shards = tars_in(tmp_path / "shards", sets)
    long_ago(*shards.iterdir(), shards)
    opened = []
    original = webdataset._index

    def counted(*given):
        opened.append(given[0])
        return original(*given)

    monkeypatch.setattr(webdataset, "_index", counted)
    alone = plan_bake(job_of(shards, sets, tmp_path / "one", None), quiet)
    plan_bake(job_of(shards, sets, tmp_path / "out", Part(0, 2)), quiet)
    opened.clear()
    made = plan_bake(job_of(shards, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert opened == []
    assert described(made) == described(alone)
    os.utime(shards / "000001.tar", (2e9, 2e9))
    plan_bake(job_of(shards, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert len(opened) == 2


@pytest.mark.parametrize("pattern", ["g/*/{000000..000001}.tar", "g/*/*.tar", "g/p[0-9]/*1.tar"])
def test_a_folder_that_a_pattern_comes_to_match_is_seen(sets, tmp_path, pattern):
    for name in ("p1", "p2"):
        shards = tars_in(tmp_path / "g" / name, sets)
        long_ago(*shards.iterdir(), shards, tmp_path / "g")
    job = job_of(tmp_path / pattern, sets, tmp_path / "out", Part(0, 2))
    list(run_bake(plan_bake(job, quiet)))
    assert isinstance(made_again(job).source.pictures, StoredPictures)
    tars_in(tmp_path / "g" / "p3", sets)
    long_ago(tmp_path / "g")
    with pytest.raises(ResumeMismatchError, match="other pictures in SOURCE"):
        made_again(job)


def test_a_pattern_in_braces_is_not_taken_for_a_shorter_one(sets, tmp_path):
    shards = tars_in(tmp_path / "a", sets)
    long_ago(*shards.iterdir(), shards)
    job = job_of(shards / "{000000..000000}.tar", sets, tmp_path / "out", Part(0, 2))
    assert len(made_again(job).source.pictures) == 3
    longer = job_of(shards / "{000000..000001}.tar", sets, tmp_path / "out", Part(1, 2))
    assert len(made_again(longer).source.pictures) == 6


def test_a_copy_of_tars_that_a_pattern_names_leaves_the_index(sets, tmp_path):
    for name in ("a", "b"):
        shards = tars_in(tmp_path / name, sets)
        long_ago(*shards.iterdir(), shards)
    made_again(job_of(tmp_path / "a" / "{000000..000001}.tar", sets, tmp_path / "out", Part(0, 2)))
    before = index_of(tmp_path / "out").read_bytes()
    copy = job_of(tmp_path / "b" / "{000000..000001}.tar", sets, tmp_path / "out", Part(1, 2))
    assert not isinstance(made_again(copy).source.pictures, StoredPictures)
    assert index_of(tmp_path / "out").read_bytes() == before


# Each: the folder in which a part runs, and what it calls SOURCE there.
SEEN_FROM = {
    "a folder, from inside": [("photos", "."), (".", "photos"), ("mixing", "../photos")],
    "a list, from below": [(".", "list.csv"), ("photos/c0", "../../list.csv")],
    "a list, from above": [("photos", "../list.csv"), (".", "list.csv")],
    "tars, from inside": [("tars", "00000*.tar"), (".", "tars/00000*.tar")],
    "a folder of tars, from inside": [("tars", "."), ("/", "{}/tars")],
}


@pytest.mark.parametrize("case", SEEN_FROM)
def test_parts_share_a_source_that_they_see_from_elsewhere(
    sets, tmp_path, source, monkeypatch, case
):
    shutil.copytree(sets / "mixing", tmp_path / "mixing")
    shutil.copy(sets / "list.csv", tmp_path)
    shards = tars_in(tmp_path / "tars", sets)
    long_ago(*shards.iterdir(), shards, tmp_path, tmp_path / "list.csv")
    stored_then = b""
    for index, (folder, called) in enumerate(SEEN_FROM[case]):
        monkeypatch.chdir(tmp_path / folder)
        there = Path(called.format(tmp_path))
        made = made_again(job_of(there, sets, tmp_path / "out", Part(index, 4)))
        alone = made_again(job_of(there, sets, tmp_path / "one", None))
        assert [os.path.normpath(path) for _, _, path, *_ in described(made)] == [
            os.path.normpath(path) for _, _, path, *_ in described(alone)
        ]
        assert isinstance(made.source.pictures, StoredPictures)
        stored_then = stored_then or index_of(tmp_path / "out").read_bytes()
        assert index_of(tmp_path / "out").read_bytes() == stored_then


@pytest.mark.parametrize("kinds", [("auto", "imagefolder"), ("imagefolder", "auto")])
def test_a_kind_may_be_named_or_found(source, sets, tmp_path, monkeypatch, kinds):
    read = listed_folders(monkeypatch)
    for index, kind in enumerate(kinds):
        job = job_of(source, sets, tmp_path / "out", Part(index, 2))
        made_again(replace(job, inputs=replace(job.inputs, source_format=kind)))
    assert len(read) == CLASSES


def test_another_kind_is_another_listing(source, sets, tmp_path):
    tars_in(source / "tars", sets)
    (source / "tars" / "000000.tar").rename(source / "0.tar")
    long_ago(source / "0.tar", source / "tars", source)
    found = []
    for kind in ("webdataset", "auto", "webdataset"):
        job = job_of(source, sets, tmp_path / "out", Part(0, 2))
        job = replace(job, inputs=replace(job.inputs, source_format=kind))
        found.append(made_again(job).source.kind)
    assert found == ["webdataset", "imagefolder", "webdataset"]


CHANGES = {
    "a file is added": lambda root: (root / "c1" / "new.png").write_bytes(b"x"),
    "a file is removed": lambda root: (root / "c1" / "3.png").unlink(),
    "a file is renamed": lambda root: (root / "c1" / "3.png").rename(root / "c1" / "33.png"),
    "a class is added": lambda root: (root / "c9").mkdir(),
    "a class is renamed": lambda root: (root / "c1").rename(root / "c8"),
    "a folder inside a class is added": lambda root: (root / "c1" / "inner").mkdir(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_the_next_part(source, sets, tmp_path, monkeypatch, change):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    CHANGES[change](source)
    read = listed_folders(monkeypatch)
    made = plan_bake(job_of(source, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert read
    alone = plan_bake(job_of(source, sets, tmp_path / "one", None), quiet)
    assert described(made) == described(alone)
    assert made.run == alone.run


def test_a_part_that_sees_another_listing_is_refused(source, sets, tmp_path):
    job = job_of(source, sets, tmp_path / "out", Part(0, 2))
    list(run_bake(plan_bake(job, quiet)))
    (source / "c1" / "new.png").write_bytes(b"x")
    before = index_of(tmp_path / "out").read_bytes()
    with pytest.raises(ResumeMismatchError, match="other pictures in SOURCE: 18 then, 19 now"):
        plan_bake(job_of(source, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert index_of(tmp_path / "out").read_bytes() == before


def test_a_file_of_another_length_is_refused_when_it_is_read(source, sets, tmp_path):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 1)), quiet)
    for file in source.glob("c1/*.png"):
        with file.open("ab") as opened:  # in place, so its folder does not show it
            opened.write(b"more")
    steps = run_bake(plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 1)), quiet))
    with pytest.raises(ResumeMismatchError, match=r"c1/.\.png has \d+ bytes, and had \d+ when"):
        list(steps)


def test_a_shard_size_in_bytes_is_not_counted_from_files_of_other_lengths(source, sets, tmp_path):
    job = job_of(source, sets, tmp_path / "out", Part(0, 2))
    job = replace(job, files=replace(job.files, shard_size=Bytes(4000)))
    plan_bake(job, quiet)
    for file in source.glob("*/*.*"):
        with file.open("ab") as opened:
            opened.write(b"more")
    with pytest.raises(ResumeMismatchError, match=r"c0/0.jpg has \d+ bytes, and had \d+ when"):
        plan_bake(job, quiet)


@pytest.mark.parametrize("on_error", ["skip", "fail"])
def test_a_picture_that_has_become_huge_is_not_read(source, sets, tmp_path, on_error):
    job = job_of(source, sets, tmp_path / "out", Part(0, 1))
    plan_bake(job, quiet)
    for file in source.glob("*/*.png"):
        os.truncate(file, 1 << 40)  # bytes, none of them on disk
    job = replace(job, running=replace(job.running, on_error=on_error))
    with pytest.raises(ResumeMismatchError, match="has 1099511627776 bytes"):
        list(run_bake(plan_bake(job, quiet)))


def test_a_link_that_led_nowhere_is_left_out(source, sets, tmp_path):
    (source / "c1" / "9.png").symlink_to(tmp_path / "nowhere")
    long_ago(source / "c1")
    made = plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 1)), quiet)
    assert isinstance(made.source.pictures, StoredPictures)
    assert sum(step.errors for step in run_bake(made)) == 1


def test_a_file_that_is_gone_is_left_out_as_ever(source, sets, tmp_path):
    made = plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 1)), quiet)
    (source / "c1" / "2.png").unlink()
    assert sum(step.errors for step in run_bake(made)) == 1


def test_what_a_part_has_baked_is_looked_at_for_later_changes(source, sets, tmp_path):
    job = job_of(source, sets, tmp_path / "out", Part(0, 2))
    list(run_bake(plan_bake(job, quiet)))
    own = [
        s.ref.path
        for task in tasks(replace(made_again(job), pending=((0, ()),)))
        for s in task.samples
    ]
    os.utime(own[0], (4e9, 4e9))
    said: list[str] = []
    plan_bake(job, said.append)
    assert any(f"{own[0]} of SOURCE changed after" in line for line in said)


def made_again(job):
    return plan_bake(job, quiet)


def test_a_folder_that_has_just_changed_is_not_relied_on(source, sets, tmp_path):
    just_now(source / "c1")
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    assert not index_of(tmp_path / "out").exists()


def test_a_folder_that_was_given_an_old_time_just_now_is_not_relied_on(
    source, sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(watched, "now", time.time_ns)
    long_ago(source / "c1")
    made_again(job_of(source, sets, tmp_path / "out", Part(0, 2)))
    assert not index_of(tmp_path / "out").exists()


def test_a_time_in_the_future_is_no_change_just_now(source, sets, tmp_path):
    os.utime(source / "c1", ns=(watched.now() + HOUR, watched.now() + HOUR))
    made_again(job_of(source, sets, tmp_path / "out", Part(0, 2)))
    assert index_of(tmp_path / "out").exists()
    (source / "c1" / "3.png").unlink()
    made = made_again(job_of(source, sets, tmp_path / "out", Part(1, 2)))
    assert len(made.source.pictures) == 17


@pytest.mark.parametrize("threads", [False, True])
def test_a_folder_has_just_changed_however_long_it_takes_to_list_it(
    source, sets, tmp_path, monkeypatch, threads
):
    just_now(source / "c2")
    passed = [0]
    scandir = os.scandir

    def slow(path):
        if str(path).endswith("c2"):
            passed[0] = 10 * watched.SETTLED_NS
        return scandir(path)

    then = watched.now()
    monkeypatch.setattr(watched, "now", lambda: then + passed[0])
    monkeypatch.setattr(walk.os, "scandir", slow)
    if threads:
        monkeypatch.setattr(walk, "_walk_each_here", walk_in_threads)
    made_again(job_of(source, sets, tmp_path / "out", Part(0, 2)))
    assert passed[0]
    assert not index_of(tmp_path / "out").exists()


def walk_in_threads(roots, warn, seen):
    """As on a disk that is waited for."""
    for found, _, looks in walk.remote.ahead(walk._walked, roots):
        for folder, look in looks:
            seen(folder, look)
        yield found


def test_other_choices_are_another_listing(source, sets, tmp_path, monkeypatch):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    read = listed_folders(monkeypatch)
    job = replace(job_of(source, sets, tmp_path / "out", Part(1, 2)), seed=5)
    made = plan_bake(job, quiet)
    assert read
    alone = replace(job, destination=Destination(tmp_path / "one"))
    assert described(made) == described(plan_bake(alone, quiet))


def test_another_machine_may_see_the_source_elsewhere(source, sets, tmp_path, monkeypatch):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    (tmp_path / "mounted").symlink_to(tmp_path)
    there = tmp_path / "mounted" / "photos"
    read = listed_folders(monkeypatch)
    made = plan_bake(job_of(there, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert read == []
    assert {path for _, _, path, *_ in described(made)} == set(map(str, there.glob("*/*[gG]")))


def test_a_copy_of_the_source_is_listed_on_its_own_and_leaves_the_index(source, sets, tmp_path):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    before = index_of(tmp_path / "out").read_bytes()
    copy = tmp_path / "copy" / "photos"
    for file in source.glob("*/*"):
        (copy / file.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / file.parent.name / file.name).write_bytes(file.read_bytes())
    long_ago(copy, *copy.iterdir())
    made = plan_bake(job_of(copy, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert not isinstance(made.source.pictures, StoredPictures)
    assert index_of(tmp_path / "out").read_bytes() == before


def counting(calls, name):
    """A function of `os` that counts its calls."""
    original = getattr(os, name)

    def counted(*given, **more):
        calls[name] += 1
        return original(*given, **more)

    return counted


@pytest.fixture
def in_memory(tmp_path):
    """A folder for many files: a busy disk takes a minute for 200,000 names."""
    shm = Path("/dev/shm")
    place = tempfile.mkdtemp(dir=shm if os.access(shm, os.W_OK) else tmp_path)
    yield Path(place)
    shutil.rmtree(place)


@pytest.mark.long
def test_parts_of_many_files_read_no_folder_and_hold_no_list(
    sets, tmp_path, in_memory, monkeypatch
):
    classes, each = 320, 625
    source = in_memory / "photos"
    for label in range(classes):
        folder = source / f"n{label:08d}"
        folder.mkdir(parents=True)
        first = folder / "0.png"
        first.write_bytes(b"x" * (label + 1))
        for number in range(1, each):
            os.link(first, folder / f"n{label:08d}_{number * 37}.png")
    long_ago(source, *source.iterdir())
    calls = {"scandir": 0, "stat": 0}
    for name in calls:
        monkeypatch.setattr(os, name, counting(calls, name))
    job = replace(job_of(source, sets, tmp_path / "out", Part(0, 8)), files=Files())
    plan_bake(job, quiet)
    assert classes < calls["scandir"] < classes + 50
    calls.update(scandir=0, stat=0)
    tracemalloc.start()
    try:
        destination = replace(job.destination, part=Part(3, 8))
        made = plan_bake(replace(job, destination=destination), quiet)
        task = next(tasks(made))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(made.order) == classes * each == 200_000
    assert len({sample.label for sample in task.samples}) > classes // 2  # it is shuffled
    assert calls["scandir"] < 20
    assert calls["stat"] < classes + 50
    assert peak < 4 << 20  # bytes; a list in memory takes 13 MB, and its order 3


# ---------------------------------------------------------------- the part that writes it


def test_a_dry_run_writes_nothing(source, sets, tmp_path):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet, write=False)
    assert not (tmp_path / "out").exists()


def test_a_run_of_its_own_writes_none(source, sets, tmp_path):
    plan_bake(job_of(source, sets, tmp_path / "out", None), quiet)
    assert not (tmp_path / "out").exists()


def test_a_source_that_cannot_be_read_leaves_no_folder(sets, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        plan_bake(job_of(tmp_path / "gone", sets, tmp_path / "out", Part(0, 2)), quiet)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_it_in_a_finished_set(source, sets, tmp_path):
    for index in range(2):
        list(run_bake(plan_bake(job_of(source, sets, tmp_path / "out", Part(index, 2)), quiet)))
    assert (tmp_path / "out" / "manifest.json").exists()
    assert not (tmp_path / "out" / ".pixmix").exists()
    made = plan_bake(job_of(source, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert made.pending == ()
    assert not (tmp_path / "out" / ".pixmix").exists()


@pytest.mark.parametrize("failing", ["no space left", "killed"])
def test_a_writer_that_fails_leaves_no_half(source, sets, tmp_path, monkeypatch, failing):
    class Killed(BaseException):
        pass

    original = listing.stored.write_arrays

    def broken(path, tmp, arrays, about):
        (tmp / "half").write_bytes(b"half of it")
        raise StorageError(failing) if failing == "no space left" else Killed

    monkeypatch.setattr(listing.stored, "write_arrays", broken)
    job = job_of(source, sets, tmp_path / "out", Part(0, 2))
    if failing == "killed":
        with pytest.raises(Killed):
            plan_bake(job, quiet)
    else:
        assert len(described(plan_bake(job, quiet))) == 18
    assert not index_of(tmp_path / "out").exists()
    monkeypatch.setattr(listing.stored, "write_arrays", original)
    plan_bake(job_of(source, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert sorted(os.listdir(tmp_path / "out" / ".pixmix")) == ["listing", "listing-lock"]


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_damaged_index_is_made_anew(source, sets, tmp_path, left):
    plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    whole = index_of(tmp_path / "out").read_bytes()
    index_of(tmp_path / "out").write_bytes(whole[:left])
    plan_bake(job_of(source, sets, tmp_path / "out", Part(1, 2)), quiet)
    assert index_of(tmp_path / "out").read_bytes() == whole


def test_a_place_without_locks_has_no_index(source, sets, tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(turns.fcntl, "flock", refused)
    made = plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), quiet)
    assert len(described(made)) == 18
    assert not index_of(tmp_path / "out").exists()


def test_parts_that_come_at_once_wait_for_the_first(source, sets, tmp_path, monkeypatch):
    read = listed_folders(monkeypatch)
    counted = walk._listed

    def slow(folder, warn):
        time.sleep(0.1)
        return counted(folder, warn)

    monkeypatch.setattr(walk, "_listed", slow)
    found = []

    def run(index):
        found.append(
            described(plan_bake(job_of(source, sets, tmp_path / "out", Part(index, 4)), quiet))
        )

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert len(read) == CLASSES


def array_of(sets, source):
    np.savez(source.with_suffix(".npz"), x=np.zeros((6, 40, 40, 3), np.uint8), y=np.arange(6) % 3)
    return source.with_suffix(".npz")


def packed_tar_of(sets, source):
    with tarfile.open(source.with_suffix(".tar.gz"), "w:gz") as tar:
        for index in range(3):
            tar.add(sets / "photos" / "c0" / f"{index}.png", f"{index}.png")
            (source / "cls").write_text("0")
            tar.add(source / "cls", f"{index}.cls")
    return source.with_suffix(".tar.gz")


def run_together(job, parts, listed, monkeypatch):
    """Plan several parts at once; `listed` is called as each begins to list. What they said."""
    said: list[str] = []
    failed: list[BaseException] = []
    original = listing.open_source

    def told(*given, **more):
        listed()
        return original(*given, **more)

    def run(part):
        try:
            plan_bake(replace(job, destination=replace(job.destination, part=part)), said.append)
        except Exception as error:
            failed.append(error)

    monkeypatch.setattr(listing, "open_source", told)
    monkeypatch.setattr(turns, "TOLD_SECONDS", 0.2)
    threads = [threading.Thread(target=run, args=(Part(index, 4),)) for index in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    return said


@pytest.mark.parametrize("source_of", [array_of, packed_tar_of])
def test_parts_of_a_kind_that_is_not_stored_list_at_once(
    source, sets, tmp_path, monkeypatch, source_of
):
    job = job_of(source_of(sets, source), sets, tmp_path / "out", Part(0, 4))
    together = threading.Barrier(3, timeout=5)
    said = run_together(job, range(3), together.wait, monkeypatch)
    assert not any("another part lists" in line for line in said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("reason", ["a folder has just changed", "no space left"])
def test_parts_wait_once_at_most_for_what_is_not_stored(
    source, sets, tmp_path, monkeypatch, reason
):
    original = listing.stored.write_arrays

    def full(*given):
        raise StorageError("no space left")

    if reason == "no space left":
        monkeypatch.setattr(listing.stored, "write_arrays", full)
    else:
        just_now(source / "c1")
    job = job_of(source, sets, tmp_path / "out", Part(0, 4))
    assert made_again(job).source.kind == "imagefolder"
    together = threading.Barrier(3, timeout=5)
    said = run_together(job, range(1, 4), together.wait, monkeypatch)
    assert not any("another part lists" in line for line in said)
    assert not index_of(tmp_path / "out").exists()
    monkeypatch.setattr(listing.stored, "write_arrays", original)
    long_ago(source / "c1")
    monkeypatch.setattr(listing, "open_source", open_source)
    made_again(job)
    assert sorted(os.listdir(tmp_path / "out" / ".pixmix")) == ["listing", "listing-lock"]


def test_parts_that_waited_in_vain_go_on_together(source, sets, tmp_path, monkeypatch):
    just_now(source / "c1")
    job = job_of(source, sets, tmp_path / "out", Part(0, 4))
    first = threading.Lock()
    together = threading.Barrier(3, timeout=5)

    def listed():
        if first.acquire(blocking=False):
            time.sleep(0.5)
        else:
            together.wait()

    run_together(job, range(4), listed, monkeypatch)


def test_a_later_error_leaves_no_folder_of_a_turn_that_was_ended(source, sets, tmp_path):
    just_now(source / "c1")
    job = job_of(source, sets, tmp_path / "n1" / "n2" / "out", Part(0, 4))
    job = replace(job, inputs=replace(job.inputs, mixing_sets=(tmp_path / "gone",)))
    with pytest.raises(InputError, match="gone does not exist"):
        plan_bake(job, quiet)
    assert not (tmp_path / "n1").exists()


def test_a_source_without_pictures_leaves_no_folder(sets, tmp_path):
    (tmp_path / "photos" / "c0").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no pictures"):
        plan_bake(
            job_of(tmp_path / "photos", sets, tmp_path / "n1" / "n2" / "out", Part(0, 2)), quiet
        )
    assert not (tmp_path / "n1").exists()


def test_folders_that_were_there_stay_after_an_error(sets, tmp_path):
    (tmp_path / "photos" / "c0").mkdir(parents=True)
    (tmp_path / "n1").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        plan_bake(
            job_of(tmp_path / "photos", sets, tmp_path / "n1" / "n2" / "out", Part(0, 2)), quiet
        )
    assert list((tmp_path / "n1").iterdir()) == []


def test_a_part_does_not_wait_for_one_that_shows_no_life(source, sets, tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "DEAD_SECONDS", 0.3)
    monkeypatch.setattr(turns, "TOLD_SECONDS", 0.1)
    monkeypatch.setattr(turns, "BEAT_SECONDS", 60.0)
    said: list[str] = []
    with turns.turn(tmp_path / "out", "listing", lambda: None):
        made = plan_bake(job_of(source, sets, tmp_path / "out", Part(0, 2)), said.append)
    assert len(described(made)) == 18
    assert "another part lists SOURCE" in said[0]
    assert not index_of(tmp_path / "out").exists()


def test_a_part_waits_for_one_that_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "DEAD_SECONDS", 0.4)
    monkeypatch.setattr(turns, "BEAT_SECONDS", 0.05)
    order: list[object] = []

    def wait():
        with turns.turn(tmp_path / "out", "x", lambda: None) as folder:
            order.append(("second", folder is not None))

    with turns.turn(tmp_path / "out", "x", lambda: None):
        other = threading.Thread(target=wait)
        other.start()
        time.sleep(1)
        order.append("first")
    other.join()
    assert order == ["first", ("second", True)]


def test_a_turn_may_end_early_and_need_not_be_waited_for(tmp_path):
    def now():
        return turns.turn(tmp_path / "out", "x", lambda: None, wait=False)

    with turns.turn(tmp_path / "out", "x", lambda: None) as mine:
        with now() as other:
            assert other is None
        assert mine is not None
        mine.end()
        with now() as other:
            assert other is not None
            assert list(other.tmp.folder.iterdir()) == []
    assert os.listdir(tmp_path / "out" / ".pixmix") == ["x-lock"]


def test_an_error_leaves_the_lock_that_another_has_taken_meanwhile(tmp_path):
    turn_of_another = turns.turn(tmp_path / "out", "x", lambda: None)
    with pytest.raises(KeyError), turns.turn(tmp_path / "out", "x", lambda: None) as mine:
        assert mine is not None
        mine.end()
        turn_of_another.__enter__()
        raise KeyError
    assert (tmp_path / "out" / ".pixmix" / "x-lock").exists()
    turn_of_another.__exit__(None, None, None)
