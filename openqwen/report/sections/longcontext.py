"""The long-context section: Table 3 for this run's model, its evidence, and passkey retrieval."""

from typing import Any

from openqwen.report.content import Block, Details, GridPlot, LinePlot, Row, Series, Table, Text
from openqwen.report.formatting import MISSING, compact, decimal, integer, multiple, percent, signed
from openqwen.report.reported import reported
from openqwen.report.run_facts import RunFacts, StageFacts

SAME = "≈"  # after a number that the data can't tell from "no method"
PLAIN = "no method"


def headline(stage: StageFacts) -> list[str]:
    """Return how far and on how much it was measured."""
    results = stage.json("results.json")
    if "nothing_measured" in results:
        return ["nothing measured"]
    return [
        f"up to {multiple(results['lengths'][-1] / results['train_length'])} the training length",
        f"{results['num_documents']} texts of {integer(results['tokens_a_document'])} tokens",
    ]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return the finding, the tables and the plot."""
    results = stage.json("results.json")
    if "nothing_measured" in results:
        return [Text(f"Nothing was measured: {results['nothing_measured']}.")]
    found: list[Block] = [Text(text) for text in _findings(results)]
    found += [_perplexity_table(results), perplexity_plot(results), _controls_note(stage)]
    if any(length > results["train_length"] for length in results["lengths"]):
        found.append(
            Details(
                "The evidence: paired differences and intervals",
                [_differences_table(results), _intervals_table(results)],
            )
        )
    if results["passkey"]:
        found += [_passkey_table(results), passkey_plot(results)]
    return found


def _measured(results: dict[str, Any]) -> str:
    groups = ", ".join(f"{count} {group}" for group, count in results["groups"].items())
    if sum(results["groups"].values()) != results["num_documents"]:
        groups = f"of {groups}"  # not all that were tried reach the largest length
    return (
        f"n = {results['num_documents']} held-out documents ({groups}) of "
        f"{integer(results['tokens_a_document'])} tokens each; seed {results['seed']}; the model "
        f"was trained on {compact(results['trained_tokens'])} tokens at a context of "
        f"{integer(results['train_length'])}."
    )


def _findings(results: dict[str, Any]) -> list[str]:
    """Say in words what the longest length shows, no more than the numbers do."""
    longest, train_length = results["lengths"][-1], results["train_length"]
    if longest <= train_length:
        return ["No length measured exceeds the training length, so no method was in force."]
    last = {row["method"]: row["cells"][-1] for row in results["rows"]}
    fullest = [row["method"] for row in results["rows"] if row["method"].startswith("+")][-1]
    cell = last[fullest]
    if cell["differs"]:
        direction = "better" if cell["difference_nats"] < 0 else "worse"
        verdict = (
            f"{direction} by {decimal(abs(cell['difference_nats']), 3)} ± "
            f"{decimal(cell['difference_half_width'], 3)} nats a token (paired, 95 %)"
        )
    elif cell["difference_half_width"] is None:
        verdict = "one document gives no interval, so no difference is claimed"
    else:
        verdict = "there is no measurable difference"
    return [
        f"At {multiple(longest / train_length)} the training length ({integer(longest)} tokens) "
        f"perplexity is {decimal(last[PLAIN]['perplexity'], 2)} without any method and "
        f"{decimal(cell['perplexity'], 2)} with “{fullest}”; {verdict}."
    ]


def _perplexity_table(results: dict[str, Any]) -> Table:
    """Return Table 3: our rows and the report's at the same multiples of the training length."""
    train_length, table3 = results["train_length"], reported()["table3_perplexity_arxiv"]
    report_length = reported()["section2_4_pretraining"]["context length"]
    ours = {length / train_length: length for length in results["lengths"]}
    theirs = [length / report_length for length in table3["columns"]]
    places = sorted({*ours, *theirs})
    rows = []
    for row in results["rows"]:
        cells = {c["length"]: _perplexity(row["method"], c, train_length) for c in row["cells"]}
        shown = (cells[ours[place]] if place in ours else MISSING for place in places)
        rows.append(Row((row["method"], *shown), "control" if row["is_control"] else ""))
    for name, values in table3["rows"].items():
        known = dict(zip(theirs, values, strict=True))
        rows.append(Row((name, *(decimal(known.get(place), 2) for place in places)), "reported"))
    heads = (multiple(p) + (f" ({integer(ours[p])})" if p in ours else "") for p in places)
    return Table(
        "Perplexity at multiples of the training length, beside Table 3",
        ("method", *heads),
        rows,
        note=f"{_measured(results)} Lower is better; every length scores the same tokens. "
        f"{SAME} no measurable difference from “{PLAIN}”: the 95 % interval of the paired "
        "difference over the documents includes zero. Up to the training length every method is "
        "the model itself. The report's rows are on arXiv texts with a training length of "
        f"{integer(report_length)}: texts and models differ, so only the shape over the length "
        "compares.",
    )


def _perplexity(method: str, cell: dict[str, Any], train_length: int) -> str:
    text = decimal(cell["perplexity"], 2)
    return f"{text} {SAME}" if _is_same(method, cell, train_length) else text


def _is_same(method: str, cell: dict[str, Any], train_length: int) -> bool:
    return method != PLAIN and cell["length"] > train_length and not cell["differs"]


def _controls_note(stage: StageFacts) -> Text:
    assert stage.manifest is not None
    seen = 1 - stage.manifest.settings["truncated_stride_share"]
    return Text(
        "Two controls (ours): the uniform window shows every layer the last training length of "
        "tokens, so that far text counts only through the layers between; the truncated context "
        "cuts all text off but the last training length, so that each token is predicted from at "
        f"least {percent(seen, 1)} of it where the text has so many. A method that is not better "
        "than the truncated context gains nothing from far text.",
        is_note=True,
    )


