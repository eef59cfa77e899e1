"""Tables and pictures of runs, worked by hand."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from benchmarks.safety import figures, report


def run_of(arm, seed, value):
    measures = dict.fromkeys((*report.COLUMNS.values(), *report.FIVE.values()), value)
    return {"arm": arm, "seed": seed, "measures": {**measures, "corruption: fog": value}}


def test_means_spreads_and_paired_differences_are_those_worked_by_hand():
    assert report.spread([1.0, 2.0, 3.0]) == (2.0, 1.0)
    assert math.isnan(report.spread([1.0])[1])
    mean, half, n = report.difference({0: 1.0, 1: 2.0, 2: 3.5}, {0: 0.5, 1: 1.0, 2: 2.0, 3: 9.0})
    assert (mean, n) == (1.0, 3)
    assert half == pytest.approx(4.30 * 0.5 / math.sqrt(3))


def test_the_table_shows_arms_against_plain_and_against_noise():
    runs = [run_of("plain", s, 0.4 + 0.01 * s) for s in range(3)]
    runs += [run_of("noise", s, 0.3 + 0.01 * s) for s in range(3)]
    runs += [run_of("ours", s, 0.3 + 0.02 * s) for s in range(3)]
    text = report.table(runs)
    assert "| plain | 3 | .410 ± .010 |" in text
    assert "| noise | **-0.100 ± 0.000** |" in text  # minus plain
    assert (
        "| ours | +0.010 ± 0.025 |" in text
    )  # minus noise: .01 s, which is .01 ± 4.30 * .01 / 3**.5
    assert report.detail(runs, "corruption").splitlines()[-1] == "| fog | .410 | .310 | .320 |"


def test_the_picture_runs_from_the_worst_to_the_best_on_each_axis():
    runs = [run_of("plain", seed, value) for seed, value in enumerate((0.4, 0.6))]
    runs += [run_of("ours", seed, 0.2) for seed in range(2)]
    found = figures.normalised(report.by_arm(runs))
    deviation = math.sqrt(0.02)  # of .4 and .6
    worst = 0.5 + deviation
    errors = found["ours"][:4]  # lower is better
    assert errors == [(1, 1, 1)] * 4
    mean, worse, better = found["plain"][0]
    assert mean == pytest.approx(deviation / (worst - 0.2))
    assert worse == 0
    assert better == pytest.approx(2 * deviation / (worst - 0.2))
    assert found["ours"][4] == (0, 0, 0)  # AUROC: higher is better


def with_copies(arm, seed, value, copies, online=False, **more):
    settings = {"recipe": "noise", "copies": copies, "online": online, "training": {"epochs": 30}}
    return {**run_of(arm, seed, value), **settings, **more}


def test_the_five_measures_say_what_holds_beyond_the_interval():
    runs = [run_of("plain", s, 0.4 + 0.1 * s) for s in range(3)]
    runs += [run_of("lower", s, 0.3 + 0.1 * s) for s in range(3)]  # better but for AUROC
    runs += [run_of("mixed", s, 0.4 + 0.2 * s) for s in range(3)]
    lines = report.five(runs).splitlines()
    assert lines[2].startswith("| arm | seeds | clean error ↓ | corruption error ↓ |")
    assert lines[2].endswith("| AUROC, structured ↑ | beyond it |")
    assert lines[4] == "| plain | 3 | .500 | .500 | .500 | .500 | .500 | .500 |  |"
    lower = "**.400 (-0.100 ± .000)** | " * 5  # clean error and four of the five
    assert lines[5] == f"| lower | 3 | {lower}~~.400 (-0.100 ± .000)~~ | 4 better, 1 worse |"
    mixed = ".600 (+0.100 ± .248) | " * 6
    assert lines[6] == f"| mixed | 3 | {mixed}0 better, 0 worse |"


def test_one_seed_has_no_interval_and_so_no_verdict():
    text = report.five([run_of("plain", 0, 0.4), run_of("ours", 0, 0.2)])
    assert "**" not in text
    assert "~~" not in text
    assert "beyond it |" not in text


def test_means_are_over_the_seeds_that_are_compared():
    runs = [run_of("plain", s, 0.4 + 0.01 * s) for s in range(3)]
    runs += [run_of("ours", s, 0.3 + 0.01 * s) for s in (0, 1, 7)]
    text = report.five(runs)
    assert "| ours | 2 | **.305 (-0.100 ± .000)** | " in text  # without seed 7
    runs = [with_copies("all", s, 0.4, 30) for s in range(2)]
    runs += [with_copies("one", s, 0.5 + 0.1 * s, 1) for s in (0, 1, 2)]
    assert "| 1 | 2 | .550 (+0.150 ± .635) | " in report.copies(runs)


def test_an_arm_without_a_common_seed_has_its_own_mean_and_no_verdict():
    runs = [run_of("plain", s, 0.4) for s in range(2)]
    runs += [run_of("later", s, 0.3 + 0.1 * s) for s in (2, 3)]
    runs.append(run_of("once", 0, 0.3))
    text = report.five(runs)
    assert "| later | 2 | " + ".550 | " * 6 + " |" in text
    assert "| once | 1 | " + ".300 (-0.100) | " * 6 + " |" in text


def test_without_the_reference_no_brackets_are_explained():
    assert report.five([run_of("ours", 0, 0.2)]).startswith("The five measures.\n")


@pytest.mark.parametrize(
    ("freedom", "known"), [(1, 12.71), (10, 2.23), (11, 2.201), (20, 2.086), (60, 2.0)]
)
def test_quantiles_of_student_are_those_of_the_tables(freedom, known):
    values = {seed: float(seed % 3) for seed in range(freedom + 1)}
    _, deviation = report.spread(list(values.values()))
    _, half, n = report.difference(values, dict.fromkeys(values, 0.0))
    assert half / deviation * math.sqrt(n) == pytest.approx(known, abs=0.003)


def test_a_run_without_a_measure_leaves_its_cell_empty():
    runs = [run_of("plain", s, 0.4) for s in range(2)]
    runs.append({"arm": "mine", "seed": 0, "measures": {"CIFAR-10-C error": 0.25}})
    text = report.table(runs)
    assert text.splitlines()[0].endswith("| AUROC, all | CIFAR-10-C error |")
    assert "| mine | 1 | — | — | — | — | — | — | — | — | — | .250 ± — |" in text
    assert "| mine | — |" in text  # minus plain
    assert "| mine | 1 | — | — | — | — | — | — |  |" in report.five(runs)


def test_runs_of_other_settings_do_not_stand_in_one_table():
    long = {**run_of("plain", 0, 0.4), "training": {"epochs": 30}, "test": "a"}
    short = {**run_of("plain", 1, 0.4), "training": {"epochs": 2}, "test": "a"}
    foreign = {**run_of("mine", 0, 0.4), "test": "a"}  # a checkpoint: no training
    other_exam = {**run_of("mine", 0, 0.4), "test": "b"}
    assert report.alike([short, foreign, other_exam, long]) == (
        [foreign, long],
        [short, other_exam],
    )
    assert report.alike([]) == ([], [])


TRAINED = {"training": {"epochs": 30}, "test": "a", "version": 2, "device": "cpu"}


def test_a_checkpoint_joins_the_last_trained_runs_and_turns_none_out():
    trained = [{**run_of("plain", s, 0.4), **TRAINED} for s in range(2)]
    short = {**run_of("short", 0, 0.4), **TRAINED, "training": {"epochs": 2}}
    foreign = {**run_of("mine", 0, 0.4), "test": "a", "device": "cuda"}
    published = {**run_of("other", 0, 0.4), "test": None, "photographs": False}
    runs = [short, *trained, foreign, published]
    assert report.alike(runs) == ([*trained, foreign, published], [short])
    assert report.alike([foreign, published]) == ([foreign, published], [])


@pytest.mark.parametrize(
    ("name", "other"), [("version", 1), ("arithmetic", "bfloat16 by AMX"), ("device", "cuda")]
)
def test_runs_by_other_arithmetic_do_not_stand_in_one_table(name, other):
    new = {**run_of("plain", 0, 0.4), **TRAINED, "arithmetic": "float32"}
    old = {**run_of("plain", 1, 0.4), **TRAINED, "arithmetic": "float32", name: other}
    assert report.alike([old, new]) == ([new], [old])


@pytest.mark.parametrize("name", ["recipe", "mixing", "copies", "whole", "baked", "weights"])
def test_the_seeds_of_an_arm_are_of_one_kind(name):
    old = [{**run_of("ours", s, 0.4), **TRAINED, name: "old"} for s in (1, 2)]
    new = [{**run_of("ours", 0, 0.4), **TRAINED, name: "new"}]
    plain = [{**run_of("plain", s, 0.4), **TRAINED} for s in range(3)]
    assert report.alike([*old, *plain, *new]) == ([*plain, *new], old)


def test_the_table_is_that_of_the_runs_that_were_asked_for():
    asked = {**run_of("ours", 0, 0.4), **TRAINED, "mixing": "a"}
    later = {**run_of("plain", 0, 0.4), **TRAINED, "training": {"epochs": 2}}
    another = {**run_of("ours", 1, 0.4), **TRAINED, "mixing": "b"}
    settings = {name: value for name, value in asked.items() if name != "measures"}
    assert report.alike([asked, later, another], [settings]) == ([asked], [later, another])


def test_published_sets_of_one_name_are_the_same_set():
    plain = {**run_of("plain", 0, 0.4), **TRAINED, "published": []}
    other = {**run_of("noise", 0, 0.4), **TRAINED, "published": ["CIFAR-10-C old"]}
    ours = {**run_of("ours", 0, 0.4), **TRAINED, "published": ["CIFAR-10-C new"]}
    assert report.alike([plain, other, ours]) == ([plain, ours], [other])


def test_copies_are_compared_with_the_most_there_are():
    runs = [with_copies("few", s, 0.3 + 0.01 * s, 4) for s in range(2)]
    runs += [with_copies("live", s, 0.2 + 0.01 * s, 30, online=True) for s in range(2)]
    runs += [with_copies("one", s, 0.5 + 0.01 * s, 1) for s in range(2)]
    runs += [with_copies("all", s, 0.2, 30) for s in range(2)]
    (some,) = report.copies_of(runs).values()
    assert [(one.label, one.arm) for one in some] == [
        ("1", "one"), ("4", "few"), ("30", "all"), ("online", "live")
    ]  # fmt: skip
    lines = report.copies(runs).splitlines()
    assert [line.split(" | ")[0] for line in lines[4:8]] == ["| 1", "| 4", "| 30", "| online"]
    worse = "~~.305 (+0.100 ± .000)~~ | " * 5  # AUROC is better when it is higher
    assert lines[5] == f"| 4 | 2 | {worse}**.305 (+0.100 ± .000)** |"
    assert lines[7].startswith("| online | 2 | .205 | ")
    assert report.copies(runs[:2]) == ""


def first_cells(text):
    return [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]


def test_copies_cropped_in_training_are_compared_with_the_most_that_are_not():
    runs = [with_copies("one", s, 0.5, 1) for s in range(2)]
    runs += [with_copies("one-whole", s, 0.3, 1, whole=True) for s in range(2)]
    runs += [with_copies("all-whole", s, 0.6, 30, whole=True) for s in range(2)]
    runs += [with_copies("four", s, 0.4, 4) for s in range(2)]
    text = report.copies(runs)
    assert first_cells(text) == ["| copies", "| 1", "| 1 + crop", "| 4", "| 30 + crop"]
    assert "in brackets minus 4, " in text
    assert "| 1 + crop | 2 | **.300 (-0.100 ± .000)** | " in text


def test_arms_with_as_many_copies_both_have_a_row():
    runs = [with_copies("first", 0, 0.5, 4), with_copies("second", 0, 0.4, 4)]
    runs.append(with_copies("one", 0, 0.5, 1))
    assert first_cells(report.copies(runs)) == ["| copies", "| 1", "| 4 (first)", "| 4 (second)"]


def test_copies_of_another_mixing_set_are_another_recipe_s():
    runs = [with_copies("one", 0, 0.5, 1, mixing="a"), with_copies("all", 0, 0.4, 30, mixing="b")]
    assert report.copies(runs) == ""
    runs += [with_copies("two", 0, 0.5, 2, mixing="a"), with_copies("few", 0, 0.4, 4, mixing="b")]
    assert list(report.copies_of(runs)) == ["noise (a)", "noise (b)"]


def lines_of(runs, tmp_path, monkeypatch):
    """What the first panel of the picture of copies shows: label and heights of each line."""
    figure = pytest.importorskip("matplotlib.figure")
    kept = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *a, **k: kept.append(self))
    assert figures.draw_copies(runs, tmp_path / "a.png")
    handles, labels = kept[0].axes[0].get_legend_handles_labels()
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]
    return {label: list(line.get_ydata()) for label, line in zip(labels, lines)}


def test_copies_cropped_in_training_have_a_line_of_their_own(tmp_path, monkeypatch):
    runs = [with_copies("one", 0, 0.5, 1), with_copies("all", 0, 0.4, 30)]
    runs += [with_copies("one-whole", 0, 0.3, 1, whole=True), run_of("plain", 0, 0.7)]
    shown = lines_of(runs, tmp_path, monkeypatch)
    assert {label: pytest.approx(heights) for label, heights in shown.items()} == {
        "noise": [0.1, 0.0], "noise + crop": [-0.1], "plain": [0.3, 0.3]
    }  # fmt: skip


def test_what_has_no_seed_in_common_with_the_most_copies_is_not_drawn(tmp_path, monkeypatch):
    runs = [with_copies("one", 1, 0.5, 1), with_copies("all", 0, 0.4, 30)]
    runs.append(with_copies("four", 0, 0.5, 4))
    assert lines_of(runs, tmp_path, monkeypatch)["noise"] == pytest.approx([0.1, 0.0])


def test_plain_training_stands_below_the_copies():
    runs = [with_copies("one", s, 0.5, 1) for s in range(2)]
    runs += [with_copies("all", s, 0.4, 30) for s in range(2)]
    assert "plain" not in report.copies(runs)
    runs += [run_of("plain", s, 0.7) for s in range(2)]
    last = report.copies(runs).splitlines()[-1]
    assert last.startswith("| plain | 2 | ~~.700 (+0.300 ± .000)~~ | ")


def test_the_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    runs = [run_of("plain", 0, 0.4), run_of("ours", 0, 0.2)]
    assert figures.draw(runs, tmp_path / "a.png")
    runs = [with_copies("one", s, 0.5, 1) for s in range(2)]
    assert not figures.draw_copies(runs, tmp_path / "b.png")
    runs += [with_copies("all", s, 0.4, 30) for s in range(2)]
    assert figures.draw_copies(runs, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as drawn:
            assert drawn.width > 300


def test_runs_of_published_sets_alone_make_tables_and_no_pentagon(tmp_path):
    pytest.importorskip("matplotlib")
    runs = [{"arm": "mine", "seed": 0, "measures": {"C error": 0.25, "C: fog": 0.5}}]
    assert report.five(runs) == ""
    assert report.parts(runs) == ["C"]
    assert report.detail(runs, "C").splitlines()[-1] == "| fog | .500 |"
    assert not figures.draw(runs, tmp_path / "a.png")
