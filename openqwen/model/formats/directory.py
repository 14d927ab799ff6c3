"""One door for every layout: look at config.json, hand over to the format that knows it."""

from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.model.formats.checkpoint import CONFIG_NAME, Checkpoint, read_config
from openqwen.model.formats.export import read_qwen2
from openqwen.model.formats.qwen1 import read_qwen1


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a model directory in any layout we know, by its `model_type`; weights stay on disk.

    Raises:
        UserError: if it is not a model directory, or of an unknown or unsupported kind.
    """
    data = read_config(directory)
    model_type = data.get("model_type")
    if model_type == "qwen":
        return read_qwen1(directory, data)
    if model_type in ("qwen2", "llama"):
        return read_qwen2(directory, data)
    raise UserError(
        f"{directory / CONFIG_NAME}: model_type {model_type!r} is not read; "
        "qwen (Qwen-1), qwen2 and llama are"
    )
