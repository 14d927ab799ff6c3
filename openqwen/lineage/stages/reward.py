"""The reward stage: the preference model, fine-tuned on good pairs (§3.2.1, Table 4)."""

from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.core.log import say
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.preferences import Pair, read_pairs
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages import tuning
from openqwen.train.reward import train_scorer
from openqwen.train.reward_config import RewardConfig


def run(work: StageWork) -> dict[str, Any]:
    """Train on the run's pairs and the user's own; measure both models on the held-out ones."""
    config = work.config
    assert isinstance(config, RewardConfig)
    set_aside = SetAside()
    pairs = gather_pairs(work, config, set_aside)
    lineage_hash = work.lineage_hash("reward")
    body = work.inputs.get("preference") or work.inputs["base"]
    counts = train_scorer(
        "reward", config, body, pairs, work.out, seed=work.seed, lineage_hash=lineage_hash
    )
    counts |= {"lineage_hash": lineage_hash, "set_aside": set_aside.counts}
    table = {"RM": counts["validation"]["by_source"]}
    if "preference" in work.inputs:  # what training started from
        table = {"PMP": counts["before"]["by_source"]} | table
    write_json(work.out / "evaluation.json", table if table["RM"] else {})
    tuning.write_card(
        work,
        counts,
        name="reward model",
        about="A reward model: it scores a reply at its end token (§3.2.1).",
    )
    return counts


def gather_pairs(work: StageWork, config: RewardConfig, set_aside: SetAside) -> list[Pair]:
    """Return the pairs of the sources stage and of the user's files, split by prompt.

    Raises:
        UserError: if there are none.
    """
    paths = [Path(path).expanduser() for path in config.paths]
    if "sources" in work.inputs:
        paths = [*sorted((work.inputs["sources"] / "preferences").glob("*.jsonl")), *paths]
    pairs = list(
        read_pairs(
            paths, set_aside=set_aside, seed=work.seed, validation_share=config.validation_share
        )
    )
    if set_aside.counts:
        say(f"{'reward':<14}{set_aside.summary()}")
    if not pairs:
        raise UserError(
            "reward: there are no preference pairs; give files with reward.paths, or name sets in "
            f"sources.preferences ({set_aside.summary() or 'nothing was set aside'})"
        )
    return pairs
