"""Curves of several trainings on one pair of axes, as a PNG: every row faint, the mean strong.

png = draw_curves(curves, metric="loss", x="tokens", window=9)
"""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from openqwen.report.figures import PLOT_STYLE, plot_label, thin
from openqwen.report.formatting import compact, small
from openqwen.report.palette import INK, PAPER
from openqwen.report.runs_compare import Curve

# Okabe and Ito's colours without the yellow: told apart with any kind of colour vision
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
SIZE = (8.0, 5.0)  # inches
DOTS = 150  # an inch
UNITS = {
    "loss": "loss, nats a token",
    "bits_per_byte": "bits a byte",
    "tokens_per_s": "tokens a second",
    "share_of_peak": "share of the measured peak",
    "gradient_norm": "norm of the gradient before clipping",
    "learning_rate": "learning rate",
}
AXIS_NAMES = {
    "step": "optimiser steps",
    "tokens": "tokens trained on",
    "seconds": "seconds of training, validations left out",
}


def draw_curves(
    curves: Sequence[Curve], *, metric: str, x: str, window: int, log_x: bool = False
) -> bytes:
    """Return the PNG; equal curves give equal bytes."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(PLOT_STYLE)
        figure = Figure(figsize=SIZE, layout="constrained", facecolor=PAPER)
        axes = figure.add_subplot()
        handles = [
            _draw_curve(axes, curve, place, is_smoothed=window > 1)
            for place, curve in enumerate(curves)
        ]
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(AXIS_NAMES[x])
        axes.set_ylabel(UNITS.get(metric, metric))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        axes.set_title(_how_drawn(curves, window), fontsize=9, color=INK, loc="left")
        columns = min(3, len(curves))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=4)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DOTS, metadata={"Software": None})
    return file.getvalue()


def _draw_curve(axes: Any, curve: Curve, place: int, *, is_smoothed: bool) -> Line2D:
    """Draw one run; return what stands for it in the legend: line and mark."""
    color = COLORS[place % len(COLORS)]
    line: Any = {"color": color, "linestyle": DASHES[place % len(DASHES)], "linewidth": 2.0}
    mark: Any = {"marker": MARKERS[place % len(MARKERS)] if curve.marks else "", "markersize": 6}
    mark |= {"markerfacecolor": PAPER, "markeredgewidth": 1.5, "color": color}
    if is_smoothed:
        axes.plot(*thin(curve.xs, curve.values), color=color, linewidth=0.8, alpha=0.35)
    axes.plot(*thin(curve.xs, curve.smooth), **line)
    xs, ys = [x for x, _ in curve.marks], [y for _, y in curve.marks]
    axes.plot(xs, ys, linestyle="", zorder=3, **mark)
    label = plot_label(f"{curve.label}: {_short(curve.smooth[-1])}")
    return Line2D([], [], label=label, **(mark | line))


def _how_drawn(curves: Sequence[Curve], window: int) -> str:
    parts = ["every row"]
    if window > 1:
        parts = [f"strong: mean of {window} rows", "faint: every row"]
    if any(curve.marks for curve in curves):
        parts.append("marks: held out")
    return "; ".join(parts)


def _short(value: float, _: Any = None) -> str:
    return compact(value) if abs(value) >= 1000 else small(float(f"{value:.4g}"))
