"""Quality rules for running text, fair to each way of writing (§2.1; Gopher, C4, FineWeb).

    for finding in find_prose_faults(text, "zh", config): ...      # every limit it breaks

Languages that write words with gaps are judged by words; Chinese, Japanese and Thai by characters,
with their own punctuation, line lengths and stop words. Code blocks, table rows and addresses are
left out before measuring, but count towards the length.
"""

from collections.abc import Iterator

from openqwen.data.rules.character_rules import find_character_faults
from openqwen.data.rules.config import ProseRules, RulesConfig
from openqwen.data.rules.findings import Finding, above, below, share
from openqwen.data.rules.page_rules import find_page_faults
from openqwen.data.rules.prose import LINE_ENDS, Prose, is_bullet
from openqwen.data.rules.repetition import find_repetition
from openqwen.data.rules.stop_words import count_stop_words

ELLIPSES = ("...", "…")


def find_prose_faults(text: str, language: str, config: RulesConfig) -> Iterator[Finding]:
    """Yield the limits a text breaks, one after the other; nothing for a good one.

    Args:
        text: a cleaned document.
        language: ISO 639-1 code or "und".
        config: all limits, those of the language (`RulesConfig.for_language`).
    """
    prose = Prose(text, language, min_units=config.prose.min_prose_units)
    rules = _character_findings if prose.by_characters else _word_findings
    for finding in (*rules(prose, config), *_line_findings(prose, config.prose)):
        if finding is not None:
            yield finding
    scale = config.repetition.chars_a_word if prose.by_characters else 1
    yield from find_repetition(prose.text, prose.units, config.repetition, unit_scale=scale)
    yield from find_page_faults(prose, config)
    if prose.by_characters:
        yield from find_character_faults(prose, config.characters)


def _word_findings(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    """Yield what speaks against a text in words with gaps."""
    limits = config.words
    yield below("too few words", prose.num_full_units, limits.min_words, "words")
    yield above("too many words", prose.num_full_units, limits.max_words, "words")
    yield _too_little_prose(prose, config.prose)
    # single characters of a quoted Chinese text are no short words
    mean = prose.units.mean_length
    yield below("words too short", mean, limits.min_mean_word_chars, "characters a word")
    yield above("words too long", mean, limits.max_mean_word_chars, "characters a word")
    yield _short_lines(prose, limits.short_line_chars, config.prose)
    yield from _shared_findings(prose, config.prose)


def _character_findings(prose: Prose, config: RulesConfig) -> Iterator[Finding | None]:
    """Yield what speaks against a text in characters without gaps."""
    limits = config.characters
    count = prose.num_full_units
    yield below("too few characters", count, limits.min_chars, "characters and words")
    yield above("too many characters", count, limits.max_chars, "characters and words")
    yield _too_little_prose(prose, config.prose)
    yield below("little of its script", prose.script_share, limits.min_script, "of its characters")
    yield _short_lines(prose, limits.short_line_chars, config.prose)
    yield from _shared_findings(prose, config.prose)


def _shared_findings(prose: Prose, limits: ProseRules) -> Iterator[Finding | None]:
    """Yield what speaks against any text: symbols, numbers, stop words, banned phrases."""
    count = len(prose.units)
    symbols = share(prose.num_symbols, count)
    yield above("symbols", symbols, limits.max_symbol_ratio, "symbols a word")
    letters = share(count - prose.units.num_numbers, count)
    yield below("few letters", letters, limits.min_alphabetic, "of words have one")
    found = count_stop_words(prose.language, prose.units, prose.text, enough=limits.min_stop_words)
    if found is not None:
        yield below("no sentences", found, limits.min_stop_words, "different stop words")
    for phrase in limits.banned_phrases:
        if phrase in prose.lower:
            yield Finding("banned phrase", 1.0, f"holds “{phrase}”")


def _too_little_prose(prose: Prose, limits: ProseRules) -> Finding | None:
    unit = "words outside code blocks"
    return below("no prose", len(prose.units), limits.min_prose_units, unit)


def _short_lines(prose: Prose, short_chars: int, limits: ProseRules) -> Finding | None:
    short = sum(len(line) <= short_chars for line in prose.lines)
    unit = f"of lines have up to {short_chars} characters"
    return above("short lines", share(short, len(prose.lines)), limits.max_short_lines, unit)


def _line_findings(prose: Prose, limits: ProseRules) -> Iterator[Finding | None]:
    """Yield what speaks against a text's line starts and ends."""
    count = len(prose.lines)
    if not count:
        return
    ended = sum(line.endswith(LINE_ENDS) for line in prose.lines)
    unit = "of lines end in punctuation"
    yield below("unended lines", ended / count, limits.min_ended_lines, unit)
    bullets = sum(map(is_bullet, prose.lines))
    yield above("bullets", bullets / count, limits.max_bullet_lines, "of lines open a list")
    cut = sum(line.endswith(ELLIPSES) for line in prose.lines)
    yield above("cut lines", cut / count, limits.max_ellipsis_lines, "of lines end in an ellipsis")
