"""What records figures inside the kernel; sent as text, run there as trusted startup code.

Whenever matplotlib draws a figure to be saved or shown, its properties are published as a JSON
record beside the image: axes with their labels, scales, legends and marks with their data. Model
code could forge a record: the benchmark measures models, it doesn't guard against cheats.
"""

import contextlib
from typing import Any

RECORD_TYPE = "application/vnd.openqwen.record+json"
MAX_POINTS = 2000
MAX_MARKS = 60
MAX_AXES = 16


def watch_figures() -> None:
    """Have every drawn figure publish its record."""
    from IPython.display import display
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import FigureCanvasBase

    canvas_kind: Any = FigureCanvasBase
    axes_kind: Any = Axes
    show: Any = display
    plain_print, plain_bxp = canvas_kind.print_figure, axes_kind.bxp

    def print_figure(canvas: Any, *args: Any, **kwargs: Any) -> Any:
        result = plain_print(canvas, *args, **kwargs)
        with contextlib.suppress(Exception):  # a record must never break a plot
            show({RECORD_TYPE: describe_figure(canvas.figure)}, raw=True)
        return result

    def bxp(axes: Any, stats: Any, *args: Any, **kwargs: Any) -> Any:
        stats = list(stats)
        axes._openqwen_boxes = [*getattr(axes, "_openqwen_boxes", []), *stats]
        return plain_bxp(axes, stats, *args, **kwargs)

    canvas_kind.print_figure, axes_kind.bxp = print_figure, bxp


def describe_figure(figure: Any) -> dict[str, Any]:
    """Return a figure's properties as JSON types."""
    title = figure.get_suptitle() if hasattr(figure, "get_suptitle") else ""
    return {"suptitle": title, "axes": [describe_axes(ax) for ax in figure.axes[:MAX_AXES]]}


def describe_axes(ax: Any) -> dict[str, Any]:
    """Return one axes' texts, scales and marks."""
    legend = ax.get_legend()
    titles = [ax.get_title(where) for where in ("center", "left", "right")]
    return {
        "title": " ".join(title for title in titles if title),
        "xlabel": ax.get_xlabel(),
        "ylabel": ax.get_ylabel(),
        "zlabel": ax.get_zlabel() if hasattr(ax, "get_zlabel") else "",
        "xscale": ax.get_xscale(),
        "yscale": ax.get_yscale(),
        "xlim": list(map(float, ax.get_xlim())),
        "ylim": list(map(float, ax.get_ylim())),
        "xticks": ticks(ax.xaxis),
        "yticks": ticks(ax.yaxis),
        "projection": ax.name,
        "aspect": "equal" if ax.get_aspect() in ("equal", 1, 1.0) else "free",
        "is_colorbar": hasattr(ax, "_colorbar"),
        "is_twin": len(ax.get_shared_x_axes().get_siblings(ax)) > 1
        and any(o is not ax and o.bbox.bounds == ax.bbox.bounds for o in ax.figure.axes),
        "has_grid": any(line.get_visible() for line in ax.get_xgridlines() + ax.get_ygridlines()),
        "legend": [text.get_text() for text in legend.get_texts()] if legend else [],
        "texts": [text.get_text() for text in ax.texts[:MAX_MARKS]],
        "marks": marks(ax)[:MAX_MARKS],
    }


def ticks(axis: Any) -> list[str]:
    """Return the labels of an axis' ticks."""
    return [tick.get_text() for tick in axis.get_ticklabels()][:100]


def numbers(values: Any) -> list[float | None]:
    """Return at most MAX_POINTS numbers, None for what is not finite."""
    import numpy as np

    flat: Any = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()[:MAX_POINTS]
    return [float(x) if np.isfinite(x) else None for x in flat]


def marks(ax: Any) -> list[dict[str, Any]]:
    """Return what is drawn in an axes: bars, pies, boxes, lines, collections, images."""
    import numpy as np
    from matplotlib.patches import Ellipse, Polygon, Wedge

    found = [bars(ax, box) for box in ax.containers if type(box).__name__ == "BarContainer"]
    wedges = [patch for patch in ax.patches if isinstance(patch, Wedge)]
    if wedges:
        found.append(
            {
                "kind": "pie",
                "y": numbers([w.theta2 - w.theta1 for w in wedges]),
                "labels": [str(w.get_label()) for w in wedges],
            }
        )
    boxes = getattr(ax, "_openqwen_boxes", [])
    if boxes:
        found.append({"kind": "box", "y": numbers([box["med"] for box in boxes])})
    for patch in ax.patches:
        if isinstance(patch, Polygon | Ellipse):
            corners = patch.get_xy() if isinstance(patch, Polygon) else around(patch, np)
            found.append(
                {"kind": "outline", "x": numbers(corners[:, 0]), "y": numbers(corners[:, 1])}
            )
    return found + [line(each) for each in ax.lines] + collections(ax) + images(ax)


