"""C++ of our own: compiled once for this processor, kept in the cache, opened with ctypes.

    KERNELS = CompiledSource("kernels", folder, ("linear.cpp",), ("vectors.h",), needed=("avx2",))
    library, why_not = open_library(KERNELS)       # None and a few words where there is none

Compiled through torch's extension loader (some seconds; g++ and ninja), under a name made of the
sources, the compiler's flags and the processor. Whoever uses a library has a way without it:
nothing may need a compiler to work.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
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

SWITCH = "OPENQWEN_KERNELS"  # "off" keeps to torch's and numpy's own operations

# what torch's loader may raise; setuptools asserts where somebody imported distutils before it
FAILURES = (OSError, RuntimeError, ImportError, AssertionError, subprocess.SubprocessError)


@dataclass(frozen=True)
class CompiledSource:
    """What one library is made of.

    Attributes:
        name: opens the file's name and the line that says it is being compiled.
        folder: where the sources lie.
        sources: C++ files.
        headers: what they include; part of the library's identity.
        flags: for the compiler.
        link_flags: for the linker.
        needed: features without which an x86 processor can't run it; with any named, other
            processors can't either.
    """

    name: str
    folder: Path
    sources: tuple[str, ...]
    headers: tuple[str, ...] = ()
    flags: tuple[str, ...] = ("-O3", "-march=native", "-w")
    link_flags: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    def identity(self) -> str:
        """Return a short hash of all that the compiled code depends on."""
        digest = hashlib.sha256()
        for name in (*self.sources, *self.headers):
            digest.update((self.folder / name).read_bytes())
        digest.update(repr((self.flags, processor_name(), sorted(processor_flags()))).encode())
        return digest.hexdigest()[:16]


@functools.cache
def open_library(source: CompiledSource) -> tuple[ctypes.CDLL | None, str]:
    """Return the opened library and "", or None and in a few words why there is none."""
    why_not = refusal(source)
    if why_not:
        return None, why_not
    path = library_path(source)
    if not path.is_file():
        try:
            _compile(source, path)
        except FAILURES as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return None, f"they did not compile: {lines[0][:100]}"
    try:
        return ctypes.CDLL(str(path)), ""
    except OSError as error:
        return None, f"{path} does not open: {error}"


def refusal(source: CompiledSource) -> str:
    """Return why a source is not used on this machine, "" where it may be."""
    if environment(SWITCH) == "off":
        return f"{SWITCH}=off"
    missing = [flag for flag in source.needed if flag not in processor_flags()]
    if source.needed and (platform.machine() not in ("x86_64", "AMD64") or missing):
        return f"the processor lacks {missing[0] if missing else source.needed[0]}"
    return ""


def library_path(source: CompiledSource) -> Path:
    """Return where a source's library is kept once it is compiled."""
    return cache_directory() / "kernels" / f"openqwen_{source.name}_{source.identity()}.so"


def find_compiler() -> tuple[str | None, str | None]:
    """Return the paths of the C++ compiler and of ninja, None for what is not here."""
    with programs_beside_python():
        return shutil.which(environment("CXX", "c++")), shutil.which("ninja")


def _compile(source: CompiledSource, path: Path) -> None:
    """Build the library beside its final place and rename it; raises what the loader raises."""
    compiler = environment("CXX", "c++")  # what the loader takes
    if os.name == "posix" and shutil.which(compiler) is None:
        raise OSError(f"there is no {compiler}")
    from torch.utils import cpp_extension

    say(f"{'kernels':<14}compiling {source.name} once for this processor, some seconds")
    workshop = path.parent / f"build-{source.name}-{os.getpid()}"
    workshop.mkdir(parents=True, exist_ok=True)
    try:
        with programs_beside_python():  # pip puts ninja there
            cpp_extension.load(
                name=path.stem,
                sources=[str(source.folder / name) for name in source.sources],
                extra_cflags=list(source.flags),
                extra_ldflags=list(source.link_flags),
                build_directory=str(workshop),
                is_python_module=False,
            )
        with atomic_path(path) as temporary:
            shutil.copy(workshop / path.name, temporary)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
