"""`openqwen runs` in words: the list of trainings, and what a comparison says.

for line in list_text([Path("runs")]): print(line)
"""

from collections.abc import Sequence
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path
from openqwen.core.log import format_duration
from openqwen.report.formatting import MISSING, compact, decimal, integer, percent, signed, small
from openqwen.report.runs import LAST_ROWS, TrainingRun, find_runs, read_training
from openqwen.report.runs_compare import (
    Curve,
    common_marks,
    curve_of,
    differences,
    labels_of,
    pick_run,
    places,
    values_at,
)

SMOOTHED_PARTS = 40  # of a curve, unless the user says otherwise
_LIST_COLUMNS = (
    *("run", "stage", "recipe", "size", "state", "steps", "loss", "bits/byte", "tokens/s"),
    *("of peak", "started (UTC)", "trained"),
)


def list_text(directories: Sequence[Path]) -> list[str]:
    """Return the table of all trainings below directories, a line each.

    Raises:
        UserError: if a directory is missing, or there is no training at all.
    """
    runs = find_runs(directories)
    if not runs:
        where = ", ".join(str(directory) for directory in directories)
        raise UserError(f"{where}: no training found (no metrics.jsonl beside a stage's manifest)")
    lines = align([_LIST_COLUMNS, *(_list_row(run) for run in runs)], words=5)
    measured = [run.bits_per_byte for run in runs]
    lines.append(f"loss: mean of the last {LAST_ROWS} training rows; bits/byte: held-out text")
    if any(value is not None and not is_held_out for value, is_held_out in measured):
        lines[-1] += "; * of training rows, nothing held out was measured yet"
    return lines


def write_comparison(
    paths: Sequence[Path],
    *,
    metric: str,
    x: str,
    stage: str = "",
    smooth: int | None = None,
    png: Path | None = None,
    log_x: bool = False,
) -> list[str]:
    """Return the comparison's lines and draw the curves where a PNG is asked for.

    Raises:
        UserError: if a path holds no training or a metric is missing.
    """
    if len(paths) < 2:
        raise UserError("compare needs at least two trainings: openqwen runs compare A B …")
    if smooth is not None and smooth < 1:
        raise UserError(f"--smooth {smooth}: a mean takes at least 1 row")
    runs = [pick_run(path, stage) for path in paths]
    labels = labels_of(runs)
    longest = max(len(run.train) for run in runs)
    window = 1 if metric.startswith("validation/") else smooth or longest // SMOOTHED_PARTS | 1
    curves = [
        curve_of(run, label, metric=metric, x=x, window=window)
        for run, label in zip(runs, labels, strict=True)
    ]
    lines = [*_end_lines(runs, curves, metric, x), "", *_equal_lines(curves, metric, x, window)]
    lines += ["", *_difference_lines(runs, labels)]
    if png is not None:
        _draw(png, curves, metric, x, window, log_x)
        lines += ["", f"curves: {png}"]
    return lines


def training_line(directory: Path) -> str:
    """Return how far a stage that trains is, in words; "" of any other directory."""
    run = read_training(directory)
    if run is None or not run.train:
        return "" if run is None else run.state
    bits, is_held_out = run.bits_per_byte
    total = run.steps_total
    of_total = f" of {integer(total)}" if total else ""
    text = f"{run.state}, {integer(run.steps_done)}{of_total} steps   loss {decimal(run.loss, 3)}"
    if bits is not None:
        text += f"   {decimal(bits, 3)} bits/byte" + (" held out" if is_held_out else "")
    text += f"   {integer(run.tokens_per_s or 0)} tokens/s"
    if run.share_of_peak:
        text += f"   {percent(run.share_of_peak, 0)} of peak"
    if total and run.tokens_per_s and run.state == "running":
        tokens = run.train[-1]["tokens"] / run.train[-1]["step"] * (total - run.steps_done)
        text += f"   {format_duration(tokens / run.tokens_per_s)} left"
    return text


def align(rows: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """Return a table's lines; the first `words` columns hold words, the others numbers."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _list_row(run: TrainingRun) -> tuple[str, ...]:
    bits, is_held_out = run.bits_per_byte
    total = run.steps_total
    return (
        run.name,
        run.stage,
        run.recipe or MISSING,
        MISSING if run.parameters is None else compact(run.parameters),
        run.state,
        integer(run.steps_done) + (f"/{integer(total)}" if total else ""),
        decimal(run.loss, 3),
        decimal(bits, 3) + ("*" if bits is not None and not is_held_out else ""),
        MISSING if run.tokens_per_s is None else integer(run.tokens_per_s),
        percent(run.share_of_peak, 0),
        run.started.strftime("%Y-%m-%d %H:%M"),
        format_duration(run.seconds[-1]) if run.seconds else MISSING,
    )


def _end_lines(
    runs: Sequence[TrainingRun], curves: Sequence[Curve], metric: str, x: str
) -> list[str]:
    header = ("run", "state", "steps", "tokens", "trained", f"{metric} at its end", "held out")
    rows = [
        (
            curve.label,
            run.state,
            integer(run.steps_done),
            compact(run.train[-1]["tokens"]) if run.train else MISSING,
            format_duration(run.seconds[-1]) if run.seconds else MISSING,
            _value(curve.smooth[-1]),
            _value(curve.marks[-1][1]) if curve.marks else MISSING,
        )
        for run, curve in zip(runs, curves, strict=True)
    ]
    return align([header, *rows], words=2)


def _equal_lines(curves: Sequence[Curve], metric: str, x: str, window: int) -> list[str]:
    """Return values at equal places, and differences from the first run."""
    first, *others = [curve.label for curve in curves]
    header = (x, first, *(cell for label in others for cell in (label, "less the first")))
    xs = places(curves)
    if not xs:
        return [f"no place on the {x} axis is common to all runs"]
    means = f"mean of {window} rows" if window > 1 else "each row"
    lines = [f"{metric} at equal {x} ({means})"]
    lines += align(
        [header, *(_row(p, v, x) for p, v in zip(xs, values_at(curves, xs), strict=True))], words=0
    )
    held = common_marks(curves)
    if held:
        lines += ["", f"{metric} of held-out data, where all runs measured it"]
        lines += align([header, *(_row(place, values, x) for place, values in held)], words=0)
    return lines


def _row(place: float, values: Sequence[float], x: str) -> tuple[str, ...]:
    first, *others = values
    pairs = [(_value(value), signed(value - first, 4)) for value in others]
    shown = compact(place) if x == "tokens" else integer(place)
    return (shown, _value(first), *(cell for pair in pairs for cell in pair))


def _difference_lines(runs: Sequence[TrainingRun], labels: Sequence[str]) -> list[str]:
    found = differences(runs)
    if not found:
        return ["settings, seed and inputs are the same"]
    header = ("given differently", *labels)
    lines = align([header, *((name, *values) for name, values in found)], words=1 + len(labels))
    seeds = "one run each: a difference may be no more than what another seed would give"
    return [*lines, seeds]


def _draw(
    png: Path, curves: Sequence[Curve], metric: str, x: str, window: int, log_x: bool
) -> None:
    from openqwen.report.runs_plot import draw_curves

    if png.suffix.lower() != ".png":
        raise UserError(f"--png {png}: the file's name must end in .png")
    picture = draw_curves(curves, metric=metric, x=x, window=window, log_x=log_x)
    with atomic_path(png) as temporary:
        temporary.write_bytes(picture)


def _value(value: float) -> str:
    return decimal(value, 4) if abs(value) >= 0.01 else small(float(f"{value:.3g}"))
