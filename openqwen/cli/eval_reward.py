"""`openqwen eval REWARD_MODEL … --suite reward`: accuracy on preference pairs (Table 4)."""

import argparse
from pathlib import Path
from typing import Any


def run_reward(args: argparse.Namespace) -> int:
    """Measure each model on each file and print a table beside the report's."""
    from openqwen.core.errors import UserError
    from openqwen.core.files import write_json
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.training.preferences import read_pairs
    from openqwen.eval.reward_suite import evaluate_pairs

    if not args.data:
        raise UserError("--data FILES is missing: the preference pairs to judge")
    if args.max_tokens < 1:
        raise UserError(f"--max-tokens must be at least 1, got {args.max_tokens}")
    set_aside = SetAside()
    pairs = list(read_pairs([Path(name) for name in args.data], set_aside=set_aside))
    if set_aside.counts:
        say(set_aside.summary())
    if not pairs:
        raise UserError(f"{', '.join(args.data)}: no preference pair in them")
    tables = {
        model: evaluate_pairs(Path(model), pairs, max_tokens=args.max_tokens)
        for model in args.models
    }
    for line in _lines(tables):
        print(line)
    if args.out:
        out = Path(args.out)
        write_json(out if out.suffix == ".json" else out / "results.json", tables)
    return 0


def _lines(tables: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return a Markdown table: a row a model, a column a set; then the control and the report's."""
    from openqwen.report.reported import reported

    sets = list(next(iter(tables.values())))
    rows = [
        ["accuracy, % (95 % interval)", *(f"{s}, n = {_first(tables, s)['n']:,}" for s in sets)]
    ]
    for model, table in tables.items():
        cells = []
        for name in sets:
            low, high = table[name]["interval"]
            cells.append(
                f"{100 * table[name]['accuracy']:.1f} ({100 * low:.1f} – {100 * high:.1f})"
            )
        rows.append([model, *cells])
    longer = [f"{100 * _first(tables, name)['longer_wins']:.1f}" for name in sets]
    rows.append(["control: the longer answer wins", *longer])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    theirs = reported()["table4_reward"]
    for name, values in theirs["rows"].items():
        known = zip(theirs["columns"], values, strict=True)
        lines.append(f"the report's {name}: " + ", ".join(f"{s} {v}" for s, v in known))
    return lines


def _first(tables: dict[str, dict[str, dict[str, Any]]], name: str) -> dict[str, Any]:
    return next(iter(tables.values()))[name]
