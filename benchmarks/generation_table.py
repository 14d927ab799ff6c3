"""The section on generation speed: speeds, goals, what limits them, who took part."""

from typing import Any

# (task, our variants, peers by the start of the name ("" all), floor, stretch, what is asked)
GOALS = (
    ("prefill 512", ("bf16", "int8", "int4"), ("",), 1.0, 1.3, "the fastest"),
    ("prefill 2,048", ("bf16", "int8", "int4"), ("",), 1.0, 1.3, "the fastest"),
    ("decode 1", ("bf16",), ("transformers bf16",), 1.5, None, "the same bits"),
    ("decode 1", ("int8",), ("llama.cpp Q8_0", "xllamacpp Q8_0"), 1.0, None, "the same bits"),
    ("decode 1", ("int4",), ("llama.cpp Q4_K_M", "xllamacpp Q4_K_M"), 1.0, None, "the same bits"),
    ("decode 1", ("int4",), ("",), None, 1.2, "the fastest of any format"),
    ("decode 8", ("bf16", "int8", "int4"), ("",), 1.0, 1.5, "the fastest"),
)
COLD_LIMIT_S = 5.0


def body(
    rows: list[dict[str, Any]],
    about: dict[str, dict[str, Any]],
    ceilings: dict[str, Any],
    cold: dict[str, list[float]],
    *,
    threads: int,
) -> str:
    """Return the section's Markdown without title and provenance."""
    parts = [
        "Tokens a second, medians; all samples stand below. Prefill is the time to the last "
        "position's logits; decoding is greedy, 64 new tokens a sequence after 32, the prompts' "
        "own time apart; 8 sequences are added up.",
        _speeds(rows),
        _goals(rows),
        _limits(rows, about, ceilings),
    ]
    if cold:
        parts.append(_cold(cold))
    parts += [_samples(rows), _who(about, threads)]
    return "\n\n".join(part for part in parts if part)


