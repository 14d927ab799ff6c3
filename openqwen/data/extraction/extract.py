"""From bytes to text: encodings, HTML, code and conversations, whatever a page holds.

    for outcome in Extract(config)(pages): ...

HTML goes through child processes (`data.extraction.isolate`): one page in a million hangs any
parser.
"""

import io
import json
import tokenize
from collections.abc import Iterable, Iterator
from functools import partial

from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from openqwen.core.documents import Document, Message, Page
from openqwen.core.runtime import count_processors
from openqwen.data.config import ExtractConfig
from openqwen.data.extraction.isolate import Failure, Isolated
from openqwen.data.extraction.normalise import clean_document
from openqwen.data.steps import Outcome, Rejected

HTML = ("text/html", "application/xhtml+xml")
MESSAGES = "application/x-messages+json"
CODE = "text/x-python"
ROLES = ("system", "user", "assistant", "tool")
REPLACEMENT = "\ufffd"
WIDE_SAMPLE_BYTES = 4096
WIDE_MIN_ZEROS = 0.3  # of the bytes; fewer may be stray ones in a page of single bytes


class ExtractError(ValueError):
    """A page that gives no text; `reason` is what is counted, `score` the value that decided."""

    def __init__(self, reason: str, detail: str = "", score: float | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.score = reason, detail, score


def extract(config: ExtractConfig, pages: Iterable[Page]) -> Iterator[Outcome]:
    """Turn each page into a document, or reject it; in order.

    Args:
        config: limits and how many processes parse HTML.
        pages: raw pages; media types are those of `core.documents.Page`.

    Yields:
        Documents with cleaned text and no language yet; rejected ones with reason "empty", "too
        large", "not text", "encoding", "bad messages", "unknown media", "timeout", "memory",
        "crash" or "failed".
    """
    with Isolated(
        "openqwen.data.extraction.html:main_text",
        config.num_workers or count_processors(),
        cpu_s=config.timeout_s,
        memory_bytes=config.memory_bytes,
    ) as main_text:
        for page, answer in main_text.map(pages, partial(_html_of, config)):
            try:
                if isinstance(answer, Failure):
                    raise ExtractError(answer.reason, answer.detail)
                yield _document(config, page, answer)
            except ExtractError as error:
                yield Rejected(_as_found(page), error.reason, error.score, error.detail)


def _html_of(config: ExtractConfig, page: Page) -> str | None:
    """Return the decoded HTML that a child process must turn into text, None for other pages."""
    if page.media not in HTML:
        return None
    try:
        return decode_text(page.content, config, is_html=True)
    except ExtractError:
        return None  # found again, and reported, when the page's turn comes


def _document(config: ExtractConfig, page: Page, text: str | None) -> Document:
    """Return the page as a document; `text` is what its HTML gave, if it is HTML."""
    messages: list[Message] = []
    if text is None:
        text = decode_text(
            page.content, config, is_html=page.media in HTML, is_code=page.media == CODE
        )
        if page.media == MESSAGES:
            messages = parse_messages(text)
        elif not page.media.startswith("text/"):
            raise ExtractError("unknown media", page.media)
    document = clean_document(
        Document(page.id, page.source, page.url, page.licence, page.media, text, messages=messages)
    )
    if not document.text.strip():
        raise ExtractError("empty")
    return document


def _as_found(page: Page) -> Document:
    """Return a page that gave no text as it came, for a person to look at."""
    text = page.content[:4000].decode("utf-8", "replace")
    return Document(page.id, page.source, page.url, page.licence, page.media, text)


def decode_text(
    content: bytes, config: ExtractConfig, *, is_html: bool = False, is_code: bool = False
) -> str:
    """Decode bytes: UTF-8 if they are, else as the page declares, else as they look.

    Raises:
        ExtractError: too large, binary, or too many characters that the encoding can't explain.
    """
    if len(content) > config.max_page_bytes:
        raise ExtractError("too large", f"{len(content):,} bytes", len(content))
    try:
        text = content.decode(_wide_encoding(content) or "utf-8-sig")
    except UnicodeDecodeError:
        text = _decode_other(content, is_html=is_html, is_code=is_code)
    if text.count("\0") > config.max_bad_characters * len(text):
        raise ExtractError("not text", "holds NUL characters")
    bad = text.count(REPLACEMENT) / max(len(text), 1)
    if bad > config.max_bad_characters:
        raise ExtractError("encoding", f"{bad:.2%} of its characters can't be decoded", bad)
    return text


def _wide_encoding(content: bytes) -> str:
    """Return UTF-16's name where its zero bytes show it and no mark says so, else ""."""
    sample = content[:WIDE_SAMPLE_BYTES]
    if b"\0" not in sample or sample.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) < max(WIDE_MIN_ZEROS * len(sample), 4 * min(even, odd)):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _decode_other(content: bytes, *, is_html: bool, is_code: bool) -> str:
    """Decode bytes that are not UTF-8; what can't be decoded becomes U+FFFD."""
    if is_code:
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            return content.decode(encoding)
        except (SyntaxError, UnicodeDecodeError, LookupError):
            pass
    encoding = detect_encoding(content, from_html_meta=is_html) or "utf-8"
    return bytes_to_str(content, encoding, errors="replace", fallback_encodings=("utf-8",))


def parse_messages(text: str) -> list[Message]:
    """Parse a JSON list of messages.

    Raises:
        ExtractError: not such a list, a role that is none, or no text in any message.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:  # depth bombs and endless numbers too
        raise ExtractError("bad messages", f"not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ExtractError("bad messages", "not a list of objects")
    messages = []
    for number, row in enumerate(rows, start=1):
        role, content = row.get("role"), row.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ExtractError(
                "bad messages", f"message {number}: role {role!r}, content {type(content).__name__}"
            )
        messages.append({"role": role, "content": content})
    if not messages:
        raise ExtractError("empty")
    return messages
