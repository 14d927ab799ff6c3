"""The rules of Gopher, C4, FineWeb, ChineseWebText and MAP-CC as they were published.

Words are what stands between white space, also in Chinese, as in the originals; only MAP-CC takes
characters. Each rule says whether it would drop a page. Written from the papers' texts and the
published settings; the n-gram counts use this project's hashes.

    {rule.name for rule in RULES if rule.drops(Page.of(text))}
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from openqwen.data.rules.repetition import repeated_parts
from openqwen.data.shingles import UnitHasher, ngram_hashes

GOPHER_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
ENGLISH_ENDS = (".", "!", "?", '"', "'")
POLICY = (
    *("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies"),
    "use cookies",
)
CHINESE = re.compile("[\u4e00-\u9fa5]")
HASHER = UnitHasher()


@dataclass
class Page:
    """A page as the published rules see it."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        return [line for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [part for part in re.split(r"\n\n+", self.text) if part.strip()]

    @cached_property
    def numbers(self) -> np.ndarray:
        return HASHER(self.words)

    @cached_property
    def lengths(self) -> np.ndarray:
        return np.fromiter(map(len, self.words), dtype=np.int64, count=len(self.words))

    def share(self, condition: Callable[[str], bool], parts: list[str]) -> float:
        return sum(map(condition, parts)) / len(parts) if parts else 0.0

    def top_ngram(self, n: int) -> float:
        """Return the share of characters in the most frequent n-gram of words."""
        grams = ngram_hashes(self.numbers, n)
        if not len(grams):
            return 0.0
        _, first, counts = np.unique(grams, return_index=True, return_counts=True)
        best = int(counts.argmax())
        if counts[best] < 2:
            return 0.0
        place = int(first[best])
        return int(counts[best]) * int(self.lengths[place : place + n].sum()) / len(self.text)

    def duplicate_ngrams(self, n: int) -> float:
        """Return the share of characters in n-grams of words seen before, overlaps once."""
        grams = ngram_hashes(self.numbers, n)
        again = np.ones(len(grams), dtype=bool)
        again[np.unique(grams, return_index=True)[1]] = False
        covered = np.zeros(len(self.words), dtype=bool)
        for shift in range(n):
            covered[shift : shift + len(grams)] |= again
        return int(self.lengths[covered].sum()) / max(len(self.text), 1)

    @cached_property
    def c4_lines(self) -> list[str]:
        """Return the lines that C4 keeps."""
        return [line for line in map(str.strip, self.text.split("\n")) if _c4_keeps(line)]

    @cached_property
    def characters(self) -> Counter[str]:
        return Counter(self.text)


def _c4_keeps(line: str) -> bool:
    lower = line.lower()
    return (
        line.endswith(ENGLISH_ENDS)
        and not line.endswith("...")
        and len(line.split()) >= 3
        and "javascript" not in lower
        and not any(phrase in lower for phrase in POLICY)
    )


def _sentences(lines: list[str]) -> int:
    return sum(len(re.findall(r"[.!?][\"')\]]*(?:\s|$)", line)) for line in lines)


class Rule(NamedTuple):
    """One published rule."""

    family: str
    name: str
    drops: Callable[[Page], bool]


def _gopher() -> list[Rule]:
    def mean(page: Page) -> float:
        return float(page.lengths.mean()) if page.words else 0.0

    def symbols(page: Page) -> float:
        found = page.text.count("#") + page.text.count("...") + page.text.count("…")
        return found / max(len(page.words), 1)

    quality: list[tuple[str, Callable[[Page], bool]]] = [
        ("50 to 100,000 words", lambda p: not 50 <= len(p.words) <= 100_000),
        ("mean word of 3 to 10 characters", lambda p: not 3 <= mean(p) <= 10),
        ("symbols at most 0.1 a word", lambda p: symbols(p) > 0.1),
        (
            "at most 90 % of lines open a list",
            lambda p: p.share(lambda x: x.lstrip().startswith(("•", "-", "*")), p.lines) > 0.9,
        ),
        (
            "at most 30 % of lines end in an ellipsis",
            lambda p: p.share(lambda x: x.rstrip().endswith(("...", "…")), p.lines) > 0.3,
        ),
        (
            "80 % of words with a letter",
            lambda p: p.share(lambda x: any(map(str.isalpha, x)), p.words) < 0.8,
        ),
        ("two of eight English words", lambda p: len(GOPHER_WORDS.intersection(p.words)) < 2),
    ]
    repetition: list[tuple[str, Callable[[Page], bool]]] = [
        ("lines seen before, 0.3", lambda p: repeated_parts(p.lines)[0] > 0.3),
        ("their characters, 0.2", lambda p: repeated_parts(p.lines)[1] > 0.2),
        ("paragraphs seen before, 0.3", lambda p: repeated_parts(p.paragraphs)[0] > 0.3),
        ("their characters, 0.2 ", lambda p: repeated_parts(p.paragraphs)[1] > 0.2),
    ]
    for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16)):
        repetition.append((f"top {n}-gram, {limit}", _over(Page.top_ngram, n, limit)))
    for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1)):
        repetition.append(
            (f"{n}-grams seen before, {limit}", _over(Page.duplicate_ngrams, n, limit))
        )
    return [Rule("Gopher", *rule) for rule in quality] + [
        Rule("Gopher A1", *rule) for rule in repetition
    ]


