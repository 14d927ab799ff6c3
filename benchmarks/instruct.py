"""The funnel of a run of `openqwen instruct generate`, into docs/instruct.md.

    python benchmarks/instruct.py MADE … [--marks MARKS.json]

MADE is what `generate` wrote; MARKS what somebody said of the samples that passed the rules.
"""

import argparse
from pathlib import Path
from typing import Any

from results import ROOT, provenance, write_section

from openqwen.agent.instruct.generate import DROPPED, KEPT, SETTINGS, count
from openqwen.agent.instruct.review import apply_marks
from openqwen.agent.instruct.sample import Verdict, read_verdicts
from openqwen.core.files import read_json
from openqwen.core.intervals import share_interval

PAGE = ROOT / "docs" / "instruct.md"
SHOWN = 110  # characters of an example


def main() -> None:
    """Write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("made", type=Path, nargs="+")
    parser.add_argument("--marks", type=Path)
    args = parser.parse_args()
    kept = [verdict for made in args.made for verdict in read_verdicts(made / KEPT)]
    dropped = [verdict for made in args.made for verdict in read_verdicts(made / DROPPED)]
    funnel = count([*kept, *dropped])
    accepted = None
    if args.marks:
        accepted = {s.id for s in apply_marks([v.sample for v in kept], [args.marks])[0]}
    body = [_table(funnel, kept, accepted), _drops(funnel, dropped)]
    body += [_told(read_json(made / SETTINGS)) for made in args.made]
    command = f"python benchmarks/instruct.py {' '.join(made.name for made in args.made)}"
    body.append(provenance(command + (f" --marks {args.marks.name}" if args.marks else "")))
    write_section(PAGE, "instruct", "Measured: one round of the 0.5B model", "\n\n".join(body))


def _table(funnel: dict[str, Any], kept: list[Verdict], accepted: set[str] | None) -> str:
    head = "| samples | raw | kept by the rules | 95 % interval |"
    line = "|---|---|---|---|"
    if accepted is not None:
        head, line = head + " good on reading | of the kept, 95 % interval |", line + "---|---|"
    rows = [head, line]
    for name, group in sorted(funnel.items(), key=lambda item: item[0] != "all"):
        raw, count = group["raw"], group["kept"]
        row = f"| {name} | {raw} | {count} ({count / raw:.0%}) | {_interval(count, raw)} |"
        if accepted is not None:
            own = [v for v in kept if name in ("all", f"{v.sample.kind} {v.sample.language}")]
            good = sum(v.sample.id in accepted for v in own)
            row += f" {good} | {_interval(good, len(own)) if own else '–'} |"
        rows.append(row)
    return "\n".join(rows)


def _drops(funnel: dict[str, Any], dropped: list[Verdict]) -> str:
    rows = ["| dropped for | samples | one of them |", "|---|---|---|"]
    for reason, num in funnel["all"]["dropped"].items():
        one = next(verdict for verdict in dropped if verdict.reason == reason)
        text = " ".join(one.sample.instruction.split()).replace("|", "\\|")
        text = text if len(text) <= SHOWN else text[:SHOWN] + " …"
        detail = f" ({one.detail})".replace("|", "\\|") if one.detail else ""
        rows.append(f"| {reason} | {num} | {text}{detail} |")
    return "\n".join(rows)


def _told(settings: dict[str, Any]) -> str:
    model = Path(settings["model"]).name
    quantize = f", weights in {settings['quantize']}" if settings["quantize"] else ""
    files = ", ".join(f"`{Path(name).name}`" for name in settings["files"])
    tools = ", ".join(settings["tools"]) or "none"
    kinds = " and ".join(settings["settings"]["kinds"])
    tokens = settings["settings"]["answer_tokens"]
    return (
        f"The {kinds} samples: model `{model}`{quantize}; seed {settings['seed']}; executable "
        f"tools: {tools}; seeds and benchmarks: {files}. Answers of at most {tokens} tokens. "
        "Not reproducible outside where these files are not to be had."
    )


def _interval(part: int, whole: int) -> str:
    low, high = share_interval(part, whole)
    return f"{low:.0%} – {high:.0%}"


if __name__ == "__main__":
    main()
