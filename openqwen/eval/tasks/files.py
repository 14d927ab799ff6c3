"""Where a benchmark's files lie in the folder that `--data` names, and their rows.

    paths = find_files(folder, r"mmlu\\.jsonl", r".*mmlu.*/test/.*_test\\.csv")
    for path, row in read_files(paths, set_aside): ...

Names are matched from the folder's own name on, whatever the case, packed (.gz) or not: original
archives can be unpacked as they are, side by side.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import list_files
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import read_raw_rows


def find_files(folder: Path, *patterns: str) -> list[Path]:
    """Return the files of the first pattern that any matches, sorted by name.

    Args:
        folder: searched with all below it.
        patterns: regular expressions for a whole path, or for the end of one after a slash.

    Raises:
        UserError: if the folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; --data takes the one with the benchmarks' files")
    root = folder.resolve()
    names = {file: f"/{root.name}/{file.relative_to(root).as_posix()}" for file in list_files(root)}
    for pattern in patterns:
        whole = re.compile(rf".*/(?:{pattern})(?:\.gz)?", re.IGNORECASE)
        found = [file for file, name in names.items() if whole.fullmatch(name)]
        if found:
            return found
    return []


def read_files(
    paths: Sequence[Path], set_aside: SetAside
) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """Yield every row of files in order, with its file and place; bad ones are set aside."""
    for path in paths:
        for row in read_raw_rows(path, set_aside):
            yield path, row.place, row.values


def read_labels(path: Path) -> list[str]:
    """Return the lines of a file of labels (PIQA and SIQA keep them apart)."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def stem(path: Path) -> str:
    """Return a file's name without .gz and its ending."""
    return Path(path.name.removesuffix(".gz")).stem


def names_of(paths: Sequence[Path]) -> str:
    """Return a few words that say which files were read."""
    if len(paths) <= 2:
        return " and ".join(path.name for path in paths)
    return f"{len(paths)} files in {paths[0].parent.name}"


def text_of(row: dict[str, Any], *names: str) -> str:
    """Return the first of some columns that holds text.

    Raises:
        KeyError: if none does; the caller sets the row aside.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value
    raise KeyError(names[0])
