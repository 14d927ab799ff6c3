"""Qwen2's published layout, out, from any checkpoint: as it is, or with our own block beside.

    data = qwen2_config(checkpoint, dtype="bfloat16", eos_id=151643, own=False)
    for line in unsaid_in_qwen2(checkpoint): say(line)

With the block "openqwen" it is the export directory, which keeps the long-context methods.
"""

from typing import Any

from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.export import own_block, published_config


def qwen2_config(
    checkpoint: Checkpoint, *, dtype: str, eos_id: int | None, own: bool
) -> dict[str, Any]:
    """Return config.json: Qwen2's keys, or Llama's for a shape without QKV bias.

    Args:
        checkpoint: what it describes.
        dtype: torch's name of the weights' type.
        eos_id: the end-of-document id.
        own: whether to add the block of the export directory.
    """
    data = published_config(checkpoint.config)
    data |= {"dtype": dtype, "torch_dtype": dtype, "eos_token_id": eos_id}
    if own:
        data["openqwen"] = own_block(
            checkpoint.config, checkpoint.long_context, checkpoint.lineage_hash
        ) | ({"context": checkpoint.context} if checkpoint.context != _trained(checkpoint) else {})
    return data


def qwen2_generation(*, eos_id: int | None, stop_ids: list[int]) -> dict[str, Any]:
    """Return generation_config.json with every id that ends a reply."""
    return {"eos_token_id": stop_ids, "pad_token_id": eos_id, "do_sample": False}


def unsaid_in_qwen2(checkpoint: Checkpoint, layout: str = "Qwen2's layout") -> list[str]:
    """Return one line for each long-context method that other programs will go without."""
    methods, beyond = checkpoint.long_context, f"beyond {_trained(checkpoint):,} tokens"
    named = {
        "dynamic NTK in steps": methods.ntk,
        "LogN": methods.logn,
        "the schedule of layer-wise windows": methods.windows is not None,
    }
    return [
        f"{name} is left out: {layout} can't say it, so logits differ {beyond}, not before"
        for name, is_on in named.items()
        if is_on
    ]


def _trained(checkpoint: Checkpoint) -> int:
    return checkpoint.config.train_length
