"""Two or more trainings side by side: curves on one axis, values at equal places, what was set.

curves = [curve_of(run, metric="loss", x="tokens", window=9) for run in runs]
rows = values_at(curves, places(curves))
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openqwen.core.errors import UserError
from openqwen.report.formatting import literal
from openqwen.report.runs import TrainingRun, find_runs, held_out, read_training

AXES = ("step", "tokens", "seconds")
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1)  # of the way that all runs have gone
ABSENT = "not set"
_NOT_METRICS = ("step", "tokens", "time")
_REPLACED = "replaced"


@dataclass(frozen=True)
class Curve:
    """One run's metric: each row's value, their moving mean, and what held-out data gave."""

    label: str
    xs: list[float]
    values: list[float]
    smooth: list[float]
    marks: list[tuple[float, float]]  # (x, held-out value)

    @property
    def end(self) -> float:
        """Return the last place that has a value."""
        return max([*self.xs[-1:], *(x for x, _ in self.marks[-1:])])


def pick_run(path: Path, stage: str = "") -> TrainingRun:
    """Return the training in a stage's directory, or the one that a run directory holds.

    Raises:
        UserError: if there is none, or there are several and no stage is named.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a directory")
    run = read_training(path)
    if run is not None:
        return run
    inside = [r for r in find_runs([path]) if _REPLACED not in r.directory.parts]
    found = [r for r in inside if not stage or r.stage == stage]
    if len(found) == 1:
        return found[0]
    if not found:
        which = f" of stage {stage}" if stage else ""
        raise UserError(f"{path} holds no training{which} (no metrics.jsonl beside a manifest)")
    names = ", ".join(sorted(str(r.directory.relative_to(path)) for r in found))
    raise UserError(f"{path} holds several trainings ({names}): add --stage, or name a folder")


def labels_of(runs: Sequence[TrainingRun]) -> list[str]:
    """Return names that tell the runs apart: the parts of their paths that aren't common."""
    parts = [run.directory.absolute().parts for run in runs]
    while len({p[:1] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[1:] for p in parts]
    while len({p[-1:] for p in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts = [p[:-1] for p in parts]
    return ["/".join(p) for p in parts]


def curve_of(run: TrainingRun, label: str, *, metric: str, x: str, window: int) -> Curve:
    """Return a run's metric over steps, tokens or seconds of training.

    Args:
        run: whose rows.
        label: what it is called.
        metric: a training row's number, or validation/GROUP/NAME.
        x: one of `AXES`.
        window: rows that the moving mean spans, half before and half after; fewer at the ends.

    Raises:
        UserError: if the run has no such metric; the line lists those it has.
    """
    if metric.startswith("validation/"):
        points = [(int(r["step"]), _inner(r, metric.split("/")[1:])) for r in run.validations]
        found = [(step, value) for step, value in points if value is not None]
        xs, values = _on_axis(run, [s for s, _ in found], x), [v for _, v in found]
        smooth, marks = values, []
    else:
        rows = [r for r in run.train if isinstance(r.get(metric), int | float)]
        values = [float(r[metric]) for r in rows]
        xs = _on_axis(run, [int(r["step"]) for r in rows], x)
        smooth = moving_mean(values, window)
        measured = [(int(r["step"]), held_out(r, metric)) for r in run.validations]
        held = [(step, value) for step, value in measured if value is not None]
        marks = list(zip(_on_axis(run, [s for s, _ in held], x), [v for _, v in held], strict=True))
    if not values:
        there = ", ".join(metrics_of(run)) or "none"
        raise UserError(f"{run.name} has no rows with {metric}; there are {there}")
    return Curve(label, xs, values, smooth, marks)


def metrics_of(run: TrainingRun) -> list[str]:
    """Return the metrics that a run's rows hold."""
    names: dict[str, None] = {}
    for row in run.train:
        names |= {k: None for k, v in row.items() if isinstance(v, int | float)}
    found = [name for name in names if name not in _NOT_METRICS]
    for row in run.validations[-1:]:
        for group, measures in row.get("groups", {}).items():
            found += [f"validation/{group}/{name}" for name in measures]
    return found


def moving_mean(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of up to `window` values around each; at the ends of those there are."""
    sums = np.concatenate(([0.0], np.cumsum(np.asarray(values, dtype=np.float64))))
    places = np.arange(len(values))
    low = np.maximum(places - (window - 1) // 2, 0)
    high = np.minimum(places + window // 2 + 1, len(values))
    means: list[float] = ((sums[high] - sums[low]) / (high - low)).tolist()
    return means


def places(curves: Sequence[Curve]) -> list[float]:
    """Return places on the axis that all curves reach, the last one the shortest's end."""
    first, end = max(c.xs[0] for c in curves), min(c.xs[-1] for c in curves)
    return sorted({max(first, share * end) for share in SHARES}) if first <= end else []


def values_at(curves: Sequence[Curve], xs: Sequence[float]) -> list[list[float]]:
    """Return a row a place: each curve's moving mean there, between two rows on their line."""
    return [[float(np.interp(x, c.xs, c.smooth)) for c in curves] for x in xs]


def common_marks(curves: Sequence[Curve], most: int = 6) -> list[tuple[float, list[float]]]:
    """Return places where all curves have a held-out value, evenly chosen, the last among them."""
    known = [dict(curve.marks) for curve in curves]
    common = sorted(set.intersection(*(set(marks) for marks in known)))
    chosen = common[:: -max(1, -(-len(common) // most))][::-1]
    return [(x, [marks[x] for marks in known]) for x in chosen]


def differences(runs: Sequence[TrainingRun]) -> list[tuple[str, list[str]]]:
    """Return what the runs were given differently: settings, seed, inputs, processor."""
    facts = [
        {name: literal(value) for name, value in _flat("", run.settings).items()}
        | {"seed": str(run.seed)}
        | {f"input {name}": value[:12] for name, value in run.inputs.items()}
        | ({"processor": run.processor} if run.processor else {})
        for run in runs
    ]
    names = dict.fromkeys(name for known in facts for name in known)
    rows = [(name, [known.get(name, ABSENT) for known in facts]) for name in names]
    return [
        (name, values)
        for name, values in rows
        if len(set(values)) > 1 and not (name == "processor" and ABSENT in values)
    ]


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value if not isinstance(value, list) else json.dumps(value)}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(f"{prefix}.{name}" if prefix else name, inner)
    return found


def _inner(row: dict[str, Any], path: list[str]) -> float | None:
    """Return a validation row's number by its names: en/loss, or score."""
    value: Any = row.get("groups", row) if len(path) > 1 else row
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _on_axis(run: TrainingRun, steps: list[int], x: str) -> list[float]:
    """Return the places of steps on an axis; between two training rows on their line."""
    if x == "step" or not run.train:
        return [float(step) for step in steps]
    known = [0.0, *(float(row["step"]) for row in run.train)]
    reached = [float(r["tokens"]) for r in run.train] if x == "tokens" else run.seconds
    return [float(v) for v in np.interp(steps, known, [0.0, *reached])]
