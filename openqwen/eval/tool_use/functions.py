"""The function-calling benchmark (BFCL v4: simple, multiple, irrelevance) as queries with tools.

    queries, where = find_queries(data, set_aside, seed=0)
    queries[0].question, [tool.name for tool in queries[0].tools], queries[0].function

`simple` gives one function a query; others of the same file are put beside it, drawn by seed, up
to five in all as in the report (§3.4). `irrelevance` has one function that does not help.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openqwen.agent.tools import Tool, read_tool
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import read_raw_rows
from openqwen.eval.tool_use.arguments import Alternatives

PACKAGE, VERSION, FOLDER = "bfcl-eval", "2026.3.23", "bfcl_eval/data"
ANSWERS = "possible_answer"
GROUPS = {"simple": "simple_python", "multiple": "multiple", "irrelevance": "irrelevance"}
NAME = re.compile(r"BFCL_v\d+_(simple|simple_python|multiple|irrelevance)\.json(?:l)?(?:\.gz)?")
MAX_TOOLS = 5
# the benchmark's names of types, which are Python's, in JSON Schema
TYPES = {"dict": "object", "float": "number", "tuple": "array"}


@dataclass(frozen=True)
class Query:
    """One question with its candidate tools.

    Attributes:
        id: the benchmark's.
        group: `simple`, `multiple` or `irrelevance`.
        question: the user's.
        tools: what the model may call.
        function: name of the right one; None where none is needed.
        possible: parameter -> possible answers of the right call.
    """

    id: str
    group: str
    question: str
    tools: tuple[Tool, ...]
    function: str | None
    possible: Alternatives

    @property
    def schema(self) -> Mapping[str, Any]:
        """Return the parameters of the right function."""
        return next(tool.parameters for tool in self.tools if tool.name == self.function)


def find_queries(
    data: Path | None, set_aside: SetAside, *, seed: int
) -> tuple[dict[str, list[Query]], str]:
    """Return group -> queries, and where they came from.

    Args:
        data: a folder that may hold the benchmark's files under their own names, answers in a
            folder `possible_answer`; else the pinned package is fetched.
        set_aside: counts rows that can't be used.
        seed: of the tools put beside the right one.

    Raises:
        UserError: if the files are not to be had, or hold no usable row.
    """
    files = _files_in(data) if data is not None else {}
    where = str(data) if files else f"{PACKAGE}=={VERSION}"
    if not files:
        files = {group: _fetch(name, group) for group, name in GROUPS.items()}
    queries = {
        group: list(read_queries(path, answers, group, set_aside))
        for group, (path, answers) in files.items()
    }
    if not any(queries.values()):
        raise UserError(
            f"{where}: no usable row in the function-calling files ({set_aside.summary()})"
        )
    if "simple" in queries:
        queries["simple"] = add_distractors(queries["simple"], seed)
    return queries, where


def read_queries(
    path: Path, answers: Path | None, group: str, set_aside: SetAside
) -> Iterator[Query]:
    """Yield the queries of a file; rows without question, functions or answer are set aside."""
    found: dict[str, Any] = {}
    if answers is not None:
        for row in read_raw_rows(answers, set_aside):
            found[str(row.values.get("id"))] = row.values.get("ground_truth")
    for row in read_raw_rows(path, set_aside):
        try:
            yield _query(row.values, found, group)
        except (UserError, KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            reason = str(error) if isinstance(error, UserError) else "not of the benchmark's form"
            set_aside.add(reason, f"{path.name}#{row.place}")


def add_distractors(queries: Sequence[Query], seed: int) -> list[Query]:
    """Return the queries with tools of others beside their own, up to five, in a drawn order.

    What is drawn depends on the seed and the query alone. A tool whose last name (after a dot) is
    one of those there already is not taken.
    """
    pool = {tool.name: tool for query in queries for tool in query.tools}
    names = sorted(pool)
    mixed = []
    for query in queries:
        draw = random.Random(f"{seed}:{query.id}")
        tools = list(query.tools)
        taken = {_last_name(tool.name) for tool in tools}
        for name in draw.sample(names, len(names)):
            if len(tools) == MAX_TOOLS:
                break
            if _last_name(name) not in taken:
                tools.append(pool[name])
                taken.add(_last_name(name))
        draw.shuffle(tools)
        mixed.append(replace(query, tools=tuple(tools)))
    return mixed


def json_schema(written: Any) -> Any:
    """Return a schema with JSON Schema's names of types; `any` and odd keys are left out."""
    if not isinstance(written, Mapping):
        return written
    made: dict[str, Any] = {}
    for key, value in written.items():
        if key == "type":
            if value != "any":
                made[key] = TYPES.get(value, value) if isinstance(value, str) else value
        elif key == "properties" and isinstance(value, Mapping):
            made[key] = {name: json_schema(schema) for name, schema in value.items()}
        elif key in ("items", "additionalProperties"):
            made[key] = json_schema(value)
        elif key != "optional":  # no word of JSON Schema: `required` says it
            made[key] = value
    return made


def _query(values: Mapping[str, Any], answers: Mapping[str, Any], group: str) -> Query:
    tools = tuple(
        read_tool({**function, "parameters": json_schema(function["parameters"])})
        for function in values["function"]
    )
    turns = values["question"][0]
    question, key = turns[-1]["content"], str(values["id"])
    if len(turns) != 1 or not isinstance(question, str) or not tools:
        raise UserError("not one question with functions")
    if group == "irrelevance":
        return Query(key, group, question, tools, None, {})
    if key not in answers:
        raise UserError("no answer to it")
    [[(function, possible)]] = [list(call.items()) for call in answers[key]]
    if function not in {tool.name for tool in tools}:
        raise UserError("the answer calls a function that is not there")
    return Query(key, group, question, tools, function, possible)


def _fetch(name: str, group: str) -> tuple[Path, Path | None]:
    file = f"BFCL_v4_{name}.json"
    path = fetch_pypi_file(PACKAGE, VERSION, f"{FOLDER}/{file}")
    if group == "irrelevance":
        return path, None
    return path, fetch_pypi_file(PACKAGE, VERSION, f"{FOLDER}/{ANSWERS}/{file}")


def _files_in(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    files: dict[str, tuple[Path, Path | None]] = {}
    for path in sorted(folder.rglob("BFCL_v*")):
        match = NAME.fullmatch(path.name)
        if match and path.parent.name != ANSWERS:
            answers = path.parent / ANSWERS / path.name
            files[match[1].partition("_")[0]] = path, answers if answers.is_file() else None
    return files


def _last_name(name: str) -> str:
    return name.rpartition(".")[2].lower()
