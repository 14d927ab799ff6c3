"""The pages of the rules study: hand-picked manuals and books, Chinese and English.

    pages = read_pages(Path(os.environ["OPENQWEN_DATA"]))     # None: the packages' alone

A page is good by a stated rule: its source was picked by hand (manuals, documentation and books
that people wrote and maintain), it is in the language, and it has 100 ideographs or 65 words of
prose outside code blocks. Nothing a filter measures decides but that length.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from openqwen.core.archives import unpack_archive
from openqwen.core.documents import Document
from openqwen.core.fetch import fetch_debian
from openqwen.core.files import list_files
from openqwen.core.ngrams import units
from openqwen.data.config import ExtractConfig, LanguageConfig
from openqwen.data.extraction.extract import extract
from openqwen.data.inputs.catalogue import SOURCES
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.readers import read_files
from openqwen.data.language.identify import identify_languages
from openqwen.data.rules.prose import Prose

HELP = {
    "zh": "libreoffice-help-zh-cn",
    "en": "libreoffice-help-en-us",
}  # the same pages, translated
MANUALS = {
    "zh": (HELP["zh"], "debian-reference-zh-cn", "debian-reference-zh-tw"),
    "en": (HELP["en"], "debian-reference-en"),
}
GUIDE = "installation-guide-amd64"
GUIDE_FOLDERS = {"zh": "/zh_CN/", "en": "/en/"}
MIN_UNITS = {"zh": 100, "en": 65}


class Pages(NamedTuple):
    """Pages of one language with the good ones marked."""

    all: list[Document]
    good: list[Document]


def read_pages(data: Path | None) -> dict[str, Pages]:
    """Return language -> pages; fetches Debian's packages where the cache lacks them."""
    guide = list(_package(GUIDE))
    found = {}
    for language, names in MANUALS.items():
        documents = [d for d in guide if GUIDE_FOLDERS[language] in d.id]
        for name in names:
            documents += _package(name)
        if data:
            documents += _texts(data, language)
        documents = [d for d in documents if d.language == language]
        good = [d for d in documents if is_good(d)]
        found[language] = Pages(documents, good)
    return found


def is_good(document: Document) -> bool:
    """Return whether a page has enough prose in its language to be judged."""
    prose = Prose(document.text, document.language, min_units=10)
    if document.language == "zh":
        return prose.units.num_gapless >= MIN_UNITS["zh"]
    return len(units(prose.text)) >= MIN_UNITS["en"]


def _package(name: str) -> Iterator[Document]:
    """Yield the documents of a package's pages with their language."""
    source = SOURCES[name]
    archive = fetch_debian(source.package)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        unpack_archive(archive.path, root, source.files)
        origin = Origin(source.name, source.licence, 16_000_000, SetAside())
        pages = read_files(list_files(root), root, origin)
        documents = [d for d in extract(ExtractConfig(), pages) if isinstance(d, Document)]
    for outcome in identify_languages(LanguageConfig(), documents):
        if isinstance(outcome, Document):
            yield outcome


def _texts(data: Path, language: str) -> Iterator[Document]:
    """Yield the training texts of the development data; what is for evaluation stays out."""
    for path in sorted((data / "text").glob(f"{language}_*.jsonl.gz")):
        name = path.name.removesuffix(".jsonl.gz")
        if name.endswith(".dev"):
            continue
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield Document(row["id"], name, "", "", "text/plain", row["text"], language)
