"""One door for every layout: a GGUF file, or a directory whose config.json names its format."""

from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.gguf import MAGIC
from openqwen.model.formats.checkpoint import CONFIG_NAME, Checkpoint, read_config
from openqwen.model.formats.export import read_qwen2
from openqwen.model.formats.gguf import read_gguf
from openqwen.model.formats.gptq import read_gptq, with_gptq
from openqwen.model.formats.qwen1 import read_qwen1


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a model in any layout we know; weights stay on disk.

    Args:
        directory: a directory with a config.json, by whose `model_type` it is read; a GGUF file; or
            a directory that holds one such file and no config.json.

    Raises:
        UserError: if it is no model, or of an unknown or unsupported kind.
    """
    file = _find_gguf(directory)
    if file is not None:
        return read_gguf(file)
    data = read_config(directory)
    model_type = data.get("model_type")
    if model_type not in ("qwen", "qwen2", "llama"):
        raise UserError(
            f"{directory / CONFIG_NAME}: model_type {model_type!r} is not read; "
            "qwen (Qwen-1), qwen2 and llama are"
        )
    packing = read_gptq(directory, data)
    read = read_qwen1 if model_type == "qwen" else read_qwen2
    checkpoint = read(directory, data)
    return with_gptq(checkpoint, packing) if packing else checkpoint


def _find_gguf(path: Path) -> Path | None:
    """Return the GGUF file that is meant; None where it is a directory of another layout."""
    if path.is_file():
        with path.open("rb") as file:
            is_gguf = path.suffix == ".gguf" or file.read(len(MAGIC)) == MAGIC
        return path if is_gguf else None
    if (path / CONFIG_NAME).exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{path} holds several GGUF files ({names}); name one of them")
    return files[0] if files else None
