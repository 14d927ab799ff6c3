"""Finding, compiling once and opening the C++ kernels.

    library, why_not = open_kernels()

They need a 64-bit x86 processor with AVX-512 (VNNI and BF16), g++ and ninja. Compiled once through
torch's extension loader (some seconds), kept in the cache under a name made of the sources, the
compiler's flags and the processor.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

from openqwen.core.files import atomic_path
from openqwen.core.log import say
from openqwen.core.runtime import (
    cache_directory,
    environment,
    processor_flags,
    processor_name,
    programs_beside_python,
)

SOURCES = ("linear.cpp", "bf16.cpp", "attention.cpp", "flash.cpp", "step.cpp")
HEADERS = ("vectors.h", "input.h", "layers.h")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-w")  # gcc 12 warns of its own header's intrinsics
NEEDED = ("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16")
SWITCH = "OPENQWEN_KERNELS"  # "off" keeps to torch's own operations


@functools.cache
def open_kernels() -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    if environment(SWITCH) == "off":
        return None, f"{SWITCH}=off"
    missing = [flag for flag in NEEDED if flag not in processor_flags()]
    if platform.machine() not in ("x86_64", "AMD64") or missing:
        return None, f"the processor lacks {missing[0] if missing else 'AVX-512'}"
    path = cache_directory() / "kernels" / f"openqwen_{_identity()}.so"
    if not path.is_file():
        try:
            _compile(path)
        except (OSError, RuntimeError, ImportError, subprocess.SubprocessError) as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return None, f"they did not compile: {lines[0][:100]}"
    try:
        return ctypes.CDLL(str(path)), ""
    except OSError as error:
        return None, f"{path} does not open: {error}"


def _compile(path: Path) -> None:
    """Build the library beside its final place and rename it; raises what the loader raises."""
    from torch.utils import cpp_extension

    folder = Path(__file__).parent
    say(f"{'kernels':<14}compiling once for this processor, some seconds")
    workshop = path.parent / f"build-{os.getpid()}"
    workshop.mkdir(parents=True, exist_ok=True)
    try:
        with programs_beside_python():  # pip puts ninja there
            cpp_extension.load(
                name=path.stem,
                sources=[str(folder / name) for name in SOURCES],
                extra_cflags=list(FLAGS),
                extra_ldflags=["-fopenmp"],
                build_directory=str(workshop),
                is_python_module=False,
            )
        with atomic_path(path) as temporary:
            shutil.copy(workshop / path.name, temporary)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _identity() -> str:
    """Return a short hash of all that the compiled code depends on."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for name in (*SOURCES, *HEADERS):
        digest.update((folder / name).read_bytes())
    digest.update(repr((FLAGS, processor_name(), sorted(processor_flags()))).encode())
    return digest.hexdigest()[:16]
