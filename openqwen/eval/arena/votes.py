"""Votes in SQLite: who ranked the answers of which ballot how; people and models told apart.

    with open_votes(out / "votes.sqlite") as votes:
        votes.add([Vote("00000", "Lin", "person", [1, 2, 2])])
        votes.all()

A rank stands for each answer in the ballot's own order; equal ranks are ties.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.eval.arena.ballots import PAGE_KIND, Ballot

VOTES_NAME = "votes.sqlite"
TABLE = """
CREATE TABLE IF NOT EXISTS votes (
    ballot TEXT NOT NULL,
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('person', 'model')),
    ranks TEXT NOT NULL,
    PRIMARY KEY (ballot, annotator)
)"""


@dataclass(frozen=True)
class Vote:
    """One annotator's ranks of one ballot's answers, 1 the best."""

    ballot: str
    annotator: str
    kind: Literal["person", "model"]
    ranks: list[int]


class Votes:
    """An open file of votes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take an open connection; the table is made if it isn't there."""
        self._connection = connection
        with connection:
            connection.execute(TABLE)

    def add(self, votes: Sequence[Vote]) -> int:
        """Keep votes, each annotator's last one on a ballot; return how many are there now.

        All are kept or, where one is wrong, none.
        """
        rows = [(v.ballot, v.annotator, v.kind, json.dumps(v.ranks)) for v in votes]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?)", rows)
        return int(self._connection.execute("SELECT COUNT(*) FROM votes").fetchone()[0])

    def all(self) -> list[Vote]:
        """Return all votes, ballots in order."""
        rows = self._connection.execute("SELECT * FROM votes ORDER BY ballot, annotator")
        return [Vote(ballot, who, kind, json.loads(ranks)) for ballot, who, kind, ranks in rows]


@contextlib.contextmanager
def open_votes(path: Path) -> Iterator[Votes]:
    """Open a file of votes, made if it isn't there.

    Raises:
        UserError: if it is no such file, or can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        yield Votes(connection)
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path}: {error}") from None
    finally:
        connection.close()


def read_page_votes(path: Path, ballots: Sequence[Ballot], annotator: str = "") -> list[Vote]:
    """Return the votes that the page saved.

    Args:
        path: what the page saved.
        ballots: what was voted on.
        annotator: takes the place of the name given on the page.

    Raises:
        UserError: if the file is none of the page's, is of other ballots, or has no name.
    """
    return votes_of_page(read_json(path), ballots, annotator, where=str(path))


def votes_of_page(
    data: Any, ballots: Sequence[Ballot], annotator: str = "", *, where: str
) -> list[Vote]:
    """Return the votes in what the page saved, already read; as `read_page_votes`."""
    if not isinstance(data, dict) or data.get("kind") != PAGE_KIND:
        raise UserError(f"{where} is no file of ranks, as the page saves them")
    name = annotator or str(data.get("annotator") or "").strip()
    if not name:
        raise UserError(f"{where}: nobody's name stands in it; give --annotator NAME")
    known = {ballot.id: ballot for ballot in ballots}
    votes = []
    ranked = data.get("ranks")
    for id, ranks in (ranked if isinstance(ranked, dict) else {}).items():
        if id not in known:
            raise UserError(f"{where}: there is no ballot {id!r}; these votes are of another page")
        count = len(known[id].answers)
        is_list = isinstance(ranks, list) and len(ranks) == count
        if not is_list or not all(isinstance(r, int) and 1 <= r <= count for r in ranks):
            raise UserError(
                f"{where}: ballot {id} needs {count} ranks of 1 to {count}, got {ranks}"
            )
        votes.append(Vote(id, name, "person", ranks))
    if not votes:
        raise UserError(f"{where} holds no vote")
    return votes
