"""What of a page is furniture: scripts, navigation, menus, share bars, cookie notices, footers.

    remove_unseen(body, html)
    remove_furniture(body, class_names(html))        # what is left is content

Names (tags, roles, classes, ids) are believed where they name little of the page; menus without a
name are known by their links. Queries of the tree are few, since each element that is looked at
costs microseconds.
"""

import re
from functools import lru_cache

from resiliparse.parse.html import ElementNode, NodeType

ALWAYS_REMOVED = (
    "script, style, noscript, template, iframe, object, svg, canvas, button, "
    "select, input, textarea, label, nav, dialog, menu, [hidden], [aria-hidden=true]"
)
MAYBE_REMOVED = "[role], [style*=display]"  # fewer selectors, each of which meets every element
REMOVED_ROLES = frozenset(
    {"navigation", "search", "banner", "contentinfo", "menu", "menubar", "dialog", "alertdialog"}
)
FURNITURE_TAGS = "header, footer, form, aside"
WHOLE_PAGE = frozenset({"body", "html", "main", "article"})
# parts of a class or an id that name furniture, and those that name content whatever else they say
FURNITURE_NAMES = frozenset(
    {
        *("nav", "navbar", "navheader", "navfooter", "navigation", "navlinks", "menu", "sidebar"),
        *("breadcrumb", "breadcrumbs", "sphinxsidebar", "toc", "toctree", "tableofcontents"),
        *("footer", "banner", "pagination", "pager", "share", "sharing", "social", "cookie"),
        *("cookies", "consent", "advert", "advertisement", "ads", "newsletter", "subscribe"),
        *("related", "relatedtopics", "skiplink", "skip", "editsection", "printfooter", "catlinks"),
        *("noprint", "searchbox", "debug", "linenos", "linenodiv", "gutter", "topnav", "topbar"),
        *("crumbs", "navbox", "sitenotice", "respond", "sharedaddy", "toolbar", "masthead"),
    }
)
# of these, what is furniture however much of a small page it fills
EDGE_NAMES = frozenset(
    {"footer", "navheader", "navfooter", "navbar", "breadcrumbs", "banner", "respond", "consent"}
)
CONTENT_NAMES = frozenset({"note", "footnote", "footnotes", "admonition", "warning", "tip"})
# whole classes of what only a screen reader says
UNSEEN = frozenset({"sr-only", "visually-hidden", "screen-reader-text", "mw-jump-link"})
CONTENT_MARKS = "h1, main, article, [role=main]"
LIST_BLOCKS = ("ul", "ol", "dl", "table", "tbody", "tr", "h1", "h2", "h3", "h4", "h5", "h6")
OTHER_BLOCKS = ("div", "section", "p", "td", "li", "dd", "aside", "blockquote", "center", "font")
PERMALINK_TEXTS = frozenset({"", "¶", "§", "#", "🔗", "permalink", "[edit]", "edit"})

MAX_FURNITURE_SHARE = 0.3  # a larger part of the page is content whatever its name
MAX_LINKED_SHARE = 0.75  # of a block's text inside links; above it the block is a menu
MIN_MENU_LINKS = 4
MAX_MENU_PROSE = 60  # characters outside links, above which a block is not all menu
MAX_NAME = 100  # characters of a class that stands without quotes
MAX_NAMES = 100  # names of furniture looked up in a page

_ATTRIBUTES = ("class=", "id=", "CLASS=", "ID=")
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_NAME_PARTS = re.compile(r"[\s_-]+")
_PLAIN_NAME = re.compile(r"[\w.:-]+")


def class_names(html: str) -> set[str]:
    """Return the names that stand in class and id attributes of a page's source, roughly."""
    values = set()
    for attribute in _ATTRIBUTES:
        for rest in html.split(attribute)[1:]:
            quote = rest[:1]
            if quote in ("'", '"'):
                values.add(rest[1 : rest.find(quote, 1)])
            else:
                values.add(rest[:MAX_NAME].split(">", 1)[0])
    return {name for value in values for name in value.split()}


def remove_unseen(body: ElementNode, html: str) -> None:
    """Remove scripts, forms' fields, navigation and what is hidden.

    Args:
        body: of the parsed page.
        html: the page as it came.
    """
    if "hidden" in html:
        _show_defaults(body)
    for element in find(body, ALWAYS_REMOVED):
        element.remove()
    for element in find(body, MAYBE_REMOVED):
        if element.getattr("role") in REMOVED_ROLES or _HIDDEN.search(
            element.getattr("style") or ""
        ):
            element.remove()


def remove_furniture(body: ElementNode, names: set[str]) -> None:
    """Remove all else that is no content from a page's body.

    Args:
        body: of the parsed page.
        names: `class_names` of the page.
    """
    _remove_named(body, names)
    _remove_menus(body, _remove_permalinks(find(body, "a[href]")))


