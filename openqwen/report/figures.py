"""Plots of a report as inline SVG (for light and dark pages) or PNG bytes, equal for equal data.

render_svg(plot)     # "<svg …>" to be put into a page as it is: no ids, styles or texts to leak
render_png(plot)     # on white paper
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from openqwen.report.content import BarPlot, GridPlot, LinePlot, Plot
from openqwen.report.formatting import compact, small
from openqwen.report.palette import FAINT, GRID, INK, PAPER, VARIABLES, series_color

WIDTH = 4.8  # inches; narrow, so that letters stay readable when a phone shrinks the plot
PNG_DOTS = 160  # an inch
LABEL_CHARACTERS = 34
MAX_POINTS = 1000  # a line; of more, each point is a mean of neighbours

# not the user's own matplotlib settings: equal data must give equal bytes
PLOT_STYLE: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "openqwen",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
}


def render_svg(plot: Plot) -> str:
    """Return a plot as an `<svg>` element without ids of its own but those it refers to."""
    with matplotlib.rc_context():
        file = io.StringIO()
        no_dates = {"Date": None, "Creator": None}
        _draw(plot).savefig(file, format="svg", transparent=True, metadata=no_dates)
    return _for_page(file.getvalue(), plot)


def render_png(plot: Plot) -> bytes:
    """Return a plot as a PNG file's bytes."""
    with matplotlib.rc_context():
        file = io.BytesIO()
        paper: Any = {"facecolor": PAPER, "dpi": PNG_DOTS}
        _draw(plot).savefig(file, format="png", metadata={"Software": None}, **paper)
    return file.getvalue()


def _draw(plot: Plot) -> Figure:
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(PLOT_STYLE)
    if isinstance(plot, LinePlot):
        return _draw_lines(plot)
    if isinstance(plot, GridPlot):
        return _draw_grid(plot)
    return _draw_bars(plot)


def _draw_lines(plot: LinePlot) -> Figure:
    legend_rows = math.ceil(len(plot.series) / 2) if len(plot.series) > 1 else 0
    figure, axes = _figure(2.7 + 0.19 * legend_rows)
    for series in plot.series:
        xs, ys = thin(series.xs, series.ys)
        axes.plot(
            xs,
            ys,
            color=series_color(series.color),
            linestyle=(0, (4, 2)) if series.dashed else "-",
            linewidth=1.0 if series.is_faint else 1.6,
            marker="o" if series.has_markers else "",
            label=plot_label(series.label),
        )
    if plot.log_x:
        axes.set_xscale("log", base=2)
    if plot.log_y:
        axes.set_yscale("log")
    if plot.zero_based:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    _set_ticks(axes, plot)
    if plot.mark is not None:
        place, text = plot.mark
        axes.axvline(place, color=FAINT, linewidth=1, linestyle=":")
        axes.annotate(
            plot_label(text),
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -3),
            textcoords="offset points",
            va="top",
            fontsize=8,
        )
    if legend_rows:
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_bars(plot: BarPlot) -> Figure:
    figure, axes = _figure(1.1 + 0.3 * len(plot.rows))
    places = range(len(plot.rows))
    left = [0.0] * len(plot.rows)
    for label, values, color in plot.parts:
        axes.barh(
            places,
            values,
            left=left,
            height=0.66,
            color=GRID if color < 0 else series_color(color),
            label=plot_label(label),
        )
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_yticks(places, [plot_label(row) for row in plot.rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(plot.x_label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    if len(plot.parts) > 1:
        figure.legend(loc="outside lower center", ncols=min(4, len(plot.parts)))
    return figure


def _draw_grid(plot: GridPlot) -> Figure:
    height = 0.6 + len(plot.panels) * (0.45 + 0.3 * len(plot.rows))
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    panels = figure.subplots(len(plot.panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, shares), texts in zip(panels, plot.panels, plot.texts, strict=True):
        axes.set_facecolor("none")
        axes.set_title(plot_label(label), fontsize=9, loc="left")
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                box = Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, linewidth=0)
                box.set(facecolor=series_color(0), alpha=0.08 + 0.6 * (share or 0.0))
                axes.add_patch(box)
                axes.text(x, y, plot_label(texts[y][x]), ha="center", va="center", fontsize=8)
        axes.set_xlim(-0.5, len(plot.columns) - 0.5)
        axes.set_ylim(len(plot.rows) - 0.5, -0.5)
        axes.set_yticks(range(len(plot.rows)), [plot_label(row) for row in plot.rows])
        axes.set_xticks(range(len(plot.columns)), [plot_label(name) for name in plot.columns])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_ylabel(plot.y_label)
    panels[-1].set_xlabel(plot.x_label)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    return figure, axes


def _set_ticks(axes: Axes, plot: LinePlot) -> None:
    if plot.ticks:
        axes.xaxis.set_major_locator(FixedLocator([place for place, _ in plot.ticks]))
        names = dict(plot.ticks)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: names.get(value, "")))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    if plot.log_y:
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axes.yaxis.set_minor_locator(NullLocator())
    formatter = FuncFormatter(
        lambda value, _: compact(value) if abs(value) >= 1000 else small(round(value, 10))
    )
    axes.yaxis.set_major_formatter(formatter)


def log_ticks(low: float, high: float) -> list[float]:
    """Return places for a logarithmic axis: even steps on a short one, then 1, 2, 5, then tens."""
    if high / low <= 4:
        even = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(place) for place in even if low <= place <= high]
    steps = (1,) if high / low > 2000 else (1, 2, 5)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    places = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    inside = [place for place in places if low <= place <= high]
    return inside[:: 1 + len(inside) // 9]


def thin(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return at most MAX_POINTS points: the line itself, or means of equally many neighbours."""
    size = -(-len(xs) // MAX_POINTS)
    if size <= 1:
        return list(xs), list(ys)
    cuts = range(0, len(xs), size)
    return (
        [sum(xs[i : i + size]) / len(xs[i : i + size]) for i in cuts],
        [sum(ys[i : i + size]) / len(ys[i : i + size]) for i in cuts],
    )


def plot_label(text: str) -> str:
    """Return a text as the plots' font can show it: other scripts are ?, no mathematics, short."""
    shown = "".join(c if " " <= c < "\u0250" or c in "αβε–…½¼¾×≈∞−§·" else "?" for c in text)
    short = shown if len(shown) <= LABEL_CHARACTERS else shown[: LABEL_CHARACTERS - 1] + "…"
    escaped = short.replace("$", r"\$")
    return " " + escaped if escaped.startswith("_") else escaped  # _ would hide it from a legend


def _for_page(svg: str, plot: Plot) -> str:
    """Make matplotlib's SVG fit for a page: no prolog, styles, comments or foreign names."""
    root = ElementTree.fromstring(svg)  # comments and the document type are dropped here
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"(?:#)([\w-]+)(?=[\")])", text))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
        element.attrib = {
            name.rsplit("}", 1)[-1]: _renamed(name, value, plot.name)
            for name, value in element.attrib.items()
            if name != "id" or value in used
        }
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": plot.title}
    return _with_variables(ElementTree.tostring(root, encoding="unicode"))


def _renamed(name: str, value: str, prefix: str) -> str:
    """Put the plot's name before an id and what refers to it: a page holds several plots."""
    if name == "id":
        return f"{prefix}-{value}"
    return re.sub(r"(^#|url\(#)", rf"\g<1>{prefix}-", value)


def _with_variables(svg: str) -> str:
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg
