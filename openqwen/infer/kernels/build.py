"""Opening the C++ kernels of inference.

    library, why_not = open_kernels()

They need a 64-bit x86 processor, g++ and ninja. With AVX-512 (VNNI and BF16) all of them are there;
with AVX2 those for quantised weights, which is what such a processor runs best.
"""

import ctypes
from dataclasses import replace
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
    headers=(
        "vectors.h",
        "vectors_avx512.h",
        "vectors_avx2.h",
        "tiles.h",
        "tiles_avx512.h",
        "tiles_avx2.h",
        "input.h",
        "layers.h",
    ),
    # gcc 12 warns of its own header's intrinsics
    flags=("-O3", "-march=native", "-fopenmp", "-w"),
    link_flags=("-fopenmp",),
    needed=("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
)
AVX2_SOURCE = replace(
    SOURCE,
    name="infer_avx2",
    sources=("linear.cpp", "attention.cpp", "step.cpp"),
    flags=(*SOURCE.flags, "-mno-avx512f"),  # some processors have AVX-512 without the rest
    needed=("avx2", "fma", "f16c"),
)


def open_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    library, why_not = open_library(SOURCE)
    return (library, why_not) if library is not None else open_library(AVX2_SOURCE)


def open_bf16_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the library that multiplies bf16 too, as `open_kernels` does."""
    return open_library(SOURCE)
