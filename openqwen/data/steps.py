"""What every step of the documents stage is: documents in, each of them out again or rejected.

    def no_shouting(documents: Iterable[Document]) -> Iterator[Outcome]:
        for document in documents:
            yield Rejected(document, "shouting") if document.text.isupper() else document

A step answers each document exactly once, in any order; who counts, shows progress and keeps
samples of the rejected is `data.audit.funnel`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from openqwen.core.documents import Document


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that a step takes out, and why."""

    document: Document
    reason: str  # a few words, the same for all documents rejected alike
    score: float | None = None  # the measured value that decided
    detail: str = ""  # what a person needs to judge this one


Outcome = Document | Rejected
Step = Callable[[Iterable[Document]], Iterator[Outcome]]


def batches(
    documents: Iterable[Document], max_documents: int, max_chars: int
) -> Iterator[list[Document]]:
    """Yield documents in lists, bounded by their number and, give or take one, by their size."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if len(batch) == max_documents or size >= max_chars:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
