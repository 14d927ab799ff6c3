"""The readable part of an HTML page as plain text: no navigation, code and tables kept.

    main_text("<nav>Home</nav><h1>Sums</h1><p>Add them.</p><pre>1 + 1</pre>")
    # "Sums\n\nAdd them.\n\n```\n1 + 1\n```"

resiliparse parses and lays out; what is content is decided here, since its own main-content mode
loses headings, short words between links and whole lists (seen on Debian's manuals).
"""

import re
import textwrap

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree, NodeType

ALWAYS_REMOVED = (
    "script, style, noscript, template, iframe, object, svg, canvas, math annotation, button, "
    "select, input, textarea, label, nav, dialog, menu, [hidden], [aria-hidden=true], "
    "[style*='display:none'], [style*='display: none'], "
    "[role=navigation], [role=search], [role=banner], [role=contentinfo], [role=menu], "
    "[role=menubar], [role=dialog]"
)
FURNITURE_TAGS = ("header", "footer", "form", "aside")
MAYBE_FURNITURE = (
    "header, footer, form, aside, div[class], div[id], ul[class], ul[id], ol[class], ol[id], "
    "dl[class], dl[id], p[class], p[id], table[class], table[id], section[class], section[id], "
    "td[class], td[id]"
)
# parts of a class or an id that name furniture, and those that name content whatever else they say
FURNITURE_NAMES = frozenset(
    {
        *("nav", "navbar", "navheader", "navfooter", "navigation", "navlinks", "menu", "sidebar"),
        *("breadcrumb", "breadcrumbs", "sphinxsidebar", "toc", "toctree", "tableofcontents"),
        *("footer", "banner", "pagination", "pager", "share", "sharing", "social", "cookie"),
        *("cookies", "advert", "advertisement", "ads", "newsletter", "subscribe", "related"),
        *("relatedtopics", "skiplink", "skip", "editsection", "printfooter", "catlinks"),
        *("noprint", "searchbox", "debug", "linenos", "linenodiv", "gutter"),
    }
)
# of these, what is furniture however much of a small page it fills
EDGE_NAMES = frozenset({"footer", "navheader", "navfooter", "navbar", "breadcrumbs", "banner"})
CONTENT_NAMES = frozenset({"note", "footnote", "footnotes", "admonition", "warning", "tip"})
CONTENT_MARKS = "h1, main, article, [role=main]"
CONTENT_ROOTS = "main, [role=main], article, [itemprop=articleBody], #content, #mw-content-text"
LIST_BLOCKS = ("ul", "ol", "dl", "table", "tbody", "tr", "h1", "h2", "h3", "h4", "h5", "h6")
OTHER_BLOCKS = ("div", "section", "p", "td", "li", "dd", "aside", "blockquote", "center")
PERMALINK_TEXTS = frozenset({"", "¶", "§", "#", "🔗", "permalink", "[edit]", "edit"})

MAX_FURNITURE_SHARE = 0.3  # a larger part of the page is content whatever its name
MIN_ROOT_SHARE = 0.4  # of the page's text, for an element to count as the content's root
MAX_LINKED_SHARE = 0.75  # of a block's text inside links; above it the block is a menu
MIN_MENU_LINKS = 4
MAX_MENU_PROSE = 60  # characters outside links, above which a block is not all menu
MAX_WHOLE_PRE_SHARE = 0.9  # a page that is one <pre> is plain text, not code

_SPACES = re.compile(r"\s+")
_NAME_PARTS = re.compile(r"[\s_-]+")
_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")
_PRIVATE = re.compile("[\ue000\ue001]")
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
    tree = HTMLTree.parse(_PRIVATE.sub("", html))
    body = tree.body
    if body is None:
        return ""
    _show_defaults(body)
    for element in _find(body, ALWAYS_REMOVED):
        element.remove()
    _remove_furniture(body)
    _remove_menus(body)
    _select_root(body)
    kept: list[str] = []
    _set_aside_code(tree, body, kept)
    _set_aside_tables(tree, body, kept)
    text = extract_plain_text(tree, preserve_formatting=True, main_content=False, alt_texts=False)
    return _restore(_tidy(text), kept)


def _length(text: str | None) -> int:
    """Return the number of characters that are not white space."""
    return len("".join((text or "").split()))


def _show_defaults(body: ElementNode) -> None:
    """Unhide the last of alternatives that are all hidden until a script picks one."""
    for element in _find(body, "span[hidden]:last-child"):
        parent = element.parent_element
        siblings = parent.children[:] if parent is not None else ()
        if all(s.hasattr("hidden") for s in siblings) and not _own_text(parent):
            element.delattr("hidden")


