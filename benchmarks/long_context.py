"""Table 3's rows and the passkey grid of a real model, written into the docs with their evidence.

    python benchmarks/long_context.py MODEL --text books.jsonl.gz --out runs/long --write-docs

Finished measures are kept in --out, so that the same command goes on where it was stopped.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.config import parse_config
from openqwen.core.files import read_json, write_json
from openqwen.core.log import format_duration, say
from openqwen.eval.config import METHODS, LongContextConfig
from openqwen.eval.kept import keep_directory
from openqwen.eval.long_context_table import format_grid, format_table, measure_long_context
from openqwen.eval.texts import read_long_texts
from openqwen.infer.load import load
from openqwen.report.figures import render_png
from openqwen.report.sections.longcontext import passkey_plot

PAGE = ROOT / "docs" / "longcontext.md"
PLOTS = ROOT / "docs" / "plots"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, or go on with what is kept; return the results and how they came about."""
    lm = load(args.model, dtype=args.dtype)
    assert lm.tokenizer is not None, "a model to measure on text has a tokenizer"
    say(lm.describe())
    train_length = lm.config.train_length
    settings = {
        "num_documents": args.documents,
        "passkey_trials": args.trials,
        "methods": args.methods,
        "length_multiples": [length / train_length for length in args.lengths],
        "passkey_multiples": [n / train_length for n in args.passkey_lengths or args.lengths],
        "passkey_depths": args.depths,
    }
    config = parse_config(LongContextConfig, settings, where="command line")
    files = {"model": args.model} | {str(path): path for path in args.text}
    identity = {"settings": config.model_dump(mode="json"), "seed": args.seed}
    kept = keep_directory(args.out, identity, files)
    documents = read_long_texts(
        args.text, lm.tokenizer, num_tokens=max(args.lengths) + 1, count=args.documents
    )
    origin = args.out / "origin.json"  # the commit that measures; one that goes on may be another
    if not origin.is_file():
        write_json(origin, provenance(_command(args)))
    started = time.process_time()  # others may take the processors, or stop this for a while
    results = measure_long_context(
        lm.model, lm.tokenizer, documents, config, seed=args.seed, kept=kept
    )
    clock = args.out / "seconds.json"
    seconds = time.process_time() - started + (read_json(clock) if clock.is_file() else 0.0)
    write_json(clock, seconds)
    facts = {"model": args.name or args.model.name, "plan": lm.describe(), "seconds": seconds}
    facts |= {"provenance": read_json(origin)}
    write_json(args.out / "results.json", results | facts)
    return results | facts


def _command(args: argparse.Namespace) -> str:
    """Return the command as a reader would give it."""
    names = " ".join(path.name for path in args.text)
    lengths = " ".join(map(str, args.lengths))
    return (
        f"python benchmarks/long_context.py {args.model.name} --text {names} --lengths {lengths} "
        f"--documents {args.documents} --trials {args.trials} --out DIR --write-docs"
    )


def section(results: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the section's Markdown."""
    lengths, train_length = results["lengths"], results["train_length"]
    extended = [length for length in lengths if length > train_length]
    shown = results["rows"] if extended else results["rows"][:1]
    heads = [f"{length:,}" for length in lengths]
    lines = [
        f"{results['model']}: {results['plan']}.",
        "",
        "| perplexity at length | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for row in shown:
        cells = [
            f"{cell['perplexity']:.3f} ({cell['low']:.2f} – {cell['high']:.2f})"
            if cell["low"] is not None
            else f"{cell['perplexity']:.3f}"
            for cell in row["cells"]
        ]
        lines.append(f"| {row['method']} | " + " | ".join(cells) + " |")
    texts = ", ".join(f"`{path.name}`" for path in args.text)
    lines += [
        "",
        f"n = {results['num_documents']} documents of {results['tokens_a_document']:,} tokens, the "
        f"first of {texts} that have so many (held-out text, not reproducible outside); every "
        "length scores the same tokens; in brackets the 95 % interval over documents, which holds "
        "how they differ in difficulty.",
    ]
    if not extended:
        lines += [
            "",
            f"All lengths lie within the model's training length of {train_length:,} tokens, where "
            "no method is in force: every row of Table 3 is this one, and the controls are too. "
            f"Beyond {train_length:,} tokens: not run.",
        ]
    if results["passkey"]:
        lines += ["", *_passkeys(results)]
    spent = format_duration(results["seconds"])
    return "\n".join([*lines, "", f"{spent} of processor time. {results['provenance']}"])


def _passkeys(results: dict[str, Any]) -> list[str]:
    """Return the passkey table, the picture's line and what the numbers mean."""
    cells = {(c["method"], c["length"], c["depth"]): c for c in results["passkey"]}
    depths = sorted({depth for _, _, depth in cells})
    heads = [f"depth {depth:.0%}" for depth in depths]
    lines = [
        "| passkeys found | length | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 2) + "|",
    ]
    for method, length in dict.fromkeys((m, n) for m, n, _ in cells):
        found = (cells[method, length, depth] for depth in depths)
        texts = [f"{c['num_exact']} of {c['num_trials']} ({c['digit_loss']:.3f})" for c in found]
        lines.append(f"| {method} | {length:,} | " + " | ".join(texts) + " |")
    exact = sum(cell["num_exact"] for cell in results["passkey"])
    trials = sum(cell["num_trials"] for cell in results["passkey"])
    return [
        *lines,
        "",
        "![passkeys found by length and depth](plots/longcontext-passkeys.png)",
        "",
        f"{exact} of {trials} keys of five digits found, seed {results['seed']}: a key counts "
        "where every digit, predicted from the true ones before it, is right. In brackets the "
        f"loss in nats a digit (ln 10 = {results['passkey_chance_loss']:.2f} by chance). The "
        "prompt is plain text to be continued, no chat template; the filler is the same text.",
    ]


def main() -> None:
    """Measure, print, write the docs where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a model directory or a GGUF file")
    parser.add_argument("--name", default="", help="what the docs call the model (its file)")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16_384])
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--documents", type=int, default=4)
    parser.add_argument("--passkey-lengths", type=int, nargs="+")
    parser.add_argument("--depths", type=float, nargs="+", default=[0.1, 0.5, 0.9])
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="keeps finished measures")
    parser.add_argument("--write-docs", action="store_true", help="update docs/longcontext.md")
    args = parser.parse_args()
    results = measure(args)
    for line in [*format_table(results), *format_grid(results)]:
        say(line)
    if args.write_docs:
        if results["passkey"]:
            PLOTS.mkdir(parents=True, exist_ok=True)
            (PLOTS / "longcontext-passkeys.png").write_bytes(render_png(passkey_plot(results)))
        body = section(results, args)
        write_section(PAGE, "longcontext_real", "A real model within its own range", body)


if __name__ == "__main__":
    main()
