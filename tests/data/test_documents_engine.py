"""The documents stage gives the same bytes however it is run: workers, parts, kills, Ray."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, page
from test_data_engine import ALONE
from test_documents_stage import html, variant

from openqwen.core.files import list_files, sha256_file
from openqwen.core.manifest import SCRATCH_NAME, TIMINGS_NAME
from openqwen.core.runtime import child_environment
from openqwen.data.config import DocumentsConfig, MinHashConfig
from openqwen.data.documents import build_documents
from openqwen.data.engines.config import EngineConfig

HERE = Path(__file__).parent
CONFIG = DocumentsConfig(
    partition_bytes=12_000, long_validation_documents=0, minhash=MinHashConfig(urls="all")
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Own files: rows of two languages with copies far apart, so that several parts meet."""
    root = tmp_path_factory.mktemp("own")
    rows = []
    for number in range(30):
        text = variant(GOOD_CHINESE if number % 3 == 0 else GOOD_ENGLISH, number % 13)
        rows.append(
            {
                "id": str(number),
                "text": f"{text} {number % 11}",
                "url": f"https://example.org/{number % 29}",
            }
        )
    for name in ("a", "b"):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (root / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (root / "pages").mkdir()
    for number in range(12):
        found = page(html(variant(GOOD_ENGLISH, number % 7)))
        (root / "pages" / f"{number}.html").write_bytes(found.content)
    facts = {"paths": [str(root / n) for n in ("a.jsonl", "b.jsonl", "pages")], "sources": {}}
    facts |= {"licence": "CC0-1.0", "max_pages_per_source": 0, "max_page_bytes": 16_000_000}
    (root / "stage" / "benchmarks").mkdir(parents=True)
    (root / "stage" / "sources.json").write_text(json.dumps(facts))
    return root / "stage"


def hashes(out):
    files = [p for p in list_files(out) if SCRATCH_NAME not in p.parts and p.name != TIMINGS_NAME]
    return {p.relative_to(out).as_posix(): sha256_file(p) for p in files}


def build(sources, out, **engine):
    config = CONFIG.model_copy(update={"engine": EngineConfig(**engine)})
    build_documents(config, sources, out, seed=0)
    return hashes(out)


@pytest.fixture(scope="module")
def alone(sources, tmp_path_factory):
    """What one worker makes."""
    return build(sources, tmp_path_factory.mktemp("alone"), num_workers=1)


def test_there_are_parts_and_drops_of_every_kind_of_duplicate(sources, alone, tmp_path):
    out = tmp_path / "out"
    build(sources, out)
    assert len([name for name in alone if name.startswith("documents/")]) > 4
    funnel = {row["step"]: row for row in json.loads((out / "funnel.json").read_text())}
    assert funnel["extract"]["in"] == 72
    assert funnel["url"]["dropped"]["same url"] > 0
    assert funnel["exact"]["dropped"]["same text"] > 0
    assert funnel["minhash"]["dropped"]["near duplicate"] > 0


def test_a_page_above_the_sources_limit_is_set_aside(sources, tmp_path):
    facts = json.loads((sources / "sources.json").read_text())
    stage = tmp_path / "stage"
    (stage / "benchmarks").mkdir(parents=True)
    facts |= {
        "paths": facts["paths"][:1],
        "max_page_bytes": 790,
    }  # Chinese rows have more, English ones less
    (stage / "sources.json").write_text(json.dumps(facts))
    config = CONFIG.model_copy(update={"skip": ("rules",)})
    build_documents(config, stage, tmp_path / "out", seed=0)
    inputs = json.loads((tmp_path / "out" / "inputs.json").read_text())
    assert inputs["a"]["pages"] == 20
    assert [row["count"] for row in inputs["a"]["set_aside"].values()] == [10]


def test_any_number_of_workers_gives_the_same_bytes(sources, alone, tmp_path):
    assert build(sources, tmp_path, num_workers=3) == alone


def program(sources, out, **engine):
    code = (
        "import sys; from pathlib import Path; from test_documents_engine import build;"
        f"build(Path({str(sources)!r}), Path({str(out)!r}), **{engine!r})"
    )
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]


@pytest.mark.parametrize("phase", ["read", "filter", "finish"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(sources, alone, tmp_path, phase):
    started = subprocess.Popen(program(sources, tmp_path, num_workers=1), stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(f"{SCRATCH_NAME}/*/{phase}/*/done.json")):
        assert started.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline, f"no part of {phase} was finished"
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    done = list(tmp_path.glob(f"{SCRATCH_NAME}/*/{phase}/*/done.json"))
    before = {path: path.stat().st_mtime_ns for path in done}
    assert build(sources, tmp_path, num_workers=2) == alone
    assert {path: path.stat().st_mtime_ns for path in done} == before, "a part was made again"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path):
    """Ten times the input, the same memory: a worker holds a batch, and a part's numbers."""
    draw = random.Random(0)
    words = [
        "".join(draw.choices("abcdefghijklmnopqrst", k=draw.randint(3, 9))) for _ in range(4000)
    ]
    peaks = []
    for times in (1, 10):
        root = tmp_path / str(times)
        (root / "benchmarks").mkdir(parents=True)
        with (root / "rows.jsonl").open("w") as file:
            for number in range(2000 * times):
                text = " ".join(draw.choices(words, k=1000)) + ". The end is near to the sea."
                file.write(json.dumps({"id": str(number), "text": text}) + "\n")
        facts = {"paths": [str(root / "rows.jsonl")], "sources": {}, "licence": "CC0-1.0"}
        facts |= {"max_pages_per_source": 0, "max_page_bytes": 16_000_000}
        (root / "sources.json").write_text(json.dumps(facts))
        config = DocumentsConfig(
            partition_bytes=4_000_000, engine=EngineConfig(num_workers=1), skip=("rules",)
        )
        counts = build_documents(config, root, root / "out", seed=0)
        assert counts["documents"] == 2000 * times
        peaks.append(counts["peak_worker_bytes"])
    assert peaks[1] < peaks[0] + 30_000_000


def test_ray_gives_the_same_bytes(sources, alone, tmp_path):
    pytest.importorskip("ray")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network name space of one's own can be made here")
    command = [*ALONE, *program(sources, tmp_path, name="ray", num_workers=2)]
    environment = child_environment(PYTHONPATH=str(HERE))
    found = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr[-2000:]
    assert hashes(tmp_path) == alone
