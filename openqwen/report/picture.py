"""The picture of the lineage (Figure 1): a box a stage, solid where it has finished.

picture = lineage_picture(run, headlines)     # headlines: stage name -> short lines
"""

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from openqwen.core.log import format_bytes, format_duration
from openqwen.report.content import Picture
from openqwen.report.formatting import clean
from openqwen.report.palette import FAINT, GRID, INK, PAPER, SERIES
from openqwen.report.run_facts import RunFacts, StageFacts

WIDTH, HEIGHT = 488, 596
WIDE, NARROW = 224, 110
TALL, LOW = 80, 74
COLUMNS = (4, 127, 250, 373)  # left edges of the later stages
LINE_CHARACTERS = {WIDE: 36, NARROW: 17}
BRANCH_Y = 394  # where the lines from the base model part


@dataclass(frozen=True)
class Box:
    """Where a stage's box stands."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Return the x of its centre."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Return the y of its lower edge."""
        return self.y + self.height


BOXES = {
    "sources": Box(132, 4, WIDE, TALL),
    "documents": Box(132, 104, WIDE, TALL),
    "shards": Box(4, 204, WIDE, TALL),
    "tokenizer": Box(260, 204, WIDE, TALL),
    "base": Box(4, 304, WIDE, TALL),
    "longcontext": Box(260, 304, WIDE, TALL),
    "chat": Box(COLUMNS[0], 416, NARROW, LOW),
    "preference": Box(COLUMNS[1], 416, NARROW, LOW),
    "code": Box(COLUMNS[2], 416, NARROW, LOW),
    "math-chat": Box(COLUMNS[3], 416, NARROW, LOW),
    "chat-rlhf": Box(COLUMNS[0], 516, NARROW, LOW),
    "reward": Box(COLUMNS[1], 516, NARROW, LOW),
    "code-chat": Box(COLUMNS[2], 516, NARROW, LOW),
    "evaluation": Box(COLUMNS[3], 516, NARROW, LOW),
}
BELOW = (
    ("sources", "documents"),
    ("documents", "shards"),
    ("documents", "tokenizer"),
    ("shards", "base"),
    ("chat", "chat-rlhf"),
    ("preference", "reward"),
    ("code", "code-chat"),
    ("math-chat", "evaluation"),
)
BESIDE = (
    ("tokenizer", "shards"),
    ("base", "longcontext"),
    ("reward", "chat-rlhf"),
    ("code-chat", "evaluation"),
)
FROM_BASE = ("chat", "preference", "code", "math-chat")
STATES = {
    "finished": "done",
    "not run": "waiting",
    "not finished": "waiting",
    "not in this recipe": "later",
}
STANDALONE_STYLE = f"""
text {{ font: 12px system-ui, sans-serif; fill: {INK}; }}
.name {{ font-weight: 600; font-size: 13.5px; }}
.faint {{ fill: {FAINT}; font-size: 11.5px; }}
.tight {{ font-size: 10.5px; }}
.done {{ fill: {PAPER}; stroke: {SERIES[0]}; stroke-width: 1.5; }}
.waiting {{ fill: none; stroke: {INK}; stroke-dasharray: 6 4; }}
.later {{ fill: none; stroke: {FAINT}; stroke-dasharray: 2 4; }}
.arrow {{ fill: none; stroke: {FAINT}; stroke-width: 1.3; }}
.head {{ fill: {FAINT}; }}
.paper {{ fill: {PAPER}; stroke: {GRID}; }}
"""


def lineage_picture(run: RunFacts, headlines: dict[str, list[str]]) -> Picture:
    """Draw the lineage of a run.

    Args:
        run: the stages' states, times and sizes.
        headlines: what finished stages made, at most two short lines each.
    """
    title = "The lineage: what this run made, and what later stages add"
    return Picture(
        "lineage",
        title,
        _draw(run, headlines, title, standalone=False),
        _draw(run, headlines, title, standalone=True),
    )


def _draw(run: RunFacts, headlines: dict[str, list[str]], title: str, *, standalone: bool) -> str:
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": title})
    if standalone:
        svg.set("xmlns", "http://www.w3.org/2000/svg")
        SubElement(svg, "style").text = STANDALONE_STYLE
        SubElement(svg, "rect", {"width": f"{WIDTH}", "height": f"{HEIGHT}", "class": "paper"})
    _draw_arrows(svg)
    for name, box in BOXES.items():
        _draw_box(svg, box, run.stage(name), headlines.get(name, []))
    return ElementTree.tostring(svg, encoding="unicode")


def _draw_box(svg: Element, box: Box, stage: StageFacts, headline: list[str]) -> None:
    group = SubElement(svg, "g")
    frame = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": 7}
    attributes = {key: f"{value:g}" for key, value in frame.items()}
    SubElement(group, "rect", attributes | {"class": STATES[stage.state]})
    title = stage.kind.name if box.width == NARROW else f"{stage.kind.name}  {stage.kind.source}"
    plain = "tight" if box.width == NARROW else ""
    lines = [(title, "name"), *((line, plain) for line in headline)]
    if stage.manifest is not None:
        cost = f"{format_duration(stage.manifest.seconds)} · {format_bytes(stage.bytes)}"
        lines.append((cost, "faint"))
    else:
        lines += [(stage.kind.source, "faint")] if box.width == NARROW else []
        lines.append((stage.state, "faint"))
    top = box.y + (box.height - 17 * len(lines)) / 2 + 12.5
    for place, (line, kind) in enumerate(lines):
        where = {"x": f"{box.middle:g}", "y": f"{top + 17 * place:g}", "text-anchor": "middle"}
        limit = LINE_CHARACTERS[int(box.width)]
        short = line if len(line) <= limit else line[: limit - 1] + "…"
        SubElement(group, "text", where | ({"class": kind} if kind else {})).text = clean(short)


def _draw_arrows(svg: Element) -> None:
    for upper, lower in BELOW:
        start, end = BOXES[upper], BOXES[lower]
        straight = start.x == end.x
        left, right = max(start.x, end.x), min(start.x + start.width, end.x + end.width)
        x = start.middle if straight else (left + right) / 2
        _arrow(svg, [(x, start.bottom), (x, end.y)])
    for source, target in BESIDE:
        start, end = BOXES[source], BOXES[target]
        y = start.y + start.height / 2
        goes_right = end.x > start.x
        x1, x2 = (start.x + start.width, end.x) if goes_right else (start.x, end.x + end.width)
        _arrow(svg, [(x1, y), (x2, y)])
    base = BOXES["base"]
    for name in FROM_BASE:
        box = BOXES[name]
        elbow = [(base.middle, base.bottom), (base.middle, BRANCH_Y), (box.middle, BRANCH_Y)]
        _arrow(svg, [*elbow, (box.middle, box.y)])


def _arrow(svg: Element, points: list[tuple[float, float]]) -> None:
    """Draw a line through points with a head at the last one."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    SubElement(svg, "polyline", {"points": path, "class": "arrow"})
    (x0, y0), (x, y) = points[-2:]
    if x == x0:
        head = [(x, y), (x - 4, y - 7), (x + 4, y - 7)]
    else:
        back = x - 7 if x > x0 else x + 7
        head = [(x, y), (back, y - 4), (back, y + 4)]
    corners = " ".join(f"{a:g},{b:g}" for a, b in head)
    SubElement(svg, "polygon", {"points": corners, "class": "head"})
    assert y >= y0, "arrows go down or sideways"
