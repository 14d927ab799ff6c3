"""The base stage: pretraining (§2.4), a model card and a few continuations."""

from typing import Any

from openqwen.core.config import to_plain
from openqwen.core.files import read_json, write_json
from openqwen.core.log import say
from openqwen.infer.load import load
from openqwen.lineage.stage import StageWork
from openqwen.lineage.stages.tuning import licences
from openqwen.model.formats.card import write_model_card
from openqwen.train.config import PretrainConfig
from openqwen.train.pretrain import pretrain

PROMPTS = {
    "en": "The following command",
    "zh": "在下面的对话框中",
    "code": "def __init__(self,",
}
SAMPLE_TOKENS = 48


def run(work: StageWork) -> dict[str, Any]:
    """Pretrain, describe the result and let it write."""
    assert isinstance(work.config, PretrainConfig)
    lineage_hash = work.lineage_hash("base")
    counts = pretrain(
        work.config,
        work.inputs["shards"],
        work.inputs["tokenizer"],
        work.out,
        seed=work.seed,
        lineage_hash=lineage_hash,
    )
    counts["lineage_hash"] = lineage_hash
    write_model_card(work.out, card_facts(work, counts))
    write_json(work.out / "samples.json", sample(work))
    return counts


def card_facts(work: StageWork, counts: dict[str, Any]) -> dict[str, Any]:
    """Return what the export's README tells: what it is, from what, how trained, how good."""
    shares = read_json(work.inputs["shards"] / "shards.json")["splits"]["train"]["tokens_by_group"]
    return {
        "name": f"{work.recipe} base",
        "about": (
            "A base language model trained by openqwen after the Qwen Technical Report (§2). It "
            "continues text; it is not aligned and not meant for use without further work."
        ),
        "lineage": {"hash": counts["lineage_hash"], "recipe": work.recipe, "seed": work.seed},
        "model": {key: counts[key] for key in ("parameters", "context_length", "dtype")},
        "training_tokens_by_group": shares,
        "data_licences": licences(
            work, "sources", otherwise="see the sources stage this model was made from"
        ),
        "validation": counts["validation"],
        "settings": to_plain(work.config),
    }


def sample(work: StageWork) -> list[dict[str, str]]:
    """Return a continuation of each prompt, sampled with the run's seed."""
    lm = load(work.out)
    results = lm.generate(
        list(PROMPTS.values()),
        max_new_tokens=SAMPLE_TOKENS,
        temperature=0.7,
        top_p=0.9,
        seed=work.seed,
    )
    rows = [
        {"group": group, "prompt": prompt, "text": result.text}
        for (group, prompt), result in zip(PROMPTS.items(), results, strict=True)
    ]
    for row in rows:
        say(f"base          {row['prompt']} → {' '.join(row['text'].split())[:100]}")
    return rows
