"""Names of array types for kernels' annotations: element type, and dimensions after an `x`.

To a type checker `F32x2` is `NDArray[np.float32]`. To the builder of kernels it is a C-contiguous
float32 array of two dimensions. Without an `x` it has one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
U8x2 = NDArray[np.uint8]
U8x3 = NDArray[np.uint8]
U16x3 = NDArray[np.uint16]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I32x2 = NDArray[np.int32]
I64 = NDArray[np.int64]
I64x2 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
U64x2 = NDArray[np.uint64]
F32 = NDArray[np.float32]
F32x2 = NDArray[np.float32]
F32x3 = NDArray[np.float32]
F64 = NDArray[np.float64]
F64x2 = NDArray[np.float64]
F64x3 = NDArray[np.float64]
