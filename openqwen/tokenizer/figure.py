"""The comparison for people: a Markdown table and the plot of Figure 3.

write_comparison(Path("out"), table)        # comparison.json, comparison.md, comparison.png
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, write_json, write_text

JSON_NAME, TABLE_NAME, PLOT_NAME = "comparison.json", "comparison.md", "comparison.png"
SINGLE_DIGITS = ("cl100k-single-digits", "cl100k")  # the same ranks with and without

_MARKS = "osD^vPX*<>hp"
_COLOURS = (  # Okabe and Ito's, told apart by colour-blind readers
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#8C6D1F"),
    *("#666666", "#B2182B", "#5E4FA2", "#1B7837"),
)


def write_comparison(out: Path, table: Mapping[str, Any]) -> None:
    """Write the table as JSON and Markdown and the plot as PNG into `out`.

    Raises:
        UserError: if there is no matplotlib; the tables are written all the same.
    """
    write_json(out / JSON_NAME, table)
    write_text(out / TABLE_NAME, markdown(table))
    draw_figure(out / PLOT_NAME, table)


def markdown(table: Mapping[str, Any]) -> str:
    """Return all tables: ratios with intervals, without digits, characters a token."""
    names, base = list(table["tokenizers"]), table["baseline"]
    others = [name for name in names if name != base]
    parts = [
        f"Tokens over those of {base} on the same text; lower is better. In brackets the 95 % "
        "interval over documents.",
        _rows(table, others, _ratio_cell),
        f"The same without the tokens that hold a digit, theirs and {base}'s:",
        _rows(table, others, lambda facts: f"{facts['ratio_without_digits']:.3f}"),
        "Characters a token (bytes a token):",
        _rows(
            table,
            names,
            lambda f: f"{f['characters_per_token']:.2f} ({f['bytes_per_token']:.2f})",
        ),
    ]
    if costs := single_digit_costs(table):
        parts += [
            f"What single digits cost: tokens of {SINGLE_DIGITS[0]} over those of "
            f"{SINGLE_DIGITS[1]}, the same ranks:",
            ", ".join(f"{language} {cost:+.1%}" for language, cost in costs.items()) + ".",
        ]
    parts.append(
        "\n".join(
            f"- {name}: {facts['about']}, {facts['tokens']:,} tokens"
            for name, facts in table["tokenizers"].items()
        )
    )
    return "\n\n".join(parts) + "\n"


def single_digit_costs(table: Mapping[str, Any]) -> dict[str, float]:
    """Return language -> share of tokens that single digits add to cl100k; {} without both."""
    single, own = SINGLE_DIGITS
    if single not in table["tokenizers"] or own not in table["tokenizers"]:
        return {}
    return {
        language: row["tokenizers"][single]["tokens"] / row["tokenizers"][own]["tokens"] - 1
        for language, row in table["languages"].items()
    }


def draw_figure(path: Path, table: Mapping[str, Any]) -> None:
    """Draw a row a language, a mark a tokenizer, the baseline as a line at 1.

    Raises:
        UserError: if there is no matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            f"{path} can't be drawn without matplotlib: pip install openqwen[report]"
        ) from None
    languages = list(table["languages"])
    others = [name for name in table["tokenizers"] if name != table["baseline"]]
    figure = Figure(figsize=(9, 1.6 + 0.33 * len(languages)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color="#999999", linewidth=1)
    for i, name in enumerate(others):
        ratios = [table["languages"][key]["tokenizers"][name]["ratio"] for key in languages]
        axes.scatter(
            ratios,
            range(len(languages)),
            marker=_MARKS[i % len(_MARKS)],
            color=_COLOURS[i % len(_COLOURS)],
            s=46 if i == 0 else 30,
            label=name,
            zorder=3 + (i == 0),
            alpha=0.9,
        )
    axes.set_yticks(range(len(languages)), languages)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e5e5e5")
    axes.grid(axis="y", color="#f2f2f2")
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    ticks = [t for t in (0.5, 0.6, 0.7, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 7, 10) if _spans(table, t)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"tokens over those of {table['baseline']} (logarithmic; lower is better)")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.legend(loc="outside upper center", ncols=min(len(others), 5), frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _spans(table: Mapping[str, Any], tick: float) -> bool:
    found = [
        facts["ratio"]
        for row in table["languages"].values()
        for facts in row["tokenizers"].values()
    ]
    return bool(min(found) / 1.15 <= tick <= max(found) * 1.15)


def _ratio_cell(facts: Mapping[str, Any]) -> str:
    if facts["interval"] is None:
        return f"{facts['ratio']:.3f}"
    low, high = facts["interval"]
    return f"{facts['ratio']:.3f} ({low:.2f}–{high:.2f})"


def _rows(table: Mapping[str, Any], names: list[str], cell: Any) -> str:
    columns = ["language", "documents", "characters", *names]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for language, row in table["languages"].items():
        cells = [cell(row["tokenizers"][name]) for name in names]
        facts = [language, f"{row['documents']:,}", f"{row['characters']:,}", *cells]
        lines.append("| " + " | ".join(facts) + " |")
    return "\n".join(lines)
