"""A task on which PPO can be checked: answer in the language asked for.

    task = make_task()
    base = pretrain_base(task, seed=0, workers=workers)
    sft = tune(task, base, seed=0, workers=workers)
    trainer = ppo_trainer(task, sft, seed=0, workers=workers)   # then .step(0), .step(1), …

The model is pretrained on small made-up sentences in English and Chinese and fine-tuned so that
it answers every question in one of the two languages at random. The question names a language; the
reward is 1 if the reply is in it, is a whole sentence and has its end token, else 0. So the SFT
model earns about a half, whatever it was asked, and the ceiling is 1.
`benchmarks/ppo_task.py` runs and plots it.
"""

import copy
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from openqwen.core.workers import Workers
from openqwen.data.training.conversations import Conversation
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.packing import encode_conversations
from openqwen.model.config import ModelConfig, qwen_config
from openqwen.model.decoder import Decoder, new_decoder
from openqwen.model.likelihood import sequence_losses
from openqwen.model.scorer import scorer_from
from openqwen.tokenizer.control import padded_rows
from openqwen.tokenizer.template import DEFAULT_SYSTEM
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import train_ranks
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.ppo import PPOTrainer
from openqwen.train.ppo_batch import Models
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.rlhf import encode_queries
from openqwen.train.rollout import vocabulary_of
from openqwen.train.schedule import learning_rate_at
from openqwen.train.sft import SFTTrainer, rounds_of
from openqwen.train.sft_config import SFTConfig
from openqwen.train.step import next_token_step

ANIMALS = {
    "cat": "猫", "dog": "狗", "bird": "鸟", "fish": "鱼", "horse": "马", "cow": "牛",
    "sheep": "羊", "mouse": "鼠", "tiger": "虎", "rabbit": "兔", "snake": "蛇", "bear": "熊",
}  # fmt: skip
PLACES = {
    "house": "家", "garden": "花园", "river": "河", "hill": "山", "town": "城", "forest": "林",
    "lake": "湖", "field": "田",
}  # fmt: skip
COLOURS = {
    "red": "红", "blue": "蓝", "green": "绿", "white": "白", "black": "黑", "yellow": "黄",
}  # fmt: skip
VERBS = {"sleeps": "睡", "runs": "跑", "eats": "吃", "waits": "等", "sings": "唱"}
ENGLISH, CHINESE = re.compile(r"[A-Z][a-z ]+\."), re.compile(r"[\u4e00-\u9fff]+。")
CONTEXT = 96
BASE = PretrainConfig(
    num_steps=240, learning_rate=4e-3, warmup_steps=20, sequences_per_step=16, micro_sequences=8
)
SFT = SFTConfig(
    context_length=CONTEXT,
    num_steps=100,
    sequences_per_step=16,
    micro_sequences=8,
    learning_rate=2e-3,
    schedule="cosine",
    warmup_steps=10,
    dropout=0.0,
)
PPO = PPOConfig(
    num_steps=70,
    value_warmup_steps=5,
    queries_per_step=32,
    max_prompt_tokens=CONTEXT,
    max_new_tokens=24,
    learning_rate=3e-4,
    value_learning_rate=1e-3,
    schedule="cosine",
    micro_responses=16,
    kl_bound=5.0,
    evaluation_prompts=64,
    dtype="float32",
)


@dataclass(frozen=True)
class Task:
    """What every run shares: tokenizer, shape, text and questions."""

    tokenizer: Tokenizer
    shape: ModelConfig
    train_N: np.ndarray
    held_out_N: np.ndarray
    conversations: list[Conversation]
    queries: list[list[int]]
    held_out_queries: list[list[int]]

    def reward(self, prompts: Sequence[list[int]], responses: Sequence[list[int]]) -> list[float]:
        """Return 1 for a whole sentence in the language asked for that has its end token."""
        end = self.tokenizer.im_end_id
        scores = []
        for prompt, response in zip(prompts, responses, strict=True):
            form = CHINESE if "Chinese" in self.tokenizer.decode(prompt) else ENGLISH
            text = self.tokenizer.decode(response[:-1])
            scores.append(float(response[-1] == end and form.fullmatch(text) is not None))
        return scores


