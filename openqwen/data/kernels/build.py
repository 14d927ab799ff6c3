"""Opening the C++ kernels of the data room.

    library, why_not = open_kernels()

Any 64-bit processor with g++ will do; AVX-512 is used where it is there. OPENQWEN_KERNELS=off keeps
to Python and numpy, which give the same bits.
"""

import ctypes
from pathlib import Path

from openqwen.core.compiled import CompiledSource, open_library

SOURCE = CompiledSource(
    name="data", folder=Path(__file__).parent, sources=("sketch.cpp",), headers=("text.h",)
)


def open_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    return open_library(SOURCE)
