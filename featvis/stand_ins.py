"""What harmless objects beside the weights become when a checkpoint is read.

Training scripts save their arguments, paths, scores and random states with the weights. Such an
object is known by its name alone, and read as a stand-in that keeps nothing and does nothing: the
module that it comes from is never imported and none of its code runs. All other names are refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import serialization


class StandIn:
    """In the place of an object: takes any arguments and any state, keeps neither."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> StandIn:
        """An object without contents."""
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Drop the state."""


class NumPyStandIn(StandIn):
    """In the place of a NumPy array or number, whose values are not read."""

    __slots__ = ()


class MappingStandIn:
    """In the place of a kind of dictionary, which becomes a plain one: it may hold the weights."""

    def __new__(cls, *args: Any, **kwargs: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        """An empty dictionary, of the kind that torch's reader may fill."""
        return OrderedDict()


class ListStandIn(list[Any]):
    """In the place of a kind of list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Drop the state."""


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_DTYPES = (
    "Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16",
    "Float32", "Float64", "LongDouble", "Complex64", "Complex128", "Long", "ULong", "LongLong",
    "ULongLong", "Str", "Bytes", "Object", "DateTime64", "TimeDelta64", "Void",
)  # fmt: skip
_SCALARS = (
    "bool", "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64", "longdouble", "complex64", "complex128", "str_", "bytes_",
    "datetime64", "timedelta64", "void",
)  # fmt: skip

_OBJECTS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "random.Random",
    "copyreg._reconstructor",
    "typing.Any",
    *(
        f"builtins.{name}"
        for name in ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "object")
    ),
    *(f"builtins.{name}" for name in ("range", "slice", "str", "tuple")),
    "torch.torch_version.TorchVersion",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "String", "Integer", "Float", "Boolean", "Enum", "Path", "Bytes")
    ),
    "ml_collections.config_dict.config_dict.ConfigDict",
    "mmengine.config.config.Config",
    "mmengine.logging.history_buffer.HistoryBuffer",
)
_NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.{name}"
        for core in ("core", "_core")
        for name in ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
    ),
    *(f"numpy.dtypes.{name}DType" for name in _DTYPES),
    *(f"numpy.{name}" for name in _SCALARS),
    *(
        f"numpy.random._pickle.{name}"
        for name in ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor")
    ),
    *(
        f"numpy.random.{name}"
        for name in (
            "_mt19937.MT19937",
            "_pcg64.PCG64",
            "_pcg64.PCG64DXSM",
            "_philox.Philox",
            "_sfc64.SFC64",
            "bit_generator.SeedSequence",
            "bit_generator.__pyx_unpickle_SeedSequence",
            "mtrand.RandomState",
            "_generator.Generator",
        )
    ),
)
_MAPPINGS = (
    "collections.defaultdict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "munch.Munch",
    "box.box.Box",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "detectron2.config.config.CfgNode",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
)
_LISTS = ("collections.deque",)

# Full name in a pickle -> what is made in its place.
STAND_INS: dict[str, type] = {
    **dict.fromkeys(_OBJECTS, StandIn),
    **dict.fromkeys(_NUMPY, NumPyStandIn),
    **dict.fromkeys(_MAPPINGS, MappingStandIn),
    **dict.fromkeys(_LISTS, ListStandIn),
}


@contextmanager
def only_stand_ins() -> Iterator[None]:
    """Within it torch's restricted reader knows `STAND_INS`, and nothing that others allowed it."""
    before = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    serialization.add_safe_globals([(made, name) for name, made in STAND_INS.items()])
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)
