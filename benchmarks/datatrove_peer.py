"""datatrove's pipeline over one file, once for each line on standard input; see pipeline_speed.py.

Runs in an environment of its own (requirements/datatrove.txt) and imports nothing of openqwen. Each
answer is a JSON line: seconds by stage, documents left.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.lid import FT176LID


def run(work: Path, name: str, *steps: object) -> float:
    start = time.perf_counter()
    LocalPipelineExecutor(
        pipeline=list(steps), tasks=1, workers=1, logging_dir=str(work / "logs" / name)
    ).run()
    return time.perf_counter() - start


def pipeline(job: dict, work: Path) -> dict:
    folder, name = str(Path(job["file"]).parent), Path(job["file"]).name
    if job["kind"] == "warc":
        first = [
            WarcReader(folder, glob_pattern=name),
            Trafilatura(favour_precision=True, timeout=10),
        ]
    else:
        first = [JsonlReader(folder, glob_pattern=name)]
    config = MinhashConfig(num_buckets=job["bands"], hashes_per_bucket=job["rows"])
    kept, signatures, buckets, removed = (str(work / n) for n in ("kept", "sig", "bkt", "rm"))
    seconds = {}
    seconds["extract and filter"] = run(
        work,
        "filter",
        *first,
        LanguageFilter(languages=["en"], language_threshold=0.5),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        FineWebQualityFilter(),
        JsonlWriter(kept),
    )
    start = time.perf_counter()
    reader = JsonlReader(kept)
    run(work, "1", reader, MinhashDedupSignature(signatures, config=config))
    # a bucket a task, as the step wants it
    LocalPipelineExecutor(
        pipeline=[MinhashDedupBuckets(signatures, buckets, config=config)],
        tasks=job["bands"],
        workers=1,
        logging_dir=str(work / "logs" / "2"),
    ).run()
    run(work, "3", MinhashDedupCluster(buckets, removed, config=config))
    run(work, "4", JsonlReader(kept), MinhashDedupFilter(removed), JsonlWriter(str(work / "out")))
    seconds["near-duplicates"] = time.perf_counter() - start
    left = sum(count_lines(path) for path in sorted((work / "out").glob("*.jsonl.gz")))
    return {"seconds": seconds, "documents": left}


def count_lines(path: Path) -> int:
    import gzip

    with gzip.open(path, "rb") as file:
        return sum(1 for _ in file)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--model", required=True, help="lid.176.ftz, since its own is not to be had"
    )
    parser.add_argument("--work", required=True)
    args = parser.parse_args()
    FT176LID.MODEL_URL = args.model
    answers, sys.stdout = sys.stdout, sys.stderr  # what datatrove prints goes elsewhere
    for line in sys.stdin:
        work = Path(args.work)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        print(json.dumps(pipeline(json.loads(line), work)), file=answers, flush=True)


if __name__ == "__main__":
    main()
