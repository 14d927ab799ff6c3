"""Documents dropped for offensive terms (an option): by density and variety, or at one hit (C4).

    for outcome in block_terms(config, documents): ...
    BlockList(["bad phrase"], ["bad phrase book"], by_characters=False).find(text)

The project holds no such list. Users give their own; the one C4 used is fetched from a package
index, pinned by checksum. Words are matched whole, so that no town suffers for what its name
contains; Chinese, Japanese and Thai, without gaps, by characters, the longest match first.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.core.ngrams import CHARACTER_LANGUAGES
from openqwen.data.rules.block_list_config import BlockListConfig
from openqwen.data.rules.phrases import Hit, Phrases
from openqwen.data.rules.unit_measures import Units, measure_units
from openqwen.data.steps import Outcome, Rejected

EVERY_LANGUAGE = "*"
PACKAGE, VERSION = "expletives", "0.1.0"
MEMBER = "expletives/data/sources/ldnoobw-{language}.txt"
SHOWN_TERMS = 5
# what good pages hold that contains a listed term: found on manuals and novels, not complete
ALLOWED: dict[str, tuple[str, ...]] = {
    "zh": (
        *("口交互", "口交通", "口交换", "口交易", "口交付", "口交接", "口交流", "口交叉", "口交汇"),
        *("口交战", "口交给", "口交由", "成人教育", "成人高考", "长大成人", "处女作", "处女座"),
        *("处女地", "处女航", "今日你", "近日你", "明日你", "昨日你", "干你甚事", "靠背椅"),
    )
}

_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc]{2}")
_ONLY_UNITS = re.compile(r"[\w' -]+")


class Found(NamedTuple):
    """What a text holds of a list."""

    terms: tuple[str, ...]  # different ones, most frequent first
    hits: int
    density: float  # share of the text's letters and digits


class BlockList:
    """The terms of one language, ready to be looked for."""

    def __init__(
        self, terms: Sequence[str], allowed: Sequence[str] = (), *, by_characters: bool
    ) -> None:
        """Take terms in any case.

        Args:
            terms: words or phrases; those with other signs than letters are taken literally.
            allowed: longer phrases in which a term is no hit.
            by_characters: whether the language is written without gaps.
        """
        plain = [term for term in terms if by_characters or _ONLY_UNITS.fullmatch(term)]
        self.num_blocked = len(plain)
        self.phrases = Phrases([*plain, *allowed])
        signs = sorted(set(terms).difference(plain), key=len, reverse=True)
        joined = "|".join(re.escape(term.lower()) for term in signs)
        self.signs = [term.lower() for term in signs]
        self.signs_pattern = re.compile(rf"(?<!\w)(?:{joined})(?!\w)")

    def find(self, text: str) -> Found:
        """Return the terms that stand in a text; of overlapping ones the longest."""
        lower = text.lower()
        units = measure_units(lower)
        total = int(units.lengths_N.sum())
        counts: dict[str, int] = {}
        covered = 0
        for hit in _longest(self.phrases.find(units)):
            if hit.phrase < self.num_blocked and not _is_inside_katakana(units, hit):
                term = self.phrases.phrases[hit.phrase]
                counts[term] = counts.get(term, 0) + 1
                covered += int(units.lengths_N[hit.place : hit.place + hit.length].sum())
        if any(term in lower for term in self.signs):
            for match in self.signs_pattern.finditer(lower):
                counts[match[0]] = counts.get(match[0], 0) + 1
                covered += len(match[0])
        terms = sorted(counts, key=lambda term: (-counts[term], term))
        density = min(covered / total, 1.0) if total else 0.0
        return Found(tuple(terms), sum(counts.values()), density)


def _longest(hits: list[Hit]) -> Iterator[Hit]:
    """Yield hits that do not overlap: from the left, of those at one place the longest."""
    end = 0
    for hit in sorted(hits, key=lambda hit: (hit.place, -hit.length, hit.phrase)):
        if hit.place >= end:
            yield hit
            end = hit.place + hit.length


def _is_inside_katakana(units: Units, hit: Hit) -> bool:
    """Return whether a hit is part of a longer word in Katakana, as グロ is of ログロ."""
    end = hit.place + hit.length
    around = [*units.strings(max(hit.place - 1, 0), hit.place), *units.strings(end, end + 1)]
    edges = [units.strings(hit.place, hit.place + 1)[0], units.strings(end - 1, end)[0]]
    pairs = zip(around if hit.place else ["", *around], edges, strict=False)
    return any(_KATAKANA.fullmatch(beside + edge) for beside, edge in pairs if beside)


def block_terms(config: BlockListConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Reject documents with more listed terms than the settings allow; code is not judged.

    Raises:
        UserError: if a list can't be read or fetched.
    """
    lists = load_block_lists(config)
    for document in documents:
        blocked = lists.get(document.language, lists.get(EVERY_LANGUAGE))
        if blocked is None or document.group == "code":
            yield document
            continue
        found = blocked.find(document.text)
        if is_too_much(found, config):
            shown = ", ".join(found.terms[:SHOWN_TERMS])
            detail = f"{len(found.terms)} different listed terms, {found.density:.2%} of text: "
            yield Rejected(document, "offensive terms", found.density, detail + shown)
        else:
            yield document


def is_too_much(found: Found, config: BlockListConfig) -> bool:
    """Return whether a text with these terms falls."""
    if config.any_hit:
        return found.hits > 0
    if found.density > config.max_density and len(found.terms) >= config.min_distinct:
        return True
    return len(found.terms) > config.max_distinct and found.density > config.max_density / 10


def load_block_lists(config: BlockListConfig) -> dict[str, BlockList]:
    """Read, and where asked fetch, the lists of all languages.

    Returns:
        Language -> its list with the terms for every language; "*" -> those alone.

    Raises:
        UserError: if a list can't be read or fetched.
    """
    terms: dict[str, list[str]] = {}
    for name, file in config.files.items():
        terms[name] = read_terms(Path(file))
    for code in config.fetched:
        path = fetch_pypi_file(PACKAGE, VERSION, MEMBER.format(language=code))
        terms[code] = [*terms.get(code, []), *read_terms(path)]
    everywhere = terms.get(EVERY_LANGUAGE, [])
    lists: dict[str, BlockList] = {}
    for language, own in terms.items():
        by_characters = language in CHARACTER_LANGUAGES
        used = list(dict.fromkeys(own if language == EVERY_LANGUAGE else [*own, *everywhere]))
        if by_characters:
            used = [
                term
                for term in used
                if len(term) >= config.min_term_chars and any(map(str.isalpha, term))
            ]
        allowed = (*ALLOWED.get(language, ()), *config.allow.get(language, ()))
        lists[language] = BlockList(used, allowed, by_characters=by_characters)
    return lists


@functools.lru_cache(maxsize=64)
def read_terms(path: Path) -> list[str]:
    """Return the terms of a text file, one a line; empty lines and comments are left out.

    Raises:
        UserError: if the file can't be read or holds no term.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"block list {path} can't be read as UTF-8 text: {error}") from None
    terms = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not terms:
        raise UserError(f"block list {path} holds no term; give one a line")
    return terms
