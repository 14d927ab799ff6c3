"""Programming tasks made from documented functions: for the rounds of code fine-tuning (§4).

    first, second = code_rounds(Path("runs/tiny/documents"))

The report describes its code instructions no further than "multi-stage". Ours come from the code
documents of the run, which are already free of benchmark problems. Round one: write the function
that a sentence describes. Round two, with stricter rules: go on from signature and docstring, or
say what a function does.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.documents import Document, read_documents
from openqwen.data.draw import draw
from openqwen.data.training.conversations import Conversation

MAX_LINES = 25
MIN_WORDS, MAX_WORDS = 3, 40  # of a docstring's first sentence
HELD_OUT_SHARE = 0.05
ASKED = (
    "Write a Python function `{name}`: {does}",
    "Write `{name}` in Python. {does}",
    "用Python写一个函数 `{name}`。说明：{does}",
    "Please give me the Python code of a function called `{name}`. {does}",
)


@dataclass(frozen=True)
class Function:
    """A documented function: its source, what it does in a sentence, with and without docstring."""

    name: str
    source: str
    does: str
    head: str  # signature and docstring
    bare: str  # the source without its docstring
    returns: bool


def code_rounds(documents: Path) -> tuple[list[Conversation], list[Conversation]]:
    """Return the conversations of both rounds; a module's tasks are all in one split."""
    first: list[Conversation] = []
    second: list[Conversation] = []
    for document in read_documents(documents / "documents"):
        if document.group != "code":
            continue
        held = draw(0, "code", document.id) < HELD_OUT_SHARE or document.split == "validation"
        split = "validation" if held else "train"
        for function in functions_of(document.text):
            id = f"{document.id}:{function.name}"
            first.append(_talk(document, id, *_write(function, id), split))
            if function.returns and not function.name.startswith("_"):
                asked, answer = _complete(function)
                second.append(_talk(document, f"{id}:complete", asked, answer, split))
                asked, answer = _explain(function)
                second.append(_talk(document, f"{id}:explain", asked, answer, split))
    return first, second


def functions_of(source: str) -> Iterator[Function]:
    """Yield the short functions with a docstring that stand in a module or its classes."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.decorator_list:
            continue
        does = _first_sentence(ast.get_docstring(node) or "")
        if not does or node.end_lineno is None or len(node.body) < 2:
            continue
        start, end = node.lineno - 1, node.end_lineno
        if end - start > MAX_LINES:
            continue
        doc_start, doc_end = node.body[0].lineno - 1, node.body[0].end_lineno or node.lineno
        yield Function(
            node.name,
            _dedented(lines[start:end]),
            does,
            _dedented(lines[start:doc_end]),
            _dedented([*lines[start:doc_start], *lines[doc_end:end]]),
            any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node)),
        )


def python_block(reply: str) -> str:
    """Return the code of a reply: what stands in its first fence, or all of it."""
    _, fence, rest = reply.partition("```")
    if not fence:
        return reply
    return rest.partition("\n")[2].partition("```")[0]


def is_python(code: str) -> bool:
    """Return whether a text is a whole piece of Python that defines a function."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(isinstance(node, ast.FunctionDef) for node in tree.body)


def _write(function: Function, id: str) -> tuple[str, str]:
    form = ASKED[int(draw(0, "asked", id) * len(ASKED))]
    return form.format(name=function.name, does=function.does), _fenced(function.source)


def _complete(function: Function) -> tuple[str, str]:
    return f"Complete this Python function.\n{_fenced(function.head)}", _fenced(function.source)


def _explain(function: Function) -> tuple[str, str]:
    return f"What does this Python function do?\n{_fenced(function.bare)}", function.does


def _talk(document: Document, id: str, asked: str, answer: str, split: str) -> Conversation:
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Conversation(id, document.source, document.licence, messages, split)


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return paragraph if MIN_WORDS <= len(paragraph.split()) <= MAX_WORDS else ""


def _dedented(lines: list[str]) -> str:
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(
        line[indent:] if not line[:indent].strip() else line.lstrip() for line in lines
    )
