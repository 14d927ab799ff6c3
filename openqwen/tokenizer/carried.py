"""What a model's files carry beside the vocabulary: its chat template, which added tokens are text.

    carried = read_carried(directory_or_gguf)
    tokenizer.save(out)
    add_carried(out, carried)

`Tokenizer` needs neither; a converted model hands both on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_json
from openqwen.core.gguf import TokenType, open_gguf
from openqwen.tokenizer.files import CONFIG_FILE, JSON_FILE

TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class Carried:
    """Attributes of a vocabulary that only other programs look at.

    Attributes:
        chat_template: Jinja; None where the files have none.
        shown: added tokens that belong to a reply's text, such as Qwen2.5's `<tool_call>`.
    """

    chat_template: str | None = None
    shown: frozenset[str] = frozenset()


def read_carried(path: Path) -> Carried:
    """Read a model directory's or a GGUF file's; nothing there is an empty answer.

    Raises:
        UserError: if a file is not what its name says.
    """
    if path.is_file():
        return _from_gguf(path)
    config = _object(path / CONFIG_FILE)
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
        template = named.get("default")
    if (path / TEMPLATE_FILE).is_file():
        template = (path / TEMPLATE_FILE).read_text(encoding="utf-8")
    added = _object(path / JSON_FILE).get("added_tokens") or []
    table = config.get("added_tokens_decoder") or {}
    if not isinstance(added, list) or not isinstance(table, dict):
        raise UserError(f"{path}: its lists of added tokens are not lists")
    shown = {
        str(token.get("content"))
        for token in [*added, *table.values()]
        if isinstance(token, dict) and token.get("special") is False
    }
    return Carried(template if isinstance(template, str) else None, frozenset(shown))


def add_carried(directory: Path, carried: Carried) -> None:
    """Write what is carried into the vocabulary files of a directory."""
    config = _object(directory / CONFIG_FILE)
    if carried.chat_template is not None:
        config["chat_template"] = carried.chat_template
    _mark_shown(config.get("added_tokens_decoder", {}).values(), carried)
    write_json(directory / CONFIG_FILE, config)
    if carried.shown and (directory / JSON_FILE).is_file():
        data = _object(directory / JSON_FILE)
        _mark_shown(data.get("added_tokens", []), carried)
        write_json(directory / JSON_FILE, data)


def _from_gguf(path: Path) -> Carried:
    values = open_gguf(path).values
    template = values.get("tokenizer.chat_template")
    tokens, kinds = (values.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type"))
    shown: set[str] = set()
    if isinstance(tokens, list) and kinds is not None and len(kinds) == len(tokens):
        shown = {t for t, kind in zip(tokens, kinds, strict=True) if kind == TokenType.USER_DEFINED}
    return Carried(template if isinstance(template, str) else None, frozenset(shown))


def _mark_shown(tokens: Any, carried: Carried) -> None:
    for token in tokens:
        if token.get("content") in carried.shown:
            token["special"] = False


def _object(path: Path) -> dict[str, Any]:
    data = read_json(path) if path.is_file() else {}
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a JSON object")
    return data
