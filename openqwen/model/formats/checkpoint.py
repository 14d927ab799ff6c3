"""What a model directory or file holds, whatever its layout: shape, methods, stop ids, weights.

checkpoint = read_checkpoint(Path("runs/tiny/base"))       # directory.py
model = checkpoint.load_model(dtype=torch.bfloat16)
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder, empty_decoder
from openqwen.model.formats.parts import Part
from openqwen.model.formats.sources import open_tensors
from openqwen.model.formats.weights import (
    TensorSource,
    check_names,
    fill_model,
)
from openqwen.model.long_context import NO_EXTENSION, LongContext
from openqwen.model.scorer import Scorer, empty_scorer

CONFIG_NAME = "config.json"
GENERATION_NAME = "generation_config.json"
SHOWN_DIRECTORIES = 5


@dataclass(frozen=True)
class Checkpoint:
    """One model directory or GGUF file, read but for its weights.

    Attributes:
        directory: where it lies; a GGUF file's own path.
        config: the shape.
        parts: published tensor name -> the rows of our parameters that it fills.
        long_context: the methods that the file's own flags ask for.
        context: tokens the file says the model can take, extension included.
        stop_ids: ids that end a generation, as the file lists them.
        lineage_hash: identity of what produced it; "" where it is not ours.
        is_scorer: whether it scores (a reward or value model) instead of writing.
        chat_template: the Jinja template inside a GGUF file; replies are rendered as ChatML anyway.
        opener: opens weights that are not a directory's plain tensors.
    """

    directory: Path
    config: ModelConfig
    parts: dict[str, Part]
    context: int
    long_context: LongContext = NO_EXTENSION
    stop_ids: tuple[int, ...] = ()
    lineage_hash: str = ""
    is_scorer: bool = False
    chat_template: str | None = None
    opener: Callable[[], TensorSource] | None = None

    def open_weights(self) -> TensorSource:
        """Return the tensors on disk, under the names of `parts`.

        Raises:
            UserError: if they are missing or broken.
        """
        return self.opener() if self.opener else open_tensors(self.directory)

    def load_model(
        self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Decoder:
        """Return the model in evaluation mode, every parameter filled exactly once.

        Raises:
            UserError: if the weights are missing, broken, not those of this shape, or a scorer's.
        """
        if self.is_scorer:
            raise UserError(
                f"{self.directory} is a reward model: it scores replies and can't write any"
            )
        source = self.open_weights()
        check_names(source, self.parts)  # before a wrong size asks for memory
        model = empty_decoder(self.config, dtype=dtype, device=device)
        fill_model(model, source, self.parts)
        return model.eval()

    def load_scorer(
        self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Scorer:
        """Return the reward or value model in evaluation mode, every parameter filled once.

        Raises:
            UserError: as `load_model` does, and if it has no score head.
        """
        if not self.is_scorer:
            raise UserError(f"{self.directory} is a language model: it has no score head")
        source = self.open_weights()
        check_names(source, self.parts)
        scorer = empty_scorer(self.config, dtype=dtype, device=device)
        fill_model(scorer, source, self.parts)
        return scorer.eval()


def read_config(directory: Path) -> dict[str, Any]:
    """Return a model directory's config.json, or say in one line why there is none."""
    if not directory.exists():
        raise UserError(f"{directory} does not exist; give a model directory")
    if not directory.is_dir():
        raise UserError(f"{directory} is a file; give the directory that holds config.json")
    path = directory / CONFIG_NAME
    if not path.is_file():
        if (directory / "adapter_config.json").is_file():
            raise UserError(
                f"{directory} is an adapter, no model: fold it into its base first "
                f"(openqwen merge {directory} --out DIR)"
            )
        inside = sorted(str(p.parent) for p in directory.glob(f"*/{CONFIG_NAME}"))
        if inside:
            more = " …" if len(inside) > SHOWN_DIRECTORIES else ""
            named = ", ".join(inside[:SHOWN_DIRECTORIES])
            hint = f"give one of the model directories in it: {named}{more}"
        else:
            hint = "not a model directory, or a stage that has not finished (openqwen status)"
        raise UserError(f"{directory} has no {CONFIG_NAME}: {hint}")
    return read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds; anything else is a UserError."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a JSON object")
    return data


def read_block(data: dict[str, Any], key: str, where: Path) -> dict[str, Any]:
    """Return an object inside a config.json, {} where it is missing or null.

    Raises:
        UserError: naming the file and the key, if it is something else.
    """
    block = data.get(key)
    if block is not None and not isinstance(block, dict):
        raise UserError(f"{where}: {key} must be an object, got {block!r}")
    return block or {}


def require_int(data: dict[str, Any], key: str, where: Path) -> int:
    """Return a whole number that a config.json must have.

    Raises:
        UserError: naming the file and the key, if it is missing or no whole number.
    """
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"{where}: {key} must be a whole number, got {value!r}")
    return value


def require_number(data: dict[str, Any], key: str, where: Path, default: float) -> float:
    """Return a number of a config.json, or the default where the key is missing."""
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {key} must be a number, got {value!r}")
    return float(value)


def read_stop_ids(directory: Path, data: dict[str, Any]) -> tuple[int, ...]:
    """Return the ids that end a generation: generation_config.json's, else config.json's, sorted.

    Reads `eos_token_id` (one id or a list) and Qwen-1's `stop_words_ids` (lists of one id each).
    """
    path = directory / GENERATION_NAME
    generation = read_object(path) if path.is_file() else {}
    found: set[int] = set()
    for source in (generation, data):
        eos = source.get("eos_token_id")
        found |= {i for i in (eos if isinstance(eos, list) else [eos]) if isinstance(i, int)}
        words = source.get("stop_words_ids") or []
        found |= {word[0] for word in words if isinstance(word, list) and len(word) == 1}
        if found:
            break
    return tuple(sorted(found))
