"""Adapter directories in PEFT's published layout: other tools read ours and we read theirs.

    adapter = read_adapter(Path("my-adapter"))
    model = adapter.load_model(dtype=torch.bfloat16)     # the base with everything folded in
    model = adapter.load_trainable()                     # the base with the adapters beside it

A packed matrix (q | k | v, gate | up) takes one pair for all its rows where the parts' A's are the
same, as in what we write, and a pair a part where they differ: exact either way. Embeddings stored
whole or by rows take the base's place. What can't be represented is refused.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from openqwen.core.errors import UserError
from openqwen.model.adapters import EMBEDDINGS, LowRank, adapt, train_embeddings
from openqwen.model.decoder import Decoder
from openqwen.model.formats.adapter_config import AdapterSettings, read_settings
from openqwen.model.formats.checkpoint import Checkpoint
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.parts import Part, qwen2_parts

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
TOKEN_ROWS = ".token_adapter.trainable_tokens_delta"  # PEFT's name; these are values, no deltas
OURS = {"embed_tokens": "embed_tokens", "wte": "embed_tokens", "lm_head": "lm_head"}


@dataclass(frozen=True)
class Factors:
    """What one published matrix gains: alpha / rank · B · A."""

    a: Tensor  # (rank, in)
    b: Tensor  # (out, rank)
    alpha: float

    def product(self) -> Tensor:
        """Return the change, (out, in) float32."""
        return (self.alpha / len(self.a)) * (self.b.float() @ self.a.float())


@dataclass(frozen=True)
class NewRows:
    """New values of an embedding's rows; of all rows where `ids` is None."""

    ids: tuple[int, ...] | None
    values: Tensor

    def into(self, weight_VD: Tensor) -> Tensor:
        """Return the matrix with the new rows."""
        if self.ids is None:
            return self.values.to(weight_VD)
        ids_N = torch.tensor(self.ids, device=weight_VD.device)
        return weight_VD.index_copy(0, ids_N, self.values.to(weight_VD))