def _own_text(element: ElementNode | None) -> str:
    """Return the text that stands directly in an element, outside its children."""
    nodes = element.child_nodes[:] if element is not None else ()
    return "".join(node.text or "" for node in nodes if node.type == NodeType.TEXT).strip()


def _remove_furniture(body: ElementNode) -> None:
    """Remove what its tag, class or id calls furniture, unless it holds much of the page."""
    total = _length(body.text)
    for anchor in _find(body, "a[href^='#']"):
        if (anchor.text or "").strip().lower() in PERMALINK_TEXTS:
            anchor.remove()
    for element in _find(body, MAYBE_FURNITURE):
        if element.parent is None:
            continue
        names = f"{element.class_name or ''} {element.id or ''}".lower()
        parts = set(_NAME_PARTS.split(names))
        if element.tag not in FURNITURE_TAGS and parts.isdisjoint(FURNITURE_NAMES):
            continue
        if parts & CONTENT_NAMES or element.query_selector(CONTENT_MARKS) is not None:
            continue
        is_edge = element.tag in ("header", "footer") or not parts.isdisjoint(EDGE_NAMES)
        if is_edge or not _is_large(element, total):
            element.remove()


def _is_large(element: ElementNode, total: int) -> bool:
    """Return whether an element holds much of the page's text, and not as links."""
    own = _length(element.text)
    if own <= MAX_FURNITURE_SHARE * total:
        return False
    return sum(_length(link.text) for link in _find(element, "a[href]")) < 0.5 * own


def _remove_menus(body: ElementNode) -> None:
    """Remove lists, tables and small blocks whose text is nearly all links."""
    waiting = [(child, MIN_MENU_LINKS) for child in body.children[:]]
    while waiting:
        element, min_links = waiting.pop()
        links = _find(element, "a[href]")
        if len(links) < min_links:
            continue
        linked, total = sum(_length(link.text) for link in links), _length(element.text)
        if linked <= MAX_LINKED_SHARE * total:
            waiting += [(child, min_links) for child in element.children[:]]
        elif element.tag in LIST_BLOCKS or (
            element.tag in OTHER_BLOCKS and total - linked < MAX_MENU_PROSE
        ):
            element.remove()
        else:  # a menu with some prose in it: every block of links goes, the prose stays
            waiting += [(child, 1) for child in element.children[:]]


def _select_root(body: ElementNode) -> None:
    """Keep only the element that is marked as the content, where it holds most of the text."""
    total = _length(body.text)
    for root in _find(body, CONTENT_ROOTS):
        if _length(root.text) >= MIN_ROOT_SHARE * total:
            body.replace_children(root)
            return


def _set_aside_code(tree: HTMLTree, body: ElementNode, kept: list[str]) -> None:
    """Replace each <pre> by a placeholder; its text goes to `kept`, fenced."""
    total = _length(body.text)
    for element in _find(body, "pre"):
        if element.parent is None:
            continue
        text = textwrap.dedent(element.text or "").strip("\n").rstrip()
        if not text:
            element.remove()
            continue
        if _length(text) <= MAX_WHOLE_PRE_SHARE * total:
            fence = "```"
            while fence in text:
                fence += "`"
            text = f"{fence}\n{text}\n{fence}"
        _replace(tree, element, text, kept)


def _set_aside_tables(tree: HTMLTree, body: ElementNode, kept: list[str]) -> None:
    """Replace each plain table by a placeholder; layout tables (nested, or with blocks) stay."""
    for table in _find(body, "table"):
        if table.parent is None or table.query_selector("table, ul, ol, h1, h2, h3") is not None:
            continue
        rows = []
        for row in _find(table, "tr"):
            cells = [_SPACES.sub(" ", cell.text or "").strip() for cell in row.children[:]]
            rows.append(cells)
        if _PRIVATE.search(table.text or "") or max((len(r) for r in rows), default=0) < 2:
            continue
        lines = [" | ".join(cells).strip(" |") for cells in rows]
        _replace(tree, table, "\n".join(line for line in lines if line), kept)


def _replace(tree: HTMLTree, element: ElementNode, text: str, kept: list[str]) -> None:
    stand_in = tree.create_element("p")
    assert isinstance(stand_in, ElementNode), "a <p> can always be made"
    stand_in.text = f"\ue000{len(kept)}\ue001"
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


def _find(element: ElementNode, selector: str) -> list[ElementNode]:
    """Return matches as a list: the live collection runs the whole query again for each item."""
    return list(element.query_selector_all(selector)[:])
