"""Options that every verb with a model shares: how to load it, how to sample from it."""

import argparse
from typing import TYPE_CHECKING, Any

from openqwen.core.config import parse_config
from openqwen.infer.config import EngineConfig, Sampling

if TYPE_CHECKING:
    from openqwen.infer.load import LanguageModel

# what people expect of a text generator on the command line; the library itself is greedy
TEMPERATURE = 0.7
TOP_P = 0.9


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model directory and how to load it."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model directory such as runs/tiny/base, a GGUF file, or a hub id such as "
        "Qwen/Qwen2.5-0.5B",
    )
    add_loading_arguments(parser)


def add_loading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a model is loaded."""
    loading = parser.add_argument_group("loading the model")
    loading.add_argument(
        "--adapter",
        metavar="DIR",
        help="a LoRA adapter (ours or PEFT's) to fold in; an adapter directory given as MODEL "
        "brings its base along",
    )
    loading.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="tokens to be ready for; beyond the training length it switches on dynamic NTK, LogN "
        "and windows",
    )
    loading.add_argument(
        "--recompute",
        action="store_true",
        help="feed the whole text again where it grows past a step of dynamic NTK: exact, slower",
    )
    loading.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="compute type (auto: bfloat16 where the hardware multiplies it)",
    )
    loading.add_argument(
        "--quantize",
        choices=("int8", "int4"),
        help="weights of 8 or 4 bits: faster, nearly the same (docs/performance.md)",
    )
    loading.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (auto)")


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how the next token is chosen and when to stop."""
    sampling = parser.add_argument_group("choosing tokens")
    sampling.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    defaults = {"temperature": TEMPERATURE, "top_p": TOP_P}
    for name in (
        "max_new_tokens",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
    ):
        field = Sampling.model_fields[name]
        default = defaults.get(name, field.default)
        sampling.add_argument(
            "--" + name.replace("_", "-"),
            type=type(field.default),
            metavar="N" if isinstance(field.default, int) else "X",
            help=f"{field.description} ({default})",
        )
    sampling.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end the reply where this text would come; may be given several times",
    )
    _add_engine_arguments(parser)


def _add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    fields = EngineConfig.model_fields
    engine = parser.add_argument_group("the engine")
    engine.add_argument(
        "--kv-dtype",
        default="auto",
        choices=("auto", "int8"),
        help=f"{fields['kv_dtype'].description} (auto: as the model computes)",
    )
    engine.add_argument("--kv-bytes", type=int, metavar="N", help=fields["kv_bytes"].description)
    engine.add_argument(
        "--deterministic", action="store_true", help=fields["deterministic"].description
    )


def read_sampling(args: argparse.Namespace) -> Sampling:
    """Return the sampling settings of a command line; a bad value is one line and exit code 2."""
    names = set(Sampling.model_fields) & set(vars(args))
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if not given["greedy"]:
        given = {"temperature": TEMPERATURE, "top_p": TOP_P} | given
    return parse_config(Sampling, given, where="command line")


def loading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what `load` takes beside the model, as a command line gives it."""
    names = ("adapter", "dtype", "device", "context", "recompute", "quantize")
    return {name: getattr(args, name) for name in names}


def load_model(args: argparse.Namespace) -> "LanguageModel":
    """Load the model of a command line and say in one line how it will run."""
    from openqwen.core.log import warn
    from openqwen.infer.load import load

    lm = load(args.model, **loading_options(args))
    name = f"{args.model} with {args.adapter}" if args.adapter else args.model
    line = f"{name}: {lm.describe()}"
    names = set(EngineConfig.model_fields) & set(vars(args))
    if names:
        given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
        lm.engine_config = parse_config(EngineConfig, given, where="command line")
        line += f"; {lm.engine().describe()}"
    warn(line)
    return lm
