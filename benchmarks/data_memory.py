"""Memory of `openqwen data build` at one size of input and at ten times it.

    python benchmarks/data_memory.py --data $OPENQWEN_DATA --write-docs

The input is real text cut into pages, each copy of a page with its sentences in another order, so
that rules and duplicates have work. Memory is the proportional set size (PSS) of the process and
all its children, sampled five times a second: pages shared between processes count once.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

PAGE_CHARS = 3000
PARTITION_BYTES = 16_000_000
SOURCES = (
    "en_python_peps_pd",
    "en_standardebooks_pd.train",
    "zh_oi_wiki_ccbysa4",
    "zh_paddle_docs",
)
_SENTENCES = re.compile(r"(?<=[.!?。！？])")


def pages(data: Path) -> list[str]:
    """Return pages of the texts, in order."""
    found = []
    for path in sorted((data / "text").glob("*.jsonl.gz")):
        if path.name.startswith(SOURCES):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for line in file:
                    text = json.loads(line)["text"]
                    found += [
                        text[start : start + PAGE_CHARS]
                        for start in range(0, len(text), PAGE_CHARS)
                    ]
    return found


def write_input(texts: list[str], path: Path, size: int) -> int:
    """Write rows up to a size in bytes; return how many."""
    draw, count, written = random.Random(0), 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            sentences = _SENTENCES.split(texts[count % len(texts)])
            draw.shuffle(sentences)
            line = json.dumps({"id": str(count), "text": "".join(sentences)}, ensure_ascii=False)
            written += file.write(line + "\n") + 2 * sum(c > "\u07ff" for c in line)
            count += 1
    return count


def memory(pid: int, kind: str) -> int:
    """Return what a process and all below it take, in bytes: "Pss" or, of that, "Pss_Anon"."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                total += int(line.split()[1]) * 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += memory(int(child), kind)
    except OSError:
        pass
    return total


def build(path: Path, out: Path) -> dict:
    """Run the verb; return seconds, peak memory of the tree and the manifest's counts."""
    command = [str(Path(sys.executable).with_name("openqwen")), "data", "build"]
    command += ["--in", str(path), "--out", str(out)]
    for setting in (f"documents.partition_bytes={PARTITION_BYTES}", "sources.benchmarks=[]"):
        command += ["--set", setting]
    start, peak, anonymous = time.monotonic(), 0, 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory(process.pid, "Pss"))
        anonymous = max(anonymous, memory(process.pid, "Pss_Anon"))
        time.sleep(0.2)
    assert process.returncode == 0, "the build failed"
    manifest = json.loads((out / "documents" / "manifest.json").read_text())
    facts = {
        "seconds": time.monotonic() - start,
        "peak": peak,
        "anonymous": anonymous,
        "counts": manifest["counts"],
    }
    return facts | {"asking": manifest["peak_memory_bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=100, help="of the smaller input")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    texts = pages(args.data)
    lines = [
        "| input | pages | documents left | seconds | peak of all processes | of it anonymous | "
        "the asking one |",
        "|---|---|---|---|---|---|---|",
    ]
    for times in (1, 10):
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "rows.jsonl"
            count = write_input(texts, path, times * args.megabytes * 1_000_000)
            size = path.stat().st_size
            found = build(path, Path(name) / "out")
        lines.append(
            f"| {size / 1e6:,.0f} MB | {count:,} | {found['counts']['documents']:,} | "
            f"{found['seconds']:.0f} | {found['peak'] / 1e6:,.0f} MB | "
            f"{found['anonymous'] / 1e6:,.0f} MB | {found['asking'] / 1e6:,.0f} MB |"
        )
        print(lines[-1], flush=True)
    body = "\n".join(
        [
            *lines,
            "",
            f"Parts of {PARTITION_BYTES / 1e6:.0f} MB, one worker a processor, all steps but "
            "decontamination. Proportional set size, sampled. Not reproducible outside: the text "
            "is $OPENQWEN_DATA's.",
            "",
            provenance("python benchmarks/data_memory.py --data $OPENQWEN_DATA --write-docs"),
        ]
    )
    print(body)
    if args.write_docs:
        write_section(
            ROOT / "docs" / "data.md", "memory", "Ten times the input, the same memory", body
        )


if __name__ == "__main__":
    main()
