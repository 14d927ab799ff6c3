"""What each kind of page saves, where it is kept, and who says whether it is right.

    kind = KINDS["openqwen votes"]
    kind.write(page, person, content)           # votes-Lin.json, if `preferences read` takes it
    kind.read(page, person)

Whatever is kept has been read by the reader of the command that will read it. Marks, votes and
reviews are a file a person; the arena's ranks go into its own votes.sqlite.
"""

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json
from openqwen.serve.errors import ApiError
from openqwen.serve.pages.folders import Page

MAX_NAME = 60
ARTICLE = re.compile(r'<article data-id="([^"]*)" data-step="([^"]*)" data-reason="([^"]*)"')
Content = dict[str, Any]


@dataclass(frozen=True)
class Person:
    """Who marked: a person, or a model where a page lets one."""

    name: str
    role: str = "person"

    def __post_init__(self) -> None:
        """Refuse what can't name anybody."""
        plain = self.name.isprintable() and self.name == self.name.strip()
        if not plain or not 1 <= len(self.name) <= MAX_NAME or self.role not in ("person", "model"):
            raise ApiError(422, f"a name has 1 to {MAX_NAME} characters, got {self.name[:80]!r}")

    @property
    def file_part(self) -> str:
        """Return a part of a file's name that is this person's alone."""
        name = unicodedata.normalize("NFC", self.name)
        plain = re.sub(r"[^\w-]+", "-", name)[:30].strip("-")
        if plain != name:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            plain = f"{plain}-{digest}".strip("-")
        return plain if self.role == "person" else f"model-{plain}"


class Kind(Protocol):
    """One kind of page."""

    def read(self, page: Page, person: Person) -> Content | None:
        """Return what a person saved, in the page's own form; None for nothing."""

    def write(self, page: Page, person: Person, content: Content) -> None:
        """Keep it; ApiError 422 if it is not what the page saves."""


@dataclass(frozen=True)
class FileKind:
    """Kept as a file a person, beside the page.

    Attributes:
        stem: opens the file's name; has {page} where a folder may have several pages.
        check: reads a file as the command will, and raises UserError.
    """

    stem: str
    check: Callable[[Path, Page], None]

    def path(self, page: Page, person: Person) -> Path:
        """Return the file of a person."""
        return page.folder / f"{self.stem.format(page=page.stem)}-{person.file_part}.json"

    def read(self, page: Page, person: Person) -> Content | None:
        """Return what a person saved, or None."""
        path = self.path(page, person)
        if not path.is_file():
            return None
        content = read_json(path)
        if not isinstance(content, dict) or person_of(content) != person:
            raise ApiError(409, f"{path.name} is of somebody else; take another name")
        return content

    def write(self, page: Page, person: Person, content: Content) -> None:
        """Keep it under its final name once it has been read without a complaint."""
        path = self.path(page, person)
        text = json.dumps(content, ensure_ascii=False, indent=1)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            try:
                self.check(temporary, page)
            except UserError as error:
                raise ApiError(422, str(error).replace(str(temporary), path.name)) from None


class ArenaKind:
    """Kept in the arena's own file of votes, as `openqwen arena vote` does."""

    def read(self, page: Page, person: Person) -> Content | None:
        """Return a person's ranks as the page has them, or None."""
        from openqwen.eval.arena.ballots import PAGE_KIND
        from openqwen.eval.arena.votes import VOTES_NAME, open_votes

        if not (page.folder / VOTES_NAME).is_file():
            return None
        with open_votes(page.folder / VOTES_NAME) as votes:
            ranks = {
                vote.ballot: vote.ranks
                for vote in votes.all()
                if (vote.annotator, vote.kind) == (person.name, "person")
            }
        return {"kind": PAGE_KIND, "annotator": person.name, "ranks": ranks} if ranks else None

    def write(self, page: Page, person: Person, content: Content) -> None:
        """Keep the ranks; those of a ballot that was ranked before are replaced."""
        from openqwen.eval.arena.ballots import read_ballots
        from openqwen.eval.arena.votes import VOTES_NAME, open_votes, votes_of_page

        try:
            found = votes_of_page(content, read_ballots(page.folder), where="these ranks")
            with open_votes(page.folder / VOTES_NAME) as votes:
                taken = {v.annotator for v in votes.all() if v.kind == "model"}
                if person.name in taken:
                    raise ApiError(409, f"{person.name} is a model here; take another name")
                votes.add(found)
        except UserError as error:
            if isinstance(error, ApiError):
                raise
            raise ApiError(422, str(error)) from None


def person_of(content: Content) -> Person:
    """Return who a page's content says it is of.

    Raises:
        ApiError: 422 if it names nobody.
    """
    by = content.get("by")
    if isinstance(by, Mapping):
        name, role = by.get("name"), by.get("kind")
    else:
        name, role = content.get("annotator"), "person"
    if not isinstance(name, str) or not isinstance(role, str):
        raise ApiError(422, "it does not say who marked")
    return Person(name, role)


def _check_marks(path: Path, page: Page) -> None:
    from openqwen.data.audit.marks import read_marks

    marks, left_out = read_marks([path])
    if left_out:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(f"{path} has marks that can't be counted: {why}")
    shown = {tuple(map(html.unescape, found)) for found in ARTICLE.findall(page.text())}
    for mark in marks:
        if (mark.id, mark.step, mark.reason) not in shown:
            raise UserError(f"{path}: {mark.id!r} ({mark.step}) is not on this page; load it anew")


def _check_votes(path: Path, page: Page) -> None:
    from openqwen.eval.collect import read_duels, read_votes

    read_votes(read_duels(page.folder / "duels.jsonl"), [path])


def _check_review(path: Path, page: Page) -> None:
    from openqwen.agent.instruct.generate import KEPT
    from openqwen.agent.instruct.review import apply_marks
    from openqwen.agent.instruct.sample import read_verdicts

    samples = [verdict.sample for verdict in read_verdicts(page.folder / KEPT)]
    _, account = apply_marks(samples, [path])
    for reason in ("of other samples", "not a mark"):
        if account.get(reason):
            raise UserError(f"{path}: {account[reason]} marks are {reason}; load the page anew")


def kinds() -> dict[str, Kind]:
    """Return the kinds of pages by what stands in them."""
    return {
        "openqwen audit marks": FileKind("{page}-marks", _check_marks),
        "openqwen votes": FileKind("votes", _check_votes),
        "openqwen instruct marks": FileKind("review-marks", _check_review),
        "openqwen ranks": ArenaKind(),
    }
