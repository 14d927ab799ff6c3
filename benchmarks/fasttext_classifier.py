"""The peer of the score study, in its own environment: fastText's classifier on the same samples.

    python benchmarks/fasttext_classifier.py train.txt test.txt --ngrams 2 --rounds 3

Lines are `__label__good words …`, cut into units already. Prints one JSON line: probabilities of
good, seconds of training, and of each round over the test lines. One thread.
"""

import argparse
import json
import time
from importlib.metadata import version

import fasttext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--ngrams", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    start = time.perf_counter()
    model = fasttext.train_supervised(
        args.train, wordNgrams=args.ngrams, dim=10, epoch=25, lr=0.5, thread=1, seed=0, verbose=0,
        bucket=1 << 18,
    )  # fmt: skip
    trained = time.perf_counter() - start
    with open(args.test, encoding="utf-8") as file:
        lines = [line.rstrip("\n").partition(" ")[2] for line in file]
    rounds = []
    for _ in range(args.rounds):
        start = time.perf_counter()
        found = [dict(zip(*model.predict(line, k=2), strict=True)) for line in lines]
        rounds.append(time.perf_counter() - start)
    good = [float(row.get("__label__good", 0.0)) for row in found]
    facts = {"good": good, "train_s": trained, "rounds_s": rounds}
    print(json.dumps(facts | {"version": version("fasttext-numpy2")}))


if __name__ == "__main__":
    main()
