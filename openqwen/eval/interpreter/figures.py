"""Whether a recorded figure is the one that was asked for: labels, scales, marks and their data.

    problem = find_problem({"axes": [{"title": "Sales", "marks": [
        {"kind": "bar", "values": {"A": 3, "B": 5}}]}]}, record)      # None: it is right

What a check may ask (all of it optional):

- of a figure: `axes` (each must be found, in any order, in axes of its own), `num_axes` (colour
  bars and twins not counted), `suptitle`;
- of axes: `title`, `xlabel`, `ylabel` (a text that must stand in it, or a list of which one must),
  `legend`, `texts`, `xticks` (each must stand in one entry), `xscale`, `yscale`, `projection`,
  `aspect`, `has_grid`, `xlim`, `ylim`, `no_overlap` (of bars), `marks` (each must be matched by
  another mark);
- of marks: `kind` (or a list), `orientation`, `style`, `marker`, `color`, `x`, `y`, `base`,
  `levels` (numbers in order; `any_order` compares them sorted), `values` (label -> number, of bars
  and pies; a pie's are shares), `at` (points that the line passes through, interpolated), `circle`
  (centre and radius), `count`, `min_count`, `sum`, `shape`, `ends`, `edges` (of a histogram),
  `tolerance` (relative to the largest number, 1 % by default).

A record comes from untrusted code: whatever is malformed is no match.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT_TOLERANCE = 0.01


def find_problem(asked: Mapping[str, Any], record: Any) -> str | None:
    """Return the first way in which a figure is not what was asked for, or None."""
    try:
        return _figure_problem(asked, record)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError) as error:
        return f"the record is malformed: {type(error).__name__}"


def _figure_problem(asked: Mapping[str, Any], record: Any) -> str | None:
    drawn = [ax for ax in record["axes"] if not ax["is_colorbar"]]
    if "num_axes" in asked:
        own = [ax for ax in drawn if not ax["is_twin"]]
        num = len(own) + (len(drawn) - len(own)) // 2
        if num != asked["num_axes"]:
            return f"{num} axes instead of {asked['num_axes']}"
    if "suptitle" in asked and not _has_text(record["suptitle"], asked["suptitle"]):
        return f"the figure's title is {record['suptitle']!r}"
    return _match(asked.get("axes", ()), drawn, _axes_problem, "axes")


def _match(
    asked: Sequence[Mapping[str, Any]], drawn: Sequence[Any], problem_of: Any, what: str
) -> str | None:
    """Give each thing asked for one thing drawn of its own; the first problem if that can't be."""
    problems = [[problem_of(one, each) for each in drawn] for one in asked]
    for place, row in enumerate(problems):
        if all(row) or not row:
            return row[0] if len(row) == 1 and row[0] else f"no {what} like {_short(asked[place])}"
    taken: dict[int, int] = {}

    def place_one(i: int, seen: set[int]) -> bool:
        for j, problem in enumerate(problems[i]):
            if problem is None and j not in seen:
                seen.add(j)
                if j not in taken or place_one(taken[j], seen):
                    taken[j] = i
                    return True
        return False

    fits = all(place_one(i, set()) for i in range(len(asked)))
    return None if fits else f"too few {what} for what was asked"


def _axes_problem(asked: Mapping[str, Any], ax: Mapping[str, Any]) -> str | None:
    for name in ("title", "xlabel", "ylabel", "zlabel"):
        if name in asked and not _has_text(ax[name], asked[name]):
            return f"{name} is {ax[name]!r}"
    for name in ("legend", "texts", "xticks"):
        for text in asked.get(name, ()):
            if not any(_has_text(entry, text) for entry in ax[name]):
                return f"{name} holds no {text!r}"
    for name in ("xscale", "yscale", "projection", "aspect", "has_grid"):
        if name in asked and ax[name] != asked[name]:
            return f"{name} is {ax[name]!r}"
    for name in ("xlim", "ylim"):
        if name in asked and not _same(ax[name], asked[name], DEFAULT_TOLERANCE):
            return f"{name} is {ax[name]}"
    if asked.get("no_overlap") and _bars_overlap(ax["marks"]):
        return "bars overlap"
    return _match(asked.get("marks", ()), ax["marks"], _mark_problem, "mark")


def _mark_problem(asked: Mapping[str, Any], mark: Mapping[str, Any]) -> str | None:
    kinds = asked.get("kind", mark["kind"])
    if mark["kind"] not in ([kinds] if isinstance(kinds, str) else kinds):
        return f"a {mark['kind']}"
    for name in ("orientation", "style", "marker", "color", "shape"):
        if name in asked and mark.get(name) not in _either(asked[name]):
            return f"{name} is {mark.get(name)!r}"
    room = asked.get("tolerance", DEFAULT_TOLERANCE)
    for name in ("x", "y", "base", "sizes", "levels"):
        if name in asked:
            found, wanted = _finite(mark[name]), list(asked[name])
            if asked.get("any_order"):
                found, wanted = sorted(found), sorted(wanted)
            if not _same(found, wanted, room):
                return f"{name} is {_short(found)}"
    return _count_problem(asked, mark) or _derived_problem(asked, mark, room)


