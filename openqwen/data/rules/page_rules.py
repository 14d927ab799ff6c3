"""Rules against what pages hold instead of prose: lists, notices, spam, wrongly decoded text.

next(find_page_faults(prose, config), None)
"""

import functools
import re
from collections.abc import Iterator

from openqwen.data.rules.config import ProseRules, RulesConfig
from openqwen.data.rules.findings import Finding, above, below, share
from openqwen.data.rules.phrases import Phrases
from openqwen.data.rules.prose import Prose

MIN_SPAM_TERMS = 3  # different ones: a page about gambling law holds one or two
MARKS = ".,。，;:!?；：！？、…،؛؟।"
# what UTF-8 read as Latin-1 or GBK, and GBK read as UTF-8, leave behind
GARBLED_SIGNS = ("\ufffd", "锟", "銆", "锛", "鈥", "烫烫", "屯屯", "Ã", "Â", "â")

_GARBLED = re.compile(
    "(?:锟斤拷)+|[銆锛鈥鐨鏄鍦]|烫烫烫+|屯屯屯+|\ufffd"
    "|[ÃÂâ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]+"
)
_SENTENCE_END = re.compile(r"[.!?…؟।۔][\"'”’»)\]」』】]*(?=\s|$)|[。．｡！？]")
_GAPLESS_SENTENCE_END = re.compile(r"[。．｡！？!?…]|\.(?=\s|$)")


def find_page_faults(prose: Prose, config: RulesConfig) -> Iterator[Finding]:
    """Yield what speaks against a page of any language."""
    rules = _character_limits if prose.by_characters else _word_limits
    for finding in (*rules(prose, config), *_findings(prose, config.prose)):
        if finding is not None:
            yield finding


def _word_limits(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    limits, count = config.words, len(prose.units)
    longest = int(prose.units.lengths_N.max(initial=0))
    yield above("words too long", longest, limits.max_word_chars, "characters in the longest word")
    lines = share(len(prose.lines), count)
    yield above("list", lines, limits.max_lines_a_word, "lines a word")
    yield _few_marks(prose, limits.max_words_a_mark, "words")
    yield _few_sentences(prose, limits.min_sentences, _SENTENCE_END)


def _character_limits(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    limits, count = config.characters, len(prose.units)
    lines = share(len(prose.lines), count)
    yield above("list", lines, limits.max_lines_a_char, "lines a character")
    yield _few_marks(prose, limits.max_chars_a_mark, "characters")
    yield _few_sentences(prose, limits.min_sentences, _GAPLESS_SENTENCE_END)


def _few_marks(prose: Prose, limit: float, unit: str) -> Finding | None:
    """Return a finding for running text without punctuation."""
    count, marks = len(prose.units), 0
    for mark in MARKS:
        marks += prose.text.count(mark)
        if marks * limit >= count:
            return None
    return above("no punctuation", count / max(marks, 1), limit, f"{unit} for each mark")


def _few_sentences(prose: Prose, limit: int, ends: re.Pattern[str]) -> Finding | None:
    found = 0
    for found, _ in enumerate(ends.finditer(prose.text), start=1):
        if found >= limit:
            return None
    return below("too few sentences", found, limit, "sentences")


def _findings(prose: Prose, limits: ProseRules) -> Iterator[Finding | None]:
    curly = share(prose.text.count("{"), len(prose.units))
    yield above("curly brackets", curly, limits.max_curly_brackets, "curly brackets a word")
    unit = "of lines are web addresses"
    yield above("links", prose.address_lines, limits.max_address_lines, unit)
    yield _boilerplate(prose, limits)
    yield above("garbled", garbled_share(prose.text), limits.max_garbled, "of text is garbled")
    yield _spam(prose, limits)


def _boilerplate(prose: Prose, limits: ProseRules) -> Finding | None:
    """Return a finding where notices make up much of the lines."""
    if not _phrases(limits.boilerplate).find(prose.units):
        return None
    lines = [line.lower() for line in prose.lines]
    hits = sum(any(phrase in line for phrase in limits.boilerplate) for line in lines)
    limit = limits.max_boilerplate_lines
    return above("boilerplate", share(hits, len(lines)), limit, "of lines are notices")


def _spam(prose: Prose, limits: ProseRules) -> Finding | None:
    """Return a finding for a text stuffed with an advertiser's phrases."""
    hits = _phrases(limits.spam_terms).find(prose.units)
    terms = {limits.spam_terms[hit.phrase] for hit in hits}
    if len(terms) < MIN_SPAM_TERMS:
        return None
    lengths = prose.units.lengths_N
    inside = sum(int(lengths[hit.place : hit.place + hit.length].sum()) for hit in hits)
    spam = share(inside, int(lengths.sum()))
    names = ", ".join(sorted(terms)[:MIN_SPAM_TERMS])
    if spam <= limits.max_spam:
        return None
    return Finding("spam", spam, f"{spam:.1%} of text in phrases such as {names}")


def garbled_share(text: str) -> float:
    """Return the share of a text's characters that a wrong decoding has left."""
    if text.isascii() or not any(sign in text for sign in GARBLED_SIGNS):
        return 0.0
    return sum(map(len, _GARBLED.findall(text))) / len(text)


@functools.lru_cache(maxsize=16)
def _phrases(phrases: tuple[str, ...]) -> Phrases:
    return Phrases(phrases)
