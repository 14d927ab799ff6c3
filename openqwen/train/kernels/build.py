"""Opening the C++ kernels of training.

    library, why_not = open_kernels()

They need a 64-bit x86 processor with AVX-512 and its BF16 products, g++ and ninja.
"""

import ctypes
from pathlib import Path

from openqwen.core.compiled import CompiledSource, open_library

SOURCE = CompiledSource(
    name="train",
    folder=Path(__file__).parent,
    sources=("softmax.cpp", "attention.cpp", "attention_backward.cpp", "layers.cpp", "adamw.cpp"),
    headers=("vectors.h", "attention.h"),
    needed=("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16"),
)


def open_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    return open_library(SOURCE)
