"""Rule filters (§2.1): each kind of document by its own rules.

Prose is judged by how its language is written, code by a few rules of its own, a conversation only
by whether it says something: its short answers are what it is for.
"""

from collections.abc import Iterable, Iterator

from openqwen.core.documents import Document
from openqwen.data.code_rules import find_code_fault
from openqwen.data.config import RulesConfig
from openqwen.data.findings import Finding
from openqwen.data.prose_rules import find_prose_fault
from openqwen.data.shingles import UnitHasher
from openqwen.data.steps import Outcome, Rejected


def apply_rules(config: RulesConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Reject each document that breaks a limit, with the first one it breaks."""
    hasher = UnitHasher()
    for document in documents:
        finding = _find_fault(document, config, hasher)
        if finding is None:
            yield document
        else:
            yield Rejected(document, finding.reason, float(finding.score), finding.detail)


def _find_fault(document: Document, config: RulesConfig, hasher: UnitHasher) -> Finding | None:
    if document.group == "instructions":
        return _find_silence(document)
    if document.group == "code":
        return find_code_fault(document.text, config.code)
    return find_prose_fault(document.text, document.language, config, hasher)


def _find_silence(document: Document) -> Finding | None:
    """Return a finding for a conversation with an empty message or without an answer."""
    for number, message in enumerate(document.messages, start=1):
        if message["role"] != "system" and not message["content"].strip():
            return Finding("empty message", float(number), f"message {number} is empty")
    if not any(message["role"] == "assistant" for message in document.messages):
        return Finding("no answer", 0.0, "no message of the assistant")
    return None
