"""An even sample of documents by language, for measuring, and texts written as files.

texts = sample_by_language(documents, max_characters=500_000)   # {"zh": [text, …], …}
write_by_language(Path("texts"), package_texts(LANGUAGES, held_out=True))
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from openqwen.core.documents import Document
from openqwen.core.files import atomic_path


def sample_by_language(
    documents: Iterable[Document], *, max_characters: int
) -> dict[str, list[str]]:
    """Return up to so many characters of whole documents for each group, chosen by their names.

    The same documents in any order give the same sample. The first one is taken whatever its size.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    sizes: dict[str, int] = {}
    for document in documents:
        text = "\n".join(m["content"] for m in document.messages) or document.text
        if not text:
            continue
        group = document.group or "und"
        found.setdefault(group, []).append((_place(document.id), text))
        sizes[group] = sizes.get(group, 0) + len(text)
        if sizes[group] > 4 * max_characters + len(text):  # keep no more than will be needed
            found[group] = _cut(found[group], max_characters)
            sizes[group] = sum(len(text) for _, text in found[group])
    return {
        group: [text for _, text in _cut(some, max_characters)] for group, some in found.items()
    }


def write_by_language(folder: Path, documents: Iterable[Document]) -> dict[str, dict[str, int]]:
    """Write documents into `folder`, a JSON Lines file a language; return what each holds."""
    counts: dict[str, dict[str, int]] = {}
    with contextlib.ExitStack() as stack:
        files: dict[str, IO[str]] = {}
        for document in documents:
            group = document.group
            if group not in files:
                temporary = stack.enter_context(atomic_path(folder / f"{group}.jsonl"))
                files[group] = stack.enter_context(temporary.open("w", encoding="utf-8"))
                counts[group] = {"documents": 0, "characters": 0}
            row = {"id": document.id, "source": document.source, "licence": document.licence}
            files[group].write(json.dumps(row | {"text": document.text}, ensure_ascii=False) + "\n")
            counts[group]["documents"] += 1
            counts[group]["characters"] += len(document.text)
    return counts


def _cut(some: list[tuple[str, str]], max_characters: int) -> list[tuple[str, str]]:
    kept: list[tuple[str, str]] = []
    size = 0
    for place, text in sorted(some):
        if kept and size + len(text) > max_characters:
            break
        kept.append((place, text))
        size += len(text)
    return kept


def _place(document_id: str) -> str:
    return hashlib.sha256(document_id.encode("utf-8", "backslashreplace")).hexdigest()
