"""Exact deduplication after normalisation (§2.1): of equal texts one stays."""

from collections.abc import Iterable, Iterator

from openqwen.core.documents import Document
from openqwen.data.normalise import same_key
from openqwen.data.steps import Outcome, Rejected


def drop_exact_duplicates(documents: Iterable[Document]) -> Iterator[Outcome]:
    """Keep one of those documents whose texts are the same but for form.

    Which one is kept does not depend on the order: it has the smallest id. Conversations are
    compared by all their messages together, and never with running text.
    """
    documents = list(documents)
    keys = [_key(document) for document in documents]
    first: dict[tuple[str, bytes], str] = {}
    for document, key in zip(documents, keys, strict=True):
        first[key] = min(first.get(key, document.id), document.id)
    for document, key in zip(documents, keys, strict=True):
        if not key[1]:
            yield Rejected(document, "no words", 0.0)
        elif first[key] != document.id:
            yield Rejected(document, "same text", 1.0, f"same as {first[key]}")
        else:
            yield document


def _key(document: Document) -> tuple[str, bytes]:
    kind = document.group if document.group in ("code", "instructions") else ""
    return kind, same_key(document.text, is_code=kind == "code")
