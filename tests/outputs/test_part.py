"""Parts of an output: which units they have, and how they are told."""

from __future__ import annotations

import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.part import Part, Whole, part_from


def test_every_unit_belongs_to_exactly_one_part():
    for unit in range(50):
        assert sum(Part(index, 7).has(unit) for index in range(7)) == 1


@pytest.mark.parametrize("total", [1, 5, 100, 10_000])
@pytest.mark.parametrize("least", [1, 3])
def test_a_unit_keeps_together_what_must_stay_and_is_never_empty(total, least):
    unit = Part(0, 4).unit(total, most=64, least=least)
    assert unit >= 1
    assert unit % least == 0
    assert unit <= 64


def test_small_sets_are_cut_finely_enough_for_all_parts():
    assert Part(0, 4).unit(64, most=128) == 4


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"RANK": "2", "WORLD_SIZE": "8"}, Part(2, 8)),
        ({"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, Part(0, 4)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "4",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "1",
            },
            Part(3, 4),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "20",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "5",
            },
            Part(2, 3),
        ),
    ],
)
def test_auto_reads_slurms_and_torchruns_variables(variables, part):
    assert part_from("auto", variables) == part


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("4/4", {}, "0/4 to 3/4"),
        ("1/0", {}, "1 to 100000"),
        ("-1/4", {}, "neither i/n nor auto"),
        ("half", {}, "neither i/n nor auto"),
        ("auto", {}, "SLURM_ARRAY_TASK_ID"),
        ("auto", {"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one'"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "3"}, "evenly numbered"),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "RANK": "0",
                "WORLD_SIZE": "2",
            },
            "both",
        ),
    ],
)
def test_what_names_no_part_is_refused_in_words(text, variables, words):
    with pytest.raises(InputError, match=words):
        part_from(text, variables)


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        {},
        {"layout": {"pictures": "9"}, "extras": {}, "made_with": {}},
        {"layout": {}, "extras": {"../README.md": ""}, "made_with": {}},
    ],
)
def test_a_damaged_description_of_the_whole_is_refused(damaged):
    with pytest.raises(ValueError, match=r"."):
        Whole.from_json(damaged)


def test_the_description_of_the_whole_survives_its_file():
    whole = Whole({"pictures": 9}, {"README.md": "x"}, {"torch": "2"})
    assert Whole.from_json(whole.to_json()) == whole
