"""The two sides of eval_speed.py, each in a process of its own: the harness's backend and ours.

    python eval_sides.py --side harness --model DIR --threads 2

Both get the same requests, as texts, through the harness's interface.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from turns import serve


def instances(kind: str, arguments: list[Any]) -> list[Any]:
    """Return the harness's requests."""
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, tuple(one), i) for i, one in enumerate(arguments)]


class HarnessSide:
    """lm-evaluation-harness's transformers backend."""

    def __init__(self, model: str, dtype: str) -> None:
        """Load in the given type; batch sizes come with the questions."""
        import lm_eval
        import transformers
        from lm_eval.models.huggingface import HFLM

        # <|endoftext|> begins a text without context, as with us
        self.lm = HFLM(
            model,
            device="cpu",
            dtype=dtype,
            batch_size=1,
            prefix_token_id=151_643,
            # its float32 sum over 151,936 rows is off by up to 4e-5 a token; a setting of its own
            softmax_dtype="float64" if dtype == "float32" else None,
        )
        self.versions = {"lm_eval": lm_eval.__version__, "transformers": transformers.__version__}

    def score(self, requests: list[Any], batch: int) -> list[Any]:
        self.lm.batch_size_per_gpu = batch
        return self.lm.loglikelihood(instances("loglikelihood", requests), disable_tqdm=True)

    def generate(self, prompts: list[str], settings: dict[str, Any], batch: int) -> list[str]:
        self.lm.batch_size_per_gpu = batch
        asked = instances("generate_until", [(prompt, settings) for prompt in prompts])
        return self.lm.generate_until(asked, disable_tqdm=True)

    def num_tokens(self, text: str) -> int:
        return len(self.lm.tok_encode(text))


class OurSide:
    """Our scorer and engine behind the harness's interface; nothing is remembered between turns."""

    def __init__(self, model: str, dtype: str) -> None:
        """Load; "int8" quantises the weights."""
        import torch

        from openqwen.infer.load import load

        kind = {"dtype": "auto", "quantize": "int8"} if dtype == "int8" else {"dtype": dtype}
        self.loaded = load(model, **kind)
        self.versions = {"torch": torch.__version__, "loaded as": self.loaded.describe()}

    def _model(self) -> Any:
        from openqwen.agent.models import LocalModel
        from openqwen.eval.harness.model import HarnessModel
        from openqwen.eval.responses import Responses

        self.loaded._engine = None  # no prompt of an earlier turn is remembered
        local = LocalModel(self.loaded, "model")
        return HarnessModel(self.loaded, local, Responses(None), False)

    def score(self, requests: list[Any], batch: int) -> list[Any]:
        return self._model().loglikelihood(instances("loglikelihood", requests))

    def generate(self, prompts: list[str], settings: dict[str, Any], batch: int) -> list[str]:
        asked = instances("generate_until", [(prompt, settings) for prompt in prompts])
        return self._model().generate_until(asked)

    def num_tokens(self, text: str) -> int:
        return len(self.loaded.encode(text)) if text else 0


def main() -> None:
    """Serve questions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", choices=("harness", "ours"), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    def prepare() -> tuple[dict[str, Any], Any]:
        import torch

        torch.set_num_threads(arguments.threads)
        make = HarnessSide if arguments.side == "harness" else OurSide
        side = make(str(arguments.model), arguments.dtype)

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            begin, cpu = time.perf_counter(), time.process_time()
            batch = question.get("batch", 1)
            if question["task"] == "score":
                found: Any = side.score(question["requests"], batch)
            else:
                found = side.generate(question["prompts"], dict(question["settings"]), batch)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            tokens = 0
            if question["task"] == "generate":
                tokens = sum(side.num_tokens(text) for text in found)
            return {"seconds": seconds, "cpu": cpu, "found": found, "tokens": tokens}

        return side.versions, answer

    serve(prepare)


if __name__ == "__main__":
    main()
