"""Rule filters (§2.1): each kind of document by its own rules.

    for outcome in apply_rules(config, documents): ...      # dropped at the first limit it breaks
    list(find_faults(document, config))                     # all of them, for studies

Prose is judged by how its language is written, code by a few rules of its own, a conversation only
by whether it says something: its short answers are what it is for.
"""

from collections.abc import Iterable, Iterator

from openqwen.core.documents import Document
from openqwen.data.rules.code_rules import find_code_faults
from openqwen.data.rules.config import RulesConfig
from openqwen.data.rules.findings import Finding
from openqwen.data.rules.prose_rules import find_prose_faults
from openqwen.data.steps import Outcome, Rejected


def apply_rules(config: RulesConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Reject each document that breaks a limit, with the first one it breaks."""
    by_language: dict[str, RulesConfig] = {}
    for document in documents:
        language = document.language
        if language not in by_language:
            by_language[language] = config.for_language(language)
        finding = next(find_faults(document, by_language[language]), None)
        if finding is None:
            yield document
        else:
            yield Rejected(document, finding.reason, float(finding.score), finding.detail)


def find_faults(document: Document, config: RulesConfig) -> Iterator[Finding]:
    """Yield every limit a document breaks, in the order in which they are asked.

    Args:
        document: a cleaned document with its language.
        config: the rules of that language (`RulesConfig.for_language`).
    """
    if document.group == "instructions":
        return _find_silence(document)
    if document.group == "code":
        return find_code_faults(document.text, config.code)
    return find_prose_faults(document.text, document.language, config)


def _find_silence(document: Document) -> Iterator[Finding]:
    """Yield findings for a conversation with an empty message or without an answer."""
    for number, message in enumerate(document.messages, start=1):
        if message["role"] != "system" and not message["content"].strip():
            yield Finding("empty message", float(number), f"message {number} is empty")
    if not any(message["role"] == "assistant" for message in document.messages):
        yield Finding("no answer", 0.0, "no message of the assistant")
