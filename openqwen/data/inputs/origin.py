"""Where pages come from, and the records that could not be read: set aside, counted, some shown.

origin = Origin("mine", "MIT", max_page_bytes=16_000_000, set_aside=SetAside())
yield from origin.page("a/b.html", "text/html", content)
origin.set_aside.summary()                       # "set aside 1: empty 1"
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from openqwen.core.documents import Page
from openqwen.data.inputs.gzip_stream import CHUNK_BYTES, GzipStream
from openqwen.data.inputs.gzip_stream import GZIP_ERRORS as GZIP_ERRORS
from openqwen.data.inputs.stores import InputFile, Store

MAX_EXAMPLES = 20  # a reason
TOO_LARGE = "larger than max_page_bytes"
EMPTY = "empty"


@dataclass
class SetAside:
    """Counts by reason, and where the first records of each reason stand."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: str) -> None:
        """Count one record; `where` is its file and row."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < MAX_EXAMPLES:
            kept.append(where)

    def take_in(self, facts: dict[str, dict[str, Any]]) -> None:
        """Add what another one counted, as its `as_json` says it."""
        for reason, row in facts.items():
            self.counts[reason] = self.counts.get(reason, 0) + row["count"]
            kept = self.examples.setdefault(reason, [])
            kept += row["examples"][: MAX_EXAMPLES - len(kept)]

    def summary(self) -> str:
        """Return one phrase with the counts, the most frequent reason first, or ""."""
        if not self.counts:
            return ""
        parts = ", ".join(f"{reason} {count:,}" for reason, count in self._sorted())
        return f"set aside {sum(self.counts.values()):,}: {parts}"

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return reason -> count and examples, the most frequent reason first."""
        return {
            reason: {"count": count, "examples": self.examples[reason]}
            for reason, count in self._sorted()
        }

    def _sorted(self) -> list[tuple[str, int]]:
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class Origin:
    """What the pages of one source have in common, and where its bad records go."""

    source: str
    licence: str
    max_page_bytes: int
    set_aside: SetAside

    def page(
        self,
        where: str,
        media: str,
        content: bytes,
        *,
        id: str = "",
        url: str = "",
        source: str = "",
        licence: str = "",
    ) -> Iterator[Page]:
        """Yield the page that stands at `where`, or set it aside where it is too large or empty.

        Args:
            where: file and row, unique within the source.
            media: media type, one of `core.documents.Page`.
            content: the page's bytes.
            id: the record's own name, appended to the page's id.
            url: where it was published.
            source: replaces the common one, if given.
            licence: replaces the common one, if given.
        """
        if len(content) > self.max_page_bytes:
            self.set_aside.add(TOO_LARGE, where)
        elif not content.strip():
            self.set_aside.add(EMPTY, where)
        else:
            page_id = f"{self.source}/{where}:{id}" if id else f"{self.source}/{where}"
            source, licence = source or self.source, licence or self.licence
            yield Page(page_id, source, url, licence, media, content)


def open_unpacked(file: InputFile | Path) -> IO[bytes]:
    """Open a file for reading, unpacked where its name ends in .gz."""
    if isinstance(file, Path):
        file = InputFile(Store(), str(file))
    if not file.is_gzipped:
        return file.open()
    return cast(IO[bytes], io.BufferedReader(GzipStream(file.open()), CHUNK_BYTES))