def length(text: str | None) -> int:
    """Return about how many characters are not white space."""
    return len(text) - text.count(" ") - text.count("\n") if text else 0


def find(element: ElementNode, selector: str) -> list[ElementNode]:
    """Return matches as a list: the live collection runs the whole query again for each item."""
    return list(element.query_selector_all(selector)[:])


def _show_defaults(body: ElementNode) -> None:
    """Unhide the last of alternatives that are all hidden until a script picks one."""
    for element in find(body, "span[hidden]:last-child"):
        parent = element.parent_element
        siblings = parent.children[:] if parent is not None else ()
        if all(s.hasattr("hidden") for s in siblings) and not _own_text(parent):
            element.delattr("hidden")


def _own_text(element: ElementNode | None) -> str:
    """Return the text that stands directly in an element, outside its children."""
    nodes = element.child_nodes[:] if element is not None else ()
    return "".join(node.text or "" for node in nodes if node.type == NodeType.TEXT).strip()


def _remove_permalinks(links: list[ElementNode]) -> list[ElementNode]:
    """Remove links that only name the place they stand at; return the others."""
    kept = []
    for link in links:
        is_here = (link.getattr("href") or "").startswith("#")
        if is_here and (link.text or "").strip().lower() in PERMALINK_TEXTS:
            link.remove()
        else:
            kept.append(link)
    return kept


def _remove_named(body: ElementNode, names: set[str]) -> None:
    """Remove what its tag, class or id calls furniture, unless it holds much of the page."""
    found = [f'[class~="{name}"], [id="{name}"]' for name in names if _names_furniture(name)]
    total = length(body.text)
    for element in find(body, ", ".join([FURNITURE_TAGS, *sorted(found)[:MAX_NAMES]])):
        if element.parent is None or element.tag in WHOLE_PAGE:
            continue
        parts = set(_NAME_PARTS.split(f"{element.class_name or ''} {element.id or ''}".lower()))
        is_edge = element.tag in ("header", "footer") or not parts.isdisjoint(EDGE_NAMES)
        if not (is_edge or not _is_large(element, total)) or parts & CONTENT_NAMES:
            continue
        if element.query_selector(CONTENT_MARKS) is None:
            element.remove()


@lru_cache(maxsize=4096)
def _names_furniture(name: str) -> bool:
    parts = {name.lower(), *_NAME_PARTS.split(name.lower())}
    return not parts.isdisjoint(FURNITURE_NAMES | UNSEEN) and bool(_PLAIN_NAME.fullmatch(name))


def _is_large(element: ElementNode, total: int) -> bool:
    """Return whether an element holds much of the page's text, and not as links."""
    own = length(element.text)
    if own <= MAX_FURNITURE_SHARE * total:
        return False
    return sum(length(link.text) for link in find(element, "a[href]")) < 0.5 * own


def _remove_menus(body: ElementNode, links: list[ElementNode]) -> None:
    """Remove lists, tables and small blocks whose text is nearly all links."""
    if len(links) < MIN_MENU_LINKS:
        return
    counts, linked, inside = _count_links(body, links)
    waiting = [(child, MIN_MENU_LINKS) for child in inside.get(body, ())]
    while waiting:
        element, min_links = waiting.pop()
        if counts[element] < min_links:
            continue
        total = length(element.text)
        children = inside.get(element, ())
        if linked[element] <= MAX_LINKED_SHARE * total:
            waiting += [(child, min_links) for child in children]
        elif element.tag in LIST_BLOCKS or (
            element.tag in OTHER_BLOCKS and total - linked[element] < MAX_MENU_PROSE
        ):
            element.remove()
        else:  # a menu with some prose in it: every block of links goes, the prose stays
            waiting += [(child, 1) for child in children]


Counts = dict[ElementNode, int]


def _count_links(
    body: ElementNode, links: list[ElementNode]
) -> tuple[Counts, Counts, dict[ElementNode, list[ElementNode]]]:
    """Return how many links, and how much of their text, stand in each element that has any.

    Also which of those stand directly in which. Only the links and what is around them is looked
    at, each once.
    """
    counts: Counts = {}
    linked: Counts = {}
    inside: dict[ElementNode, list[ElementNode]] = {}
    order: list[ElementNode] = []  # parents before what is in them, within each path
    outer: dict[ElementNode, ElementNode] = {}
    for link in links:
        path, element = [], link
        while element not in counts:
            counts[element] = linked[element] = 0
            path.append(element)
            parent = element.parent_element
            if parent is None or element == body:
                break
            outer[element] = parent
            inside.setdefault(parent, []).append(element)
            element = parent
        order += reversed(path)
        counts[link] += 1
        linked[link] += length(link.text)
    for element in reversed(order):
        if element in outer:
            counts[outer[element]] += counts[element]
            linked[outer[element]] += linked[element]
    return counts, linked, inside
