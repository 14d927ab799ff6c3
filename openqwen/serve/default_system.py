"""The system prompt that a model's own chat template puts first where a conversation has none.

read_default_system(Path("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"))
# 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.'

Templates are programs (Jinja), and ours is not asked to run them: the literal that stands between
ChatML's marks is taken. A ChatML template without one has no default; where there is no template it
is ChatML's own.
"""

import re
from pathlib import Path

from openqwen.tokenizer.carried import read_carried
from openqwen.tokenizer.control import IM_END, IM_START
from openqwen.tokenizer.template import DEFAULT_SYSTEM

_LITERAL = re.compile(
    re.escape(IM_START) + r"system(?:\\n|\n)([^{}'\"]*?)(?:\\n|\n)?" + re.escape(IM_END)
)


def read_default_system(path: Path) -> str | None:
    """Return a model's default system prompt; None where its template has none."""
    return default_system_of(read_carried(path).chat_template)


def default_system_of(template: str | None) -> str | None:
    """Return the default that a chat template holds; ChatML's own without a template."""
    if template is None or IM_START not in template:
        return DEFAULT_SYSTEM
    found = _LITERAL.search(template)
    return found.group(1).replace("\\n", "\n") if found else None
