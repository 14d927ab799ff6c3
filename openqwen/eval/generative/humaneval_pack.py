"""HumanEval in six languages, a function to be written from its head and description (Table 11).

    built = humaneval_pack(TASKS["humanevalpack"], setting, shots=0)

Reads HumanEvalPack's own rows (Muennighoff et al. 2023, the synthesize task) and the completion
form of MultiPL-E (Cassano et al. 2022), which is another translation with tests and stop texts of
its own: results say which. A language whose compiler the sandbox lacks is left out and told of.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.generative.code_text import PYTHON_STOPS, cut_completion
from openqwen.eval.generative.judge import Judge, Program, scored_by_tests
from openqwen.eval.generative.languages import (
    LANGUAGES,
    can_run,
    cut_at_closing,
    language_of,
    program,
)
from openqwen.eval.measure import Setting
from openqwen.eval.tasks.building import build
from openqwen.eval.tasks.definitions import Stock
from openqwen.eval.tasks.files import find_files, names_of, read_files, stem, text_of
from openqwen.eval.tasks.info import Built, TaskInfo
from openqwen.eval.tasks.rows import Row, Rows

PREFIX = "humanevalpack_"
PACK, MULTIPL_E = "HumanEvalPack", "MultiPL-E"
MAX_NEW_TOKENS = 512
CHAT_PROMPT = "Complete this function.\n\n```{{shown}}\n{{prompt}}```"
CHAT_BEGIN = "```{{shown}}\n{{prompt}}"
UNKNOWN = "not one of its six languages"


def humaneval_pack(info: TaskInfo, setting: Setting, shots: int) -> Built:
    """Build a task a language; see `TaskInfo.build`."""
    judge = Judge(setting.responses)
    left_out: list[str] = []

    def read(folder: Path) -> Rows | None:
        rows = read_pack(folder)
        return rows and _runnable(rows, left_out)

    # a task's stop texts are those of its rows; the languages differ in them
    own = {PREFIX + name: definition(judge, name, is_chat=setting.is_chat) for name in LANGUAGES}
    stock = Stock("", {PREFIX + name: name for name in LANGUAGES}, own, on_hub=False)
    built = build(info, setting, shots, stock, read)
    return replace(built, notes=[*built.notes, *left_out])


def definition(judge: Judge, language: str, *, is_chat: bool) -> dict[str, Any]:
    """Return the definition of one language's task."""
    chat = {"doc_to_text": CHAT_PROMPT, "gen_prefix": CHAT_BEGIN} if is_chat else {}
    return {
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{test}}",
        "generation_kwargs": {
            "until": [*STOPS[language], "\n```"],
            "max_gen_toks": MAX_NEW_TOKENS,
            "do_sample": False,
        },
        **scored_by_tests(judge, source_of, tested),
        **chat,
    }


# where every reply may end, whatever the form of its row; rows cut theirs further
STOPS: Mapping[str, tuple[str, ...]] = {
    "python": (*PYTHON_STOPS, "\n@"),
    "javascript": ("\nfunction ", "\n/*", "\n//", "\nconsole.log"),
    "java": ("\n    public static void main", "\nclass "),
    "go": ("\nfunc ", "\ntype "),
    "cpp": ("\nint main", "\n#include"),
    "rust": ("\nfn ", "\n#[", "\nmod "),
}


def source_of(row: Mapping[str, Any], reply: str) -> str:
    """Return the function that a reply completes."""
    reply = reply.partition("\n```")[0]
    if row["form"] == MULTIPL_E or row["language"] == "python":
        stops = row["stops"] or STOPS[row["language"]]
        return str(row["prompt"]) + cut_completion(reply, stops)
    return str(row["prompt"]) + cut_at_closing(row["prompt"], reply)


def tested(row: Mapping[str, Any], source: str) -> Program:
    """Return a function with its tests as a program."""
    function = f"{row['setup']}\n{source}" if row["setup"] else source
    return program(row["language"], function, row["test"])


def read_pack(folder: Path) -> Rows | None:
    """Read HumanEvalPack's files (`humanevalpack.jsonl` in folders of languages), or MultiPL-E's.

    The first kind that is there: rows with `declaration` are HumanEvalPack's, those with `tests`
    MultiPL-E's.
    """
    paths = find_files(
        folder,
        r"(?:[^/]+/data/)?humanevalpack[^/]*\.jsonl",
        r"humaneval[-_]multi[^/]*\.jsonl",
        r"humaneval-(?:python|js|java|go|cpp|rs|rust)[^/]*\.jsonl",
    )
    if not paths:
        return None
    set_aside = SetAside()
    tests = []
    for path, place, row in read_files(paths, set_aside):
        where = f"{path.name}#{place}"
        try:
            found = _row(path, row)
        except KeyError as error:
            set_aside.add(f"no {error.args[0]}", where)
            continue
        if found is None:
            set_aside.add(UNKNOWN, where)
        else:
            tests.append(found)
    forms = sorted({str(row.values["form"]) for row in tests})
    source = f"{names_of(paths)} ({' and '.join(forms)})"
    return Rows(tests, source=source, set_aside=set_aside)


def _row(path: Path, row: dict[str, Any]) -> Row | None:
    """Return one row in our form, None where its language is unknown.

    Raises:
        KeyError: if a column is missing.
    """
    is_pack = "declaration" in row
    number = str(row.get("task_id") or row.get("name") or "")
    names = [number.split("/")[0], str(row.get("language") or ""), path.parent.parent.name]
    names += [stem(path).split("-")[-1], str(row.get("file", "")).partition(".")[0].split("-")[-1]]
    language = next((known for name in names if (known := language_of(name))), None)
    if language is None:
        return None
    values = {
        "prompt": text_of(row, "prompt"),
        "test": text_of(row, "test" if is_pack else "tests", "test"),
        "setup": str(row.get("test_setup") or "") if is_pack else "",
        "stops": [str(stop) for stop in row.get("stop_tokens") or []],
        "language": language,
        "shown": LANGUAGES[language].shown,
        "form": PACK if is_pack else MULTIPL_E,
    }
    return Row(PREFIX + language, values, group=language, id=f"{language}/{number}")


def _runnable(rows: Rows, left_out: list[str]) -> Rows:
    """Return the rows whose language can be run here; tell of the others."""
    counts = Counter(row.group for row in rows.tests)
    reasons = {name: can_run(name) for name in counts}
    for name, reason in reasons.items():
        if reason:
            left_out.append(f"{name}: {counts[name]} problems not run: {reason}")
            warn(f"humanevalpack: {left_out[-1]}")
    kept = [row for row in rows.tests if not reasons[row.group]]
    if rows.tests and not kept:
        raise UserError("humanevalpack: none of its languages can be run here")
    return replace(rows, tests=kept)
