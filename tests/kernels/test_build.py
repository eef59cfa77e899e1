"""Libraries: what is built is what Python computes, for every kind of argument."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pixmix_kernels import processors
from tests.kernels.conftest import Python, build_toy

pytestmark = pytest.mark.process

TARGET = processors.targets()[-1]
CALL = """
import json, sys
import numpy as np
from tests.kernels import toy
def numbers(kind, *shape):
    return (np.arange(np.prod(shape)) % 100 + 3).astype(kind).reshape(shape)
out = np.zeros(15)
toy.add_up(
    numbers(np.uint8, 7), -numbers(np.int32, 5), numbers(np.int64, 4) - 2**40,
    np.full(3, 2**63 + 2**41, np.uint64), numbers(np.float32, 6) / np.float32(3),
    numbers(np.float64, 2) / 7, numbers(np.float32, 2, 3), numbers(np.float64, 2, 1, 3), (9, -4),
    toy.Two(np.array([0.5, 0.25]), numbers(np.uint8, 2, 2)), -12345678901, 0.1, np.float32(0.1),
    np.uint64(2**63 + 2**60), {flag}, out,
)
print(json.dumps(out.tolist()))
"""
LOAD = """
from pathlib import Path
from pixmix_kernels import libraries, ways
notes = []
library = libraries.load(Path("lib"), "{target}", "toy", notes)
print(*notes)
if library: ways._settled["toy"] = ways.Compiled(library)
"""


def test_a_library_reads_every_kind_of_argument_as_python_does(
    python: Python, tmp_path: Path
) -> None:
    build_toy(python, tmp_path / "lib", TARGET)
    for flag in (True, False):
        made = python(LOAD.format(target=TARGET) + CALL.format(flag=flag))
        plain = python(CALL.format(flag=flag), PIXMIX_KERNELS="python")
        assert made.returncode == plain.returncode == 0, made.stderr + plain.stderr
        assert json.loads(made.stdout.splitlines()[-1]) == json.loads(plain.stdout)
        assert (
            "numba"
            not in python(
                LOAD.format(target=TARGET) + CALL.format(flag=flag) + "print(*sys.modules)"
            ).stdout.split()
        )


def test_without_a_compiler_the_object_is_linked_in_memory(python: Python, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    build_toy(python, tmp_path / "lib", TARGET, PATH=str(tmp_path / "nothing"))
    assert {path.suffix for path in (tmp_path / "lib").iterdir()} == {".o", ".json"}
    made = python(LOAD.format(target=TARGET) + CALL.format(flag=True))
    plain = python(CALL.format(flag=True), PIXMIX_KERNELS="python")
    assert made.stdout.splitlines()[-1] == plain.stdout.strip(), made.stderr


def test_the_same_sources_give_the_same_code_for_each_target(
    python: Python, tmp_path: Path
) -> None:
    targets = list(processors.targets())
    build_toy(python, tmp_path / "together", ",".join(targets))
    for target in targets:
        build_toy(python, tmp_path / "lib", target)
    books = {path.name for path in (tmp_path / "lib").glob("*.json")}
    assert books == {f"{target}.toy.json" for target in targets}
    for target in targets:
        hashes = {
            json.loads((tmp_path / folder / f"{target}.toy.json").read_text())["sha256"]
            for folder in ("together", "lib")
        }
        assert len(hashes) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda lib, book: lib.write_bytes(lib.read_bytes()[:900]), "damaged"),
        (lambda lib, book: lib.write_bytes(b""), "damaged"),
        (lambda lib, book: lib.write_bytes(lib.read_bytes()[:-1] + b"\1"), "damaged"),
        (lambda lib, book: book.write_text("{"), "cannot be used"),
        (lambda lib, book: book.write_text("[]"), "cannot be used"),
        (lambda lib, book: book.write_bytes(b""), "cannot be used"),
        (lambda lib, book: book.write_text(book.read_text().replace(TARGET, "sparc")), "sparc"),
        (lambda lib, book: lib.unlink(), ""),
    ],
)
def test_a_library_that_is_cut_or_for_others_is_not_loaded(
    python: Python, tmp_path: Path, damage, said: str
) -> None:
    build_toy(python, tmp_path / "lib", TARGET)
    folder = tmp_path / "lib"
    damage(folder / f"{TARGET}.toy.so", folder / f"{TARGET}.toy.json")
    done = python(LOAD.format(target=TARGET) + "print(library)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "None"
    assert said in done.stdout


def test_a_library_of_other_sources_is_not_loaded(python: Python, tmp_path: Path) -> None:
    build_toy(python, tmp_path / "lib", TARGET)
    book = tmp_path / "lib" / f"{TARGET}.toy.json"
    facts = json.loads(book.read_text())
    book.write_text(json.dumps({**facts, "stamp": "0" * 32}))
    done = python(LOAD.format(target=TARGET) + "print(library)")
    assert done.stdout.splitlines()[-1] == "None"
    assert "sources 0000" in done.stdout


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("np.zeros(3, np.float32)", "fill: out takes C-contiguous float64 of 1 dimensions"),
        ("np.zeros((3, 1))", "not float64 of shape (3, 1)"),
        ("np.zeros(6)[::2]", "C-contiguous"),
        ("[0.0]", "not list of shape ()"),
    ],
)
def test_an_array_of_another_kind_is_refused_before_any_code_sees_it(
    python: Python, tmp_path: Path, argument: str, said: str
) -> None:
    build_toy(python, tmp_path / "lib", TARGET)
    code = "import numpy as np\nfrom tests.kernels import toy\n"
    done = python(LOAD.format(target=TARGET) + code + f"toy.fill(1.0, {argument})")
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]


def test_arrays_that_are_empty_or_read_only_are_read_in_place(
    python: Python, tmp_path: Path
) -> None:
    build_toy(python, tmp_path / "lib", TARGET)
    code = (
        "import numpy as np\nfrom pixmix_kernels.signatures import address\n"
        "from tests.kernels import toy\ntoy.fill(1.0, np.zeros(0))\n"
        "a = np.arange(5.0); b = a[1:]; b.flags.writeable = False\n"
        "print(address(b) - address(a))"
    )
    done = python(LOAD.format(target=TARGET) + code)
    assert done.stdout.splitlines()[-1] == "8", done.stderr


def test_pointers_hold_addresses() -> None:
    from pixmix_kernels.signatures import address

    array = np.zeros((4, 3), np.uint8)
    assert address(array) == array.ctypes.data
