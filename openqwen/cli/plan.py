"""`openqwen plan`: what a training run needs and how long it takes, before there is a GPU."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from openqwen.core.errors import UserError

if TYPE_CHECKING:
    from openqwen.model.config import ModelConfig
    from openqwen.parallel.plan_layout import Job
    from openqwen.parallel.plan_request import Reported

NAME = "plan"
HELP = "plan a training run: memory, communication, MFU, days, the layout to take"
MANUAL = """\
Nothing is run: memory, traffic and time follow from the model's shape and the devices' figures.
Layouts that fit are ranked by their expected speed."""
DOCS = "docs/plan.md"
EXAMPLE = """openqwen plan --model 14b --gpus 64 --gpu h100-80g --context 2048 --batch-tokens 4M
openqwen plan --model 7b --gpus 16 --gpu a100-40g --what-if tensor=4,recompute=layer
openqwen plan --hidden 1024 --layers 16 --gpus 8 --gpu rtx4090 --tokens 20B --json"""

DEFAULT_TOKENS = 1e12
VOCABULARY_ROWS = 151_936


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    model = parser.add_argument_group("model, by name or by shape")
    model.add_argument(
        "--model",
        metavar="NAME",
        help="1.8b, 7b, 14b, a recipe whose base it is (tiny, mini) or a directory with a "
        "config.json",
    )
    for name, meaning in (
        ("hidden", "width of the residual stream"),
        ("layers", "decoder layers"),
        ("heads", "attention heads (of 128 elements)"),
        ("kv-heads", "key and value heads (as many as heads)"),
        ("ffn", "width of the feed-forward layer (8/3 of the hidden size)"),
        ("vocab", f"rows of the embedding ({VOCABULARY_ROWS:,})"),
    ):
        model.add_argument(f"--{name}", type=int, metavar="N", help=meaning)
    devices = parser.add_argument_group("devices")
    devices.add_argument("--gpus", type=int, default=8, metavar="N", help="how many devices (8)")
    devices.add_argument(
        "--gpu", default="h100-80g", metavar="NAME", help="which (h100-80g; a wrong name lists all)"
    )
    devices.add_argument(
        "--gpus-per-node", type=int, metavar="N", help="as their maker builds them"
    )
    training = parser.add_argument_group("the training")
    training.add_argument(
        "--context", type=int, metavar="N", help="tokens a sequence (the model's training length)"
    )
    training.add_argument(
        "--batch-tokens",
        default="4M",
        metavar="N",
        help="tokens a step; K and M are powers of 1,024 here (4M: 2,048 sequences of 2,048)",
    )
    training.add_argument(
        "--tokens", metavar="N", help="to train on, such as 3T (the report's amount, else 1T)"
    )
    parser.add_argument(
        "--what-if",
        metavar="LAYOUT",
        help="price this layout only: tensor=4,shard=16,micro=2,recompute=layer",
    )
    parser.add_argument(
        "--mfu",
        type=float,
        metavar="X",
        help="share of the peak you measured without waiting for links, in place of ours",
    )
    parser.add_argument("--all", action="store_true", help="list every other layout")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    from openqwen.parallel.plan_request import REPORTED, parse_count, preset_name
    from openqwen.parallel.plan_search import search
    from openqwen.parallel.plan_text import plan_data, plan_lines

    job = _job(args)
    reported = REPORTED.get(preset_name(args.model or ""))
    num_tokens = reported.num_tokens if reported else DEFAULT_TOKENS
    if args.tokens:
        num_tokens = parse_count(args.tokens, "--tokens", base=1000)
    if args.what_if:
        return _what_if(args, job, num_tokens, reported)
    plan = search(job)
    if args.json:
        print(json.dumps(plan_data(plan, num_tokens=num_tokens, reported=reported)))
    else:
        lines = plan_lines(plan, num_tokens=num_tokens, reported=reported, show_all=args.all)
        print("\n".join(lines))
    return 0


def _what_if(
    args: argparse.Namespace, job: "Job", num_tokens: float, reported: "Reported | None"
) -> int:
    """Price one layout, whether it fits or not."""
    from openqwen.parallel.plan_request import parse_layout
    from openqwen.parallel.plan_search import best_of_mesh, why_not
    from openqwen.parallel.plan_text import job_data, job_lines, option_data, option_lines

    mesh, micro, recompute = parse_layout(args.what_if, job)
    reason = why_not(job, mesh)
    if not reason and micro and (job.sequences_per_step // mesh.data_ranks) % micro:
        reason = f"micro = {micro} does not divide a data rank's sequences"
    if reason:
        raise UserError(f"--what-if {args.what_if}: {reason}")
    option = best_of_mesh(job, mesh, micro=micro, recompute=recompute)
    if args.json:
        data = {"job": job_data(job), "what_if": option_data(job, option, num_tokens)}
        print(json.dumps(data))
    else:
        print("\n".join([*job_lines(job), ""]))
        print("\n".join(option_lines("what if", job, option, num_tokens, reported)))
    return 0


def _job(args: argparse.Namespace) -> "Job":
    """Return what the arguments describe."""
    from openqwen.parallel.plan_devices import find_device
    from openqwen.parallel.plan_layout import Job
    from openqwen.parallel.plan_request import sequences_of

    for option, value in (
        ("--gpus", args.gpus),
        ("--gpus-per-node", args.gpus_per_node),
        ("--context", args.context),
    ):
        if value is not None and value < 1:
            raise UserError(f"{option} {value}: must be at least 1")
    if args.mfu is not None and not 0 < args.mfu <= 1:
        raise UserError(f"--mfu {args.mfu}: a share of the peak, above 0 and at most 1")
    device = find_device(args.gpu)
    if args.gpus_per_node:
        device = dataclasses.replace(device, devices_per_node=args.gpus_per_node)
    if args.mfu:
        device = dataclasses.replace(
            device, compute_share=args.mfu, is_calibrated=True, calibration="--mfu"
        )
    config = _model(args)
    context_length = args.context or config.train_length
    sequences = sequences_of(args.batch_tokens, context_length)
    return Job(config, device, args.gpus, context_length, sequences)


def _model(args: argparse.Namespace) -> "ModelConfig":
    """Return the shape by name or by numbers."""
    from openqwen.parallel.plan_request import find_model, shape_of

    if args.model:
        return find_model(args.model, _recipe_models())
    if not (args.hidden and args.layers):
        raise UserError("which model? Give --model 14b, or --hidden and --layers")
    return shape_of(
        hidden=args.hidden,
        layers=args.layers,
        heads=args.heads,
        kv_heads=args.kv_heads,
        ffn=args.ffn,
        vocab=args.vocab or VOCABULARY_ROWS,
    )


def _recipe_models() -> "dict[str, ModelConfig]":
    """Return the shapes that the built-in recipes' bases have."""
    from openqwen.model.config import qwen_config
    from openqwen.recipes import BUILTIN
    from openqwen.tokenizer.control import CONTROL_TOKENS, padded_rows

    shapes = {}
    for recipe_name in ("tiny", "mini"):
        recipe = BUILTIN[recipe_name]()
        shape = recipe.base.model
        shapes[recipe_name] = qwen_config(
            hidden_size=shape.hidden_size,
            num_attention_heads=shape.num_attention_heads,
            num_hidden_layers=shape.num_hidden_layers,
            vocab_size=padded_rows(recipe.tokenizer.num_ranks + len(CONTROL_TOKENS)),
            train_length=recipe.shards.context_length,
        )
    return shapes
