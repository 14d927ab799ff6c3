"""Full-text search over a local folder: an SQLite FTS5 index in the cache, kept up to date.

    index = FolderIndex(Path("notes"))
    index.search("机器学习", limit=3)       # [Hit(path="a.md", line=12, text="…"), …]

Words are units of `core.ngrams`: a character each in scripts without gaps, so that Chinese is found
by any two characters that stand together; English is stemmed. Only what changed is read again.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openqwen.agent.toolbox.files import Folder
from openqwen.agent.tools import Tool, tool
from openqwen.core.errors import UserError
from openqwen.core.ngrams import units
from openqwen.core.runtime import cache_directory

MAX_FILES, MAX_FILE_BYTES = 20_000, 2_000_000
PASSAGE_CHARS = 800
MAX_TERMS = 32
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, mtime INTEGER, size INTEGER);
CREATE TABLE IF NOT EXISTS passages (id INTEGER PRIMARY KEY, path TEXT, line INTEGER, text TEXT);
CREATE INDEX IF NOT EXISTS passages_by_path ON passages (path);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (units, tokenize='porter unicode61');
"""


@dataclass(frozen=True)
class Hit:
    """A passage that was found: its file, the line it begins at (from 1) and its text."""

    path: str
    line: int
    text: str


class FolderIndex:
    """The index of one folder."""

    def __init__(self, root: Path, *, cache: Path | None = None) -> None:
        """Take the folder; the index lies in `cache`, by default the user's.

        Raises:
            UserError: if it is no folder, or this SQLite has no full-text search.
        """
        self.root = Folder(root).root
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:24]
        self.path = (cache or cache_directory() / "search") / f"{name}-1.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._open():
                pass
        except sqlite3.DatabaseError as error:
            if "fts5" in str(error):
                raise UserError("this Python's SQLite has no FTS5: the search needs it") from None
            self.path.unlink(missing_ok=True)  # an index is only a copy: a broken one is made anew

    def search(self, query: str, limit: int = 5) -> list[Hit]:
        """Return passages with all words of the query, best first; else those with some."""
        terms = _terms(query)[:MAX_TERMS]
        if not terms:
            return []
        with self._open() as database:
            self._refresh(database)
            for joined in (" AND ".join(terms), " OR ".join(terms)):
                rows = database.execute(
                    "SELECT path, line, text FROM words JOIN passages ON passages.id = words.rowid "
                    "WHERE words MATCH ? ORDER BY bm25(words), passages.id LIMIT ?",
                    (joined, limit),
                ).fetchall()
                if rows:
                    return [Hit(*row) for row in rows]
        return []

    def refresh(self) -> tuple[int, int]:
        """Bring the index up to date; return how many files it holds and how many were read."""
        with self._open() as database:
            return self._refresh(database)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of this thread's own in one transaction; others wait for it."""
        database = sqlite3.connect(self.path, timeout=60.0, isolation_level=None)
        try:
            database.executescript(_SCHEMA)
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            database.close()

    def _refresh(self, database: sqlite3.Connection) -> tuple[int, int]:
        known = {
            path: (mtime, size) for path, mtime, size in database.execute("SELECT * FROM files")
        }
        there: set[str] = set()
        num_read = 0
        for path, status in _walk(self.root):
            there.add(path)
            stamp = (status.st_mtime_ns, status.st_size)
            if known.get(path) == stamp:
                continue
            _forget(database, path)
            for line, text in passages(_read_text(self.root / path)):
                sql = "INSERT INTO passages (path, line, text) VALUES (?, ?, ?)"
                row = database.execute(sql, (path, line, text)).lastrowid
                words = " ".join(units(f"{Path(path).stem} {text}"))
                database.execute("INSERT INTO words (rowid, units) VALUES (?, ?)", (row, words))
            database.execute("INSERT INTO files VALUES (?, ?, ?)", (path, *stamp))
            num_read += 1
        for path in known.keys() - there:
            _forget(database, path)
        return len(there), num_read


def passages(text: str) -> Iterator[tuple[int, str]]:
    """Yield a text in parts of whole lines, about `PASSAGE_CHARS` long, with each one's line."""
    begin, size, held = 1, 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        for piece in _pieces(line):
            full = size + len(piece) > PASSAGE_CHARS
            if held and (full or (not piece.strip() and size > PASSAGE_CHARS // 2)):
                yield begin, "\n".join(held).strip()
                begin, size, held = number, 0, []
            if piece.strip() or held:
                held.append(piece)
                size += len(piece) + 1
            else:
                begin = number + 1
    if any(piece.strip() for piece in held):
        yield begin, "\n".join(held).strip()


def search_tool(root: Path, *, cache: Path | None = None) -> Tool:
    """Return the tool `search_files` over one folder.

    Raises:
        UserError: as `FolderIndex` raises it.
    """
    index = FolderIndex(root, cache=cache)

    def search_files(query: str, limit: int = 3) -> str:
        """Find passages in the user's files by words, in any language.

        Args:
            query: words to look for
            limit: how many passages to show, 1 to 10
        """
        hits = index.search(query, max(1, min(10, limit)))
        if not hits:
            return f"nothing in the folder has a word of {query!r}"
        return "\n\n".join(f"{hit.path}, line {hit.line}:\n{hit.text}" for hit in hits)

    return tool(search_files)


def _terms(query: str) -> list[str]:
    """Return FTS5's terms: words, and pairs of characters where words have no gaps."""
    terms: list[str] = []
    before = ""
    for unit in units(query):
        is_character = len(unit) == 1 and ord(unit) > 0xE00
        if is_character and before:
            terms.append(f'"{before} {unit}"')
        elif not is_character:
            terms.append(f'"{unit}"')
        before = unit if is_character else ""
    if not terms and before:
        terms.append(f'"{before}"')  # one character alone
    return list(dict.fromkeys(terms))


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and status of each file to index: no links, nothing hidden, in order."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            with contextlib.suppress(OSError):
                status = path.lstat()
                is_plain = path.is_file() and not path.is_symlink()
                if name.startswith(".") or not is_plain or status.st_size > MAX_FILE_BYTES:
                    continue
                count += 1
                if count > MAX_FILES:
                    return
                yield str(path.relative_to(root)), status


def _read_text(path: Path) -> str:
    """Return a file's text, or "" where it is none."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return "" if b"\0" in data[:8000] else data.decode("utf-8", errors="replace")


def _pieces(line: str) -> Iterator[str]:
    """Yield a line, a very long one in parts."""
    for begin in range(0, len(line) or 1, PASSAGE_CHARS):
        yield line[begin : begin + PASSAGE_CHARS]


def _forget(database: sqlite3.Connection, path: str) -> None:
    database.execute(
        "DELETE FROM words WHERE rowid IN (SELECT id FROM passages WHERE path = ?)", (path,)
    )
    database.execute("DELETE FROM passages WHERE path = ?", (path,))
    database.execute("DELETE FROM files WHERE path = ?", (path,))
