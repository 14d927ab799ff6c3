"""Quality rules for source code (after StarCoder's filters): data, generated and minified files."""

import re
from collections.abc import Iterator

from openqwen.data.rules.config import CodeRules
from openqwen.data.rules.findings import Finding, above, below
from openqwen.data.rules.repetition import repeated_parts
from openqwen.data.rules.unit_measures import measure_units

HEAD_LINES = 5  # where generators sign their work
MIN_REPEATED_CHARS = 5  # a shorter line (a bracket, pass) may come back

_ESCAPES = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\b0x[0-9a-fA-F]+)")


def find_code_faults(text: str, limits: CodeRules) -> Iterator[Finding]:
    """Yield the limits a source file breaks, one after the other; nothing for a good one."""
    for finding in _findings(text, limits):
        if finding is not None:
            yield finding


def _findings(text: str, limits: CodeRules) -> Iterator[Finding | None]:
    lines = text.splitlines()
    filled = [line.strip() for line in lines if line.strip()]
    yield below(
        "too few words", len(measure_units(text.lower())), limits.min_words, "words and numbers"
    )
    head = "\n".join(lines[:HEAD_LINES]).lower()
    for marker in limits.generated_markers:
        if marker in head:
            yield Finding("generated", 1.0, f"says “{marker}” in its first lines")
    longest = max(map(len, lines), default=0)
    yield above("long lines", longest, limits.max_line_chars, "characters in the longest line")
    mean = len(text) / max(len(lines), 1)
    yield above("long lines", mean, limits.max_mean_line_chars, "characters a line")
    share = sum(map(str.isalnum, text)) / max(len(text), 1)
    yield below("few letters", share, limits.min_alphanumeric, "of characters are letters, digits")
    escapes = sum(map(len, _ESCAPES.findall(text))) / max(len(text), 1)
    yield above("data", escapes, limits.max_escapes, "of text is escapes and hex numbers")
    repeated, _ = repeated_parts([line for line in filled if len(line) > MIN_REPEATED_CHARS])
    yield above("repeated lines", repeated, limits.max_duplicate_lines, "of lines seen before")
