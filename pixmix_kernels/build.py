"""Make libraries: Numba writes LLVM's code for every entry of a family, LLVM makes it machine code.

    python -m pixmix_kernels [--into FOLDER] [--targets x86-64-v3,x86-64]

Numba types and lowers each function once (NUMBA_OPT=0: it neither optimises nor runs anything). All
entries of a family are linked into one module, in which everything but the entries is private, and
only that is optimised: once for each target, in processes side by side. The settings of LLVM are
those that Numba's own just-in-time compiler uses.

What a file holds is a function of the sources, Numba, llvmlite and the target, no matter where it
is made. Written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, codegen, cpu, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numba.np.arrayobj import make_array, populate_array

from pixmix_kernels import libraries, processors, signatures, ways
from pixmix_kernels.folders import version
from pixmix_kernels.modules import entries, stamp

_WORD = ir.IntType(64)
# What compiled kernels may call: nothing of Python's or Numba's. pow only where draws need the C
# library's, as Python's own ** does.
_C_LIBRARY = {"memcpy", "memset", "memmove", "pow", "fmaf"}
_OPT_LEVEL = 3  # of LLVM, as Numba's own default


# ---------------------------------------------------------------- arguments, as Numba sees them


class RecordType(types.Type):
    """A record by the address of its block. Numba's named tuples would be handed on by value:

    a hundred numbers in and out of every function that takes one.
    """

    def __init__(self, record: signatures.Record) -> None:
        self.record = record
        super().__init__(name=f"pixmix.{record.cls.__module__}.{record.cls.__name__}")


@register_model(RecordType)
class _RecordModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: RecordType) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


@infer_getattr
class _RecordAttributes(AttributeTemplate):
    key = RecordType

    def generic_resolve(  # type: ignore[override]  # Numba has a placeholder there
        self, kind: RecordType, name: str
    ) -> Any:
        fields = kind.record.cls._fields
        return numba_type(kind.record.fields[fields.index(name)]) if name in fields else None


@lower_getattr_generic(RecordType)
def _get_field(context: Any, builder: Any, kind: RecordType, value: Any, name: str) -> Any:
    record = kind.record
    number = record.cls._fields.index(name)
    place = sum(field.words for field in record.fields[:number])
    return _value(context, builder, record.fields[number], value, place)


def numba_type(kind: signatures.Type) -> Any:
    """Numba's type of a kernel's argument."""
    if isinstance(kind, signatures.Array):
        return types.Array(numba.from_dtype(kind.dtype), kind.dimensions, "C")
    if isinstance(kind, signatures.Scalar):
        return types.boolean if kind.kind == "bool_" else getattr(types, kind.kind)
    if isinstance(kind, signatures.Tuple):
        return types.BaseTuple.from_types([numba_type(element) for element in kind.elements])
    return RecordType(kind)


def _value(context: Any, builder: Any, kind: signatures.Type, block: Any, place: int) -> Any:
    """An argument from word `place` of a block."""

    def word(number: int) -> Any:
        return builder.load(builder.gep(block, [ir.Constant(_WORD, number)]))

    made = numba_type(kind)
    if isinstance(kind, signatures.Array):
        array = make_array(made)(context, builder)
        shape = [word(place + 1 + axis) for axis in range(kind.dimensions)]
        size = context.get_constant(types.intp, kind.dtype.itemsize)
        strides = [size]
        for length in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(word(place), array.data.type)
        populate_array(
            array, data=data, shape=cgutils.pack_array(builder, shape),
            strides=cgutils.pack_array(builder, strides), itemsize=size, meminfo=None,
        )  # fmt: skip
        return array._getvalue()
    if isinstance(kind, signatures.Scalar):
        if kind.code == "d":
            number = builder.bitcast(word(place), ir.DoubleType())
            return context.cast(builder, number, types.float64, made)
        number = word(place)
        if kind.kind == "bool_":
            number = builder.icmp_signed("!=", number, ir.Constant(_WORD, 0))
            return number
        return context.cast(builder, number, types.int64, made)
    if isinstance(kind, signatures.Tuple):
        parts = []
        for element in kind.elements:
            parts.append(_value(context, builder, element, block, place))
            place += element.words
        return context.make_tuple(builder, made, parts)
    return builder.inttoptr(word(place), _WORD.as_pointer())


def _from_block(kind: signatures.Type, place: int) -> Any:
    """An intrinsic that gives an argument of an entry from the block's address."""

    def typed(typing_context: Any, block: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer = builder.bitcast(values[0], _WORD.as_pointer())
            return _value(context, builder, kind, pointer, place)

        return numba_type(kind)(block), generate

    return intrinsic(typed)


# ---------------------------------------------------------------- from functions to one module


def _skip_running() -> None:
    """Tell Numba not to make each function's machine code as it goes: only its LLVM code is used.

    What it keeps of a function must be a builtin, and another one for each.
    """

    def no_code(self: Any, library: Any, description: Any, environment: Any) -> Any:
        return [].append

    def nothing(self: Any, *arguments: Any) -> None:
        return None

    cpu.CPUContext.get_executable = no_code  # type: ignore[method-assign]
    codegen.JITCodeLibrary._finalize_specific = nothing  # type: ignore[method-assign]
    codegen.JITCPUCodegen._add_module = nothing  # type: ignore[method-assign]


def lowered(function: Any) -> tuple[str, str]:
    """LLVM's code of an entry and all it calls, not optimised, and the name of its C function."""
    kinds = signatures.of(function.py_func)
    scope: dict[str, Any] = {"entry": function}
    place, values = 0, []
    for number, kind in enumerate(kinds):
        scope[f"take_{number}"] = _from_block(kind, place)
        values.append(f"take_{number}(block)")
        place += kind.words
    exec(f"def unpacked(block):\n    entry({', '.join(values)})\n", scope)
    made = numba.njit(**ways.ForBuild.options)(scope["unpacked"])
    signature = (types.CPointer(types.int64),)
    made.compile(signature)
    compiled = made.overloads[signature]
    with global_compiler_lock:
        compiled.library.finalize()  # links in all it calls
    return compiled.library.get_llvm_str(), compiled.fndesc.llvm_func_name


def module_of(family: str) -> Any:
    """All entries of a family in one LLVM module, everything else private to it."""
    _skip_running()
    whole, public = None, {}
    for name, function in entries(family).items():
        code, symbol = lowered(function)
        public[symbol] = libraries.symbol_of(family, name)
        part = llvm.parse_assembly(code)
        if whole is None:
            whole = part
        else:
            whole.link_in(part)
    assert whole is not None
    for function in [*whole.functions, *whole.global_variables]:
        if function.name in public:
            function.name = public[function.name]
            function.linkage = "external"
        elif not function.is_declaration:
            function.linkage = "internal"
    whole.verify()
    return whole


def machine_code(module: Any, target: str) -> bytes:
    """A relocatable object. The module is optimised in place."""
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=processors.llvm_cpu(target), features="", opt=_OPT_LEVEL, reloc="pic", codemodel="small"
    )
    options = llvm.create_pipeline_tuning_options(speed_level=_OPT_LEVEL)
    options.loop_vectorization = True
    options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    asked = {function.name for function in module.functions if function.is_declaration}
    unknown = sorted(n for n in asked - _C_LIBRARY if not n.startswith("llvm."))
    if unknown:
        raise RuntimeError(f"compiled kernels would need {', '.join(unknown)}")
    code: bytes = machine.emit_object(module)
    return code


