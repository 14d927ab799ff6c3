"""Which items of a measurement stand in the training data (§2.1), and the score on the others.

    flagged = flag_items(results, [Path("corpus/")], out / "contamination")

The rule is the corpus' own: 13-grams as `openqwen data decontaminate` finds them.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from openqwen.core.files import write_text
from openqwen.core.log import say
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.contamination.files import Inputs, decontaminate_files
from openqwen.data.contamination.tasks import MATCHES
from openqwen.data.engines.config import EngineConfig
from openqwen.data.engines.engine import open_engine
from openqwen.data.inputs.document_rows import find_document_files
from openqwen.eval.results import TaskResult


def flag_items(
    results: Sequence[TaskResult], trained_on: Sequence[Path], out: Path
) -> list[TaskResult]:
    """Return the results with each item marked as found in the training texts or not.

    Args:
        results: of any tasks; an item without a text of its own stays unmarked.
        trained_on: documents or conversations, files or folders of them.
        out: directory for what was found, and the page that shows it.

    Raises:
        UserError: if a file can't be read.
    """
    questions = out / "questions"
    for result in results:
        rows = [{"id": i.id, "text": i.question, "views": []} for i in result.items if i.question]
        if rows:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            write_text(questions / f"{result.task}.jsonl", "".join(lines))
    inputs = Inputs(
        find_document_files([path.absolute() for path in trained_on]), [questions.absolute()]
    )
    config = DecontaminateConfig(action="report")
    with open_engine(EngineConfig(name="local", num_workers=0)) as engine:
        decontaminate_files(inputs, (out / "found").absolute(), config, engine)
    found = set()
    for line in (out / "found" / MATCHES).read_text(encoding="utf-8").splitlines():
        match = json.loads(line)
        found.add((match["benchmark"], match["item"]))
    say(f"{'contamination':<14}{len(found):,} items stand in the training texts: {out / 'found'}")
    return [_marked(result, found) for result in results]


def _marked(result: TaskResult, found: set[tuple[str, str]]) -> TaskResult:
    items = [
        replace(item, is_contaminated=(result.task, item.id) in found) if item.question else item
        for item in result.items
    ]
    return replace(result, items=items)
