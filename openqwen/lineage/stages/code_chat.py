"""The code-chat stage: two rounds of fine-tuning on programming tasks (§4)."""

from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.core.intervals import measured_share
from openqwen.core.log import say
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.code_instructions import code_rounds, is_python, python_block
from openqwen.data.training.conversations import Conversation, count_by_source, first_question
from openqwen.infer.load import load
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.train.sft_config import CodeChatConfig

REPLY_TOKENS = 128


def run(work: StageWork) -> dict[str, Any]:
    """Fine-tune on many tasks, then on fewer and better ones; check replies for Python."""
    config = work.config
    assert isinstance(config, CodeChatConfig)
    set_aside = SetAside()
    first, second = code_rounds(work.inputs["documents"])
    second += tuning.own_conversations(config, set_aside, seed=work.seed, label="code-chat")
    if not first or not second:
        raise UserError(
            f"code-chat: {len(first)} tasks in the first round and {len(second)} in the second; "
            "the documents hold too few documented functions"
        )
    tokenizer = Tokenizer.from_file(work.inputs["code"])
    parts = [
        (tuning.encode_split(first, tokenizer, config, "train"), 1 - config.second_round_share),
        (tuning.encode_split(second, tokenizer, config, "train"), config.second_round_share),
    ]
    if not config.second_round_share:
        parts.pop()
    validation = {
        "round 1": tuning.encode_split(first, tokenizer, config, "validation"),
        "round 2": tuning.encode_split(second, tokenizer, config, "validation"),
    }
    counts = tuning.tune(work, "code-chat", work.inputs["code"], parts, validation)
    counts |= {
        "conversations": count_by_source([*first, *second]),
        "tasks": {"round 1": len(first), "round 2": len(second)},
        "set_aside": set_aside.counts,
    }
    tuning.write_card(
        work, counts, name="code chat", about="A model fine-tuned on programming tasks (§4)."
    )
    tasks = [c for c in first if c.split == "validation"][: config.evaluation_tasks]
    questions = [("code", first_question(task)) for task in tasks]
    if questions:
        tuning.write_samples(
            work.out, work.inputs["code"], questions, seed=work.seed, label="code-chat"
        )
        write_json(work.out / "evaluation.json", _check(work, tasks))
    return counts


def _check(work: StageWork, tasks: list[Conversation]) -> dict[str, Any]:
    """Return the share of greedy replies that are whole Python functions, before and after."""
    prompts = [first_question(task) for task in tasks]
    found: dict[str, Any] = {"n": len(tasks)}
    places: dict[str, Path] = {"before": work.inputs["code"], "after": work.out}
    for name, directory in places.items():
        results = load(directory).generate(prompts, max_new_tokens=REPLY_TOKENS)
        parses = sum(is_python(python_block(result.text)) for result in results)
        found[name] = measured_share("parses", parses, len(tasks))
    say(
        f"{'code-chat':<14}replies that are a Python function: {found['before']['parses']:.0%} "
        f"before, {found['after']['parses']:.0%} after, n = {len(tasks)}"
    )
    return found