def around(ellipse: Any, np: Any) -> Any:
    """Return points on an ellipse."""
    turns = np.linspace(0, 2 * np.pi, 61)
    wide, high = ellipse.width / 2, ellipse.height / 2
    place = np.radians(ellipse.angle)
    x, y = wide * np.cos(turns), high * np.sin(turns)
    turned = (x * np.cos(place) - y * np.sin(place), x * np.sin(place) + y * np.cos(place))
    return np.stack(turned, axis=1) + np.asarray(ellipse.center)


def bars(ax: Any, container: Any) -> dict[str, Any]:
    """Return bars: x is the place on the axis of categories, y the length, base where it begins."""
    is_flat = container.orientation == "horizontal"
    axis = ax.yaxis if is_flat else ax.xaxis
    named = {round(float(t), 3): n for t, n in zip(axis.get_ticklocs(), ticks(axis), strict=False)}
    places, lengths, bases, widths = [], [], [], []
    for patch in container.patches:
        x, y, w, h = patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()
        places.append(y + h / 2 if is_flat else x + w / 2)
        lengths.append(w if is_flat else h)
        bases.append(x if is_flat else y)
        widths.append(h if is_flat else w)
    return {
        "kind": "bar",
        "orientation": container.orientation,
        "x": numbers(places),
        "y": numbers(lengths),
        "base": numbers(bases),
        "width": numbers(widths),
        "labels": [named.get(round(float(place), 3), "") for place in places[:MAX_POINTS]],
        "name": str(container.get_label()),
    }


def line(drawn: Any) -> dict[str, Any]:
    """Return a line; `style` and `marker` are "None" where nothing is drawn of it."""
    x, y = drawn.get_xdata(orig=False), drawn.get_ydata(orig=False)
    if hasattr(drawn, "get_data_3d"):
        x, y = drawn.get_data_3d()[:2]
    return {
        "kind": "line",
        "x": numbers(x),
        "y": numbers(y),
        "name": str(drawn.get_label()),
        "style": str(drawn.get_linestyle()),
        "marker": str(drawn.get_marker()),
        "color": colour(drawn.get_color()),
    }


def colour(value: Any) -> str:
    """Return a colour as #rrggbb; "" for what is none."""
    from matplotlib.colors import to_hex

    with contextlib.suppress(Exception):
        return str(to_hex(value))
    return ""


def collections(ax: Any) -> list[dict[str, Any]]:
    """Return scatters, areas, contours, meshes and surfaces."""
    found: list[dict[str, Any]] = []
    for each in ax.collections:
        kind = type(each).__name__
        name = str(each.get_label())
        if kind in ("PathCollection", "Path3DCollection"):
            spots = each._offsets3d if kind == "Path3DCollection" else each.get_offsets().T
            sizes = numbers(each.get_sizes())
            found.append(
                {"kind": "scatter", "x": numbers(spots[0]), "y": numbers(spots[1]), "sizes": sizes}
            )
        elif kind in ("PolyCollection", "FillBetweenPolyCollection"):
            corners = [path.vertices for path in each.get_paths()]
            ends = [(float(c[:, 1].min()), float(c[:, 1].max())) for c in corners if len(c)]
            found.append({"kind": "area", "ends": ends[:MAX_MARKS], "name": name})
        elif "Contour" in kind:
            found.append({"kind": "contour", "levels": numbers(each.levels)})
        elif kind == "QuadMesh":
            found.append({"kind": "image", "y": numbers(each.get_array())})
        elif kind == "Poly3DCollection":
            found.append({"kind": "surface"})
        else:
            found.append({"kind": kind, "name": name})
        found[-1].setdefault("name", name)
    return found


def images(ax: Any) -> list[dict[str, Any]]:
    """Return images with their shape and values."""
    arrays = [image.get_array() for image in ax.images]
    return [{"kind": "image", "shape": list(a.shape), "y": numbers(a)} for a in arrays]
