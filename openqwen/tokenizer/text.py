"""Text made safe for the regex engine and for NFC, whatever somebody sends us.

Two library limits matter only to hostile or broken input: tiktoken's regex engine keeps a stack
entry for each character of a white-space run and panics at a million, and Python's NFC takes
quadratic time over a run of combining marks (ten minutes for a megabyte). Runs beyond any real text
are cut; all other text passes unchanged.
"""

import itertools
import re
import unicodedata

MAX_SPACE_RUN = 500_000  # characters; half of what the regex engine can hold
MAX_MARK_RUN = 1_000  # combining marks; Unicode's own stream-safe form allows 30

# What Unicode and the regex engine call white space; Python's \s counts four separators besides.
_LONG_SPACE = re.compile(rf"[^\S\x1c-\x1f]{{{MAX_SPACE_RUN}}}(?=[^\S\x1c-\x1f])")
# so long a run meets every place that is looked at first
_STRIDE = MAX_SPACE_RUN // 8
_MANY_SPACES = re.compile(r"\s{8}")


def cut_long_spaces(text: str) -> list[str]:
    """Return the text in parts whose white-space runs the regex engine can hold.

    Almost always one part. A longer run is cut every `MAX_SPACE_RUN` characters: joined, the parts
    are the text again, and only tokens beside a cut can differ from those of a limitless engine.
    """
    if len(text) <= MAX_SPACE_RUN or not _MANY_SPACES.search(text[::_STRIDE]):
        return [text]
    cuts = [0, *(match.end() for match in _LONG_SPACE.finditer(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


def to_nfc(text: str) -> str:
    """Return the text in Unicode's composed form (NFC), in linear time.

    A run of more than `MAX_MARK_RUN` combining marks is composed in parts, so marks don't change
    places across a cut there.
    """
    if text.isascii():
        return text
    if len(text) > MAX_MARK_RUN:
        marks = "".join(sorted(c for c in set(text) if unicodedata.combining(c)))
        if marks:
            run = re.compile(rf"[{re.escape(marks)}]{{{MAX_MARK_RUN}}}")
            cuts = [0, *(match.end() for match in run.finditer(text)), len(text)]
            parts = [text[a:b] for a, b in itertools.pairwise(cuts)]
            return "".join(unicodedata.normalize("NFC", part) for part in parts)
    return unicodedata.normalize("NFC", text)


def without_surrogates(text: str) -> str:
    """Return the text as UTF-8 can hold it: surrogate pairs joined, lone surrogates as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
