"""Counting the distinct pieces of a corpus as it streams by, in threads and bounded memory.

counted = count_pieces(documents, table_bytes=600_000_000, num_threads=0)
counted.groups["zh"]["bytes"]
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from openqwen.core.documents import Document
from openqwen.core.log import Progress, say
from openqwen.core.runtime import count_processors
from openqwen.tokenizer.compression import texts_of
from openqwen.tokenizer.extend_native import NativeCounter, open_trainer
from openqwen.tokenizer.extend_pieces import Pieces
from openqwen.tokenizer.extend_slow import SlowCounter
from openqwen.tokenizer.text import without_surrogates

_BATCH_BYTES = 1 << 22  # of text handed to a thread at once
UNKNOWN = "und"  # the group of documents without a language


@dataclass(frozen=True)
class Counted:
    """A corpus as the trainer sees it.

    Attributes:
        pieces: distinct pieces by group.
        names: of the groups, by number.
        groups: name -> documents, bytes, characters (copies included in the last two).
    """

    pieces: Pieces
    names: list[str]
    groups: dict[str, dict[str, int]]


def count_pieces(
    documents: Iterable[Document], *, table_bytes: int, num_threads: int = 0
) -> Counted:
    """Split all documents by Qwen's pattern and count equal pieces, a table for each group.

    A document counts as often as its `epochs` say. Where the table outgrows `table_bytes`, an even
    half of the pieces longer than 16 bytes is left out and the others count twice, as often as
    needed; after twelve times shorter ones too. Which half is a matter of the pieces' hashes, so
    the result depends on the text alone: not on its order, nor on the number of threads.
    """
    threads = num_threads or count_processors()
    library, why_not = open_trainer()
    counter: Any
    if library is None:
        say(f"{'tokenizer':<14}the trainer runs in Python, slowly: {why_not}")
        counter = SlowCounter(table_bytes)
    else:
        counter = NativeCounter(library, table_bytes)
    names: list[str] = []
    groups: dict[str, dict[str, int]] = {}
    progress = Progress("tokenizer count", total=0, unit="bytes")

    def count(batch: list[tuple[int, bytes, int]]) -> int:
        for group, text, times in batch:
            counter.add(group, text, times)
        return sum(len(text) for _, text, _ in batch)

    with ThreadPoolExecutor(threads if library else 1) as pool:
        waiting: deque[Future[int]] = deque()
        batch: list[tuple[int, bytes, int]] = []
        size = 0
        for document in documents:
            name = document.group or UNKNOWN
            if name not in groups:
                names.append(name)
                groups[name] = {"documents": 0, "bytes": 0, "characters": 0}
            facts = groups[name]
            facts["documents"] += 1
            for text in texts_of(document):
                data = without_surrogates(text).encode()
                facts["bytes"] += len(data) * document.epochs
                facts["characters"] += len(text) * document.epochs
                batch.append((names.index(name), data, document.epochs))
                size += len(data)
            if size >= _BATCH_BYTES:
                waiting.append(pool.submit(count, batch))
                batch, size = [], 0
                if len(waiting) > 2 * threads:
                    progress.advance(waiting.popleft().result())
        waiting.append(pool.submit(count, batch))
        for future in waiting:
            progress.advance(future.result())
    progress.total = progress.done
    progress.close()
    return Counted(counter.finish(), names, groups)