def _over(measure: Callable[[Page, int], float], n: int, limit: float) -> Callable[[Page], bool]:
    return lambda page: measure(page, n) > limit


def _c4() -> list[Rule]:
    return [
        Rule("C4", "five sentences in lines it keeps", lambda p: _sentences(p.c4_lines) < 5),
        Rule("C4", "no curly bracket", lambda p: "{" in p.text),
        Rule("C4", "no “lorem ipsum”", lambda p: "lorem ipsum" in p.text.lower()),
    ]


def _fineweb() -> list[Rule]:
    return [
        Rule(
            "FineWeb",
            "12 % of lines end in . ' \" ! ?",
            lambda p: p.share(lambda x: x.endswith(ENGLISH_ENDS), p.lines) < 0.12,
        ),
        Rule(
            "FineWeb",
            "at most 67 % of lines up to 30 characters",
            lambda p: p.share(lambda x: len(x) <= 30, p.lines) > 0.67,
        ),
        Rule(
            "FineWeb", "1 % of text in repeated lines", lambda p: repeated_parts(p.lines)[1] > 0.01
        ),
        Rule(
            "FineWeb",
            "at most 0.3 line ends a word",
            lambda p: p.text.count("\n") / max(len(p.words), 1) > 0.3,
        ),
    ]


def _chinese_web_text() -> list[Rule]:
    def repeated(page: Page) -> float:
        plain = re.sub(r"[ \n\t]", "", page.text.lower())
        counts = Counter(plain[i : i + 13] for i in range(len(plain) - 12))
        return sum(n for n in counts.values() if n > 1) / max(counts.total(), 1)

    def share(page: Page) -> float:
        return len(CHINESE.findall(page.text)) / max(len(page.text), 1)

    family = "ChineseWebText"
    return [
        Rule(family, "more than 200 characters", lambda p: len(p.text) <= 200),
        Rule(
            family,
            "mean line of 10 characters",
            lambda p: len(p.text) / len(p.text.split("\n")) < 10,
        ),
        Rule(family, "30 % Chinese characters", lambda p: share(p) < 0.3),
        Rule(family, "half of 13-grams at most stand twice", lambda p: repeated(p) > 0.5),
    ]


def _map_cc() -> list[Rule]:
    def digits(page: Page) -> float:
        signs = [sign for sign in page.text if sign.isalnum()]
        return sum(map(str.isdigit, signs)) / max(len(signs), 1)

    def entropy(page: Page) -> float:
        total = max(len(page.text), 1)
        return -sum(n / total * math.log(n / total) for n in page.characters.values())

    def brackets(page: Page) -> float:
        return sum(map(len, re.findall("【(.*?)】", page.text))) / max(len(page.text), 1)

    rules: list[tuple[str, Callable[[Page], bool]]] = [
        ("more than one sentence", lambda p: len(re.findall(r"[.!…?;。！？；]+", p.text)) < 2),
        ("50 to 10,000 characters", lambda p: not 50 <= len(p.text) <= 10_000),
        ("at most 30 % digits", lambda p: digits(p) > 0.3),
        ("at most 10 % in 【】", lambda p: brackets(p) > 0.1),
        (
            "at most 30 % of lines end in 更多 and the like",
            lambda p: (
                p.share(lambda x: x.endswith(("readmore", "展开", "更多", "。。。")), p.lines) > 0.3
            ),
        ),
        ("more than 10 % distinct characters", lambda p: len(p.characters) <= 0.1 * len(p.text)),
        ("entropy of 3 nats", lambda p: entropy(p) < 3),
    ]
    return [Rule("MAP-CC", *rule) for rule in rules]


RULES = [*_gopher(), *_c4(), *_fineweb()]  # made for English
CHINESE_RULES = [*_chinese_web_text(), *_map_cc()]
