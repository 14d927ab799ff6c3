"""The model card: what an export is, where it comes from, licences, settings."""

from pathlib import Path
from typing import Any

from openqwen.core.files import write_text

CARD_NAME = "README.md"


def write_model_card(directory: Path, facts: dict[str, Any]) -> None:
    """Write README.md from facts, plain Markdown.

    Args:
        directory: the export directory.
        facts: "name" is the title; every other key is a section: text is a paragraph, a list is
            bullets, a dictionary is a table (nested ones are flattened with dots).
    """
    write_text(directory / CARD_NAME, model_card(facts))


def model_card(facts: dict[str, Any]) -> str:
    """Return the card's Markdown."""
    blocks = [f"# {facts.get('name', 'openqwen model')}"]
    for key, value in facts.items():
        if key == "name":
            continue
        blocks.append(f"## {key[:1].upper()}{key[1:].replace('_', ' ')}")
        if isinstance(value, dict):
            rows = [f"| {_cell(k)} | {_cell(v)} |" for k, v in _flat(value)]
            blocks.append("\n".join(["| | |", "|---|---|", *rows]))
        elif isinstance(value, list | tuple):
            blocks.append("\n".join(f"- {item}" for item in value))
        else:
            blocks.append(_text(value))
    return "\n\n".join(blocks) + "\n"


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _cell(value: Any) -> str:
    return _text(value).replace("|", "\\|").replace("\n", " ")


def _text(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return f"{value:,}" if whole else str(value)
