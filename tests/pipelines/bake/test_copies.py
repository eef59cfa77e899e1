"""Copies and the numbers that rows hold for them."""

from __future__ import annotations

import pytest

from pixmix_cli.pipelines.bake.job import Copy, all_copies


@pytest.mark.parametrize(
    ("copy", "code", "folder"),
    [
        (Copy(0), 0, "copy-000"),
        (Copy(99_999), 99_999, "copy-99999"),
        (Copy(0, plain=True), 1_000_000, "plain-000"),
        (Copy(12, plain=True), 1_000_012, "plain-012"),
    ],
)
def test_rows_hold_plain_copies_from_a_million_on(copy: Copy, code: int, folder: str) -> None:
    assert copy.code == code
    assert Copy.from_code(code) == copy
    assert copy.folder == folder


def test_all_copies_are_in_the_order_of_their_codes() -> None:
    codes = [copy.code for copy in all_copies(2, 3)]
    assert codes == sorted(codes) == [0, 1, 1_000_000, 1_000_001, 1_000_002]