@dataclass(frozen=True)
class Adapter:
    """An adapter directory, read.

    Attributes:
        directory: where it lies.
        base: the model it changes.
        settings: its adapter_config.json.
        factors: published matrix, without ".weight" -> what it gains.
        rows: "embed_tokens" and "lm_head" -> their new rows, where there are some.
    """

    directory: Path
    base: Checkpoint
    settings: AdapterSettings
    factors: dict[str, Factors]
    rows: dict[str, NewRows]

    @torch.no_grad()
    def load_model(
        self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Decoder:
        """Return the base with every change folded in, worked out in float32, then cast.

        Raises:
            UserError: if the adapter and the base don't belong together.
        """
        placed = self._placed()
        model = self.base.load_model(dtype=torch.float32, device=device)
        self._put_rows(model)
        parameters = dict(model.named_parameters())
        for module, part in placed.items():
            rows = parameters[part.parameter][part.start : part.start + part.rows]
            rows += self.factors[module].product().to(rows.device)
        return model.to(dtype)

    @torch.no_grad()
    def lost_by_rounding(self, merged: Decoder, dtype: torch.dtype) -> float:
        """Return how much of the products is lost when base and merged model are cast to `dtype`.

        The norm of the error of the cast matrices' difference, over the norm of the products: the
        base's own weights are larger than the change, so that a coarse type drops a part of it.

        Args:
            merged: as `load_model` returns it in float32.
            dtype: the type.
        """
        lost = changed = 0.0
        for module, part in self._placed().items():
            rows = merged.get_parameter(part.parameter)[part.start : part.start + part.rows]
            product = self.factors[module].product().to(rows.device)
            left = rows.to(dtype).float() - (rows - product).to(dtype).float()
            lost += float((left - product).square().sum())
            changed += float(product.square().sum())
        return (lost / changed) ** 0.5 if changed else 0.0

    def load_trainable(
        self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> Decoder:
        """Return the base in `dtype`, frozen, with the adapters beside it, float32 and trainable.

        Raises:
            UserError: if they don't belong together, or the adapter asks for dropout inside it.
        """
        if self.settings.dropout:
            raise UserError(
                f"{self.settings.where}: lora_dropout = {self.settings.dropout} is not "
                "implemented in training; write 0 there to go on without it"
            )
        placed = self._placed()
        model = self.base.load_model(dtype=dtype, device=device)
        with torch.no_grad():
            self._put_rows(model)
        model.requires_grad_(False)
        by_parameter: dict[str, list[str]] = {}
        for module, part in placed.items():
            by_parameter.setdefault(part.parameter, []).append(module)
        for parameter, modules in by_parameter.items():
            size = len(model.get_parameter(parameter))
            adapt(model, parameter, self._pairs(modules, placed, size, model.device))
        for name, rows in self.rows.items():
            is_tied = model.config.tie_word_embeddings
            train_embeddings(model, rows.ids, which=EMBEDDINGS if is_tied else (name,))
            if rows.ids is not None:
                model.get_parameter(f"{name}.values").data.copy_(rows.values)
            if is_tied:
                break
        return model

    def pairs(self, device: torch.device | str) -> dict[str, list[LowRank]]:
        """Return for each changed matrix ("layers.0.attention.qkv.weight") what its rows gain.

        Raises:
            UserError: if the adapter and the base don't belong together.
        """
        placed = self._placed()
        parts = (qwen2_parts(self.base.config) | self.base.parts).values()
        sizes: dict[str, int] = {}
        for part in parts:
            sizes[part.parameter] = max(sizes.get(part.parameter, 0), part.start + part.rows)
        by_parameter: dict[str, list[str]] = {}
        for module, part in placed.items():
            by_parameter.setdefault(part.parameter, []).append(module)
        return {
            parameter: self._pairs(modules, placed, sizes[parameter], torch.device(device))
            for parameter, modules in by_parameter.items()
        }

    def _placed(self) -> dict[str, Part]:
        """Return which rows of our parameters each matrix is, shapes checked."""
        parts = qwen2_parts(self.base.config) | self.base.parts
        where = self.directory / ADAPTER_WEIGHTS
        placed = {}
        for module, factors in self.factors.items():
            part = parts.get(f"{module}.weight")
            if part is None or part.parameter in ("embed_tokens.weight", "lm_head.weight"):
                raise UserError(f"{where}: {module} is no matrix of {self.base.directory}")
            a, b = factors.a, factors.b
            if (b.shape[0], a.shape[1]) != part.shape or a.shape[0] != b.shape[1]:
                raise UserError(f"{where}: {module} has another shape than the base's {part.shape}")
            placed[module] = part
        return placed

    def _pairs(
        self, modules: list[str], placed: dict[str, Part], size: int, device: torch.device
    ) -> list[LowRank]:
        """Return one pair for all rows where the parts share A and scale, else one a part."""
        modules = sorted(modules, key=lambda module: placed[module].start)
        found = [self.factors[module] for module in modules]
        spans = [(placed[module].start, placed[module].rows) for module in modules]
        first = found[0]
        is_shared = sum(rows for _, rows in spans) == size and all(
            f.alpha == first.alpha and torch.equal(f.a, first.a) for f in found
        )
        if is_shared:
            found = [Factors(first.a, torch.cat([f.b for f in found]), first.alpha)]
            spans = [(0, size)]
        pairs = []
        for factors, (start, rows) in zip(found, spans, strict=True):
            rank, columns = factors.a.shape
            pair = LowRank(
                start=start,
                rows=rows,
                columns=columns,
                rank=rank,
                alpha=factors.alpha,
                device=device,
            )
            with torch.no_grad():
                pair.lora_a.copy_(factors.a)
                pair.lora_b.copy_(factors.b)
            pairs.append(pair)
        return pairs

    def _put_rows(self, model: Decoder) -> None:
        """Put the new rows in place; a tied projection that is to differ gets its own matrix."""
        config, where = model.config, self.directory / ADAPTER_WEIGHTS
        for name, rows in self.rows.items():
            size = config.vocab_size if rows.ids is None else len(rows.ids)
            if rows.values.shape != (size, config.hidden_size):
                raise UserError(
                    f"{where}: {name} has shape {tuple(rows.values.shape)}, the base's rows ask "
                    f"for {(size, config.hidden_size)}"
                )
            if rows.ids and max(rows.ids) >= config.vocab_size:
                raise UserError(
                    f"{self.settings.where}: trainable_token_indices names row {max(rows.ids)}, "
                    f"the base has {config.vocab_size}"
                )
        if config.tie_word_embeddings and self.rows and not self._stays_tied():
            model.config = config.model_copy(update={"tie_word_embeddings": False})
            model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
        for name, rows in self.rows.items():
            weight_VD = model.get_parameter(f"{name}.weight")
            weight_VD.copy_(rows.into(weight_VD))

    def _stays_tied(self) -> bool:
        """Return whether the rows of a tied base are new in both places, as PEFT decides it."""
        embedding, head = self.rows.get("embed_tokens"), self.rows.get("lm_head")
        if embedding is None or head is None:
            is_shared = self.settings.keeps_tied or "embed_tokens" not in self.settings.saved
            return embedding is not None and is_shared
        same = embedding.ids == head.ids and embedding.values.shape == head.values.shape
        return same and torch.equal(embedding.values, head.values)


def is_adapter(directory: Path) -> bool:
    """Return whether a directory holds an adapter."""
    return (directory / ADAPTER_CONFIG).is_file()


def read_adapter(directory: Path, base: Path | None = None) -> Adapter:
    """Read an adapter directory and its base, found as named there or given here.

    Raises:
        UserError: if it is no plain LoRA, or its base is not to be found.
    """
    settings = read_settings(directory / ADAPTER_CONFIG)
    checkpoint = _find_base(directory, base, settings.base)
    factors, rows = _read_tensors(directory / ADAPTER_WEIGHTS, settings)
    _check_rows(settings, rows, is_tied=checkpoint.config.tie_word_embeddings)
    return Adapter(directory, checkpoint, settings, factors, rows)


def _find_base(directory: Path, base: Path | None, name: str) -> Checkpoint:
    tried = [base] if base is not None else [directory / name, Path(name)] if name else []
    for path in tried:
        if path.exists():
            return read_checkpoint(path.resolve())
    shown = base or name or "nothing"
    raise UserError(
        f"{directory}: the base model {shown} that this adapter changes is not there; name it "
        "(openqwen merge ADAPTER --base DIR, openqwen generate DIR --adapter ADAPTER), or write "
        f"its path into {ADAPTER_CONFIG}"
    )


def _read_tensors(
    path: Path, settings: AdapterSettings
) -> tuple[dict[str, Factors], dict[str, NewRows]]:
    """Return pairs and rows; every tensor has a place, and every pair is whole."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} can't be read as safetensors: {error}") from None
    sides: dict[str, dict[str, Tensor]] = {}
    rows: dict[str, NewRows] = {}
    for name, tensor in tensors.items():
        module, _, side = name.removesuffix(".weight").rpartition(".")
        if not name.startswith(PREFIX):
            raise UserError(f"{path}: unknown tensor {name}")
        if side in ("lora_A", "lora_B") and tensor.ndim == 2:
            sides.setdefault(module.removeprefix(PREFIX), {})[side] = tensor
        elif name.endswith(TOKEN_ROWS):
            leaf = name.removesuffix(TOKEN_ROWS).rpartition(".")[2]
            if leaf not in settings.token_rows:
                raise UserError(f"{path}: {settings.where.name} doesn't say which rows {name} are")
            rows[OURS[leaf]] = NewRows(settings.token_rows[leaf], tensor)
        elif side in OURS and name.endswith(f"{side}.weight"):
            rows[OURS[side]] = NewRows(None, tensor)
        else:
            raise UserError(f"{path}: unknown tensor {name}")
    factors = {}
    for module, found in sides.items():
        if len(found) != 2:
            raise UserError(f"{path}: {module} has only one of lora_A and lora_B")
        rank, alpha = settings.rank_and_alpha(module)
        if rank != len(found["lora_A"]):
            raise UserError(
                f"{path}: {module} has rank {len(found['lora_A'])}, {settings.where.name} says "
                f"{rank}"
            )
        factors[module] = Factors(found["lora_A"], found["lora_B"], alpha)
    return factors, rows


def _check_rows(settings: AdapterSettings, rows: dict[str, NewRows], *, is_tied: bool) -> None:
    """Refuse settings that name an embedding whose values aren't in the file.

    PEFT leaves a tied projection out where it would repeat the embedding.
    """
    for name in (*settings.saved, *settings.token_rows):
        repeats = is_tied and OURS[name] == "lm_head" and "embed_tokens" in rows
        if OURS[name] not in rows and not repeats:
            raise UserError(
                f"{settings.where} names {name}, and {ADAPTER_WEIGHTS} has no tensor of it"
            )
