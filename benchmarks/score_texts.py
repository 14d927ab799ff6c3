"""Texts for the study of scores: good prose and kinds of bad text, in English and Chinese.

    corpus = Corpus(openqwen_data, debian_packages)
    for sample in corpus.samples("zh", part="train"): ...

Train and test never share a source: a book, a manual or a collection is in one of them.
"""

import gzip
import json
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.ngrams import units
from openqwen.data.extraction.html import main_text
from openqwen.data.extraction.normalise import clean_text
from openqwen.data.language.identify import without_code

PARTS = ("train", "test")
# collections of $OPENQWEN_DATA/text and folders of Debian packages, by part
TEXTS = {
    ("en", "train"): ("en_standardebooks_pd.train", "en_python_peps_pd", "en_rust_rfcs_mit_apache"),
    ("en", "test"): ("en_rust_book_mit_apache", "en_d2l_en_ccbysa4", "en_eips_cc0"),
    ("zh", "train"): ("zh_classic_novels_pd", "zh_oi_wiki_ccbysa4", "zh_mindspore_docs_zh"),
    ("zh", "test"): ("zh_trpl_zh", "zh_d2l_zh_apache2", "zh_vue_zh_ccby4", "zh_kotlin_cn_apache2"),
}
PACKAGES = {
    ("en", "train"): ("python3.11-doc", "libreoffice-help-en-us", "sqlite3-doc"),
    ("en", "test"): ("debian-reference-en", "maint-guide", "developers-reference", "git-doc"),
    ("zh", "train"): ("libreoffice-help-zh-cn",),
    ("zh", "test"): ("debian-reference-zh-cn", "maint-guide-zh-cn"),
}
CHUNK_CHARS = {"en": 2400, "zh": 900}  # about equal in what they say
MIN_CHARS = {"en": 400, "zh": 150}
MAX_PAGES = 400  # of a package
_TAG = re.compile(r"<[^>]+>")
_LINK = re.compile(r"<a\b[^>]*>(.*?)</a>", re.DOTALL | re.IGNORECASE)
_ENTITY = re.compile(r"&#?\w+;")


@dataclass(frozen=True)
class Sample:
    """One text and what it is."""

    text: str
    kind: str  # "good", or what is wrong with it
    source: str


