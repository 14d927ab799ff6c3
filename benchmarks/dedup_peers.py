"""The peers of `dedup_speed.py`, each in a process of its own with its own packages.

    python dedup_peers.py rensa FOLDER     # then "go" on standard input for each round

Prints one line of versions, then one of seconds a round, and writes the pairs it linked to
FOLDER/NAME.json. One thread: the process keeps to one processor. Timed is everything from texts in
memory to pairs. Before the clock starts texts are lower-cased and cut into the units that ours
takes (words, Chinese characters) with one space between, so that all compare the same 5-grams: the
peers split at white space only and are spared that work.
"""

import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THRESHOLD, PERMUTATIONS, NGRAM = 0.7, 128, 5
BANDS, ROWS = 25, 5  # recall 0.98 at the threshold, as ours
BANDS_OF_RENSA = 32  # the least above 25 that shares out 128
GAPLESS = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_UNIT = re.compile(rf"[{GAPLESS}]|[^\W_{GAPLESS}]+")

Pairs = list[tuple[int, int]]


def rensa(texts: list[str]) -> Pairs:
    """Hashed 5-grams to a matrix of signatures; of the flagged rows candidates; verified."""
    import numpy as np
    from rensa import RMinHash, RMinHashLSH

    factors = [np.uint64(n) for n in (0x9E3779B97F4A7C15, 3, 0xBF58476D1CE4E5B9, 7, 0x94D049BB13)]

    def grams(text: str) -> Any:
        words = text.split()
        units = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
        count = max(len(units) - NGRAM + 1, 1)
        total = np.zeros(count, dtype=np.uint64)
        for place in range(min(NGRAM, len(units))):
            total += units[place : place + count] * factors[place]
        return total ^ (total >> np.uint64(29))

    found = [grams(text) for text in texts]
    flat = np.concatenate(found)
    offsets = np.cumsum([0, *map(len, found)]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, PERMUTATIONS, 42)
    every = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS_OF_RENSA)
    flags = every.insert_matrix_and_query_duplicate_flags(matrix)
    places = [place for place, flag in enumerate(flags) if flag]
    lsh = RMinHashLSH(THRESHOLD, PERMUTATIONS, BANDS_OF_RENSA)
    sets = [
        flat[int(offsets[p]) : int(offsets[p + 1])].tolist() for p in places
    ]  # of few documents
    hashes = RMinHash.from_token_sets([[n.to_bytes(8) for n in s] for s in sets], PERMUTATIONS, 42)
    lsh.insert_many(hashes)
    unique = [frozenset(s) for s in sets]
    pairs = []
    for one, candidates in enumerate(lsh.query_all(hashes)):
        for other in candidates:
            if other > one:
                shared = len(unique[one] & unique[other])
                union = len(unique[one]) + len(unique[other]) - shared
                if shared >= THRESHOLD * union:
                    pairs.append((places[one], places[other]))
    return pairs


def datasketch(texts: list[str]) -> Pairs:
    """Signatures from hashed 5-grams, all inserted, each queried; not verified."""
    from datasketch import MinHash, MinHashLSH

    def grams(text: str) -> set[bytes]:
        words = text.split()
        runs = zip(*(words[i:] for i in range(NGRAM)), strict=False)
        return {" ".join(run).encode() for run in runs} or {" ".join(words).encode()}

    lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))
    pairs = []
    hashes = MinHash.generator((grams(text) for text in texts), num_perm=PERMUTATIONS)
    for place, signature in enumerate(hashes):
        pairs += [(int(other), place) for other in lsh.query(signature)]
        lsh.insert(place, signature)
    return pairs


def daft(texts: list[str]) -> Pairs:
    """Signatures, hashed bands, documents grouped by them; not verified."""
    import daft as engine
    from daft import DataType, col, lit

    frame = engine.from_pydict({"place": list(range(len(texts))), "text": texts})
    hashes = col("text").minhash(num_hashes=BANDS * ROWS, ngram_size=NGRAM, seed=1)
    listed = hashes.cast(DataType.list(DataType.uint32()))
    bands = frame.select(
        col("place"), listed.chunk(ROWS).alias("key"), lit(list(range(BANDS))).alias("band")
    ).explode("key", "band")
    # grouping by a list takes ten times as long as by its hash
    bands = bands.select(col("place"), col("band"), col("key").hash().alias("key"))
    groups = bands.groupby("band", "key").agg(col("place").list_agg().alias("places"))
    shared = groups.where(col("places").list_count() > 1).select("places").to_pydict()["places"]
    return list({tuple(sorted((row[0], other))) for row in shared for other in row[1:]})


PEERS: dict[str, Callable[[list[str]], Pairs]] = {
    "rensa": rensa,
    "datasketch": datasketch,
    "daft": daft,
}


def main() -> None:
    import importlib.metadata

    name, folder = sys.argv[1], Path(sys.argv[2])
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with (folder / "corpus.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    texts = [" ".join(_UNIT.findall(text.lower())) for text in texts]
    PEERS[name](texts[:100])
    gc.collect()
    gc.freeze()
    print(json.dumps({"version": importlib.metadata.version(name)}), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        pairs = PEERS[name](texts)
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)
        (folder / f"{name}.json").write_text(json.dumps(pairs))


if __name__ == "__main__":
    main()
