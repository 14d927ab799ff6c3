"""The math-chat stage: fine-tuning on arithmetic and word problems, questions masked (§5)."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from openqwen.core.files import write_json
from openqwen.core.intervals import measured_share
from openqwen.core.log import say
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.math_problems import Problem, make_problems
from openqwen.eval.exact_answer import Answered, exact_answers
from openqwen.infer.load import load
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.train.sft_config import MathChatConfig

REPLY_TOKENS = 40
NUM_EXAMPLES = 8


def run(work: StageWork) -> dict[str, Any]:
    """Fine-tune the base on made problems and measure exact answers on held-out ones."""
    config = work.config
    assert isinstance(config, MathChatConfig)
    set_aside = SetAside()
    problems = make_problems(config.num_problems, seed=work.seed)
    conversations = [problem.as_conversation() for problem in problems]
    conversations += tuning.own_conversations(config, set_aside, seed=work.seed, label="math-chat")
    counts = tuning.tune_once(work, "math-chat", work.inputs["base"], conversations)
    held_out = [p for p in problems if p.split == "validation"]
    counts |= {
        "problems": {"train": len(problems) - len(held_out), "validation": len(held_out)},
        "set_aside": set_aside.counts,
    }
    tuning.write_card(
        work, counts, name="math chat", about="A model fine-tuned on mathematics (§5)."
    )
    evaluation = _evaluate(work, held_out[: config.evaluation_problems])
    write_json(work.out / "evaluation.json", evaluation)
    return counts


def _evaluate(work: StageWork, problems: list[Problem]) -> dict[str, Any]:
    """Return accuracy by exact answer before and after, whole and by kind, with intervals."""
    places: dict[str, Path] = {"before": work.inputs["base"], "after": work.out}
    answered = {
        name: exact_answers(load(directory), problems, max_new_tokens=REPLY_TOKENS)
        for name, directory in places.items()
    }
    by_kind: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, rows in answered.items():
        for kind in sorted({p.kind for p in problems}):
            of_kind = [row for row in rows if row.problem.kind == kind]
            by_kind[kind] |= {"n": len(of_kind), name: _accuracy(of_kind)["accuracy"]}
    found: dict[str, Any] = {"n": len(problems), "seed": work.seed}
    found |= {name: _accuracy(rows) for name, rows in answered.items()}
    found["by_kind"] = dict(by_kind)
    found["examples"] = [
        {
            "prompt": row.problem.prompt,
            "answer": row.problem.answer,
            "reply": row.reply,
            "right": row.is_right,
        }
        for row in answered["after"][:NUM_EXAMPLES]
    ]
    say(
        f"{'math-chat':<14}exact answers on {len(problems)} held-out problems: "
        f"{found['before']['accuracy']:.0%} before, {found['after']['accuracy']:.0%} after"
    )
    return found


def _accuracy(rows: list[Answered]) -> dict[str, Any]:
    return measured_share("accuracy", sum(row.is_right for row in rows), len(rows))