class Corpus:
    """All texts of the study."""

    def __init__(self, data: Path, packages: Path, *, seed: int) -> None:
        self.data, self.packages, self.seed = data, packages, seed

    def samples(self, language: str, part: str, limit: int) -> list[Sample]:
        """Return up to `limit` good samples and as many bad ones, the kinds in equal numbers."""
        random_ = random.Random(f"{self.seed} {language} {part}")
        good = list(self._prose(language, part, random_))
        random_.shuffle(good)
        pages = self._pages(language, part)
        random_.shuffle(pages)
        kept, spoilt = good[:limit], good[limit : 2 * limit] or good
        kinds = {
            "link lists": self._links(pages),
            "navigation": self._navigation(pages),
            "shuffled words": (_shuffled(s, language, random_) for s in spoilt),
            "wrong encoding": (_mojibake(s, random_) for s in reversed(spoilt)),
            "noisy letters": (_noisy(s, random_) for s in spoilt[1::2]),
            "keyword stuffing": _stuffed(good, language, random_),
            "repeated sentence": (_repeated(s, random_) for s in spoilt[::2]),
        }
        bad = []
        for kind, texts in kinds.items():
            minimum = MIN_CHARS[language]
            for text in texts:
                if sum(s.kind == kind for s in bad) == limit // len(kinds):
                    break
                if len(text) >= minimum:
                    bad.append(Sample(text[: CHUNK_CHARS[language]], kind, part))
        return kept + bad

    def prose(self, language: str, part: str) -> Iterator[str]:
        """Yield whole good texts of the collections."""
        for name in TEXTS[language, part]:
            with gzip.open(self.data / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
                for line in file:
                    yield without_code(clean_text(json.loads(line)["text"]))

    def _prose(self, language: str, part: str, random_: random.Random) -> Iterator[Sample]:
        length, minimum = CHUNK_CHARS[language], MIN_CHARS[language]
        for text in self.prose(language, part):
            starts = list(range(0, len(text) - minimum, length))
            for start in random_.sample(starts, min(len(starts), 40)):
                chunk = _whole_lines(text[start : start + length])
                if _is_prose(chunk, language):
                    yield Sample(chunk, "good", "collection")
        for page in self._pages(language, part):
            text = clean_text(main_text(page))
            if len(text) >= 3 * minimum and _ended_share(text) > 0.3 and _is_prose(text, language):
                yield Sample(_whole_lines(text[:length]), "good", "manual")

    def _pages(self, language: str, part: str) -> list[str]:
        pages = []
        for name in PACKAGES[language, part]:
            folder = self.packages / name
            if not folder.is_dir():
                (package,) = self.packages.glob(f"{name}_*.deb")
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
            found = [path for path in sorted(folder.rglob("*.html")) if path.is_file()]
            for path in found[:: max(1, len(found) // MAX_PAGES)]:
                pages.append(path.read_text(encoding="utf-8", errors="replace"))
        return pages

    def _links(self, pages: list[str]) -> Iterator[str]:
        """Yield the words of all links of a page, one a line: real lists of links."""
        for page in pages:
            found = [_plain(link) for link in _LINK.findall(page)]
            yield "\n".join(x for x in found if x)

    def _navigation(self, pages: list[str]) -> Iterator[str]:
        """Yield what main-content extraction leaves out of a page: bars, menus, footers."""
        for page in pages:
            kept = "".join(main_text(page).split())
            lines = (_plain(line) for line in page.split("<body", 1)[-1].split("\n"))
            yield "\n".join(line for line in lines if line and "".join(line.split()) not in kept)


def _plain(html: str) -> str:
    return " ".join(_ENTITY.sub(" ", _TAG.sub(" ", html)).split())


def _whole_lines(text: str) -> str:
    return text[text.find("\n") + 1 :] if "\n" in text[:200] else text


def _ended_share(text: str) -> float:
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(line.rstrip().endswith((".", "。", "：", ":", "！", "？")) for line in lines) / max(
        1, len(lines)
    )


def _is_prose(text: str, language: str) -> bool:
    """Tell prose from tables and code without fences, by the share of its letters."""
    letters = re.findall(r"[\u4e00-\u9fff]" if language == "zh" else r"[A-Za-z ]", text)
    return len(letters) > (0.35 if language == "zh" else 0.8) * len(text)


def _shuffled(sample: Sample, language: str, random_: random.Random) -> str:
    """Words (characters) of a text in random order, its signs where they were."""
    parts = re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|\W+", sample.text)
    words = [i for i, part in enumerate(parts) if re.match(r"\w", part)]
    order = words[:]
    random_.shuffle(order)
    moved = dict(zip(words, order, strict=True))
    return "".join(parts[moved.get(i, i)] for i in range(len(parts)))


def _mojibake(sample: Sample, random_: random.Random) -> str:
    """A text read in a wrong encoding; English, which survives that, in rotated letters."""
    data = sample.text.encode()
    wrong = data.decode("gbk" if random_.random() < 0.5 else "cp1252", "ignore")
    if wrong == sample.text or len(data) < 1.05 * len(sample.text):
        alphabet = "abcdefghijklmnopqrstuvwxyz"
        turned = alphabet[13:] + alphabet[:13]
        return sample.text.translate(str.maketrans(alphabet, turned))
    return clean_text(wrong)


def _noisy(sample: Sample, random_: random.Random) -> str:
    """A text with one letter in seven replaced, as a bad scan has it."""
    pool = [c for c in sample.text if c.isalpha()] or ["x"]
    return "".join(
        random_.choice(pool) if c.isalpha() and random_.random() < 0.15 else c for c in sample.text
    )


def _stuffed(good: list[Sample], language: str, random_: random.Random) -> Iterator[str]:
    """Yield pages made for search engines: a few phrases of the language in every order."""
    while True:
        words = units(random_.choice(good).text, language)
        size = 5 if language == "zh" else 2
        phrases = [words[i : i + size] for i in random_.choices(range(len(words)), k=12)]
        joint = "" if language == "zh" else " "
        picked = (joint.join(random_.choice(phrases)) for _ in range(120))
        sign = random_.choice((", ", " | ", "，", " "))
        yield sign.join(picked)


def _repeated(sample: Sample, random_: random.Random) -> str:
    """One sentence over and over."""
    sentences = re.split(r"(?<=[.。！？!?])\s*", sample.text)
    sentence = random_.choice([s for s in sentences if len(s) > 20] or [sample.text[:80]])
    return (sentence + " ") * 40
