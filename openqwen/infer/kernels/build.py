"""Opening the C++ kernels of inference.

    library, why_not = open_kernels()

They need a 64-bit x86 processor with AVX-512 (VNNI and BF16), g++ and ninja.
"""

import ctypes
from pathlib import Path

from openqwen.core.compiled import CompiledSource, open_library

SOURCE = CompiledSource(
    name="infer",
    folder=Path(__file__).parent,
    sources=(
        "linear.cpp",
        "bf16.cpp",
        "bf16_batch.cpp",
        "attention.cpp",
        "flash.cpp",
        "step.cpp",
        "head.cpp",
    ),
    headers=("vectors.h", "input.h", "layers.h"),
    # gcc 12 warns of its own header's intrinsics
    flags=("-O3", "-march=native", "-fopenmp", "-w"),
    link_flags=("-fopenmp",),
    needed=("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
)


def open_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    return open_library(SOURCE)
