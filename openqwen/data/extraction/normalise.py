"""Texts in one plain form, and the key that says which texts are the same.

    clean_text("a\\r\\nb \\x00\\n\\n\\n\\nc")          # "a\\nb\\n\\nc"
    same_key("Hello,  World!") == same_key("hello world")

The kept text is only cleaned of what no reader sees; the key is normalised hard (§2.1: Unicode,
case, white space, punctuation).
"""

import hashlib
import re
import unicodedata
from dataclasses import replace

from openqwen.core.documents import Document

# control characters but tab and newline; soft hyphens; zero-width spaces, marks and embeddings (the
# joiners U+200C and U+200D stay: Persian and emoji need them)
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\\xad\\u200b\\u2060\\u202a-\\u202e"
    "\\u2066-\\u2069\\ufeff\\ufffe\\uffff]"
)
_LINE_ENDS = re.compile("\\r\\n?|[\\x0c\\x85\\u2028\\u2029]")
_ODD_SPACES = re.compile("[\\xa0\\u2000-\\u200a\\u202f\\u205f]")
_TRAILING = re.compile(r"(?<![ \t])[ \t]+$", re.MULTILINE)  # each run of spaces is met once
_BLANK_LINES = re.compile(r"\n{3,}")
_SURROGATES = re.compile("[\\ud800-\\udfff]")
_NOT_WORD = re.compile(r"[\W_]+")


def clean_text(text: str, *, is_code: bool = False) -> str:
    """Return a text without invisible characters, odd spaces and line ends, runs of blank lines.

    In code, where spaces and blank lines mean something, they stay.
    """
    if _SURROGATES.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", text))
    if not is_code:
        text = _ODD_SPACES.sub(" ", text)
        text = _BLANK_LINES.sub("\n\n", _TRAILING.sub("", text))
    return text.strip("\n")


def clean_document(document: Document) -> Document:
    """Return a document with its text, or each of its messages, cleaned."""
    if document.messages:
        messages = [m | {"content": clean_text(m["content"])} for m in document.messages]
        text = "\n".join(m["content"] for m in messages)
        return replace(document, messages=messages, text=text)
    is_code = document.group == "code"
    return replace(document, text=clean_text(document.text, is_code=is_code))


def same_key(text: str, *, is_code: bool = False) -> bytes:
    """Return 16 bytes that are equal for texts that are the same but for form; b"" for no text.

    Form is Unicode composition and width (NFKC), case, white space and punctuation; in code only
    white space, since there the rest means something.
    """
    plain = " ".join(text.split()) if is_code else plain_form(text)
    return key_of(plain.encode("utf-8", "surrogatepass"))


def plain_form(text: str) -> str:
    """Return a text without form: NFKC, case folded, no white space, no punctuation."""
    return _NOT_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())


def key_of(plain: bytes | memoryview) -> bytes:
    """Return 16 bytes for a text's plain form; b"" where nothing is left of it."""
    return hashlib.blake2b(plain, digest_size=16).digest() if plain else b""
