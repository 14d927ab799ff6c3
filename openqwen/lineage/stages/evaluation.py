"""The evaluation stage: every model of the run on the same few hundred items (§2.5, §3.3)."""

from typing import Any

from openqwen.core.files import write_json
from openqwen.core.log import say
from openqwen.eval.config import EvaluationConfig
from openqwen.eval.small_suite import measure_models
from openqwen.lineage.stage import StageWork

RESULTS_NAME = "results.json"
MODELS = ("base", "chat", "chat-rlhf", "code", "code-chat", "math-chat")


def run(work: StageWork) -> dict[str, Any]:
    """Measure the models that the recipe made, and say what each can do in a line."""
    config = work.config
    assert isinstance(config, EvaluationConfig)
    models = {name: work.inputs[name] for name in MODELS}
    results = measure_models(models, work.inputs["shards"], config, seed=work.seed)
    write_json(work.out / RESULTS_NAME, results)
    for name, found in results["models"].items():
        bits = " ".join(f"{g} {row['bits_per_byte']:.2f}" for g, row in found["bits"].items())
        say(
            f"{'evaluation':<14}{name:<10} bits a byte {bits}; continuations "
            f"{found['continuations'].get('accuracy', 0):.0%}, "
            f"arithmetic {found['arithmetic']['accuracy']:.0%}, "
            f"tool calls {found['tool_form']['valid']['share']:.0%}"
        )
    return {"models": len(models), "seed": work.seed, "documents": results["documents"]}
