"""What an output asks of its place: a folder and an object store answer alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixmix_cli.errors import OutputBusyError, StorageError
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.mirror import refresh
from pixmix_cli.outputs.output import Output, open_output, store_of
from pixmix_cli.outputs.part import Part, Whole
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import MixingPicture
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.storage import remote
from pixmix_cli.storage.files import write_whole
from pixmix_cli.storage.remote import Url

PLAN = RunPlan("generate-fractals", {"size": 32, "format": "folder"}, {}, {})
Place = Callable[..., Destination]


@pytest.fixture(params=["folder", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Makes destinations: each is one output as another run sees it."""
    url = Url(f"memory://{tmp_path.name}")
    count = iter(range(100))

    def see(**settings: object) -> Destination:
        if request.param == "folder":
            return Destination(tmp_path / "out", **settings)  # type: ignore[arg-type]
        mirror = tmp_path / f"mirror{next(count)}"
        refresh(mirror, url)
        return Destination(mirror, url, **settings)  # type: ignore[arg-type]

    yield see
    system, _ = remote.opened(str(url))
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def name(index: int) -> str:
    return f"000/{index:06d}.jpg"


def row(index: int) -> MixingPicture:
    return MixingPicture(path=name(index), index=index, bytes=5, sha256="x")


def make(output: Output, *indices: int) -> None:
    for index in indices:
        write_whole(output.path / name(index), b"bytes", output.tmp)
    output.commit([row(index) for index in indices])


def files(destination: Destination) -> list[str]:
    root = destination.folder
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_opening_a_store_makes_nothing(place: Place) -> None:
    destination = place()
    before = sorted(destination.folder.rglob("*"))
    store_of(destination)
    assert sorted(destination.folder.rglob("*")) == before


def test_rows_of_an_interrupted_run_are_there_for_the_next(place: Place) -> None:
    with pytest.raises(KeyboardInterrupt), open_output(place(), PLAN) as output:
        make(output, 0, 1)
        raise KeyboardInterrupt
    with open_output(place(resume=True), PLAN) as output:
        assert [r.place[2] for r in output.rows()] == [0, 1]
        make(output, 2)
        assert output.finish() == {"pictures": 3, "bytes": 15, "skipped": 0}
    again = place()
    assert [r.place[2] for r in committed_rows(again.folder)] == [0, 1, 2]
    assert files(again) == [name(0), name(1), name(2), "manifest.json", "manifest.jsonl"]


def test_a_run_that_wrote_nothing_and_was_refused_leaves_nothing(place: Place) -> None:
    def fails() -> bool:
        raise KeyboardInterrupt

    with open_output(place(), PLAN) as output:
        make(output, 0)
        output.finish()
    with pytest.raises(KeyboardInterrupt):
        open_output(place(part=Part(0, 2)), PLAN, Whole({"pictures": 1}), fails)
    again = place()
    assert not (again.folder / ".pixmix").exists()


def test_only_one_run_holds_it_and_the_next_comes_after_it(place: Place) -> None:
    with open_output(place(), PLAN), pytest.raises(OutputBusyError):
        open_output(place(resume=True), PLAN)
    with open_output(place(resume=True), PLAN):
        pass


def test_parts_share_it_and_the_last_one_has_it_alone(place: Place) -> None:
    whole = Whole({"pictures": 2})
    with open_output(place(part=Part(0, 2)), PLAN, whole) as first:
        with pytest.raises(OutputBusyError):
            open_output(place(part=Part(0, 2)), PLAN, whole)
        with open_output(place(part=Part(1, 2)), PLAN, whole) as second:
            make(first, 0)
            make(second, 1)
            assert not first.take_over()
        first.refresh()
        assert first.take_over()
        assert first.finish() == {"pictures": 2, "bytes": 10, "skipped": 0}


def test_overwrite_removes_what_the_run_before_wrote(place: Place) -> None:
    with open_output(place(), PLAN) as output:
        make(output, 0, 1)
        output.finish()
    with open_output(place(overwrite=True), PLAN) as output:
        make(output, 7)
        output.finish()
    again = place()
    assert files(again) == [name(7), "manifest.json", "manifest.jsonl"]


def begin(output: Output, *indices: int) -> None:
    """Hand pictures out and put them in place, and be killed before they have rows."""
    output.hand_out([(["000"], [f"{index:06d}.jpg" for index in indices])])
    for index in indices:
        write_whole(output.path / name(index), b"bytes", output.tmp)
    raise KeyboardInterrupt


def test_overwrite_removes_what_was_handed_out_and_has_no_row(place: Place) -> None:
    with pytest.raises(KeyboardInterrupt), open_output(place(), PLAN) as output:
        make(output, 0)
        begin(output, 1, 2)
    with open_output(place(overwrite=True), PLAN) as output:
        make(output, 7)
        output.finish()
    assert files(place()) == [name(7), "manifest.json", "manifest.jsonl"]


def test_what_was_handed_out_and_is_not_wanted_any_more_goes_at_the_end(place: Place) -> None:
    with pytest.raises(KeyboardInterrupt), open_output(place(), PLAN) as output:
        make(output, 0, 2)
        begin(output, 1, 3)

    def beyond(place: tuple[int, ...]) -> bool:
        return place[2] >= 2

    with open_output(place(resume=True), PLAN, beyond=beyond) as output:
        make(output, 1)
        assert output.finish() == {"pictures": 2, "bytes": 10, "skipped": 0}
    assert files(place()) == [name(0), name(1), "manifest.json", "manifest.jsonl"]


def test_what_an_earlier_run_has_finished_stays_whatever_a_later_one_wants(place: Place) -> None:
    with open_output(place(), PLAN) as output:
        make(output, 0, 1, 2)
        output.finish()
    with open_output(place(resume=True), PLAN, beyond=lambda place: place[2] >= 1) as output:
        output.open_for_writing()
        make(output, 3)
        output.finish()
    assert files(place()) == [name(0), name(1), name(2), "manifest.json", "manifest.jsonl"]


def test_a_file_of_the_output_is_at_hand(place: Place) -> None:
    with open_output(place(), PLAN) as output:
        make(output, 0)
        assert output.at_hand(output.path / name(0)).read_bytes() == b"bytes"


def test_rows_that_cannot_be_made_durable_are_an_error_at_the_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    output = open_output(place(), PLAN)
    make(output, 0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space"), output:
        pass
    monkeypatch.undo()
    with open_output(place(resume=True), PLAN):  # nothing is held any more
        pass
