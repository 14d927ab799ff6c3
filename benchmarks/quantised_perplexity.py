"""Perplexity of the weights as they are, in int8 and in int4, on held-out text, chunk by chunk.

    OPENQWEN_DATA=... python benchmarks/quantised_perplexity.py model.gguf --write-docs

Chunks of 1,024 tokens from as many documents as there are: English novels and Chinese documentation
from $OPENQWEN_DATA, Python code from the standard library. Without the variable: the standard
library's code and the texts of its `help()`. All variants read the same chunks, so differences are
paired. Ends with exit code 1 where int8 is more than 0.5 % or int4 more than 4 % above bf16.
"""

import argparse
import gzip
import json
import math
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance, write_section

import openqwen
from openqwen.core.intervals import mean_interval
from openqwen.core.runtime import development_data
from openqwen.infer.load import LanguageModel
from openqwen.infer.quantise import QuantisedLinear
from openqwen.tokenizer.tokenizer import Tokenizer

CHUNK = 1024
VARIANTS = {
    "bf16": {"dtype": "bfloat16"},
    "float32": {"dtype": "float32"},
    "int8": {"dtype": "bfloat16", "quantize": "int8"},
    "int4": {"dtype": "bfloat16", "quantize": "int4"},
}
BASE = "bf16"
GATES = {"int8": 0.005, "int4": 0.04}
DATA = {"English": "en_standardebooks_pd.dev", "Chinese": "zh_oi_wiki_ccbysa4"}


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: `CHUNK` ids and one more; the first is only read."""

    kind: str
    ids: list[int]


def data_texts(name: str) -> list[str]:
    """Return the texts of a file of the development data."""
    folder = development_data()
    assert folder is not None, "asked only where the data is there"
    with gzip.open(folder / "text" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def library_code() -> list[str]:
    """Return the standard library's modules."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [p.read_text(encoding="utf-8", errors="replace") for p in sorted(folder.glob("*.py"))]


def library_prose() -> list[str]:
    """Return the topics of the language reference that `help()` shows."""
    from pydoc_data.topics import topics

    return ["\n\n".join(topics.values())]


