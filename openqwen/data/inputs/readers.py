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
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.gzip_stream import GZIP_ERRORS
from openqwen.data.inputs.origin import Origin, SetAside, open_unpacked
from openqwen.data.inputs.parquet_rows import read_parquet
from openqwen.data.inputs.row_files import read_json, read_jsonl
from openqwen.data.inputs.rows import HTML, PYTHON, TEXT
from openqwen.data.inputs.stores import NOT_A_FILE, InputFile, Store
from openqwen.data.inputs.warc import read_warc

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
READERS: dict[str, Callable[[InputFile, str, Origin], Iterator[Page]]] = {
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
        file = InputFile(Store(), str(path))
        yield from read_file(file, place_of(path.relative_to(base).as_posix()), origin)


def read_file(
    file: InputFile, where: str, origin: Origin, start: int = 0, end: int | None = None
) -> Iterator[Page]:
    """Yield the pages of one file; what can't be read of it is set aside.

    Args:
        file: in whatever store.
        where: its name in the pages' ids.
        origin: of the pages.
        start: where a part of the file begins: a byte of JSON Lines, a row group of Parquet.
        end: where the part ends; None for the file's end.

    Raises:
        StoreError: an object store that doesn't answer.
    """
    try:
        if file.kind in PAGE_KINDS:
            yield from _read_page(file, where, origin)
        elif file.kind == ".jsonl":
            yield from read_jsonl(file, where, origin, start, end)
        elif file.kind == ".parquet":
            yield from read_parquet(file, where, origin, start, end)
        elif file.kind in READERS:
            yield from READERS[file.kind](file, where, origin)
        else:
            origin.set_aside.add("not a known kind of file", where)
    except GZIP_ERRORS as error:
        origin.set_aside.add("truncated or corrupt gzip", f"{where}: {error}")
    except OSError as error:
        reason = str(error) if str(error) == NOT_A_FILE else "can't be opened"
        origin.set_aside.add(reason, f"{where}: {error.strerror or error}")


def place_of(name: str) -> str:
    """Return a file's name as it stands in ids: a name need not be UTF-8, an id must be."""
    return name.encode("utf-8", "backslashreplace").decode()


def _read_page(file: InputFile, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a file that is one page."""
    with open_unpacked(file) as opened:
        content = opened.read(origin.max_page_bytes + 1)
    yield from origin.page(where, PAGE_KINDS[file.kind], content)
