"""All stages in the order they run: what each reads, and the function that does it."""

from openqwen.core.errors import UserError
from openqwen.lineage.stage import Stage

_HOME = "openqwen.lineage.stages"


def _trained(name: str, meaning: str, *inputs: str, spreads: bool = True) -> Stage:
    """Return a stage that trains and resumes from its own checkpoints; most may use many ranks."""
    run = f"{_HOME}.{name.replace('-', '_')}:run"
    return Stage(name, meaning, inputs, run, resumes=True, spreads=spreads)


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("sources", "raw pages, code, instructions, benchmarks", (), f"{_HOME}.sources:run"),
        Stage(
            "documents",
            "clean, deduplicated, decontaminated documents and their mixture",
            ("sources",),
            f"{_HOME}.documents:run",
            resumes=True,
        ),
        Stage("tokenizer", "byte-level BPE", ("documents",), f"{_HOME}.tokenizer:run"),
        Stage("shards", "token ids, shuffled", ("documents", "tokenizer"), f"{_HOME}.shards:run"),
        _trained("base", "the pretrained model", "shards", "tokenizer"),
        Stage(
            "longcontext",
            "perplexity by length, passkey retrieval",
            ("base", "shards"),
            f"{_HOME}.longcontext:run",
            resumes=True,
        ),
        _trained("chat", "supervised fine-tuning on conversations", "documents", "base"),
        _trained("preference", "preference-model pretraining (PMP)", "documents", "base"),
        _trained("reward", "the reward model", "sources", "preference"),
        _trained(
            "chat-rlhf",
            "PPO against the reward model",
            *("shards", "documents", "chat", "preference", "reward"),
            spreads=False,  # sampling needs the whole policy on each rank
        ),
        _trained("code", "continued pretraining on code and text", "shards", "base"),
        _trained("code-chat", "fine-tuning on programming tasks", "documents", "code"),
        _trained("math-chat", "fine-tuning on arithmetic and word problems", "base"),
        Stage(
            "evaluation",
            "every model on a few hundred items",
            ("shards", "base", "chat", "chat-rlhf", "code", "code-chat", "math-chat"),
            f"{_HOME}.evaluation:run",
        ),
        Stage(
            "report",
            "one page with every table and plot",
            (
                *("sources", "documents", "tokenizer", "shards", "base", "longcontext", "chat"),
                *("preference", "reward", "chat-rlhf", "code", "code-chat", "math-chat"),
                "evaluation",
            ),
            f"{_HOME}.report:run",
        ),
    )
}


def stages_until(last: str = "") -> list[Stage]:
    """Return the stages up to and including `last`; all of them where it is empty.

    Raises:
        UserError: if there is no such stage.
    """
    if last and last not in STAGES:
        raise UserError(f"--until {last}: no such stage; the stages are {', '.join(STAGES)}")
    names = list(STAGES)
    return [STAGES[name] for name in names[: names.index(last) + 1 if last else len(names)]]
