"""The machine we run on: environment (read only here), device, threads, precision, memory."""

import contextlib
import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def environment(name: str, default: str = "") -> str:
    """Return an environment variable; every read in the project goes through here."""
    return os.environ.get(name, default)


def child_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment with `changes`, for a program that we start."""
    return os.environ | changes


@contextlib.contextmanager
def programs_beside_python() -> Iterator[None]:
    """Let programs that pip installed beside this interpreter be found, behind the system's own."""
    before = environment("PATH")
    os.environ["PATH"] = os.pathsep.join([before, str(Path(sys.executable).parent)])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def cache_directory() -> Path:
    """Return where downloads are kept: $OPENQWEN_CACHE, else openqwen/ in the user cache."""
    chosen = environment("OPENQWEN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "openqwen"


def keep_compiled_code(folder: Path) -> None:
    """Let torch.compile keep its code in `folder`, unless $TORCHINDUCTOR_CACHE_DIR names one."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def development_data() -> Path | None:
    """Return the folder $OPENQWEN_DATA names, or None where it is unset or missing."""
    name = environment("OPENQWEN_DATA")
    return Path(name) if name and Path(name).is_dir() else None


def endpoint_key() -> str | None:
    """Return the key for model endpoints, $OPENQWEN_API_KEY, or None.

    Other programs' variables are not read: their keys are not for any address a user types.
    """
    return environment("OPENQWEN_API_KEY") or None


def peak_memory_bytes() -> int:
    """Return the largest resident size since the start or the last reset, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def give_memory_back() -> None:
    """Return to the system what this process has freed, as far as the C library can (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let this process use freed memory again instead of asking the system anew (glibc).

    A step frees and takes the same large blocks; given back in between, each of their pages costs a
    fault. `give_memory_back` still gives them back.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_ARENA_MAX, 1)


def memory_bytes(device: "torch.device | None" = None) -> int:
    """Return the memory that there is: of the GPU where one is named, else what we may use."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # a container's bound; "max" where there is none
        physical = min(physical, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return physical


def free_memory_bytes() -> int:
    """Return the memory that programs can take without swapping (Linux), else all there is."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, memory_bytes())
    return memory_bytes()


def processor_name() -> str:
    """Return the processor's model name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def processor_flags() -> frozenset[str]:
    """Return the processor's feature flags (Linux), or an empty set where they can't be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def count_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host_description() -> dict[str, Any]:
    """Return processor and thread count, for manifests and benchmark rows."""
    return {
        "processor": processor_name(),
        "threads": count_processors(),
        "system": platform.system(),
    }


def is_launched() -> bool:
    """Return whether torchrun (or another launcher with its variables) started this process."""
    return bool(environment("RANK"))


def rank() -> int:
    """Return this process's number among all that train together; 0 without a launcher."""
    return int(environment("RANK", "0"))


def world_size() -> int:
    """Return how many processes train together; 1 without a launcher."""
    return int(environment("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return this process's number among those of its machine; 0 without a launcher."""
    return int(environment("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Return how many of the processes run on this machine; 1 without a launcher."""
    return int(environment("LOCAL_WORLD_SIZE", "1"))


def launch_attempt() -> int:
    """Return how often torchrun has started all processes anew after one of them failed."""
    return int(environment("TORCHELASTIC_RESTART_COUNT", "0"))


def pick_device(name: str = "auto") -> "torch.device":
    """Return the named device; "auto" is this process's GPU where there is one, else the CPU."""
    import torch

    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank()) if is_launched() else torch.device("cuda")


def pick_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """Return the compute type; "auto" is bfloat16 where the hardware multiplies it natively."""
    import torch

    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported()
        else:
            native = bool({"avx512_bf16", "amx_bf16"} & processor_flags())
        return torch.bfloat16 if native else torch.float32
    dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}.get(
        name
    )
    if dtype is None:
        raise ValueError(f"dtype must be auto, float32, bfloat16 or float16, got {name!r}")
    return dtype


def set_determinism(seed: int) -> None:
    """Seed torch and ask for deterministic kernels, so that a resumed run repeats the bits."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # it costs a pass over each new tensor, and our code fills them anyway
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010


def reset_peak_memory() -> None:
    """Start `peak_memory_bytes` anew where the system can (Linux); elsewhere it goes on."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
