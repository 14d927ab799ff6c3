"""What deduplication keeps of each document, in files of a part, row by row.

    with SketchWriter(folder, MinHashConfig()) as writer:
        writer.add(documents)                   # in file order, any number of times
    part = SketchPart(folder)
    part.facts()["chars"], part.ids(rows), part.shingles.read(rows)

A part takes about 1.3 kB for a page of 1.4 kB: 4 bytes a shingle, 12 a band. The text itself is
not needed again.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup.bands import plan_for
from openqwen.data.dedup.key_runs import KeyRunWriter
from openqwen.data.dedup.ragged import Places, RaggedFile, RaggedWriter
from openqwen.data.dedup.urls import url_key
from openqwen.data.extraction.normalise import key_of, same_key
from openqwen.data.kernels.ops import Sketches, sketch

BATCH_CHARS = 4_000_000  # sketched in one call; bounds memory, a longer text is a batch by itself
BATCH_DOCUMENTS = 2000
FACTS = np.dtype(
    [
        ("chars", "<i8"),  # of the text
        ("url_high", "<u8"), ("url_low", "<u8"),  # zero: no URL to go by
        ("exact_high", "<u8"), ("exact_low", "<u8"),  # zero: no words
    ]
)  # fmt: skip
SKETCH_FORMAT = 1


def exact_key(document: Document, plain_key: bytes) -> bytes:
    """Return the key of a document's text: code, conversations and prose are never the same.

    Args:
        document: compared by its text; code keeps case and punctuation.
        plain_key: `same_key(document.text)`, the key of prose.
    """
    kind = document.group if document.group in ("code", "instructions") else ""
    if not kind or not document.text:
        return plain_key
    key = same_key(document.text, is_code=True) if kind == "code" else plain_key
    return key_of(kind.encode() + key) if key else b""


def document_url(document: Document, config: MinHashConfig) -> str:
    """Return the URL that a document is told by, or ""."""
    is_page = document.media == "text/html"
    return document.url if config.urls == "all" or (config.urls == "pages" and is_page) else ""


class SketchWriter:
    """Sketches documents into the files of one part; bounded memory."""

    def __init__(self, folder: Path, config: MinHashConfig) -> None:
        """Begin a part in an empty or new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config, self.plan = folder, config, plan_for(config)
        self.count = 0
        self.facts = (folder / "facts.rows").open("wb")
        self.id_file = RaggedWriter(folder / "ids", np.uint8)
        self.shingle_file = RaggedWriter(folder / "shingles", np.uint32)
        self.runs = {name: KeyRunWriter(folder, name) for name in ("url", "exact", "bands")}

    def add(self, documents: Sequence[Document]) -> None:
        """Append documents in order."""
        batch: list[Document] = []
        chars = 0
        for document in documents:
            if batch and (
                len(batch) == BATCH_DOCUMENTS or chars + len(document.text) > BATCH_CHARS
            ):
                self._add_batch(batch)
                batch, chars = [], 0
            batch.append(document)
            chars += len(document.text)
        if batch:
            self._add_batch(batch)

    def close(self) -> None:
        """Finish the files; a part without its sketch.json is not whole."""
        self.facts.close()
        self.id_file.close()
        self.shingle_file.close()
        for run in self.runs.values():
            run.close()
        write_json(
            self.folder / "sketch.json",
            {
                "format": SKETCH_FORMAT,
                "documents": self.count,
                "shingles": self.shingle_file.total,
                "entries": {name: run.total for name, run in self.runs.items()},
                "settings": sketch_settings(self.config),
            },
        )

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the files, unless something went wrong."""
        if kind is None:
            self.close()

    def _add_batch(self, batch: list[Document]) -> None:
        sketches = sketch([document.text for document in batch], self.plan)
        facts = np.zeros(len(batch), dtype=FACTS)
        facts["chars"] = [len(document.text) for document in batch]
        exact = [exact_key(d, k) for d, k in zip(batch, sketches.exact_keys, strict=True)]
        urls = [url_key(document_url(document, self.config)) for document in batch]
        _set_keys(facts, "exact", exact)
        _set_keys(facts, "url", urls)
        ids = [document.id.encode("utf-8", "surrogatepass") for document in batch]
        self.write_rows(facts, ids, sketches)

    def write_rows(self, facts: NDArray[np.void], ids: list[bytes], sketches: Sketches) -> None:
        """Append rows that are sketched already."""
        id_ends = np.cumsum([len(id) for id in ids], dtype=np.int64)
        self.id_file.append(np.frombuffer(b"".join(ids), dtype=np.uint8), id_ends)
        self.shingle_file.append(sketches.shingles, sketches.ends_D)
        self.facts.write(facts.tobytes())
        rows = np.arange(self.count, self.count + len(facts), dtype=np.uint32)
        for name in ("url", "exact"):
            keys = facts[f"{name}_high"]
            has_key = (keys != 0) | (facts[f"{name}_low"] != 0)
            self.runs[name].append(np.ascontiguousarray(keys[has_key]), rows[has_key])
        filled = np.diff(sketches.ends_D, prepend=0) > 0
        bands_DB = sketches.bands_DB[filled]
        self.runs["bands"].append(bands_DB.ravel(), np.repeat(rows[filled], bands_DB.shape[1]))
        self.count += len(facts)


def sketch_settings(config: MinHashConfig) -> dict[str, int]:
    """Return what two parts must have in common to be compared."""
    plan = plan_for(config)
    return {
        "ngram": config.ngram,
        "num_permutations": config.num_permutations,
        "bands": plan.bands,
        "rows": plan.rows,
    }


def _set_keys(facts: NDArray[np.void], name: str, keys: list[bytes]) -> None:
    halves = np.frombuffer(b"".join(key or bytes(16) for key in keys), dtype="<u8").reshape(-1, 2)
    facts[f"{name}_high"], facts[f"{name}_low"] = halves[:, 0], halves[:, 1]


class SketchPart:
    """The files of a finished part; reads what is asked for, keeps little."""

    def __init__(self, folder: Path) -> None:
        """Open a part.

        Raises:
            UserError: if it is none, or of another version.
        """
        self.folder = folder
        self.about = read_json(folder / "sketch.json")
        if self.about.get("format") != SKETCH_FORMAT:
            raise UserError(
                f"{folder}/sketch.json has format {self.about.get('format')!r}, this version reads "
                f"{SKETCH_FORMAT}; sketch the documents again"
            )
        self.count: int = self.about["documents"]

    def facts(self) -> NDArray[np.void]:
        """Return (documents,) FACTS."""
        return np.fromfile(self.folder / "facts.rows", dtype=FACTS)

    def ids(self, rows: Places) -> list[str]:
        """Return the ids of ascending rows."""
        values, starts, ends = self._ids.read(rows)
        data = values.tobytes()
        return [
            data[start:end].decode("utf-8", "surrogatepass")
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    @cached_property
    def _ids(self) -> RaggedFile:
        return RaggedFile(self.folder / "ids", np.uint8)

    @cached_property
    def shingles(self) -> RaggedFile:
        """Return the file of shingles."""
        return RaggedFile(self.folder / "shingles", np.uint32)


def check_settings(part: SketchPart, config: MinHashConfig) -> None:
    """Refuse to compare what was sketched under other settings.

    Raises:
        UserError: naming the first setting that differs.
    """
    wanted, found = sketch_settings(config), part.about["settings"]
    for name, value in wanted.items():
        if found.get(name) != value:
            raise UserError(
                f"{part.folder} was sketched with {name} {json.dumps(found.get(name))}, these "
                f"settings ask for {value}; use the same threshold and minhash settings"
            )
