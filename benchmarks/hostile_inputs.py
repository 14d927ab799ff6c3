"""What becomes of inputs that break readers and parsers, in full size, and the memory it takes.

    python benchmarks/hostile_inputs.py --write-docs

Each case of tests/data/hostile_inputs.py (a line of 100 MB, bombs of 1 GB, pages of 16 MB …) is
written, read and extracted in a process of its own; its peak and its HTML worker's are printed.
One JSON line a case. Exit code 1 if a good page is lost or changed or a reason is missing.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "data"))

from hostile_inputs import CASES, FULL, SMALL, good_text
from results import ROOT, provenance, write_section

from openqwen.core.documents import Document
from openqwen.data.config import ExtractConfig
from openqwen.data.extraction.extract import extract
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.splits import list_splits, read_split

PAGE = ROOT / "docs" / "extraction.md"
SIZES = {"small": SMALL, "full": FULL}


def run_case(name: str, size_name: str, folder: Path) -> dict[str, Any]:
    """Read and extract one case's folder; return what came of it."""
    (case,) = (case for case in CASES if case.name == name)
    size = SIZES[size_name]
    before = _peak_mb(resource.RUSAGE_SELF)
    begin = time.monotonic()
    set_aside, texts = SetAside(), []

    def pages():
        for split in list_splits([str(folder)], target_bytes=64 << 20):
            yield from read_split(split, Origin(split.source, "", size.limit, set_aside))

    for outcome in extract(ExtractConfig(num_workers=1, max_page_bytes=size.limit), pages()):
        if isinstance(outcome, Document):
            texts.append(outcome.text)
        else:
            set_aside.add(outcome.reason, outcome.document.id)
    good = [good_text(number) for number in range(case.good)]
    named = set().union(*(reasons.split("|") for reasons in case.reasons))
    return {
        "case": name,
        "good": case.good,
        "good_out": sum(text in good for text in texts),
        "others_out": sum(text not in good for text in texts),
        "counts": dict(sorted(set_aside.counts.items())),
        "as_expected": sorted(t for t in texts if t in good) == sorted(good)
        and set(set_aside.counts) <= named
        and all(set(r.split("|")) & set(set_aside.counts) for r in case.reasons),
        "seconds": round(time.monotonic() - begin, 1),
        "start_mb": before,
        "peak_mb": _peak_mb(resource.RUSAGE_SELF),
        "worker_peak_mb": _peak_mb(resource.RUSAGE_CHILDREN),
    }


def _peak_mb(who: int) -> int:
    if who == resource.RUSAGE_SELF:  # its own peak; the other figure begins at its parent's
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(who).ru_maxrss // 1024


def table(rows: list[dict[str, Any]], size_name: str) -> str:
    lines = [
        "| input | counted as | good pages out | others out | seconds | peak MB, reader | peak MB, "
        "HTML worker |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in row["counts"].items())
        lines.append(
            f"| {row['case']} | {counts or 'nothing'} | {row['good_out']} of {row['good']} | "
            f"{row['others_out']} | {row['seconds']} | {row['peak_mb']:,} | "
            f"{row['worker_peak_mb']:,} |"
        )
    start = max(row["start_mb"] for row in rows)
    note = (
        f"\n\nSize `{size_name}`: {SIZES[size_name]}. A reader has {start} MB before it reads; "
        "an HTML worker may have `documents.extract.memory_bytes`. Every case in a process of its "
        "own; the good pages are compared byte for byte. "
    )
    return "\n".join(lines) + note + provenance("python benchmarks/hostile_inputs.py --write-docs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run_case(args.case, args.size, args.folder)))
        return 0
    rows = []
    for case in CASES:
        if args.only not in case.name:
            continue
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            inputs = Path(folder) / "in"
            inputs.mkdir()
            case.write(inputs, SIZES[args.size])
            command = [sys.executable, __file__, "--size", args.size, "--case", case.name]
            done = subprocess.run(
                [*command, "--folder", str(inputs)], capture_output=True, text=True, check=False
            )
        if done.returncode:
            print(json.dumps({"case": case.name, "exit": done.returncode, "err": done.stderr}))
            return 1
        rows.append(json.loads(done.stdout))
        print(json.dumps(rows[-1]), flush=True)
    if args.write_docs:
        write_section(PAGE, "hostile", "Hostile inputs", table(rows, args.size))
    return 0 if all(row["as_expected"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
