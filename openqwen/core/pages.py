"""Pages that people mark: static files that work from disk, and save by themselves where served.

    environment = page_environment(Path(__file__).parent)
    environment.get_template("vote.html").render(…)
    saved_files(["votes", "lin.json"], "votes*.json")       # a folder stands for its files

What pages share lies in `openqwen/core/page`: `saving.js` (its head says how a page uses it) and
styles; a template includes them, so that a page is still one file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from openqwen.core.errors import UserError

if TYPE_CHECKING:
    import jinja2


def page_environment(folder: Path) -> "jinja2.Environment":
    """Return where templates of a folder are found, with the shared ones; texts are escaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, Path(__file__).parent / "page"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def saved_files(names: Sequence[str], pattern: str) -> list[Path]:
    """Return files that pages saved; a folder stands for those in it that match.

    Args:
        names: files and folders, as the user gave them.
        pattern: of the files' names, as "votes*.json".

    Raises:
        UserError: if a folder has none.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        inside = sorted(path.glob(pattern)) if path.is_dir() else [path]
        if not inside:
            raise UserError(
                f"{path} has no {pattern}: give a file that the page saved, or let the page save "
                f"by itself: openqwen serve --pages {path}"
            )
        found += inside
    return found
