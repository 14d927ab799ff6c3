"""One sample that the model made, and what became of it.

sample = Sample("r1-general-00012", "general", "en", "Name a fruit.", messages, provenance)
Drop(sample, "too similar", "Rouge-L 0.82 with seed_task_8")
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core.documents import Message
from openqwen.core.errors import UserError
from openqwen.core.files import write_text

SOURCE = "self-instruct"


@dataclass(frozen=True)
class Sample:
    """A conversation with where it came from.

    Attributes:
        id: round, kind and number.
        kind: general or tools.
        language: en or zh.
        instruction: what the user asks for, compared with others for diversity.
        messages: the conversation as SFT reads it; tools' observations have the role tool.
        provenance: model, seed, round, batch, hashes of the prompts, how the replies ended, what
            was executed.
    """

    id: str
    kind: str
    language: str
    instruction: str
    messages: list[Message]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def answer(self) -> str:
        """Return what the assistant says, all turns."""
        said = [m["content"] for m in self.messages if m["role"] == "assistant"]
        return "\n".join(said)

    @property
    def text(self) -> str:
        """Return what is said, the description of tools left out."""
        return f"{self.instruction}\n{self.answer}"


@dataclass(frozen=True)
class Verdict:
    """What became of one raw sample: kept where `reason` is None.

    Attributes:
        sample: as the model made it.
        reason: a few words that samples dropped alike share.
        detail: what a person needs to judge this one.
    """

    sample: Sample
    reason: str | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self)

    @staticmethod
    def of(row: dict[str, Any]) -> "Verdict":
        """Return what `as_json` gave."""
        return Verdict(Sample(**row["sample"]), row["reason"], row["detail"])


def sft_row(sample: Sample, licence: str) -> dict[str, Any]:
    """Return the row that `openqwen sft` and the documents stage read."""
    return {
        "id": sample.id,
        "source": SOURCE,
        "licence": licence,
        "messages": sample.messages,
        "provenance": sample.provenance | {"kind": sample.kind, "language": sample.language},
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write JSON Lines atomically; return how many."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


def read_verdicts(path: Path) -> list[Verdict]:
    """Return the verdicts of a file that `write_rows` wrote.

    Raises:
        UserError: if it is missing or no such file.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; openqwen instruct generate writes it")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Verdict.of(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number} is not a sample; generate it again") from None
    return found
