"""The page where a person accepts, rejects or mends samples (§3.4), and what comes of the marks.

    write_review(out / "review.html", read_verdicts(out / "kept.jsonl"), funnel)
    accepted, account = apply_marks(samples, [Path("review-marks.json")])

A static file: it works from disk, asks the network for nothing and treats every text as hostile.
Saved marks are JSON: {"kind": "openqwen instruct marks", "by": {"kind": "person" or "model",
"name"}, "marks": [{"id", "hash", "mark": "accept" or "reject", "contents"?}]}; `contents` are the
messages' texts where somebody mended them.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openqwen.agent.instruct.sample import Sample
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, sha256_text, write_text
from openqwen.core.pages import page_environment
from openqwen.data.training.conversation_rows import BadRowError, check_dialogue

MARKS_KIND = "openqwen instruct marks"
MARKERS = ("person", "model")
SHOWN_TURN = 1500  # a user's turn with tools is longer; the page shows its question


def sample_hash(sample: Sample) -> str:
    """Return a short hash of a sample's messages: marks of other texts under its id don't count."""
    return sha256_text(json.dumps(sample.messages, ensure_ascii=False))[:16]


def write_review(path: Path, samples: Sequence[Sample], funnel: dict[str, Any]) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        samples: those that passed the rules.
        funnel: what `generate.count` returned.
    """
    environment = page_environment(Path(__file__).parent)
    shown = [_shown(sample) for sample in samples]
    page = environment.get_template("review.html").render(
        items=shown,
        funnel={name: group for name, group in funnel.items() if isinstance(group, dict)},
        kinds=sorted({sample.kind for sample in samples}),
        languages=sorted({sample.language for sample in samples}),
        kind=MARKS_KIND,
    )
    write_text(path, page)


def apply_marks(
    samples: Sequence[Sample], paths: Sequence[Path]
) -> tuple[list[Sample], dict[str, int]]:
    """Return the samples that people accepted, mended where they did, and counts of all marks.

    Where one accepts and another rejects, the sample is rejected; of two mended texts the first
    file's counts.

    Raises:
        UserError: if a file is no file of marks.
    """
    marks: dict[str, list[tuple[dict[str, Any], dict[str, str]]]] = {}
    known = {sample.id: sample_hash(sample) for sample in samples}
    account: Counter[str] = Counter()
    for path in paths:
        by, rows = _read_marks(path)
        for row in rows:
            id = row.get("id")
            if not isinstance(id, str) or id not in known or known[id] != row.get("hash"):
                account["of other samples"] += 1
            elif row.get("mark") not in ("accept", "reject"):
                account["not a mark"] += 1
            else:
                marks.setdefault(id, []).append((row, by))
    accepted = []
    for sample in samples:
        given = marks.get(sample.id, [])
        verdicts = {row["mark"] for row, _ in given}
        if not verdicts:
            account["unmarked"] += 1
            continue
        account["disputed"] += len(verdicts) > 1
        if "reject" in verdicts:
            account["rejected"] += 1
            continue
        mended = _mended(sample, [row["contents"] for row, _ in given if "contents" in row])
        account["accepted"] += 1
        account["mended"] += mended.messages != sample.messages
        review = {"by": [by for _, by in given], "mended": mended.messages != sample.messages}
        accepted.append(replace(mended, provenance=mended.provenance | {"review": review}))
    return accepted, {name: n for name, n in account.items() if n}


def _shown(sample: Sample) -> dict[str, Any]:
    facts = sample.provenance
    told = [sample.kind, sample.language]
    told += [f"code: {facts['code']}"] if "code" in facts else []
    told += [f"{call['tool']}: {call['by']}" for call in facts.get("calls", ())]
    messages = [
        message | {"short": sample.instruction if place == 0 and sample.kind == "tools" else ""}
        for place, message in enumerate(sample.messages)
    ]
    return {
        "id": sample.id,
        "hash": sample_hash(sample),
        "kind": sample.kind,
        "language": sample.language,
        "facts": told,
        "messages": messages,
    }


def _mended(sample: Sample, contents: Sequence[Any]) -> Sample:
    """Return a sample with the first of the mended texts.

    Raises:
        UserError: if they don't fit its messages, or leave nothing to learn.
    """
    if not contents:
        return sample
    texts = contents[0]
    fits = isinstance(texts, list) and len(texts) == len(sample.messages)
    if not fits or not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"the mended texts of {sample.id} do not fit its {len(sample.messages)} messages"
        )
    messages = [m | {"content": text} for m, text in zip(sample.messages, texts, strict=True)]
    try:
        check_dialogue(messages)
    except BadRowError as error:
        raise UserError(f"the mended {sample.id} can't be learnt from: {error}") from None
    return replace(sample, messages=messages)


def _read_marks(path: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != MARKS_KIND:
        raise UserError(f"{path} is not a file of marks that a review page saved")
    by, rows = content.get("by"), content.get("marks")
    if not isinstance(by, dict) or by.get("kind") not in MARKERS:
        raise UserError(
            f'{path}: "by" must say who marked: {{"kind": "person" or "model", "name"}}'
        )
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} has no list of marks")
    return {"kind": by["kind"], "name": str(by.get("name") or "unnamed")}, rows
