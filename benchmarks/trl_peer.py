"""TRL's PPO on model s, one iteration for each line on standard input; run by ppo_speed.py.

Runs in an environment of its own (torch, transformers, trl) and imports nothing of openqwen.
"""

import argparse
import copy
import json
import os
import sys
import time

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer


class TurnTaking(TrainerCallback):
    """Waits for a line before each iteration and says how long it took."""

    def __init__(self):
        self.started = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.wait()

    def on_step_end(self, args, state, control, **kwargs):
        say({"seconds": time.perf_counter() - self.started})
        self.wait()

    def wait(self):
        if not sys.stdin.readline().strip():
            os._exit(0)
        self.started = time.perf_counter()


def say(row):
    """Answer ppo_speed.py; everything TRL prints goes to standard error."""
    os.write(ANSWERS, (json.dumps(row) + "\n").encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True, help="shape and sizes, JSON")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    job = json.loads(args.job)
    config = Qwen2Config(**job["config"], num_labels=1, pad_token_id=0, eos_token_id=None)
    torch.manual_seed(0)
    policy = Qwen2ForCausalLM(config)
    policy.generation_config.eos_token_id = None
    value, reward = Qwen2ForSequenceClassification(config), Qwen2ForSequenceClassification(config)
    words = {f"w{i}": i for i in range(job["config"]["vocab_size"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w2")),
        pad_token="w0",
        eos_token="w1",
    )
    tokenizer.padding_side = "left"
    draw = torch.Generator().manual_seed(0)
    queries = torch.randint(3, len(words), (256, job["prompt_tokens"]), generator=draw).tolist()
    settings = PPOConfig(
        output_dir=args.out,
        per_device_train_batch_size=job["queries"],
        gradient_accumulation_steps=1,
        num_mini_batches=job["queries"] // job["micro"],
        num_ppo_epochs=job["epochs"],
        local_rollout_forward_batch_size=job["queries"],
        response_length=job["new_tokens"],
        temperature=1.0,
        total_episodes=100 * job["queries"],
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=job["bf16"],
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = PPOTrainer(
        args=settings,
        processing_class=tokenizer,
        model=policy,
        ref_model=copy.deepcopy(policy),
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": queries}),
        callbacks=[TurnTaking()],
    )
    say({"trl": trl.__version__, "transformers": transformers.__version__})
    trainer.train()


if __name__ == "__main__":
    ANSWERS = os.dup(1)
    os.dup2(2, 1)
    main()
