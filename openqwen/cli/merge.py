"""`openqwen merge`: an adapter folded into its base, as a model directory of its own."""

import argparse
from pathlib import Path

NAME = "merge"
HELP = "fold a LoRA adapter (ours or PEFT's) into its base model"
MANUAL = """\
The result is an export directory like any other."""
DOCS = "docs/finetune.md"
EXAMPLE = """\
openqwen merge my-adapter --out my-chat
openqwen merge my-adapter --out my-chat --dtype float32"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("adapter", metavar="ADAPTER", help="a directory with adapter_config.json")
    parser.add_argument("--out", required=True, help="directory to write, a model directory")
    parser.add_argument("--base", help="the base model, where the adapter's own name isn't found")
    parser.add_argument(
        "--dtype",
        default="bfloat16",
        choices=("bfloat16", "float16", "float32"),
        help="type of the written weights; float32 is exact, the others round (bfloat16)",
    )


def run(args: argparse.Namespace) -> int:
    """Merge and write an export directory with the adapter's tokenizer, or else the base's."""
    import torch

    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.model.config import count_parameters
    from openqwen.model.formats.adapter import ADAPTER_CONFIG, is_adapter, read_adapter
    from openqwen.model.formats.card import write_model_card
    from openqwen.model.formats.export import write_export
    from openqwen.tokenizer.tokenizer import Tokenizer

    directory, out = Path(args.adapter), Path(args.out)
    if not is_adapter(directory):
        raise UserError(f"{directory} is no adapter: it has no {ADAPTER_CONFIG}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; name another directory for --out")
    adapter = read_adapter(directory, Path(args.base) if args.base else None)
    has_own = any(directory.glob("*.tiktoken")) or (directory / "tokenizer.json").is_file()
    tokenizer = Tokenizer.from_file(directory if has_own else adapter.base.directory)
    dtype = getattr(torch, args.dtype)
    model = adapter.load_model(dtype=torch.float32)
    lost = adapter.lost_by_rounding(model, dtype)
    model = model.to(dtype)
    write_export(out, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(out)
    write_model_card(
        out,
        {
            "name": out.name,
            "about": "A model with a LoRA adapter folded in by openqwen.",
            "lineage": {"adapter": directory.name, "base": adapter.base.directory.name},
        },
    )
    say(f"{count_parameters(model.config):,} parameters written to {out} in {args.dtype}")
    if dtype != torch.float32:
        say(
            f"rounding to {args.dtype} lost {100 * lost:.2g} % of what the adapter changes "
            "(norm over its matrices); --dtype float32 keeps all"
        )
    say(f"talk to it:  openqwen chat {out}")
    return 0
