"""The evaluation section: what every model of the run can do, on the same items."""

from typing import Any

from openqwen.report.content import Block, Row, Sample, Samples, Table, Text
from openqwen.report.formatting import MISSING, decimal, integer, percent, signed
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned
from openqwen.report.sections.groups import group_name

SAME = "≈"  # after a number that the items can't tell from the first model's


def headline(stage: StageFacts) -> list[str]:
    """Return how many models and items."""
    results = stage.json("results.json")
    first = next(iter(results["models"].values()))
    items = sum(first[kind]["n"] for kind in ("continuations", "arithmetic", "tool_form"))
    return [f"{integer(len(results['models']))} models", f"{integer(items)} items each"]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return bits a byte, shares, an example of tool calls, and where the benchmarks are."""
    results = stage.json("results.json")
    return [
        Text(
            "Every model of the run got the same items: held-out documents, passages whose true "
            "continuation is to be told from three others, held-out problems, and questions with "
            "three tools offered."
        ),
        _bits(results),
        _shares(results),
        _calls(results),
        Text(
            "The field's benchmarks (Tables 2, 5, 6 and so on) are no part of a recipe: "
            "openqwen eval MODEL --suite report --data DIR measures them.",
            is_note=True,
        ),
    ]


def _bits(results: dict[str, Any]) -> Table:
    groups = list(results["documents"])
    rows = []
    for name, found in results["models"].items():
        cells = [name]
        for group in groups:
            row = found["bits"][group]
            cells.append(decimal(row["bits_per_byte"], 3))
            gap, half = row["difference"], row["difference_half_width"]
            same = f" {SAME}" if abs(gap) <= half else ""
            cells.append(MISSING if gap == 0 else f"{signed(gap, 3)} ± {decimal(half, 3)}{same}")
        rows.append(Row(tuple(cells)))
    counts = ", ".join(f"{group_name(g)} {integer(n)}" for g, n in results["documents"].items())
    columns = [part for group in groups for part in (group_name(group), "to the first")]
    return Table(
        "Bits a byte on held-out documents, model by model",
        ("model", *columns),
        rows,
        note=f"Means over documents ({counts}), with the paired difference to the first model and "
        f"its 95 % interval; {SAME} marks no measurable difference. Seed {results['seed']}.",
    )


def _shares(results: dict[str, Any]) -> Table:
    rows = []
    for name, found in results["models"].items():
        passages, problems, calls = (
            found[kind] for kind in ("continuations", "arithmetic", "tool_form")
        )
        told = MISSING
        if passages["n"]:
            told = tuned.share(passages["accuracy"], passages["interval"])
        rows.append(
            Row(
                (
                    name,
                    told,
                    tuned.share(problems["accuracy"], problems["interval"]),
                    tuned.share(calls["valid"]["share"], calls["valid"]["interval"]),
                    tuned.share(calls["right"]["share"], calls["right"]["interval"]),
                )
            )
        )
    first = next(iter(results["models"].values()))
    return Table(
        f"Right continuations, answers and tool calls, % ({tuned.INTERVAL})",
        ("model", "continuation", "arithmetic", "valid tool call", "of the right tool"),
        rows,
        note=f"n = {integer(first['continuations']['n'])} passages (guessing gets "
        f"{percent(results['chance'], 0)}), {integer(first['arithmetic']['n'])} problems, "
        f"{integer(first['tool_form']['n'])} questions of up to "
        f"{integer(first['tool_form']['longest_prompt'])} tokens. Greedy replies; "
        f"seed {results['seed']}.",
    )


def _calls(results: dict[str, Any]) -> Samples:
    name = list(results["models"])[-1]
    examples = results["models"][name]["tool_form"]["examples"]
    samples = [
        Sample(example["judged"].lower(), example["question"] + "\n", example["reply"])
        for example in examples
    ]
    return Samples(f"Questions with tools, as {name} answers them", samples)