def make_task(*, num_documents: int = 3000, num_conversations: int = 1200) -> Task:
    """Return the task; the same on every call."""
    source = random.Random(0)
    texts = [_document(source) for _ in range(num_documents)]
    asked = [_conversation(source, i) for i in range(num_conversations)]
    pieces = [DEFAULT_SYSTEM] * num_conversations + [
        m["content"] for c in asked for m in c.messages
    ]
    tokenizer = Tokenizer(train_ranks(iter([*texts, *pieces]), 256 + 160))
    held_out = num_documents // 10
    ids = [[*tokenizer.encode(text), tokenizer.eos_id] for text in texts]
    shape = qwen_config(
        hidden_size=96,
        num_attention_heads=4,
        num_hidden_layers=3,
        vocab_size=padded_rows(tokenizer.vocab_size),
        train_length=CONTEXT,
    )
    questions = [c.messages[:-1] for c in asked]
    queries = encode_queries(questions, tokenizer, CONTEXT)
    return Task(
        tokenizer,
        shape,
        np.array([i for document in ids[held_out:] for i in document], dtype=np.uint16),
        np.array([i for document in ids[:held_out] for i in document], dtype=np.uint16),
        asked,
        queries[128:],
        queries[:128],
    )


def pretrain_base(task: Task, *, seed: int, workers: Workers) -> Decoder:
    """Return a model of the made-up text."""
    model = new_decoder(task.shape, seed=seed)
    optimiser = MasterAdamW(model, BASE, compute_dtype=torch.float32)
    windows = TokenWindows(task.train_N, context_length=CONTEXT, seed=seed)
    for step in range(BASE.num_steps):
        inputs_BT, targets_BT = windows.batch(
            step * BASE.sequences_per_step, BASE.sequences_per_step
        )
        next_token_step(
            model,
            optimiser,
            inputs_BT,
            targets_BT,
            micro_sequences=BASE.micro_sequences,
            learning_rate=learning_rate_at(step, BASE),
            workers=workers,
        )
    return model


def tune(task: Task, base: Decoder, *, seed: int, workers: Workers) -> Decoder:
    """Return the base fine-tuned on answers in a language at random."""
    model = copy.deepcopy(base)
    encoded = encode_conversations(
        task.conversations, task.tokenizer, max_tokens=CONTEXT, default_system=DEFAULT_SYSTEM
    )
    trainer = SFTTrainer(
        SFT,
        model,
        rounds_of(SFT, [(encoded, 1.0)], seed=seed),
        {},
        seed=seed,
        dtype=torch.float32,
        workers=workers,
    )
    for step in range(SFT.num_steps):
        trainer.step(step)
    return model


def ppo_trainer(
    task: Task, sft: Decoder, *, seed: int, workers: Workers, config: PPOConfig = PPO
) -> PPOTrainer:
    """Return the trainer of a run that starts from `sft`; the value model's head is fresh."""
    models = Models(
        copy.deepcopy(sft), scorer_from(sft, seed=seed), copy.deepcopy(sft), task.reward
    )
    windows = None
    if config.pretraining_coefficient:
        windows = TokenWindows(task.train_N, context_length=CONTEXT, seed=seed + 1)
    return PPOTrainer(
        config,
        models,
        task.queries,
        task.held_out_queries[: config.evaluation_prompts],
        windows=windows,
        vocabulary=vocabulary_of(task.tokenizer, task.shape.vocab_size),
        seed=seed,
        dtype=torch.float32,
        workers=workers,
    )


@torch.no_grad()
def text_loss(task: Task, model: Decoder, *, windows: int = 160) -> float:
    """Return the loss on held-out pretraining text, nats a token."""
    shown = TokenWindows(task.held_out_N, context_length=CONTEXT, seed=0)
    inputs_BT, targets_BT = shown.batch(0, min(windows, shown.num_windows))
    return float(sequence_losses(model, inputs_BT, targets_BT).mean())


def _document(source: random.Random) -> str:
    in_english = source.random() < 0.5
    return (" " if in_english else "").join(
        _sentence(source, _topic(source), in_english) for _ in range(source.randint(3, 7))
    )


def _conversation(source: random.Random, number: int) -> Conversation:
    """Return a question that names a language, and an answer in one or the other at random."""
    topic = _topic(source)
    language = source.choice(("English", "Chinese"))
    answer = _sentence(source, topic, source.random() < 0.5)
    question = f"Where is the {topic[1]} {topic[0]}? In {language}, please."
    return Conversation(
        str(number),
        "made",
        "CC0-1.0",
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
    )


def _topic(source: random.Random) -> tuple[str, str]:
    return source.choice(list(ANIMALS)), source.choice(list(COLOURS))


def _sentence(source: random.Random, topic: tuple[str, str], in_english: bool) -> str:
    animal, colour = topic
    place, verb = source.choice(list(PLACES)), source.choice(list(VERBS))
    if in_english:
        return f"The {colour} {animal} {verb} in the {place}."
    return f"{COLOURS[colour]}{ANIMALS[animal]}在{PLACES[place]}里{VERBS[verb]}。"
