"""From the words of a command line to a job: models by name or shape, counts, layouts."""

import difflib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.model.config import QWEN_1_8B, QWEN_7B, QWEN_14B, ModelConfig, ffn_width
from openqwen.parallel.plan_layout import Job, Layout

SUFFIXES = "KMGT"
AXES = ("replicate", "shard", "context", "tensor")


@dataclass(frozen=True)
class Reported:
    """What the report says of one of its models (Table 1; arXiv 2309.16609)."""

    name: str
    num_tokens: float
    batch_tokens: str


PRESETS = {"1.8b": QWEN_1_8B, "7b": QWEN_7B, "14b": QWEN_14B}
REPORTED = {
    "1.8b": Reported("Qwen-1.8B", 2.2e12, "4 M"),
    "7b": Reported("Qwen-7B", 2.4e12, "4 M"),
    "14b": Reported("Qwen-14B", 3.0e12, "4 M"),
}


def preset_name(name: str) -> str:
    """Return a preset's short name: "14b" of "14b", "qwen-14b" or "Qwen_14B"."""
    return name.lower().replace("_", "-").removeprefix("qwen-")


def find_model(name: str, others: dict[str, ModelConfig]) -> ModelConfig:
    """Return the shape of a preset, of one of `others`, or of a directory with a config.json.

    Raises:
        UserError: unknown; names the nearest.
    """
    if preset_name(name) in PRESETS:
        return PRESETS[preset_name(name)]
    if name in others:
        return others[name]
    if (Path(name) / "config.json").is_file():
        return read_shape(Path(name) / "config.json")
    known = [*PRESETS, *others]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]}?" if near else "."
    raise UserError(
        f"--model {name}: no such model{guess} Known: {', '.join(known)}, or a directory with a "
        "config.json"
    )


def read_shape(path: Path) -> ModelConfig:
    """Return the shape that a config.json of the Qwen2 or Llama layout gives.

    Raises:
        UserError: if it is not of these layouts or a value is missing.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        heads, hidden = data["num_attention_heads"], data["hidden_size"]
        shape = {
            "vocab_size": data["vocab_size"],
            "hidden_size": hidden,
            "num_hidden_layers": data["num_hidden_layers"],
            "num_attention_heads": heads,
            "num_key_value_heads": data.get("num_key_value_heads", heads),
            "head_dim": data.get("head_dim") or hidden // heads,
            "intermediate_size": data["intermediate_size"],
            "qkv_bias": data.get("model_type") == "qwen2",
            "tie_word_embeddings": bool(data.get("tie_word_embeddings", False)),
            "train_length": data.get("max_position_embeddings", 2048),
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: {error}") from None
    except KeyError as error:
        raise UserError(f"{path} has no {error}: Qwen2's and Llama's layout are read") from None
    return parse_config(ModelConfig, shape, where=str(path))


def shape_of(
    *,
    hidden: int,
    layers: int,
    heads: int | None,
    kv_heads: int | None,
    ffn: int | None,
    vocab: int,
) -> ModelConfig:
    """Return a shape given by numbers; heads of 128, FFN of 8/3 where they are not given.

    Raises:
        UserError: if they don't go together.
    """
    count = heads or max(1, hidden // 128)
    return parse_config(
        ModelConfig,
        {
            "vocab_size": vocab,
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": count,
            "num_key_value_heads": kv_heads or count,
            "head_dim": hidden // count,
            "intermediate_size": ffn or ffn_width(hidden),
        },
        where="command line",
    )


def parse_count(text: str, option: str, *, base: int) -> float:
    """Return a positive number with an optional suffix K, M, G (or B) or T.

    Args:
        text: such as "4M" or "3T".
        option: where it came from.
        base: what K stands for: 1,024 for a batch (4M is 2,048 times 2,048), 1,000 for amounts.

    Raises:
        UserError: if it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGBT]?)", text.strip().upper().replace("_", ""))
    if match is None or float(match[1]) == 0:
        raise UserError(f"{option} {text}: not a positive number such as 4M or 4194304")
    suffix = match[2].replace("B", "G")
    factor: int = base ** (SUFFIXES.index(suffix) + 1 if suffix else 0)
    return float(match[1]) * factor


def sequences_of(text: str, context_length: int) -> int:
    """Return how many sequences a batch of that many tokens has.

    Raises:
        UserError: if it is not a whole number of them.
    """
    tokens = parse_count(text, "--batch-tokens", base=1024)
    sequences = round(tokens / context_length)
    if sequences * context_length != tokens:
        near = max(1, sequences) * context_length
        raise UserError(
            f"--batch-tokens {text} = {tokens:,.0f} tokens are no whole number of sequences of "
            f"{context_length:,}; {near:,} are"
        )
    return sequences


def parse_layout(text: str, job: Job) -> tuple[Layout, int | None, str | None]:
    """Return the mesh of "tensor=4,shard=16", and micro-batch and recompute where it names them.

    What is left of the devices goes to `shard` where that is not given.

    Raises:
        UserError: unknown word, no number, or a mesh of another number of devices.
    """
    given: dict[str, str] = {}
    for item in text.split(","):
        key, _, value = item.strip().partition("=")
        if key not in (*AXES, "micro", "recompute"):
            raise UserError(
                f"--what-if {item}: not one of {', '.join(AXES)}, micro, recompute, as tensor=4"
            )
        is_number = value.isdecimal() and int(value) > 0
        if not (value in ("none", "layer") if key == "recompute" else is_number):
            wanted = "none or layer" if key == "recompute" else "a whole number from 1"
            raise UserError(f"--what-if {item}: {key} must be {wanted}")
        given[key] = value
    replicate, shard, context, tensor = (int(given.get(axis, 1)) for axis in AXES)
    mesh = Layout(replicate=replicate, shard=shard, context=context, tensor=tensor)
    if "shard" not in given:
        mesh = replace(mesh, shard=max(1, job.num_devices // mesh.num_devices))
    if mesh.num_devices != job.num_devices:
        raise UserError(
            f"--what-if {text}: {mesh.describe_mesh()} are {mesh.num_devices} devices, not "
            f"{job.num_devices}"
        )
    micro = int(given["micro"]) if "micro" in given else None
    return mesh, micro, given.get("recompute")
