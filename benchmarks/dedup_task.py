"""The input of `dedup_speed.py`, and what is right about it: real text with planted twins.

Pieces of about 1.4 kB of English and Chinese text; one in five has a twin in which a share of its
units was changed, either here and there or in one run. What pairs a program links is compared with
the Jaccard similarity of exact 5-grams, reckoned in Python without any of our hashes.
"""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from openqwen.core.ngrams import ngrams, units

NUM_DOCUMENTS = 50_000
LEVELS = (0.02, 0.05, 0.1, 0.2)
TWINS = 10_000  # documents that are an edit of another
CHARS = {"en": 1370, "zh": 480}
CHINESE_SHARE = 0.3
MIN_UNITS = 100  # a piece of a table's lines and spaces is no text


@dataclass(frozen=True)
class Twin:
    """A planted pair: places of original and edit, its level, whether edits are scattered."""

    original: int
    edit: int
    level: float
    scattered: bool
    language: str


def make_corpus(data: Path, folder: Path, *, documents: int = NUM_DOCUMENTS) -> None:
    """Write corpus.jsonl (id, text) and twins.json."""
    generator = random.Random(5)
    twins_wanted = documents * TWINS // NUM_DOCUMENTS
    chinese = int((documents - twins_wanted) * CHINESE_SHARE)
    texts: list[str] = []
    for language, count in (("zh", chinese), ("en", documents - twins_wanted - chinese)):
        texts += list(_pieces(data / "text", language, count))
    originals = len(texts)
    twins = []
    for number, place in enumerate(generator.sample(range(originals), twins_wanted)):
        level, scattered = LEVELS[number % len(LEVELS)], number // len(LEVELS) % 2 == 0
        language = "zh" if place < chinese else "en"
        other = texts[generator.randrange(chinese) if place < chinese else -1 - number % 20_000]
        twins.append(Twin(place, len(texts), level, scattered, language))
        texts.append(_edited(texts[place], other, language, level, scattered, generator))
    order = list(range(len(texts)))
    generator.shuffle(order)
    place_of = {old: new for new, old in enumerate(order)}
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for new, old in enumerate(order):
            row = {"id": f"d{new:06}", "text": texts[old]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    moved = [
        asdict(t) | {"original": place_of[t.original], "edit": place_of[t.edit]} for t in twins
    ]
    (folder / "twins.json").write_text(json.dumps(moved))


def read_corpus(folder: Path) -> list[str]:
    """Return the texts."""
    with (folder / "corpus.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def _pieces(folder: Path, language: str, count: int) -> Iterator[str]:
    """Yield pieces of all files of a language, as many of each as their share allows."""
    files = [f for f in sorted(folder.glob(f"{language}_*.jsonl.gz")) if ".dev." not in f.name]
    size = CHARS[language]
    streams = [_cut(path, size) for path in files]
    while count:
        assert streams, f"not enough text of {language}"
        for stream in list(streams):
            piece = next(stream, None)
            if piece is None:
                streams.remove(stream)
            elif len(units(piece)) >= MIN_UNITS:
                yield piece
                count -= 1
                if not count:
                    return


def _cut(path: Path, size: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"]
            for start in range(0, len(text) - size + 1, size):
                yield text[start : start + size]


def _edited(
    text: str, other: str, language: str, level: float, scattered: bool, generator: random.Random
) -> str:
    """Return a text with a share of its words (or characters) replaced by those of another."""
    parts, strange = (text.split(" "), other.split(" ")) if language == "en" else (text, other)
    changed = list(parts)
    if scattered:
        for place in generator.sample(range(len(changed)), round(level * len(changed))):
            changed[place] = generator.choice(strange)
    else:
        length = round(level * len(changed))
        start = generator.randrange(len(changed) - length + 1)
        changed[start : start + length] = strange[:length]
    return (" " if language == "en" else "").join(changed)


class Truth:
    """The similarity of exact 5-grams, and what a program's pairs are worth."""

    def __init__(self, texts: list[str], folder: Path) -> None:
        self.texts = texts
        self.twins = [Twin(**row) for row in json.loads((folder / "twins.json").read_text())]
        self.sets: dict[int, frozenset[tuple[str, ...]]] = {}

    def similarity(self, one: int, other: int) -> float:
        first, second = self._grams(one), self._grams(other)
        return len(first & second) / max(len(first | second), 1)

    def judge(self, pairs: set[tuple[int, int]], threshold: float) -> dict:
        """Return recall and precision of pairs of places, smaller first."""
        found = pairs | {(b, a) for a, b in pairs}
        levels: dict[str, list[int]] = {}
        high = [0, 0]
        for twin in self.twins:
            truth = self.similarity(twin.original, twin.edit)
            has = (twin.original, twin.edit) in found
            row = levels.setdefault(f"{twin.level:.0%}", [0, 0, 0])
            row[0] += 1
            row[1] += truth >= threshold
            row[2] += truth >= threshold and has
            high[0] += truth >= 0.8
            high[1] += truth >= 0.8 and has
        values = [self.similarity(a, b) for a, b in pairs]
        return {
            "pairs": len(pairs),
            "precision": sum(v >= threshold for v in values) / max(len(values), 1),
            "below_0.6": sum(v < 0.6 for v in values),
            "recall_at_0.8": high[1] / max(high[0], 1),
            "at_0.8": high[0],
            "levels": levels,
        }

    def _grams(self, place: int) -> frozenset[tuple[str, ...]]:
        found = self.sets.get(place)
        if found is None:
            words = units(self.texts[place])
            found = self.sets[place] = frozenset(ngrams(words, min(5, max(len(words), 1))))
        return found
