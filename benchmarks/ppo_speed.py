"""One PPO iteration of ours beside TRL's, in one run.

    python benchmarks/ppo_speed.py --peer-python /path/to/trl/bin/python --rounds 3 --write-docs

64 queries of 64 tokens, 128 new tokens, 4 passes in 4 minibatches, model s (hidden 384, 6 layers, 6
heads, vocabulary 32,768). Ours and TRL take turns (A-B-A-B); every sample is printed, medians are
compared. Both train policy and value model, ask reference and reward model, sample at temperature 1
from the whole distribution and never end early; ours without the pretraining-gradient term, which
TRL has not. The peer's environment needs torch and requirements/trl.txt. Run it on a quiet machine.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from results import PERFORMANCE, provenance, write_section

from openqwen.core.runtime import pick_dtype
from openqwen.core.seeds import generator_for
from openqwen.core.workers import Workers
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import published_config
from openqwen.model.scorer import scorer_from
from openqwen.train.ppo import SAMPLES, PPOTrainer
from openqwen.train.ppo_batch import Models
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.rollout import Vocabulary

SHAPE = qwen_config(
    hidden_size=384,
    num_attention_heads=6,
    num_hidden_layers=6,
    vocab_size=32_768,
    train_length=1024,
)
QUERIES, PROMPT_TOKENS, NEW_TOKENS, EPOCHS, MICRO = 64, 64, 128, 4, 16


class Ours:
    """Our trainer, one iteration at a time."""

    def __init__(self, workers: Workers) -> None:
        config = PPOConfig(
            queries_per_step=QUERIES,
            responses_per_query=1,
            max_new_tokens=NEW_TOKENS,
            num_epochs=EPOCHS,
            num_minibatches=QUERIES // MICRO,
            top_p=1.0,
            value_warmup_steps=0,
            pretraining_coefficient=0.0,
        )
        policy, reference = new_decoder(SHAPE, seed=0), new_decoder(SHAPE, seed=0)
        models = Models(policy, scorer_from(policy, seed=1), reference, scorer_from(policy, seed=2))
        ids = torch.randint(3, 32_768, (256, PROMPT_TOKENS), generator=generator_for(0))
        self.trainer = PPOTrainer(
            config,
            models,
            ids.tolist(),
            [],
            windows=None,
            vocabulary=Vocabulary(torch.ones(32_768, dtype=torch.bool), (), 1),
            seed=0,
            dtype=pick_dtype("auto", torch.device("cpu")),
            workers=workers,
        )
        self.step = 0

    def iterate(self) -> float:
        start = time.perf_counter()
        self.trainer.step(self.step)
        self.step += 1
        return time.perf_counter() - start

    def sample(self) -> float:
        """Return the seconds that sampling alone takes."""
        start = time.perf_counter()
        self.trainer._sample(self.trainer._queries(self.step), SAMPLES, self.step)
        return time.perf_counter() - start


class Trl:
    """TRL in a process of its own that takes turns with us."""

    def __init__(self, python: str, folder: str, *, bf16: bool) -> None:
        job = {
            "config": {k: v for k, v in published_config(SHAPE).items() if k in PEER_KEYS},
            "queries": QUERIES,
            "prompt_tokens": PROMPT_TOKENS,
            "new_tokens": NEW_TOKENS,
            "epochs": EPOCHS,
            "micro": MICRO,
            "bf16": bf16,
        }
        script = Path(__file__).parent / "trl_peer.py"
        self.process = subprocess.Popen(
            [python, str(script), "--job", json.dumps(job), "--out", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self.read()

    def read(self) -> dict:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the peer's process ended; its own words are above")
        return json.loads(line)

    def iterate(self) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()["seconds"]

    def close(self) -> None:
        self.process.kill()


PEER_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rope_theta"),
    *("rms_norm_eps", "tie_word_embeddings"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="python of an environment with trl; none: ours alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--float32-peer", action="store_true", help="the peer without bfloat16")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    samples: dict[str, list[float]] = {"ours": [], "trl": []}
    sampling = []
    with Workers() as workers, tempfile.TemporaryDirectory() as folder:
        ours = Ours(workers)
        peer = (
            Trl(args.peer_python, folder, bf16=not args.float32_peer) if args.peer_python else None
        )
        for round_ in range(args.rounds + 1):
            for name, one in (("ours", ours), ("trl", peer)):
                if one is None:
                    continue
                seconds = one.iterate()
                print(json.dumps({"round": round_, "who": name, "seconds": round(seconds, 2)}))
                if round_:  # the first warms up
                    samples[name].append(seconds)
            if round_:
                sampling.append(ours.sample())
        if peer is not None:
            peer.close()
    print(json.dumps({"ours sampling": [round(s, 2) for s in sampling]}))
    if args.write_docs and peer is not None:
        dtype = "float32" if args.float32_peer else "bfloat16 autocast"
        write_docs(samples, sampling, peer.versions, dtype, args.rounds)


def write_docs(
    samples: dict[str, list[float]],
    sampling: list[float],
    versions: dict[str, str],
    dtype: str,
    rounds: int,
) -> None:
    median = {name: statistics.median(values) for name, values in samples.items()}
    alone = statistics.median(sampling)
    names = {"ours": "openqwen", "trl": f"TRL {versions['trl']}, {dtype}"}
    rows = [
        f"| {names[name]} | {median[name]:.1f} s | {', '.join(f'{s:.1f}' for s in values)} |"
        for name, values in samples.items()
    ]
    tokens = QUERIES * NEW_TOKENS
    body = f"""One iteration: {QUERIES} queries of {PROMPT_TOKENS} tokens, {NEW_TOKENS} new tokens,
{EPOCHS} passes in {QUERIES // MICRO} minibatches, model s; policy and value model trained,
reference and reward model asked.

| implementation | iteration, median | all samples |
|---|---|---|
{chr(10).join(rows)}

openqwen is {median["trl"] / median["ours"]:.1f} × as fast. Sampling takes {alone:.1f} s of it
({tokens / alone:,.0f} tokens/s). Interleaved, 2 threads, torch {torch.__version__}, transformers
{versions["transformers"]} on the peer's side, eager on both.

{provenance(f"python benchmarks/ppo_speed.py --peer-python PYTHON --rounds {rounds}")}
"""
    write_section(PERFORMANCE, "ppo_speed", "One iteration of PPO", body)


if __name__ == "__main__":
    main()
