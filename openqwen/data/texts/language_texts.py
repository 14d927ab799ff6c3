"""Text in nineteen languages and code from packages, for learning and comparing vocabularies.

    for document in package_texts(["th", "code"], held_out=True): ...

A tenth of the documents (by a hash of their names) and some whole sources are held out: what is
learnt from the rest can be measured on them.
"""

import hashlib
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from openqwen.core.archives import archive_files
from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_debian
from openqwen.core.log import Progress
from openqwen.data.extraction.html import main_text
from openqwen.data.language.config import LanguageConfig
from openqwen.data.language.identify import LanguageIdentifier
from openqwen.data.texts.message_catalogue import translations

CODE = "code"
# language -> its name in packages of LibreOffice's help
_HELP = {
    **{name: name for name in ("ko", "vi", "ja", "tr", "id", "pl", "ru", "nl", "pt")},
    **{name: name for name in ("it", "de", "es", "fr")},
    "zh": "zh-cn",
    "en": "en-us",
}
# languages without a translated manual in Debian: their programs' messages
_MESSAGES = {"th": "th", "he": "he", "ar": "ar"}
LANGUAGES = (
    *("zh", "ja", "ko", "th", "vi", "id", "ar", "he", "tr", "ru", "pl"),
    *("de", "nl", "en", "fr", "es", "it", "pt", CODE),
)
_GUIDE_FOLDERS = {"zh": "zh_CN"}
_WITHOUT_GUIDE = ("tr", "pl")
_MESSAGES_A_DOCUMENT = 60
_HELD_OUT_ONE_IN = 10
_MIN_CHARACTERS = 200  # of a page; shorter ones are mostly titles


@dataclass(frozen=True)
class TextSource:
    """One package's texts in one language.

    Attributes:
        language: ISO 639-1 code.
        package: of Debian.
        pattern: of its files, for fnmatch.
        licence: of the files.
        held_out: whether nothing of it may be learnt from.
    """

    language: str
    package: str
    pattern: str
    licence: str
    held_out: bool = False


def text_sources(language: str) -> list[TextSource]:
    """Return the packages that hold text in a language; none for code, which Python brings.

    Raises:
        UserError: if there are none for it.
    """
    if language == CODE:
        return []
    sources = []
    if name := _HELP.get(language):
        pattern = "usr/share/libreoffice/help/*/text/*.html"
        sources.append(TextSource(language, f"libreoffice-help-{name}", pattern, "MPL-2.0"))
        if language not in _WITHOUT_GUIDE:
            folder = _GUIDE_FOLDERS.get(language, language)
            pattern = f"usr/share/doc/installation-guide-amd64/{folder}/*.html"
            sources.append(
                TextSource(language, "installation-guide-amd64", pattern, "GPL-2", held_out=True)
            )
    if name := _MESSAGES.get(language):
        office = "usr/lib/libreoffice/program/resource/*/LC_MESSAGES/*.mo"
        mail = f"usr/share/locale/{name}/LC_MESSAGES/*.mo"
        blog = f"usr/share/wordpress/wp-content/languages/*{name}*.mo"
        sources += [
            TextSource(language, f"libreoffice-l10n-{name}", office, "MPL-2.0"),
            TextSource(language, "evolution-common", mail, "LGPL-2.1+"),
            TextSource(language, "wordpress-l10n", blog, "GPL-2+", held_out=True),
        ]
    if not sources:
        raise UserError(f"no package is known with text in {language!r}; {', '.join(LANGUAGES)}")
    return sources


def package_texts(languages: Iterable[str], *, held_out: bool) -> Iterator[Document]:
    """Yield the held-out documents of some languages, or all others.

    Manual pages that nobody translated (they look like another language) are left out.

    Raises:
        UserError: if a package can't be had, or a language is not known.
    """
    identifier = LanguageIdentifier(LanguageConfig())
    for language in languages:
        for source in text_sources(language):
            if held_out or not source.held_out:
                yield from _read_package(source, identifier, held_out)
        if language == CODE:
            yield from _standard_library(held_out)


def is_held_out(document_id: str) -> bool:
    """Return whether a document is in the tenth that nothing may be learnt from."""
    digest = hashlib.sha256(document_id.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8]) % _HELD_OUT_ONE_IN == 0


def _read_package(
    source: TextSource, identifier: LanguageIdentifier, held_out: bool
) -> Iterator[Document]:
    archive = fetch_debian(source.package).path
    progress = Progress(f"texts {source.language}", total=0, unit="documents")
    for name, content in archive_files(archive):
        if not fnmatchcase(name, source.pattern):
            continue
        place = f"{source.package}/{name}"
        if name.endswith(".mo"):
            texts = _message_texts(content.read(), place)
        elif source.held_out or is_held_out(place) == held_out:
            texts = _page_text(content.read(), source.language, identifier)
        else:
            continue
        for number, text in enumerate(texts):
            document_id = f"{place}#{number}" if name.endswith(".mo") else place
            if source.held_out or is_held_out(document_id) == held_out:
                progress.advance()
                yield _document(document_id, source, text)
    progress.total = progress.done
    progress.close(f"{progress.line()}   {source.package}")


def _page_text(content: bytes, language: str, identifier: LanguageIdentifier) -> list[str]:
    text = main_text(content.decode("utf-8", "replace"))
    wanted = len(text) >= _MIN_CHARACTERS and identifier.identify(text)[0] == language
    return [text] if wanted else []


def _message_texts(content: bytes, place: str) -> list[str]:
    """Return a catalogue's messages, some dozens to a document."""
    try:
        messages = list(translations(content))
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None
    starts = range(0, len(messages), _MESSAGES_A_DOCUMENT)
    return ["\n".join(messages[i : i + _MESSAGES_A_DOCUMENT]) for i in starts]


def _standard_library(held_out: bool) -> Iterator[Document]:
    """Yield the files of the Python that runs this, without its tests."""
    source = TextSource(CODE, "python-stdlib", "*.py", "PSF-2.0")
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if {"site-packages", "dist-packages", "test", "tests", "idle_test"} & set(parts):
            continue
        document_id = "/".join((source.package, *parts))
        if is_held_out(document_id) == held_out:
            text = path.read_text(encoding="utf-8", errors="replace")
            if text.strip():
                yield _document(document_id, source, text)


def _document(document_id: str, source: TextSource, text: str) -> Document:
    code = source.language == CODE
    return Document(
        id=document_id,
        source=source.package,
        url="",
        licence=source.licence,
        media="text/x-python" if code else "text/plain",
        text=text,
        language="en" if code else source.language,
    )
