"""`openqwen sft`: fine-tune a model directory on one's own conversations."""

import argparse
from itertools import islice
from pathlib import Path

from openqwen.cli.recipe_arguments import (
    add_tuning_arguments,
    model_directory,
    output_directory,
    run_stage,
    set_data,
)

NAME = "sft"
HELP = "fine-tune a model on conversations (OpenAI, ShareGPT or Alpaca form; JSONL or Parquet)"
MANUAL = """\
Trains on the assistants' turns only; whole weights or LoRA. --show-masks prints what would be
learnt and trains nothing."""
DOCS = "docs/finetune.md"
EXAMPLE = """\
openqwen sft runs/tiny/base --data mine.jsonl --show-masks
openqwen sft runs/tiny/base --data mine.jsonl --out my-chat --recipe tiny
openqwen sft runs/tiny/base --data mine.jsonl --lora --out my-adapter
openqwen sft my-adapter --data more.jsonl --out my-second-adapter"""
ADAPTER_CONFIG = "adapter_config.json"
LEARNT, PLAIN = "\x1b[7m", "\x1b[0m"
SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_tuning_arguments(parser)
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="FILE", help="your conversations, or folders"
    )
    parser.add_argument(
        "--lora",
        action="store_true",
        help="train adapters (recipe finetune-lora); merge them after; implied where MODEL is an "
        "adapter, which is trained on",
    )
    parser.add_argument(
        "--show-masks",
        action="store_true",
        help=f"print the first {SHOWN} conversations with the learnt tokens marked, and train not",
    )


def run(args: argparse.Namespace) -> int:
    """Show masks, or run the chat stage on the user's files alone."""
    base, goes_on = Path(args.model), (Path(args.model) / ADAPTER_CONFIG).is_file()
    if not goes_on:
        base = model_directory(args.model)
    if args.show_masks:
        _show_masks(base, args.data)
        return 0
    out = output_directory(args)
    if goes_on:
        _take_over(base, args)
    if args.lora or goes_on:
        if args.recipe == "finetune":
            args.recipe = "finetune-lora"
        else:
            args.assignments.insert(0, "chat.lora.rank=16")
    set_data(args, "chat", args.data)
    run_stage("chat", args, {"base": base}, out)
    return 0


def _take_over(adapter: Path, args: argparse.Namespace) -> None:
    """Set rank and alpha to those of the adapter that is trained on."""
    from openqwen.model.formats.adapter_config import read_settings

    settings = read_settings(adapter / ADAPTER_CONFIG)
    args.assignments.insert(0, f"chat.lora.alpha={settings.alpha}")
    args.assignments.insert(0, f"chat.lora.rank={settings.rank}")


def _show_masks(base: Path, files: list[str]) -> None:
    """Print conversations as they are rendered; what is learnt is inverse, or in ⟦…⟧ in a pipe."""
    import sys

    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.training.conversations import marked, read_conversations
    from openqwen.tokenizer.chatml import render
    from openqwen.tokenizer.template import DEFAULT_SYSTEM
    from openqwen.train.lora import tokenizer_of

    tokenizer = tokenizer_of(base)
    set_aside = SetAside()
    begin, end = (LEARNT, PLAIN) if sys.stdout.isatty() else ("⟦", "⟧")
    conversations = read_conversations([Path(name) for name in files], set_aside=set_aside)
    for conversation in islice(conversations, SHOWN):
        pieces = marked(conversation.messages, tokenizer, default_system=DEFAULT_SYSTEM)
        learnt = sum(render(conversation.messages, tokenizer).learnt)
        print(f"── {conversation.id}: {learnt} learnt tokens, marked {begin}so{end}")
        print("".join(f"{begin}{text}{end}" if marks else text for text, marks in pieces))
    list(conversations)  # the rest is read for its bad rows
    if set_aside.counts:
        print(set_aside.summary())
