"""The folders that a server shows, and the pages in them that people mark.

    folders = Folders([Path("corpus/documents"), Path("votes")])
    folders.page("votes", "vote.html").kind        # "openqwen votes"

A page is an HTML file of ours in such a folder, or one folder below it; nothing else can be named.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.serve.errors import ApiError

BODY = re.compile(r'<body data-kind="([^"]*)">')
TITLE = re.compile(r"<title>([^<]*)</title>")
SAVES = "function saving(page)"  # older pages lack it and save by download only
BUTTON = 'id="save"'  # a page without it only links to others


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        folder: the served folder, where what people save is kept.
        name: path below it, with "/".
        kind: of what it saves.
        title: of the page.
        saves: whether it can save by itself.
        is_overview: whether it only links to others.
    """

    folder: Path
    name: str
    kind: str
    title: str
    saves: bool
    is_overview: bool

    @property
    def path(self) -> Path:
        """Return the file."""
        return self.folder / self.name

    @property
    def stem(self) -> str:
        """Return its name as a part of other files' names."""
        return self.name.removesuffix(".html").replace("/", "-")

    def text(self) -> str:
        """Return the page as it lies there.

        Raises:
            ApiError: if it is gone.
        """
        try:
            return self.path.read_text(encoding="utf-8")
        except OSError:
            raise ApiError(404, f"there is no page {self.name} any more", code="no_page") from None


class Folders:
    """The folders by the names that their addresses have."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take the folders.

        Raises:
            UserError: if one has no page.
        """
        self._folders: dict[str, Path] = {}
        for path in paths:
            if not path.is_dir():
                raise UserError(f"--pages {path}: there is no such folder")
            if not pages_in(path):
                raise UserError(
                    f"--pages {path}: no page in it; `data build`, `preferences collect`, `arena "
                    "collect` and `instruct generate` write one"
                )
            plain = re.sub(r"[^\w.-]+", "-", path.resolve().name) or "pages"
            name, number = plain, 2
            while name in self._folders:
                name, number = f"{plain}-{number}", number + 1
            self._folders[name] = path

    def all(self) -> dict[str, list[Page]]:
        """Return the pages of every folder, as they are now."""
        return {name: pages_in(path) for name, path in self._folders.items()}

    def page(self, folder: str, name: str) -> Page:
        """Return one page.

        Raises:
            ApiError: 404 if there is none of this name.
        """
        path = self._folders.get(folder)
        for page in pages_in(path) if path else []:
            if page.name == name:
                return page
        raise ApiError(404, f"there is no page {name!r} in {folder!r}", code="no_page")


def pages_in(folder: Path) -> list[Page]:
    """Return the pages of a folder and of those right below it, in order of their names."""
    found = []
    root = folder.resolve()
    for path in sorted([*folder.glob("*.html"), *folder.glob("*/*.html")]):
        if not path.is_file() or root not in path.resolve().parents:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        kind = BODY.search(text)
        if kind:
            title = TITLE.search(text)
            found.append(
                Page(
                    folder,
                    path.relative_to(folder).as_posix(),
                    html.unescape(kind[1]),
                    html.unescape(title[1]) if title else path.name,
                    SAVES in text and BUTTON in text,
                    BUTTON not in text,
                )
            )
    return found
