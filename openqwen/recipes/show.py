"""A resolved recipe as TOML, each value with its meaning and its source; an edited copy runs."""

import json
from typing import Any

from pydantic.fields import FieldInfo

from openqwen.core.config import Config, to_plain
from openqwen.recipes.resolve import Resolved


def to_toml(resolved: Resolved) -> str:
    """Return the whole recipe as TOML text with a comment behind each value.

    The comment says what the value means, who set it (nobody: the default's source) and, where the
    report has another value, that one.
    """
    lines = [
        f"# openqwen recipe {resolved.recipe.name}: every setting, its meaning and its source",
        "# edit a copy and run it: openqwen run my.toml",
        "",
    ]
    _section(resolved.recipe, "", resolved.origins, lines)
    return "\n".join(lines) + "\n"


def _section(config: Config, path: str, origins: dict[str, str], lines: list[str]) -> None:
    fields = type(config).model_fields
    inner = {name: f for name, f in fields.items() if isinstance(getattr(config, name), Config)}
    for name, field in fields.items():
        if name not in inner:
            key = f"{path}.{name}" if path else name
            text = f"{name} = {_value(getattr(config, name))}"
            lines.append(f"{text:<44}  # {_comment(field, origins.get(key, ''))}")
    for name, field in inner.items():
        child = f"{path}.{name}" if path else name
        meaning = field.description or (type(getattr(config, name)).__doc__ or "").splitlines()[0]
        lines += ["", f"[{child}]  # {meaning}"]
        _section(getattr(config, name), child, origins, lines)


def _comment(field: FieldInfo, origin: str) -> str:
    extra = field.json_schema_extra
    facts: dict[str, Any] = extra if isinstance(extra, dict) else {}
    source = facts.get("source", "ours")
    if not origin:
        return f"{field.description} [{source}]"
    report = facts.get("report", field.default)
    cited = source not in ("ours",) or "report" in facts
    beside = f"; {source}: {_value(report)}" if cited else f"; default {_value(field.default)}"
    return f"{field.description} [{origin}{beside}]"


def _value(value: Any) -> str:
    """Return a TOML literal."""
    if isinstance(value, Config):
        value = to_plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        items = ", ".join(
            f"{json.dumps(k, ensure_ascii=False)} = {_value(v)}" for k, v in value.items()
        )
        return "{ " + items + " }" if items else "{}"
    return repr(value)
