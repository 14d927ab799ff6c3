"""Requests of real tasks for the comparisons with the harness's own backend: texts and choices.

items = score_items("mmlu", data, count=32, seed=0)      # a list of requests for each question
prompts, settings = generation_items("gsm8k", data, count=32, seed=0)

Forms are those of the harness's tasks; only the folder of `OPENQWEN_DATA` is read.
"""

import gzip
import json
import random
from pathlib import Path
from typing import Any

Request = tuple[str, str]
LETTERS = "ABCD"
WORDS_A_TOKEN = 0.85  # of these English texts
GSM8K_STOPS = ["Question:", "</s>", "<|im_end|>"]
HUMANEVAL_STOPS = ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]


def read_rows(data: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of one benchmark file."""
    with gzip.open(data / "benchmarks" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def score_items(
    kind: str, data: Path, *, count: int, seed: int, shots: int = 5, subjects: int = 3
) -> list[list[Request]]:
    """Return questions, each as its choices' (context, continuation)."""
    rng = random.Random(seed)
    if kind.startswith("choices"):
        return _long_choices(data, count, rng, shared=int(kind.removeprefix("choices")))
    if kind == "hellaswag":
        rows = rng.sample(read_rows(data, "hellaswag_1000"), count)
        return [
            [(f"{r['activity_label']}: {r['ctx']}", f" {e}") for e in r["endings"]] for r in rows
        ]
    if kind == "arc":
        rows = rng.sample(read_rows(data, "arc_challenge"), count)
        return [
            [
                (f"Question: {r['question']['stem']}\nAnswer:", f" {c['text']}")
                for c in r["question"]["choices"]
            ]
            for r in rows
        ]
    return _lettered(kind, data, count, rng, shots, subjects)


def _lettered(
    kind: str, data: Path, count: int, rng: random.Random, shots: int, subjects: int
) -> list[list[Request]]:
    """Return questions of a few subjects behind each subject's examples (MMLU's form)."""
    rows = [row for row in read_rows(data, kind) if len(row["choices"]) == 4]
    names = rng.sample(sorted({row["subject"] for row in rows}), subjects)
    items = []
    for place, name in enumerate(names):
        own = [row for row in rows if row["subject"] == name]
        examples = [row for row in own if row["split"] == "dev"][:shots]
        wanted = count // subjects + (place < count % subjects)
        tests = rng.sample([row for row in own if row["split"] != "dev"], wanted)
        topic = name.replace("_", " ")
        head = f"The following are multiple choice questions (with answers) about {topic}.\n\n"
        if kind == "cmmlu":
            head = f"以下是关于{topic}的单项选择题，请直接给出正确答案的选项。\n\n"
        shown = "".join(f"{_question(kind, row)} {row['answer']}\n\n" for row in examples)
        items += [
            [(head + shown + _question(kind, row), f" {letter}") for letter in LETTERS]
            for row in tests
        ]
    return items


def _question(kind: str, row: dict[str, Any]) -> str:
    choices = "".join(
        f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, row["choices"], strict=True)
    )
    return f"{row['question'].strip()}\n{choices}{'Answer:' if kind == 'mmlu' else '答案是：'}"


def _long_choices(
    data: Path, count: int, rng: random.Random, *, shared: int
) -> list[list[Request]]:
    """Return four choices of real text, about 160 tokens each with what they share."""
    words = " ".join(row["ctx"] for row in read_rows(data, "hellaswag_1000")).split(" ")
    before = round(shared * WORDS_A_TOKEN)
    each = round((160 - shared) * WORDS_A_TOKEN)
    items = []
    for _ in range(count):
        at = rng.randrange(len(words) - 300)
        context = " ".join(words[at : at + before])
        begins = [at + before + each * i for i in range(4)]
        items.append([(context, " " + " ".join(words[b : b + each])) for b in begins])
    return items


def generation_items(
    kind: str, data: Path, *, count: int, seed: int
) -> tuple[list[str], dict[str, Any]]:
    """Return prompts and what is asked of the generation."""
    rng = random.Random(seed)
    if kind == "gsm8k":
        shots = read_rows(data, "gsm8k_train")[:8]
        head = "".join(f"Question: {r['question']}\nAnswer: {r['answer']}\n\n" for r in shots)
        rows = rng.sample(read_rows(data, "gsm8k_test"), count)
        prompts = [f"{head}Question: {row['question']}\nAnswer:" for row in rows]
        return prompts, {"until": GSM8K_STOPS, "max_gen_toks": 256, "do_sample": False}
    rows = [r for r in read_rows(data, "humaneval_multi") if "canonical_solution" in r]
    chosen = rng.sample(rows, count)
    prompts = [row["prompt"].rstrip() for row in chosen]
    return prompts, {"until": HUMANEVAL_STOPS, "max_gen_toks": 256, "do_sample": False}
