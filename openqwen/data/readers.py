"""Files of the common kinds as pages: HTML, WARC, text, Python, JSON (Lines) and Parquet rows.

    set_aside = SetAside()
    for page in read_path(folder, source="mine", licence="MIT", config=config, set_aside=set_aside):
        ...

Folders are walked in sorted order; what can't be read is set aside with a reason and the rest goes
on. Any file may also be gzipped.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from openqwen.core.documents import Page
from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.origin import GZIP_ERRORS, Origin, SetAside, open_unpacked
from openqwen.data.row_files import read_json, read_jsonl, read_parquet
from openqwen.data.rows import HTML, PYTHON, TEXT
from openqwen.data.sources_config import SourcesConfig
from openqwen.data.warc import read_warc

# a file that is one page
PAGE_KINDS = {
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".txt": TEXT,
    ".md": TEXT,
    ".py": PYTHON,
}
# a file that holds many
READERS: dict[str, Callable[[Path, str, Origin], Iterator[Page]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".warc": read_warc,
}
KNOWN_KINDS = (*PAGE_KINDS, *READERS)


def read_path(
    path: Path, *, source: str, licence: str, config: SourcesConfig, set_aside: SetAside
) -> Iterator[Page]:
    """Return the pages of a file, or of all files of a folder, in sorted order.

    Args:
        path: a file or folder.
        source: name of the source; opens every page's id.
        licence: of the pages, where a row names none.
        config: its `max_page_bytes` bounds a page and a row, unpacked.
        set_aside: gets what could not be read.

    Raises:
        UserError: if there is no such path.
    """
    if not path.exists():
        raise UserError(f"sources.paths holds {path}, which does not exist")
    files, base = (list_files(path), path) if path.is_dir() else ([path], path.parent)
    return read_files(files, base, Origin(source, licence, config.max_page_bytes, set_aside))


def read_files(files: Iterable[Path], base: Path, origin: Origin) -> Iterator[Page]:
    """Yield the pages of files in the order given; ids name the files relative to `base`."""
    for path in files:
        name = path.relative_to(base).as_posix()
        where = name.encode("utf-8", "backslashreplace").decode()  # a name need not be UTF-8
        suffix = Path(path.name.lower().removesuffix(".gz")).suffix
        reader = _read_page if suffix in PAGE_KINDS else READERS.get(suffix)
        if reader is None:
            origin.set_aside.add("not a known kind of file", where)
            continue
        try:
            yield from reader(path, where, origin)
        except GZIP_ERRORS as error:
            origin.set_aside.add("truncated or corrupt gzip", f"{where}: {error}")
        except OSError as error:
            origin.set_aside.add("can't be opened", f"{where}: {error.strerror or error}")


def _read_page(path: Path, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a file that is one page."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    with open_unpacked(path) as file:
        content = file.read(origin.max_page_bytes + 1)
    yield from origin.page(where, PAGE_KINDS[suffix], content)
