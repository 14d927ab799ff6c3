"""The report as Markdown: the same texts and tables as the HTML page, plots as linked files."""

import re

from openqwen.report.content import (
    BarPlot,
    Block,
    Code,
    Details,
    GridPlot,
    LinePlot,
    Page,
    Picture,
    Samples,
    Section,
    Table,
    Text,
)
from openqwen.report.formatting import clean

PLOTS_NAME = "plots"  # directory beside the page

# underscores inside words are no emphasis, and settings' names are full of them
_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_OPENS_BLOCK = re.compile(r"^([-+=#]|\d+(?=[.)](?:\s|$)))")


def render_markdown(page: Page) -> str:
    """Return the whole page; texts of the run are escaped, so that they stay plain."""
    parts = [f"# {escape(page.title)}", _paragraph(page.subtitle)]
    parts += map(_paragraph, page.intro)
    parts.append("\n".join(f"- [{escape(s.title)}](#{_anchor(s)})" for s in page.sections))
    for section in page.sections:
        parts.append(f"## {escape(_heading(section))}")
        parts += [_paragraph(text) for text in (section.lead, section.facts) if text]
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line; for table cells and inside lines."""
    flat = " ".join(clean(text).split("\n"))
    html = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", html)


def _paragraph(text: str) -> str:
    """Return an escaped text that doesn't open a list or a heading either."""
    escaped = escape(text)
    match = _OPENS_BLOCK.match(escaped)
    if match is None:
        return escaped
    place = match.end() if match[0].isdigit() else 0
    return f"{escaped[:place]}\\{escaped[place:]}"


def _heading(section: Section) -> str:
    return f"{section.title} ({section.source})" if section.source else section.title


def _anchor(section: Section) -> str:
    """Return the anchor that forges give a heading: lower case, marks left out, hyphens."""
    kept = re.sub(r"[^\w\- ]", "", _heading(section).lower())
    return kept.replace(" ", "-")


def _block(block: Block) -> str:
    match block:
        case Text(text, link):
            return _paragraph(text) + (f" [{escape(link[0])}]({link[1]})" if link else "")
        case Table():
            return _table(block)
        case LinePlot() | BarPlot() | GridPlot():
            return f"![{escape(block.title)}]({PLOTS_NAME}/{block.name}.png)"
        case Picture():
            return f"![{escape(block.title)}]({PLOTS_NAME}/{block.name}.svg)"
        case Samples(caption, samples):
            shown = [f"{escape(s.label)}:\n\n{_fenced(s.prompt + s.text)}" for s in samples]
            return "\n\n".join([f"**{escape(caption)}**", *shown])
        case Code(text):
            return _fenced(text)
        case Details(summary, blocks):
            inner = "\n\n".join(_block(part) for part in blocks)
            return f"<details><summary>{escape(summary)}</summary>\n\n{inner}\n\n</details>"


def _table(table: Table) -> str:
    marks = ["---" if place < table.text_columns else "---:" for place in range(len(table.columns))]
    lines = [_row(table.columns), "|" + "|".join(marks) + "|"]
    lines += [_row(row.cells) for row in table.rows]
    note = f"\n\n{_paragraph(table.note)}" if table.note else ""
    return f"**{escape(table.caption)}**\n\n" + "\n".join(lines) + note


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def _fenced(text: str) -> str:
    """Return a code block whose fence is longer than any run of backticks inside."""
    runs = re.findall("`+", text)
    fence = "`" * max([3, *(len(run) + 1 for run in runs)])
    return f"{fence}text\n{clean(text)}\n{fence}"
