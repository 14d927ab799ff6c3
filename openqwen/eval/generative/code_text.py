"""Programs out of what models write: completions are cut, code blocks are found in replies.

    cut_completion("    return 1\\n\\ndef other():", PYTHON_STOPS)           # "    return 1\\n"
    code_block("Sure:\\n```python\\ndef f(): ...\\n```", names=["f"])        # "def f(): ...\\n"

A completion continues its prompt to the letter: nothing of its start may be stripped, for the first
line's indent is there, and a newline that a stop text took with it is put back.
"""

import re
from collections.abc import Sequence

# what the field's harness stops a Python completion at (`humaneval.yaml`)
PYTHON_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
BEGIN_BLOCK, END_BLOCK = "```python\n", "\n```\n"
_BLOCK = re.compile(
    r"^[ \t]*```[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.M | re.S
)
_DEFINED = re.compile(
    r"^[ \t]*(?:async\s+)?(?:def|function|func|fn|const|let|var|class|public\s+static)\b", re.M
)


def cut_completion(completion: str, stops: Sequence[str]) -> str:
    """Return a completion up to the first stop text, ended by a newline."""
    ends = [place for stop in stops if (place := completion.find(stop)) >= 0]
    kept = completion[: min(ends)] if ends else completion
    return kept if kept.endswith("\n") else kept + "\n"


def with_opening(reply: str) -> str:
    """Return a reply that was begun inside a Python code block, with the block's opening.

    One that opens a block by itself (an endpoint may answer anew) stays as it is.
    """
    is_anew = re.search(r"^[ \t]*```[ \t]*\w", reply, re.M) or reply.lstrip().startswith("```")
    return reply if is_anew else BEGIN_BLOCK + reply


def code_block(reply: str, names: Sequence[str] = ()) -> str:
    """Return the program in a reply: the first code block that defines one of some names.

    Without such a block it is the first one; a block that is never closed goes to the end; a reply
    without any block is taken for code as it stands.
    """
    blocks = [found.group(2) for found in _BLOCK.finditer(reply)]
    if not blocks:
        return reply if reply.endswith("\n") else reply + "\n"
    for block in blocks:
        is_named = any(re.search(rf"\b{re.escape(name)}\b", block) for name in names)
        if is_named and _DEFINED.search(block):
            return block
    return blocks[0]


def whole_program(prompt: str, reply: str, name: str) -> str:
    """Return the program of a chat reply to a function's beginning.

    A reply that defines the function again stands for itself, behind the prompt's imports; one that
    only gives the body continues the prompt.
    """
    block = code_block(reply, [name])
    if re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(name)}\s*\(", block, re.M):
        lines = _lead(prompt, name) + block.splitlines()
        return "\n".join(lines) + "\n"
    indented = block.startswith((" ", "\t"))
    body = block if indented else "".join(f"    {line}\n" for line in block.splitlines())
    return (prompt if prompt.endswith("\n") else prompt + "\n") + body


def _lead(prompt: str, name: str) -> list[str]:
    """Return what stands in a prompt before the function: imports and functions it builds on."""
    lines = prompt.splitlines()
    begin = next(
        (
            i
            for i, line in enumerate(lines)
            if re.match(rf"(?:async\s+)?def\s+{re.escape(name)}\b", line)
        ),
        0,
    )
    return lines[:begin]