def pieces(kind: str, texts: list[str], tokenizer: Tokenizer, count: int) -> Iterator[Chunk]:
    """Yield chunks: the first of every document, spread over it where documents are few."""
    needed = 8 * (CHUNK + 1)  # characters that surely hold a chunk, in any of the languages
    texts = [text for text in texts if len(text) >= needed]
    each = -(-count // max(1, len(texts)))
    left = count
    for text in texts:
        for part in range(min(each, left)):
            start = part * (len(text) - needed) // each
            ids = tokenizer.encode(text[start : start + needed])
            if len(ids) > CHUNK:
                left -= 1
                yield Chunk(kind, ids[: CHUNK + 1])


def held_out(tokenizer: Tokenizer, per_kind: int) -> list[Chunk]:
    """Return the chunks of every kind of text that is there."""
    sources = {"Python": library_code()}
    if development_data() is not None:
        sources |= {kind: data_texts(name) for kind, name in DATA.items()}
    else:
        sources["English"] = library_prose()
    return [
        chunk
        for kind, texts in sources.items()
        for chunk in pieces(kind, texts, tokenizer, per_kind)
    ]


def losses(lm: LanguageModel, chunks: list[Chunk]) -> list[float]:
    """Return each chunk's mean loss in nats a token, from the public logits."""
    found = []
    for chunk in chunks:
        logits_TV = lm.logits([chunk.ids[:-1]])[0]
        targets_T = torch.tensor(chunk.ids[1:])
        parts = zip(logits_TV.split(128), targets_T.split(128), strict=True)
        total = sum(float(functional.cross_entropy(a, b, reduction="sum")) for a, b in parts)
        found.append(total / CHUNK)
    return found


def compare(name: str, mine: list[float], base: list[float], chunks: list[Chunk]) -> dict:
    """Return perplexities, the paired ratio to the base with its 95 % interval, and the verdict."""
    mean, half = mean_interval([a - b for a, b in zip(mine, base, strict=True)])
    kinds = list(dict.fromkeys(chunk.kind for chunk in chunks))
    by_kind = {
        kind: math.exp(
            mean_interval([x for x, c in zip(mine, chunks, strict=True) if c.kind == kind])[0]
        )
        for kind in kinds
    }
    change = math.exp(mean) - 1
    gate = GATES.get(name)
    return {
        "variant": name,
        "perplexity": math.exp(sum(mine) / len(mine)),
        "by_kind": by_kind,
        "change": change,
        "interval": [math.exp(mean - half) - 1, math.exp(mean + half) - 1],
        "gate": gate,
        "within": gate is None or change <= gate,
    }


def scheme(lm: LanguageModel) -> str:
    """Return how the matrices are kept, as `int4 in groups of 32, int8 in groups of 64`."""
    kinds = {(m.bits, m.group) for m in lm.model.modules() if isinstance(m, QuantisedLinear)}
    return ", ".join(f"int{bits} in groups of {group}" for bits, group in sorted(kinds))


def table(rows: list[dict], chunks: list[Chunk]) -> str:
    kinds = list(rows[0]["by_kind"])
    counts = {kind: sum(c.kind == kind for c in chunks) for kind in kinds}
    lines = [
        "| weights | perplexity | "
        + " | ".join(f"{kind} ({counts[kind]})" for kind in kinds)
        + f" | against {BASE}, paired | 95 % interval | to hold |",
        "|---|---|" + "---|" * len(kinds) + "---|---|---|",
    ]
    for row in rows:
        cells = [f"{row['by_kind'][kind]:.3f}" for kind in kinds]
        if row["variant"] == BASE:
            ending = "– | – | –"
        else:
            low, high = (f"{100 * x:+.2f}" for x in row["interval"])
            gate = (
                "–"
                if row["gate"] is None
                else f"{100 * row['gate']:g} %: " + ("held" if row["within"] else "**not held**")
            )
            ending = f"{100 * row['change']:+.2f} % | {low} … {high} % | {gate}"
        lines.append(
            f"| {row['variant']} | {row['perplexity']:.3f} | {' | '.join(cells)} | {ending} |"
        )
    note = "Texts under `OPENQWEN_DATA`: not reproducible outside. " if "Chinese" in kinds else ""
    schemes = "".join(f"{r['variant']}: {r['scheme']}. " for r in rows if r["scheme"])
    lines.append(
        f"\n{len(chunks)} chunks of {CHUNK:,} tokens, {len(chunks) * CHUNK:,} tokens scored, "
        f"intervals over chunks. {note}{schemes}Activations of quantised weights are rounded to "
        "int8 in the same groups; no calibration."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--chunks", type=int, default=16, help="of each kind of text")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    names = args.variants.split(",")
    if names[0] != BASE:
        parser.error(f"--variants begins with {BASE}, which the others are compared with")
    chunks = held_out(Tokenizer.from_file(args.model), args.chunks)
    found: dict[str, list[float]] = {}
    rows = []
    for name in names:
        lm = openqwen.load(args.model, **VARIANTS[name])
        start = time.perf_counter()
        found[name] = losses(lm, chunks)
        row = compare(name, found[name], found[BASE], chunks) | {"scheme": scheme(lm)}
        rows.append(row)
        seconds = round(time.perf_counter() - start, 1)
        print(json.dumps(row | {"system": lm.describe(), "seconds": seconds}), flush=True)
        del lm
    if args.write_docs:
        command = f"python benchmarks/quantised_perplexity.py {args.model.name}"
        command += f" --variants {args.variants} --chunks {args.chunks}"
        text = f"{table(rows, chunks)}\n\n{provenance(command)}"
        write_section(PERFORMANCE, "quantised_perplexity", "Perplexity of quantised weights", text)
    if not all(row["within"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
