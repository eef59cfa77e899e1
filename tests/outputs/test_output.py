"""The lock, the journal and the manifest."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pixmix_cli.errors import (
    InputError,
    OutputBusyError,
    OutputExistsError,
    ResumeMismatchError,
)
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.output import Output, open_output
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import MixingPicture, SkippedPicture
from pixmix_cli.outputs.run_plan import RunPlan, look
from tests.conftest import environment

PLAN = RunPlan(
    "generate-fractals", {"beta": 3, "k": 4, "format": "folder"}, {"pillow": "1"},
    {"SOURCE": {"path": "p", "pictures": 2, "sha256": "a"}},
)  # fmt: skip


def name(index: int) -> str:
    return f"000/{index:06d}.png"


def row(index: int) -> MixingPicture:
    return MixingPicture(path=name(index), index=index, bytes=1, sha256="0")


def finished(path: Path, count: int = 3) -> None:
    with open_output(Destination(path), PLAN) as output:
        output.commit([row(i) for i in reversed(range(count))])
        output.finish()


def test_a_finished_output_holds_sorted_rows_and_nothing_else(tmp_path: Path) -> None:
    finished(tmp_path / "o")
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["manifest.json", "manifest.jsonl"]
    lines = (tmp_path / "o" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2]
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    assert manifest["summary"] == {"pictures": 3, "bytes": 3, "skipped": 0}


def test_manifest_tells_neither_time_nor_host_nor_workers(tmp_path: Path) -> None:
    import platform

    finished(tmp_path / "o")
    text = (tmp_path / "o" / "manifest.json").read_text()
    assert platform.node() not in text
    for word in ("time", "date", "host", "worker"):
        assert word not in text


def test_an_existing_output_is_refused_without_a_word(tmp_path: Path) -> None:
    finished(tmp_path / "o")
    with pytest.raises(OutputExistsError, match="--resume"):
        open_output(Destination(tmp_path / "o"), PLAN)
    assert look(tmp_path / "o").status == "finished"


def test_a_folder_of_someone_elses_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("five years")
    for resume, overwrite in ((False, False), (True, False), (False, True)):
        with pytest.raises(InputError, match="not made by pixmix"):
            open_output(Destination(tmp_path, resume=resume, overwrite=overwrite), PLAN)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def with_files(path: Path, count: int) -> None:
    """A finished output whose rows name files that are there."""
    finished(path, count)
    for index in range(count):
        (path / name(index)).parent.mkdir(exist_ok=True)
        (path / name(index)).write_bytes(b"x")


def test_overwrite_removes_what_the_rows_name_and_leaves_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "o"
    with_files(path, 2)
    others = ["000/5.png", "2024/thesis.txt", "copy-000/notes.txt"]
    for other in others:
        (path / other).parent.mkdir(exist_ok=True)
        (path / other).write_text("keep me")
    with open_output(Destination(path, overwrite=True), PLAN) as output:
        assert not (path / name(0)).exists()
        output.commit([row(7)])
        output.finish()
    left = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert left == [*others, "manifest.json", "manifest.jsonl"]
    assert [r.place[2] for r in committed_rows(path)] == [7]


@pytest.mark.parametrize("begun", ["finished", "unfinished"])
@pytest.mark.parametrize("moment", ["start", "empty_trash"])
def test_an_overwrite_killed_at_any_moment_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: str, moment: str
) -> None:
    path = tmp_path / "o"
    with_files(path, 3)
    if begun == "unfinished":
        with open_output(Destination(path, resume=True), PLAN) as output:
            output.open_for_writing()

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Output, moment, killed)
    with pytest.raises(KeyboardInterrupt):
        open_output(Destination(path, overwrite=True), PLAN)
    monkeypatch.undo()
    with open_output(Destination(path, overwrite=True), PLAN) as output:
        assert list(output.rows()) == []
        output.finish()
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "manifest.jsonl"]


GOOD_ROW = '{"path":"x","bytes":1,"index":3,"sha256":"0"}'
BAD_ROWS = [
    ("not json", "Expecting value"), ("[]", "it is no object"), ("5", "it is no object"),
    ("{}", "error is missing"), ("[" * 100_000, "recursion"),
    (GOOD_ROW.replace('"x"', "5"), "path: expected str, got int"),
    (GOOD_ROW.replace('"x"', '"../x"'), "path ../x leads out of the folder"),
    (GOOD_ROW.replace('"x"', '"/x"'), "path /x leads out of the folder"),
    (GOOD_ROW.replace('"x"', '"a/./b"'), "path a/./b leads out of the folder"),
    (GOOD_ROW.replace('"x"', '"a\\u0000b"'), "path holds a NUL"),
    (GOOD_ROW.replace("3", '"x"'), "index: expected int, got str"),
    (GOOD_ROW.replace("3", "3.5"), "index: expected int, got float"),
    (GOOD_ROW.replace("3", "-5"), "index is -5"),
    (GOOD_ROW.replace("3", "1e400"), "index: expected int, got float"),
    (GOOD_ROW.replace("3", "9" * 30), "index is 999"),
    ('{"path":"x","index":3,"sha256":"0"}', "bytes is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "said"), BAD_ROWS)
def test_a_damaged_row_is_named_by_file_line_and_field(tmp_path: Path, bad: str, said: str) -> None:
    path = tmp_path / "o"
    finished(path)
    with (path / "manifest.jsonl").open("a") as file:
        file.write(bad + "\n")
    with pytest.raises(InputError, match=r"line 4 of .*manifest\.jsonl is damaged: ") as caught:
        list(committed_rows(path))
    assert said in caught.value.message
    with open_output(Destination(path, overwrite=True), PLAN) as output:  # the way out
        output.finish()


@pytest.mark.parametrize("text", ["{", "5", "[]", '{"tool":"pixmix"}', "[" * 100_000])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    finished(tmp_path / "o")
    (tmp_path / "o" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json is damaged: "):
        look(tmp_path / "o")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tool": "other"}, "tool is not pixmix"),
        ({"command": None}, "command: expected str, got null"),
        ({"versions": {"pillow": 1}}, "versions[...]: expected str, got int"),
        ({"inputs": {"SOURCE": {"path": "p", "pictures": 2}}}, "inputs.SOURCE.sha256 is missing"),
        (
            {"inputs": {"SOURCE": {"path": "p", "pictures": "2", "sha256": "a"}}},
            "inputs.SOURCE.pictures: expected int, got str",
        ),
        ({"options": {"beta": 4, "k": 4, "format": "folder"}}, "settings_sha256 is not that of"),
        ({"summary": {"pictures": 3, "bytes": 3}}, "summary.skipped is missing"),
        ({"made_with": {"numba": None}}, "made_with[...]: expected str, got null"),
    ],
)
def test_a_manifest_with_a_damaged_field_names_it(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    finished(tmp_path / "o")
    file = tmp_path / "o" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=r"manifest\.json is damaged: ") as caught:
        look(tmp_path / "o")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (replace(PLAN, options={**PLAN.options, "beta": 4}), "--beta 3, this run has --beta 4"),
        (replace(PLAN, versions={"pillow": "2"}), "pillow 1, this run has pillow 2"),
        (replace(PLAN, command="render-featvis"), "this run is pixmix render-featvis"),
        (
            replace(PLAN, inputs={"SOURCE": {"path": "p", "pictures": 3, "sha256": "b"}}),
            "other pictures in SOURCE: 2 then, 3 now",
        ),
    ],
)
def test_resume_names_what_changed(tmp_path: Path, changed: RunPlan, names: str) -> None:
    finished(tmp_path / "o")
    before = (tmp_path / "o" / "manifest.json").read_bytes()
    with pytest.raises(ResumeMismatchError, match=names):
        open_output(Destination(tmp_path / "o", resume=True), changed)
    assert (tmp_path / "o" / "manifest.json").read_bytes() == before


def test_resume_on_a_new_output_simply_starts(tmp_path: Path) -> None:
    with open_output(Destination(tmp_path / "o", resume=True), PLAN) as output:
        output.commit([row(0)])
        output.finish()
    assert look(tmp_path / "o").status == "finished"


def test_the_same_source_at_another_path_may_go_on(tmp_path: Path) -> None:
    finished(tmp_path / "o")
    moved = replace(PLAN, inputs={"SOURCE": {"path": "q", "pictures": 2, "sha256": "a"}})
    with open_output(Destination(tmp_path / "o", resume=True), moved) as output:
        assert len(list(output.rows())) == 3


def test_interrupted_work_is_journaled_and_a_torn_line_dropped(tmp_path: Path) -> None:
    path = tmp_path / "o"
    with open_output(Destination(path), PLAN) as output:
        output.commit([row(0), row(1)])
    journal = path / ".pixmix" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"path":"2.png","ind')
    assert look(path).status == "unfinished"
    with open_output(Destination(path, resume=True), PLAN) as output:
        assert [r.place[2] for r in output.rows()] == [0, 1]
        output.commit([row(2)])
        output.finish()
    assert [r.place[2] for r in committed_rows(path)] == [0, 1, 2]


def test_growing_a_finished_output_merges_rows_each_once(tmp_path: Path) -> None:
    path = tmp_path / "o"
    finished(path, 2)
    with open_output(Destination(path, resume=True), PLAN) as output:
        output.open_for_writing()
        assert look(path).status == "unfinished"
        output.commit([row(2), row(1)])
        output.finish()
    assert [r.place[2] for r in committed_rows(path)] == [0, 1, 2]


def test_skipped_items_go_to_errors_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "o"
    with open_output(Destination(path), PLAN) as output:
        output.commit([row(0), SkippedPicture(error="broken", index=1, facts={"from": "x"})])
        summary = output.finish()
    assert summary["skipped"] == 1
    told = json.loads((path / "errors.jsonl").read_text())
    assert told == {"error": "broken", "index": 1, "from": "x"}
    assert len((path / "manifest.jsonl").read_text().splitlines()) == 1


@pytest.mark.process
def test_a_second_run_on_one_output_refuses_and_the_lock_dies_with_its_holder(
    tmp_path: Path,
) -> None:
    program = (
        "import sys,time; from pathlib import Path; from tests.outputs.test_output import *;"
        "o=open_output(Destination(Path(sys.argv[1]), resume=True), PLAN);"
        "print('ready',flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "o")], stdout=subprocess.PIPE,
        env=environment(),
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    with pytest.raises(OutputBusyError, match=f"process {holder.pid}"):
        open_output(Destination(tmp_path / "o", resume=True), PLAN)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with open_output(Destination(tmp_path / "o", resume=True), PLAN) as output:
        output.finish()
    assert look(tmp_path / "o").status == "finished"
