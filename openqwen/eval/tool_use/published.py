"""The published scorer of tool use (QwenLM/Qwen, `eval/evaluate_plugin.py`): Table 6's metrics.

    is_right_tool(reply, golden), input_rouge(reply, golden, pieces), is_false_positive(reply)

Its files are JSON Lines: `prompt`, the whole user turn, and in the positive file `response`, the
right first step. Neither file is to be had any more; any file of the form is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.raw_rows import read_raw_rows
from openqwen.eval.tool_use.rouge import Pieces, input_score

CALL_MARK = "\nAction: "
ACTION, INPUT, OBSERVATION = "Action:", "Action Input:", "Observation:"
NAMES = {True: "*react_positive*.json*", False: "*react_negative*.json*"}


@dataclass(frozen=True)
class PublishedRow:
    """A row of one of the files.

    Attributes:
        id: file and line.
        prompt: the user's turn.
        golden: the right reply; None in a negative file, where no tool is needed.
    """

    id: str
    prompt: str
    golden: str | None


def find_files(folder: Path, *, is_positive: bool) -> list[Path]:
    """Return the files of one kind under a folder, by the published files' names."""
    return sorted(path for path in folder.rglob(NAMES[is_positive]) if path.is_file())


def read_rows(path: Path, set_aside: SetAside, *, is_positive: bool) -> Iterator[PublishedRow]:
    """Yield the rows of a file; a row without its texts is set aside."""
    for row in read_raw_rows(path, set_aside):
        prompt, golden = row.values.get("prompt"), row.values.get("response")
        if not isinstance(prompt, str) or not prompt:
            set_aside.add("no prompt", f"{path.name}#{row.place}")
        elif is_positive and not isinstance(golden, str):
            set_aside.add("no response", f"{path.name}#{row.place}")
        else:
            wanted = golden if is_positive else None
            yield PublishedRow(f"{path.name}#{row.place}", prompt, wanted)


def action_of(reply: str) -> str | None:
    """Return the first action's name, or None where there is none.

    Everything up to the first `Action Input:` is the name, and all the rest where that mark is
    missing. The original returns other garbage where `Action:` is missing; none of it scores.
    """
    begin, end = reply.find(ACTION), reply.find(INPUT)
    if begin < 0:
        return None
    return reply[begin + len(ACTION) : end if end >= 0 else None].strip()


def action_input_of(reply: str) -> str:
    """Return the text between the first `Action Input:` and the first `Observation:`, or ""."""
    begin, end = reply.find(INPUT), reply.find(OBSERVATION)
    if begin < 0:
        return ""
    return reply[begin + len(INPUT) : end if end >= 0 else None].strip()


def is_right_tool(reply: str, golden: str) -> bool:
    """Return whether a reply calls the golden reply's tool; case and outer spaces don't count."""
    wanted, found = action_of(golden), action_of(reply)
    if CALL_MARK not in reply or wanted is None or found is None:
        return False
    return found.lower() == wanted.lower()


def input_rouge(reply: str, golden: str, pieces: Pieces) -> float:
    """Return Rouge-L of the two inputs; it does not ask whether the tool is the right one."""
    return input_score(action_input_of(golden), action_input_of(reply), pieces)


def is_false_positive(reply: str) -> bool:
    """Return whether a reply to a query that needs no tool calls one."""
    return CALL_MARK in reply
