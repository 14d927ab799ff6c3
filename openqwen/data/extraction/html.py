"""The readable part of an HTML page as plain text: no navigation, code and tables kept.

    main_text("<nav>Home</nav><h1>Sums</h1><p>Add them.</p><pre>1 + 1</pre>")
    # "Sums\n\nAdd them.\n\n```\n1 + 1\n```"

resiliparse parses and lays out; what is content is decided here, since its own main-content mode
loses headings, short words between links and whole lists (seen on Debian's manuals).
"""

import re
import textwrap
from html import unescape

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree

from openqwen.data.extraction.formulas import write_formulas
from openqwen.data.extraction.furniture import (
    class_names,
    find,
    length,
    remove_furniture,
    remove_unseen,
)

CONTENT_ROOTS = "main, [role=main], article, [itemprop=articleBody], #content, #mw-content-text"

MIN_ROOT_SHARE = 0.4  # of the page's text, for an element to count as the content's root
MAX_WHOLE_PRE_SHARE = 0.9  # a page that is one <pre> is plain text, not code

_ROW = re.compile(r"<tr\b(?:[^>\"]|\"[^\"]*\")*>")
_CELL = re.compile(r"<t[dh]\b(?:[^>\"]|\"[^\"]*\")*>")
_BREAK = re.compile(r"<(?:br|/?p|/?div|/?dt|/?dd)\b[^>]*>")
_TAG = re.compile(r"<!--.*?-->|<(?:[^>\"]|\"[^\"]*\")*>")
_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACEHOLDER = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_PRIVATE = re.compile(f"[{_OPEN}{_CLOSE}]")
_LIST_ITEM = re.compile(r"^( *)(?:•|(\d+\.)) +(?=\S)")
_EMPTY_ITEM = re.compile(r"^ *(?:•|\d+\.)[ |]*$")
_LAST_BULLET = re.compile(r"(?:^|\n) *- *$")
_CELL_GAP = re.compile(r"[ \u00a0]*\t[\t \u00a0]*")
_BLANK_LINES = re.compile(r"\n{3,}")


def main_text(html: str) -> str:
    """Return a page's content as text: paragraphs, "- " lists, "a | b" table rows, fenced code.

    Args:
        html: a decoded page; broken markup is repaired as browsers do.

    Returns:
        The text, "" where a page is all navigation or has none.
    """
    if _OPEN in html or _CLOSE in html:
        html = _PRIVATE.sub("", html)
    tree = HTMLTree.parse(html)
    body = tree.body
    if body is None:
        return ""
    names = class_names(html)
    write_formulas(tree, body, html, names)
    remove_unseen(body, html)
    is_root = _select_root(body)
    remove_furniture(body, names)
    if not is_root:
        _select_root(body)
    kept: list[str] = []
    _set_aside_code(tree, body, kept)
    _set_aside_tables(tree, body, kept)
    text = extract_plain_text(tree, preserve_formatting=True, main_content=False, alt_texts=False)
    return _restore(_tidy(text), kept)


def _select_root(body: ElementNode) -> bool:
    """Keep only the element that is marked as the content, where it holds most of the text."""
    total = length(body.text)
    for root in find(body, CONTENT_ROOTS):
        if length(root.text) >= MIN_ROOT_SHARE * total:
            body.replace_children(root)
            return True
    return False


def _set_aside_code(tree: HTMLTree, body: ElementNode, kept: list[str]) -> None:
    """Replace each <pre> by a placeholder; its text goes to `kept`, fenced."""
    total = length(body.text)
    for element in find(body, "pre"):
        if element.parent is None:
            continue
        text = textwrap.dedent(element.text or "").strip("\n").rstrip()
        if not text:
            element.remove()
            continue
        if length(text) <= MAX_WHOLE_PRE_SHARE * total:
            fence = "```"
            while fence in text:
                fence += "`"
            text = f"{fence}\n{text}\n{fence}"
        _replace(tree, element, text, kept)


def _set_aside_tables(tree: HTMLTree, body: ElementNode, kept: list[str]) -> None:
    """Replace each plain table by a placeholder; layout tables (nested, or with blocks) stay."""
    for table in find(body, "table"):
        if table.parent is None or table.query_selector("table, ul, ol, h1, h2, h3") is not None:
            continue
        title, *rows = _ROW.split(table.html)
        cells = [[_cell_text(cell) for cell in _CELL.split(row)[1:]] for row in rows]
        if _OPEN in table.html or max((len(row) for row in cells), default=0) < 2:
            continue
        lines = [_cell_text(title), *(" | ".join(row).strip(" |") for row in cells)]
        _replace(tree, table, "\n".join(line for line in lines if line), kept)


def _cell_text(html: str) -> str:
    """Return the text of a table's cell; here its tags are well formed."""
    if "<" in html:
        html = _TAG.sub("", _BREAK.sub(" ", html))
    return " ".join(unescape(html).split())


def _replace(tree: HTMLTree, element: ElementNode, text: str, kept: list[str]) -> None:
    stand_in = tree.create_element("p")
    assert isinstance(stand_in, ElementNode), "a <p> can always be made"
    stand_in.text = f"{_OPEN}{len(kept)}{_CLOSE}"
    kept.append(text)
    element.replace_with(stand_in)


def _tidy(text: str) -> str:
    """Turn the layout's bullets, cell gaps and loose lists into plain lines."""
    lines: list[str] = []
    for raw in text.split("\n"):
        line = _CELL_GAP.sub(" | ", raw.rstrip()).rstrip(" |")
        if line.startswith(" | "):
            line = line.removeprefix(" | ")
        if _EMPTY_ITEM.match(line):
            continue
        found = _LIST_ITEM.match(line)
        if found:
            indent = " " * max(len(found[1]) - 2, 0)
            line = f"{indent}{found[2] or '-'} {line[found.end() :]}"
            if len(lines) >= 2 and not lines[-1] and _is_item(lines[-2]):
                lines.pop()
        lines.append(line)
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _is_item(line: str) -> bool:
    return re.match(r" *(?:-|\d+\.) ", line) is not None


def _restore(text: str, kept: list[str]) -> str:
    """Put code and tables back where their placeholders stand, each as a block of its own."""
    if not kept:
        return text
    parts = _PLACEHOLDER.split(text)
    blocks = [
        kept[int(part)] if place % 2 else _LAST_BULLET.sub("", part).strip("\n")
        for place, part in enumerate(parts)
    ]
    return "\n\n".join(block.rstrip() for block in blocks if block.strip())
