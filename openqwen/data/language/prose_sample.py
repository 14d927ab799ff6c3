"""What of a text is prose: a spread of excerpts, without code, addresses and names.

spread("…a long page…", 600)        # four excerpts of 150 characters, one a line
prose_lines("Sorts a list.\nx = sorted(x)")     # "Sorts a list."
"""

import re

NUM_EXCERPTS = 4
CUT_CHARS = 40  # an excerpt begins and ends at a gap, if there is one this near

_FENCE = re.compile(r"\n[ \t]*(`{3,}|~{3,})([^\n]*)")  # begins with a sign that is found fast
# signs that prose does without; only where one stands are lines looked at
_CODE_SIGN = re.compile(r"[=_<>{}\[\]@#$^*~;\\/|]|\w\(|::|[a-z][A-Z]")
_CODE_LINE = re.compile(
    r"""^\s*(?:
        (?:def|class|func|function|fn|const|let|var|lambda|async|public|private|protected|static
            |void|typedef|struct|namespace|using|package|yield|assert|raise|return|import)\b[ \w(]
        | from\ \S+\ import\b
        | (?:if|elif|for|while|with|switch|except|try|else|finally)\b.*[:{]\s*$
        | (?:pass|break|continue|fi|done|end|self\.\S*);?\s*$
        | \#include\b | // | /\* | \*/ | [@$>]\ ?\w | [}\])]
        | [\w.\[\]'"]+\ ?(?:[-+*/|&%:]?=|\+=|->)\s*\S      # assignments
        | [\w.]+\([^)]*\)?[;,]?\s*$                       # calls alone on a line
        | ["'][^"']*["']\s*[:,]                            # entries of tables
    ) | [{};\\(\[]\s*$ | \w\(\S*\)[.:]\w? | [=!]=\ | \w\[\w*\]""",
    re.VERBOSE,
)
# ASCII runs with a sign that words don't have (addresses, paths, operators), and NamesLikeThis
_NOT_PROSE = re.compile(
    r"[!-~]*[/\\_=<>{}|@#$%^*~`\[\]][!-~]*|[!-~]+\([!-~]*|\b[A-Za-z]*[a-z][A-Z][A-Za-z]*\b"
)


def without_code(text: str) -> str:
    """Return a text without its fenced code blocks; a fence that nothing closes stays.

    The time grows with the text alone, whatever fences stand in it.
    """
    # one sign is looked for much faster than three
    if not ("`" in text and "```" in text) and not ("~" in text and "~~~" in text):
        return text
    fences = list(_FENCE.finditer("\n" + text))  # so the places are one too high
    unclosed: dict[str, int] = {}  # sign -> length of the shortest fence known to stay open
    kept, end, number = [], 0, 0
    while number < len(fences):
        sign, length = fences[number][1][0], len(fences[number][1])
        last = number
        if length < unclosed.get(sign, length + 1):
            last = _closing(fences, number)
        if last > number:
            kept.append(text[end : fences[number].start()])
            end = fences[last].end() - 1
        else:
            unclosed[sign] = min(length, unclosed.get(sign, length))
        number = last + 1
    return "".join([*kept, text[end:]])


def _closing(fences: list[re.Match[str]], first: int) -> int:
    """Return which fence closes the given one: as long at least, and bare; itself where none."""
    opening = fences[first][1]
    for number in range(first + 1, len(fences)):
        if fences[number][1].startswith(opening) and not fences[number][2].strip(" \t`~"):
            return number
    return first


def spread(text: str, limit: int) -> str:
    """Return a text of up to `limit` characters, or excerpts of it that have so many together."""
    if len(text) <= limit:
        return text
    width = limit // NUM_EXCERPTS
    found = []
    for number in range(NUM_EXCERPTS):
        start = number * (len(text) - width) // (NUM_EXCERPTS - 1)
        excerpt = text[start : start + width]
        if number:
            excerpt = excerpt[excerpt.find(" ", 0, CUT_CHARS) + 1 :]
        if number < NUM_EXCERPTS - 1:
            gap = excerpt.rfind(" ", max(len(excerpt) - CUT_CHARS, 1))
            excerpt = excerpt[:gap] if gap > 0 else excerpt
        found.append(excerpt)
    return "\n".join(found)


def has_code_sign(text: str) -> bool:
    """Return whether a sign stands in a text that prose does without."""
    return _CODE_SIGN.search(text) is not None


def prose_lines(text: str) -> str:
    """Return a text without lines that look like code, and without addresses, paths and names."""
    if not _CODE_SIGN.search(text):
        return text
    lines = [line for line in text.split("\n") if not _CODE_LINE.search(line)]
    return _NOT_PROSE.sub(" ", "\n".join(lines))


def without_names(text: str) -> str:
    """Return a text without addresses, paths and names only; what lines look like is not asked."""
    return _NOT_PROSE.sub(" ", text)