# ---------------------------------------------------------------- files


def write(folder: Path, family: str, target: str, code: bytes, seconds: float) -> Path:
    """Link and write a library and its book; returns the library's path.

    Without a linker the object itself is written, for llvmlite to link in memory.
    """
    book, shared, object_ = libraries.names(target, family)
    mark = f".{os.getpid()}.tmp"
    source, linked = folder / (object_ + mark), folder / (shared + mark)
    source.write_bytes(code)
    name = shared if _link(source, linked) else object_
    made = linked if name == shared else source
    _settle(made, folder / name)
    for left in (source, linked):
        left.unlink(missing_ok=True)
    facts = {
        "file": name,
        "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        "stamp": stamp(),
        "family": family,
        "target": target,
        "numba": version("numba"),
        "llvmlite": version("llvmlite"),
        "numpy": np.__version__,
        "cpu_seconds": round(seconds, 1),
    }
    written = folder / (book + mark)
    written.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    _settle(written, folder / book)
    return folder / name


def _settle(path: Path, target: Path) -> None:
    """Give a file that is on the disk its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.replace(target)


def _link(source: Path, target: Path) -> bool:
    compilers = [os.environ.get("CC"), *map(shutil.which, ("cc", "gcc", "clang"))]
    compiler = next(filter(None, compilers), None)
    if compiler is None:
        return False
    command = [*compiler.split(), "-shared", "-o", str(target), str(source), "-lm"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and target.exists()


def make(folder: Path, family: str, targets: list[str]) -> None:
    """Write a family's libraries, the targets side by side."""
    before = time.process_time()
    bitcode = module_of(family).as_bitcode()
    shared = time.process_time() - before

    def finish(target: str) -> None:
        begin = time.process_time()
        code = machine_code(llvm.parse_bitcode(bitcode), target)
        write(folder, family, target, code, shared + time.process_time() - begin)

    children = []
    sys.stderr.flush()
    for target in targets[1:]:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                finish(target)
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        children.append(child)
    finish(targets[0])
    for child in children:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            raise RuntimeError("a target could not be compiled")


def main(arguments: list[str]) -> int:
    """FOLDER FAMILIES TARGETS, lists with commas; the process must see PIXMIX_KERNELS=build."""
    folder, families, targets = Path(arguments[0]), arguments[1].split(","), arguments[2].split(",")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for family in families:
        make(folder, family, targets)
    return 0