def _speeds(rows: list[dict[str, Any]]) -> str:
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = ["| | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for who in dict.fromkeys(row["who"] for row in rows):
        cells = [f"{_rate(rows, task, who):,.0f}" for task in tasks[:2]]
        cells += [f"{_rate(rows, task, who):,.1f}" for task in tasks[2:]]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rate(rows: list[dict[str, Any]], task: str, who: str) -> float:
    return next(r["tokens_per_s"] for r in rows if (r["task"], r["who"]) == (task, who))


def _goals(rows: list[dict[str, Any]]) -> str:
    lines = ["| | openqwen | beside | ratio | floor | stretch |", "|---|---|---|---|---|---|"]
    for task, variants, peers, floor, stretch, what in GOALS:
        mine = _fastest(rows, task, tuple(f"openqwen {v}" for v in variants))
        theirs = _fastest([r for r in rows if not _is_ours(r["who"])], task, peers)
        if mine is None or theirs is None:
            continue
        ratio = mine["tokens_per_s"] / theirs["tokens_per_s"]
        lines.append(
            f"| {task} | {_named(mine)} | {_named(theirs)}, {what} | {ratio:.2f} × | "
            f"{_verdict(ratio, floor)} | {_verdict(ratio, stretch)} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def _fastest(rows: list[dict[str, Any]], task: str, names: tuple[str, ...]) -> dict | None:
    found = [r for r in rows if r["task"] == task and r["who"].startswith(names)]
    return max(found, key=lambda r: r["tokens_per_s"], default=None)


def _is_ours(who: str) -> bool:
    return who.startswith("openqwen ")


def _named(row: dict[str, Any]) -> str:
    return f"{row['who'].removeprefix('openqwen ')} {row['tokens_per_s']:,.1f}"


def _verdict(ratio: float, bound: float | None) -> str:
    if bound is None:
        return "–"
    return f"{bound:g} × {'reached' if ratio >= bound else '**short**'}"


def _limits(
    rows: list[dict[str, Any]], about: dict[str, dict[str, Any]], ceilings: dict[str, Any]
) -> str:
    read = ceilings["read_bytes_per_s"]
    lines = [
        "| | bytes read a token | share of the reading rate | products alone | share in prefill "
        "512 | in 2,048 |",
        "|---|---|---|---|---|---|",
    ]
    for who, words in about.items():
        if "weight_bytes" not in words:
            continue
        size = words["weight_bytes"]
        rate = ceilings["product_flops_per_s"].get(who.removeprefix("openqwen "))
        cells = [
            f"{size / 1e6:,.0f} MB",
            f"{100 * size * _rate(rows, 'decode 1', who) / read:.0f} %",
        ]
        cells.append(f"{rate / 1e12:.2f} TFLOP/s" if rate else "–")
        for task, flops in ceilings["prompt_flops"].items():
            tokens = int(task.removeprefix("prefill ").replace(",", ""))
            share = flops / tokens * _rate(rows, task, who) / rate if rate else 0
            cells.append(f"{100 * share:.0f} %" if rate else "–")
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    samples = ", ".join(f"{s:.1f}" for s in ceilings["read_samples_gb_per_s"])
    return "\n".join(lines) + (
        f"\n\nBytes are the weights, the peers' as their files hold them (the embedding "
        "table's one row, keys and values left out). "
        f"Reading rate: {read / 1e9:.1f} GB/s, the best of {samples} (torch's sum over 1 GiB of "
        "float32, all threads). Products alone: one layer's matrix products on 512 rows as the "
        "variant does them, the best of as many rounds; shares of it count attention's FLOPs, too."
    )


def _cold(cold: dict[str, list[float]]) -> str:
    lines = [
        "| cold process to the first token | weights not yet converted | converted, median | all |",
        "|---|---|---|---|",
    ]
    for variant, (first, *later) in cold.items():
        middle = sorted(later)[len(later) // 2]
        verdict = "" if middle < COLD_LIMIT_S else " **over 5 s**"
        lines.append(
            f"| openqwen {variant} | {first:.2f} s | {middle:.2f} s{verdict} | "
            f"{', '.join(f'{s:.2f}' for s in later)} |"
        )
    return "\n".join(lines) + (
        "\n\n`openqwen generate FILE.gguf Hello --max-new-tokens 1 --greedy`, from the start of "
        "the process to the first byte of text; the file is in the system's page cache, the first "
        "run compiles the kernels and fills the cache of converted weights where there is one."
    )


def _samples(rows: list[dict[str, Any]]) -> str:
    lines = ["| all samples, tokens/s | | |", "|---|---|---|"]
    for row in rows:
        samples = ", ".join(f"{s:,.1f}" for s in row["samples"])
        lines.append(f"| {row['task']} | {row['who']} | {samples} |")
    return "\n".join(lines)


def _who(about: dict[str, dict[str, Any]], threads: int) -> str:
    packages: dict[str, str] = {}
    systems: dict[str, str] = {}
    for words in about.values():
        for key, value in words.items():
            if key not in ("system", "weight_bytes"):
                packages[key] = value
        for key in ("llama-cpp-python", "xllamacpp"):
            if key in words:
                systems[key] = words["system"]
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    text = f"{versions}. Interleaved, {threads} threads, every process stopped between its turns."
    if "llama-cpp-python" in systems:
        text += (
            f" llama.cpp is the one in llama-cpp-python's source package, built here for this "
            f"processor ({_flags(systems['llama-cpp-python'])})."
        )
    if "xllamacpp" in systems:
        text += f" xllamacpp is the PyPI wheel as it is ({_flags(systems['xllamacpp'])})."
    return text


def _flags(system: str) -> str:
    parts = [p.split("=")[0].strip() for p in system.split(":", 1)[-1].split("|")]
    return ", ".join(p for p in parts if p)
