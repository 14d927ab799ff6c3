r"""Formulas of a page as LaTeX in its text, once each, however they were drawn.

    write_formulas(tree, tree.body, html, names)      # <math>…</math> -> $E = mc^2$

Pages hold a formula as MathML, as what KaTeX or MathJax made of it (two or three copies, most of
them hidden), as a script for MathJax, or as an image with the source in `alt`. Where the LaTeX
source is there it is taken; else MathML is written in LaTeX's manner.
"""

import re

from resiliparse.parse.html import ElementNode, HTMLTree

# one of these stands in every page with a formula that has to be rewritten
MARKS = ("<math", "math/tex", "<mjx-", 'alt="$', 'alt="\\', 'alt="{\\')
NAMES = frozenset({"katex", "latex", "tex", "mwe-math-element", "MathJax", "MathJax_SVG"})
# one formula each, with its copies inside
WHOLE = (
    ".katex, .mwe-math-element, mjx-container, .MathJax_Display, .MathJax, .MathJax_SVG, "
    ".MathJax_CHTML, math"
)
SCRIPTS = "script[type^='math/tex']"
IMAGES = "img.latex, img.tex, img[alt^='$'], img[alt^='\\\\'], img[alt^='{\\\\displaystyle']"
SOURCE = "annotation[encoding='application/x-tex'], annotation[encoding='TeX']"
DISPLAY_NAMES = ("katex-display", "MathJax_Display", "mwe-math-fallback-image-display")
MAX_DEPTH = 60  # of MathML; what is nested deeper is taken as its bare text

_STYLE = re.compile(r"^\{\\(?:display|text)style\s*(.*)\}$", re.DOTALL)
_CDATA = re.compile(r"^\s*%?\s*<!\[CDATA\[|%?\s*\]\]>\s*$")
_SPACES = re.compile(r"\s+")
_DELIMITED = ("$", "\\(", "\\[", "\\begin{equation", "\\begin{align")


def write_formulas(tree: HTMLTree, body: ElementNode, html: str, names: set[str]) -> None:
    """Replace every formula of a page by its source between dollar signs.

    Args:
        tree: the parsed page.
        body: its body.
        html: the page as it came; one without any of `MARKS` and `NAMES` costs little.
        names: its classes and ids.
    """
    if NAMES.isdisjoint(names) and not any(mark in html for mark in MARKS):
        return
    for script in body.query_selector_all(SCRIPTS)[:]:
        _remove_drawing(script)
        is_display = "mode=display" in (script.getattr("type") or "")
        _put(tree, script, _CDATA.sub("", script.text or ""), is_display)
    for element in body.query_selector_all(WHOLE)[:]:
        if element.parent is not None:
            _put(tree, element, _source(element), _is_display(element))
    for image in body.query_selector_all(IMAGES)[:]:
        _put(tree, image, image.getattr("alt") or "", _is_display(image))


def _put(tree: HTMLTree, element: ElementNode, source: str, is_display: bool) -> None:
    source = _SPACES.sub(" ", source).strip()
    found = _STYLE.match(source)
    source = found[1].strip() if found else source
    if not source:
        element.remove()
        return
    if not source.startswith(_DELIMITED):
        source = f"$${source}$$" if is_display else f"${source}$"
    stand_in = tree.create_text_node(source)
    assert stand_in is not None, "a text node can always be made"
    element.replace_with(stand_in)


def _remove_drawing(script: ElementNode) -> None:
    """Remove what MathJax drew before the script that it drew from."""
    before = script.previous_element_sibling
    while before is not None and "MathJax" in (before.class_name or ""):
        before.remove()
        before = script.previous_element_sibling


def _is_display(element: ElementNode) -> bool:
    parent = element.parent_element
    names = f"{element.class_name or ''} {parent.class_name or '' if parent is not None else ''}"
    return (
        element.getattr("display") in ("block", "true")
        or any(name in names for name in DISPLAY_NAMES)
        or element.query_selector("math[display=block]") is not None
    )


def _source(element: ElementNode) -> str:
    """Return a formula's LaTeX: as noted in it, or made from its MathML, or its bare text."""
    noted = element.query_selector(SOURCE)
    if noted is not None:
        return noted.text or ""
    math = element if element.tag == "math" else element.query_selector("math")
    if math is not None:
        return math.getattr("alttext") or latex_of(math)
    image = element.query_selector("img[alt]")
    return (image.getattr("alt") if image is not None else element.text) or ""


def latex_of(element: ElementNode, depth: int = 0) -> str:
    r"""Return MathML in LaTeX's manner: <msup><mi>c</mi><mn>2</mn></msup> is c^{2}."""
    children = [c for c in element.children[:] if not (c.tag or "").startswith("annotation")]
    if not children or depth > MAX_DEPTH:
        return _SPACES.sub(" ", element.text or "").strip()
    parts = [latex_of(child, depth + 1) for child in children]
    form = _FORMS.get((element.tag or "", len(parts)))
    if form:
        return form.format(*parts)
    if element.tag == "msqrt":
        return f"\\sqrt{{{' '.join(parts)}}}"
    if element.tag == "mtable":
        return " \\\\ ".join(parts)
    if element.tag == "mtr":
        return " & ".join(parts)
    return " ".join(part for part in parts if part)


_FORMS = {
    ("mfrac", 2): "\\frac{{{0}}}{{{1}}}",
    ("msup", 2): "{0}^{{{1}}}",
    ("mover", 2): "{0}^{{{1}}}",
    ("msub", 2): "{0}_{{{1}}}",
    ("munder", 2): "{0}_{{{1}}}",
    ("msubsup", 3): "{0}_{{{1}}}^{{{2}}}",
    ("munderover", 3): "{0}_{{{1}}}^{{{2}}}",
    ("mroot", 2): "\\sqrt[{1}]{{{0}}}",
}
