"""What a report page holds, before it is HTML or Markdown: sections of texts, tables, plots.

Both pages are written from the same blocks, so that they can't disagree. Texts are plain text; who
renders them escapes them.

    Table("Shards", ("split", "tokens"), [Row(("train", "1,024"))])
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

RowKind = Literal["", "part", "total", "reported", "control"]


@dataclass(frozen=True)
class Text:
    """A paragraph; `link` is a label and a path relative to the page, appended to it."""

    text: str
    link: tuple[str, str] | None = None
    is_note: bool = False


@dataclass(frozen=True)
class Row:
    """A table's row. "part" belongs to the row above it; "reported" is the report's, not ours."""

    cells: tuple[str, ...]
    kind: RowKind = ""


@dataclass(frozen=True)
class Table:
    """A table; its first `text_columns` columns hold words, the others numbers."""

    caption: str
    columns: tuple[str, ...]
    rows: list[Row]
    text_columns: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row.cells) == len(self.columns), f"{self.caption}: {row.cells}"


@dataclass(frozen=True)
class Series:
    """One line of a plot; `color` is a place in the palette."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: int
    dashed: bool = False
    has_markers: bool = False
    is_faint: bool = False


@dataclass(frozen=True)
class LinePlot:
    """Lines over a shared axis; `ticks` replaces the axis's own places by named ones."""

    name: str  # file name and id: lower-case letters and hyphens
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    log_x: bool = False
    log_y: bool = False
    ticks: list[tuple[float, str]] = field(default_factory=list)
    mark: tuple[float, str] | None = None  # a vertical line and what it means
    zero_based: bool = False


@dataclass(frozen=True)
class BarPlot:
    """Horizontal bars, each of parts that add up, first row on top."""

    name: str
    title: str
    x_label: str
    rows: list[str]
    parts: list[tuple[str, list[float], int]]  # label, a value a row, color (-1: faint)


@dataclass(frozen=True)
class GridPlot:
    """Shares between 0 and 1 over two named axes, a panel a condition; None is not measured."""

    name: str
    title: str
    x_label: str
    y_label: str
    columns: list[str]
    rows: list[str]  # first on top
    panels: list[tuple[str, list[list[float | None]]]]  # label, rows of shares
    texts: list[list[list[str]]]  # what stands in each cell


@dataclass(frozen=True)
class Picture:
    """A drawing that is SVG text already, of shapes and escaped text only."""

    name: str
    title: str
    svg: str
    standalone_svg: str  # the same with its own colours, for a file


@dataclass(frozen=True)
class Sample:
    """What a model wrote after a prompt."""

    label: str
    prompt: str
    text: str


@dataclass(frozen=True)
class Samples:
    """Some continuations."""

    caption: str
    samples: list[Sample]


@dataclass(frozen=True)
class Code:
    """Commands to copy."""

    text: str


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away at first."""

    summary: str
    blocks: list["Block"]


Plot: TypeAlias = LinePlot | BarPlot | GridPlot
Block: TypeAlias = Text | Table | LinePlot | BarPlot | GridPlot | Picture | Samples | Code | Details


@dataclass(frozen=True)
class Section:
    """A part of the page; `source` is the report's section, `facts` a line of time and size."""

    id: str
    title: str
    source: str
    lead: str
    facts: str
    blocks: list[Block]


@dataclass(frozen=True)
class Page:
    """The whole page."""

    title: str
    subtitle: str
    intro: list[str]
    sections: list[Section]


def walk(blocks: Sequence[Block]) -> list[Block]:
    """Return all blocks in order, folded ones too."""
    found: list[Block] = []
    for block in blocks:
        found.append(block)
        if isinstance(block, Details):
            found += walk(block.blocks)
    return found