def _count_problem(asked: Mapping[str, Any], mark: Mapping[str, Any]) -> str | None:
    num = len(mark.get("y") or mark.get("x") or ())
    if "count" in asked and num != asked["count"]:
        return f"{num} points instead of {asked['count']}"
    if num < asked.get("min_count", 0):
        return f"only {num} points"
    return None


def _derived_problem(asked: Mapping[str, Any], mark: Mapping[str, Any], room: float) -> str | None:
    if "sum" in asked and not _same([sum(_finite(mark["y"]))], [asked["sum"]], room):
        return f"the sum is {sum(_finite(mark['y'])):g}"
    if "edges" in asked:
        halves = [(x - w / 2, x + w / 2) for x, w in zip(mark["x"], mark["width"], strict=True)]
        edges = [left for left, _ in halves] + [halves[-1][1]]
        if not _same(edges, asked["edges"], room):
            return f"edges are {_short(edges)}"
    if "ends" in asked:
        ends = [x for pair in mark["ends"] for x in pair]
        if not _same(ends, asked["ends"], room):
            return f"ends are {_short(ends)}"
    if "circle" in asked:
        x0, y0, radius = asked["circle"]
        spans = [math.hypot(x - x0, y - y0) for x, y in zip(mark["x"], mark["y"], strict=True)]
        if not _same(spans, [radius] * len(spans), room):
            return "it is not that circle"
    if "values" in asked:
        return _values_problem(asked["values"], mark, room)
    for x, y in asked.get("at", ()):
        found = _interpolate(_finite(mark["x"]), _finite(mark["y"]), x)
        scale = max(abs(b) for _, b in asked["at"]) or 1.0
        if found is None or abs(found - y) > room * scale:
            return f"at {x:g} it is {found}"
    return None


def _values_problem(asked: Mapping[str, float], mark: Mapping[str, Any], room: float) -> str | None:
    """Compare labelled bars or wedges; a pie's values are shares of the whole."""
    lengths = list(mark["y"])
    if mark["kind"] == "pie":
        lengths = [y / sum(lengths) for y in lengths]
    found = {_folded(n): y for n, y in zip(mark["labels"], lengths, strict=True)}
    wanted = {_folded(n): y for n, y in asked.items()}
    if set(found) != set(wanted):
        return f"labels are {_short(sorted(found))}"
    names = sorted(wanted)
    if not _same([found[n] for n in names], [wanted[n] for n in names], room):
        return f"values are {_short(found)}"
    return None


def _bars_overlap(marks: Sequence[Mapping[str, Any]]) -> bool:
    spans = sorted(
        (x - w / 2, x + w / 2)
        for mark in marks
        if mark["kind"] == "bar"
        for x, w in zip(mark["x"], mark["width"], strict=True)
    )
    return any(a[1] > b[0] + 1e-6 for a, b in itertools.pairwise(spans))


def _same(found: Sequence[Any], wanted: Sequence[float], room: float) -> bool:
    """Return whether numbers agree within a share of the largest one asked for."""
    scale = max((abs(x) for x in wanted), default=0.0) or 1.0
    return len(found) == len(wanted) and all(
        isinstance(a, int | float) and math.isfinite(a) and abs(a - b) <= room * scale
        for a, b in zip(found, wanted, strict=True)
    )


def _finite(values: Sequence[Any]) -> list[float]:
    return [float(x) for x in values if isinstance(x, int | float) and math.isfinite(x)]


def _interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float | None:
    """Return a line's height at a place, None where it has none."""
    if len(xs) != len(ys):
        return None
    slack = 1e-6 * max(1.0, abs(x))
    for (x1, y1), (x2, y2) in zip(
        zip(xs, ys, strict=True), zip(xs[1:], ys[1:], strict=True), strict=False
    ):
        if min(x1, x2) - slack <= x <= max(x1, x2) + slack:
            return y1 if x1 == x2 else y1 + (y2 - y1) * (x - x1) / (x2 - x1)
    return None


def _has_text(text: Any, asked: Any) -> bool:
    folded = _folded(str(text))
    return any(_folded(one) in folded for one in _either(asked))


def _folded(text: Any) -> str:
    return "".join(str(text).split()).casefold()


def _either(asked: Any) -> Sequence[Any]:
    return asked if isinstance(asked, list) else [asked]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."
