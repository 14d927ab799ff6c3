"""Every C++ source: it opens where it may, and compiles for processors of other kinds.

Without this a source that does not compile would go unnoticed, as every kernel has a way without.
"""

import importlib
import platform
import subprocess
from pathlib import Path

import pytest

import openqwen
from openqwen.core.compiled import CompiledSource, find_compiler, open_library, refusal
from openqwen.core.runtime import processor_flags

ROOT = Path(openqwen.__file__).parent
compiler, ninja = find_compiler()
pytestmark = pytest.mark.skipif(
    compiler is None or ninja is None, reason="no compiler, or no ninja"
)


def all_sources():
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        if path.name != "compiled.py" and "CompiledSource(" in path.read_text():
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            for value in vars(importlib.import_module(".".join(parts))).values():
                if isinstance(value, CompiledSource):
                    found[value.name] = value
    return list(found.values())


def test_no_source_is_forgotten():
    named = {source.folder / name for source in all_sources() for name in source.sources}
    assert named == set(ROOT.rglob("*.cpp"))


@pytest.mark.parametrize("source", all_sources(), ids=lambda source: source.name)
def test_a_source_opens_where_the_processor_can_run_it(source):
    if refusal(source):
        pytest.skip(refusal(source))
    library, why_not = open_library(source)
    assert library is not None, why_not


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="no x86 compiler")
@pytest.mark.parametrize("kind", ["haswell", "sapphirerapids"])
@pytest.mark.parametrize("source", all_sources(), ids=lambda source: source.name)
def test_a_source_compiles_for_processors_that_are_not_here(source, kind):
    if kind == "haswell" and any("avx512" in flag for flag in source.needed):
        pytest.skip("this source is for AVX-512")
    if kind == "haswell" and "avx512f" not in processor_flags():
        pytest.skip("so is this processor: the source was compiled and opened above")
    flags = [flag for flag in source.flags if not flag.startswith("-march")]
    for name in source.sources:
        command = [compiler, "-std=c++17", "-fsyntax-only", f"-march={kind}", *flags]
        done = subprocess.run(
            [*command, str(source.folder / name)], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[:2000]