def perplexity_plot(results: dict[str, Any]) -> LinePlot:
    """Return perplexity over length, a line a row; one line where no method was in force."""
    train_length = results["train_length"]
    is_extended = results["lengths"][-1] > train_length
    series = [
        Series(
            row["method"],
            [cell["length"] / train_length for cell in row["cells"]],
            [cell["perplexity"] for cell in row["cells"]],
            place,
            dashed=row["is_control"],
            has_markers=True,
        )
        for place, row in enumerate(results["rows"] if is_extended else results["rows"][:1])
    ]
    return LinePlot(
        "perplexity-by-length",
        "Perplexity by length and method",
        f"length, in multiples of the training length ({integer(train_length)} tokens)",
        "perplexity",
        series,
        log_x=True,
        log_y=True,
        ticks=[(n / train_length, multiple(n / train_length)) for n in results["lengths"]],
        mark=(1, "training length") if is_extended else None,
    )


def passkey_plot(results: dict[str, Any]) -> GridPlot:
    """Return the share of passkeys found over length and depth, a panel a method."""
    cells = {(c["method"], c["length"], c["depth"]): c for c in results["passkey"]}
    methods = list(dict.fromkeys(method for method, _, _ in cells))
    lengths = sorted({length for _, length, _ in cells})
    depths = sorted({depth for _, _, depth in cells})
    found = [[[cells.get((m, n, d)) for n in lengths] for d in depths] for m in methods]
    shares = [
        [[c and c["num_exact"] / c["num_trials"] for c in row] for row in panel] for panel in found
    ]
    texts = [
        [[f"{c['num_exact']} of {c['num_trials']}" if c else "" for c in row] for row in panel]
        for panel in found
    ]
    return GridPlot(
        "passkeys",
        "Passkeys found by length and depth",
        f"length in tokens (training length {integer(results['train_length'])})",
        "depth",
        [integer(length) for length in lengths],
        [percent(depth, 0) for depth in depths],
        list(zip(methods, shares, strict=True)),
        texts,
    )


def _differences_table(results: dict[str, Any]) -> Table:
    train_length = results["train_length"]
    lengths = [length for length in results["lengths"] if length > train_length]
    rows = []
    for row in results["rows"]:
        if row["method"] == PLAIN:
            continue
        cells = [cell for cell in row["cells"] if cell["length"] > train_length]
        texts = (_difference(row["method"], cell, train_length) for cell in cells)
        rows.append(Row((row["method"], *texts), "control" if row["is_control"] else ""))
    heads = (f"{multiple(n / train_length)} ({integer(n)})" for n in lengths)
    return Table(
        f"Difference to “{PLAIN}”, nats a token, ± half the 95 % interval",
        ("method", *heads),
        rows,
        note="Paired over the documents; below zero the method is better.",
    )


def _difference(method: str, cell: dict[str, Any], train_length: int) -> str:
    text = signed(cell["difference_nats"], 4)
    half = cell["difference_half_width"]
    text += f" ± {decimal(half, 4)}" if half is not None else " (no interval)"
    return f"{text} {SAME}" if _is_same(method, cell, train_length) else text


def _intervals_table(results: dict[str, Any]) -> Table:
    train_length = results["train_length"]
    rows = [
        Row(
            (row["method"], *(_interval(cell) for cell in row["cells"])),
            "control" if row["is_control"] else "",
        )
        for row in results["rows"]
    ]
    heads = (f"{multiple(n / train_length)} ({integer(n)})" for n in results["lengths"])
    return Table(
        "95 % interval of each perplexity over the documents",
        ("method", *heads),
        rows,
        note="These include how documents differ in difficulty, so they are wider than what the "
        "paired differences need.",
    )


def _interval(cell: dict[str, Any]) -> str:
    if cell["low"] is None:
        return MISSING
    return f"{decimal(cell['low'], 2)} – {decimal(cell['high'], 2)}"


def _passkey_table(results: dict[str, Any]) -> Table:
    """Return passkeys retrieved, by method and length (rows) and depth (columns)."""
    cells = {(c["method"], c["length"], c["depth"]): c for c in results["passkey"]}
    depths = sorted({depth for _, _, depth in cells})
    rows = []
    for method, length in dict.fromkeys((m, n) for m, n, _ in cells):
        found = [cells.get((method, length, depth)) for depth in depths]
        texts = [
            part
            for c in found
            for part in (
                (f"{c['num_exact']} of {c['num_trials']}", decimal(c["digit_loss"], 2))
                if c
                else (MISSING, MISSING)
            )
        ]
        at = f"{multiple(length / results['train_length'])}\u00a0({integer(length)})"
        rows.append(Row((method, at, *texts)))
    exact = sum(c["num_exact"] for c in results["passkey"])
    trials = sum(c["num_trials"] for c in results["passkey"])
    heads = [h for d in depths for h in (f"found at depth {percent(d, 0)}", "loss")]
    return Table(
        "Passkey retrieval: five digits hidden in a text and asked for at its end",
        ("method", "length", *heads),
        rows,
        text_columns=2,
        note=f"Found: all digits right; {exact} of {trials} in all. Loss: nats a digit; guessing "
        f"digits at random gives ln 10 = {decimal(results['passkey_chance_loss'], 2)}. Depth: "
        "where in the text the digits stand, from its start.",
    )
