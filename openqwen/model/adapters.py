"""Low-rank adapters: train a few per cent of the weights, then fold them in (Hu et al. 2021).

    add_lora(model, rank=16, alpha=32.0, targets=("qkv", "out", "gate_up", "down"), seed=0)
    train_embeddings(model)               # where control tokens are new: whole, or some rows
    ...                                   # train; nothing else requires gradients
    merge_lora(model)                     # plain matrices again, the same names as before

y = W·x + alpha/rank · B·(A·x), with B zero at first, so that nothing changes before training. A
packed matrix (q | k | v) gets one pair for all its rows; a foreign adapter may give each part its
own (`LowRank`). There is no dropout inside an adapter.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from openqwen.model.backbone import Backbone

TARGETS = {
    "qkv": "attention.qkv",
    "out": "attention.out",
    "gate_up": "mlp.gate_up",
    "down": "mlp.down",
}
EMBEDDINGS = ("embed_tokens", "lm_head")


class LowRank(nn.Module):
    """A product of two thin matrices that some rows of a linear layer's output gain."""

    def __init__(
        self, *, start: int, rows: int, columns: int, rank: int, alpha: float, device: torch.device
    ) -> None:
        """Add to rows `start` … `start + rows - 1`; float32 and zero until drawn or loaded."""
        super().__init__()
        self.start, self.rows, self.rank, self.alpha = start, rows, rank, alpha
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(torch.zeros(rank, columns, device=device))
        self.lora_b = nn.Parameter(torch.zeros(rows, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the rows gain, (..., rows)."""
        thin = functional.linear(x, self.lora_a)
        return self.scale * functional.linear(thin, self.lora_b)

    def product(self) -> Tensor:
        """Return the change of the rows, (rows, columns) float32."""
        return self.scale * (self.lora_b.float() @ self.lora_a.float())


class LoraLinear(nn.Module):
    """A frozen linear layer with trainable products of thin matrices beside it."""

    def __init__(self, base: nn.Linear, parts: Sequence[LowRank]) -> None:
        """Wrap `base`; the parts cover each row at most once."""
        super().__init__()
        self.base = base.requires_grad_(False)
        self.parts: Sequence[LowRank] = nn.ModuleList(parts)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Return the base's output plus the adapter's."""
        out: Tensor = self.base(x)
        for part in self.parts:
            if part.rows == out.shape[-1]:
                out = out + part(x)
            else:
                out[..., part.start : part.start + part.rows] += part(x)
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return the base with the products added, worked out in float32 and rounded once."""
        for part in self.parts:
            rows = self.base.weight[part.start : part.start + part.rows]
            rows.copy_(rows.float() + part.product())
        return self.base.requires_grad_(True)


class TrainedRows(nn.Module):
    """An embedding, or an output projection, of which only the rows of some tokens are trained."""

    rows_N: Tensor
    place_V: Tensor

    def __init__(self, base: nn.Embedding | nn.Linear, rows: Sequence[int]) -> None:
        """Wrap `base`; the trained rows start as its own, in float32."""
        super().__init__()
        self.base = base.requires_grad_(False)
        rows_N = torch.tensor(list(rows), dtype=torch.int64, device=base.weight.device)
        self.values = nn.Parameter(base.weight.detach()[rows_N].float())
        place_V = torch.full((len(base.weight),), -1, device=base.weight.device)
        place_V[rows_N] = torch.arange(len(rows_N), device=base.weight.device)
        self.register_buffer("rows_N", rows_N, persistent=False)
        self.register_buffer("place_V", place_V, persistent=False)

    @property
    def weight(self) -> Tensor:
        """Return the whole matrix (V, D), differentiable in the trained rows; a copy."""
        return self.base.weight.index_copy(0, self.rows_N, self.values.to(self.base.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings of ids (B, T), or the logits of states."""
        if isinstance(self.base, nn.Linear):
            return functional.linear(x, self.weight)
        place_BT = self.place_V[x]
        new_BTD = functional.embedding(place_BT.clamp_min(0), self.values)
        return torch.where((place_BT >= 0)[..., None], new_BTD, self.base(x))

    @torch.no_grad()
    def merged(self) -> nn.Embedding | nn.Linear:
        """Return the base with the trained rows in place."""
        self.base.weight[self.rows_N] = self.values.to(self.base.weight.dtype)
        return self.base.requires_grad_(True)


def add_lora(
    model: Backbone, *, rank: int, alpha: float, targets: Sequence[str], seed: int
) -> None:
    """Give the named matrices of every layer an adapter and freeze all else.

    Args:
        model: changed in place; its outputs stay the same.
        rank: of each adapter, at least 1.
        alpha: the product is scaled by alpha / rank.
        targets: of `TARGETS`.
        seed: of A, drawn uniformly within 1/sqrt(columns), as PEFT does; B is zero.

    Raises:
        ValueError: if a target is unknown.
    """
    unknown = [name for name in targets if name not in TARGETS]
    if unknown:
        raise ValueError(f"no matrix {unknown[0]!r} to adapt; there are {', '.join(TARGETS)}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in model.layers:
        for name in targets:
            holder, leaf = _place(layer, TARGETS[name])
            base: nn.Linear = getattr(holder, leaf)
            rows, columns = base.weight.shape
            part = LowRank(
                start=0,
                rows=rows,
                columns=columns,
                rank=rank,
                alpha=alpha,
                device=base.weight.device,
            )
            bound = columns**-0.5
            draw = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
            with torch.no_grad():
                part.lora_a.copy_(draw)
            setattr(holder, leaf, LoraLinear(base, [part]))


def adapt(model: Backbone, parameter: str, parts: Sequence[LowRank]) -> None:
    """Put given parts beside one matrix, named as in `named_parameters` ("….weight")."""
    path, leaf = parameter.removesuffix(".weight").rsplit(".", 1)
    holder = model.get_submodule(path)
    setattr(holder, leaf, LoraLinear(getattr(holder, leaf), parts))


def train_embeddings(
    model: Backbone, rows: Sequence[int] | None = None, *, which: Sequence[str] = EMBEDDINGS
) -> None:
    """Train the embedding and, where there is one, the output projection beside the adapters.

    Args:
        model: changed in place; what is trained is float32 afterwards, tied matrices stay tied.
        rows: token ids whose rows alone are trained; all rows where None.
        which: of `EMBEDDINGS`.
    """
    modules = {name: getattr(model, name) for name in which if hasattr(model, name)}
    is_tied = len({id(module.weight) for module in modules.values()}) < len(modules)
    wrapped = []
    for name, module in modules.items():
        if rows is None:
            module.weight.data = module.weight.data.float()
            module.requires_grad_(True)
        else:
            wrapped.append(TrainedRows(module, rows))
            setattr(model, name, wrapped[-1])
    if is_tied:
        for other in wrapped[1:]:
            other.values = wrapped[0].values


def merge_lora(model: Backbone) -> None:
    """Fold every adapter into its matrix; names and shapes are those of a plain model again.

    In float32 the merged output is the unmerged one but for rounding: each of the two is within
    2·γ of the exact value, γ = (columns + rank + 3)·2⁻²⁴ · (|W| + |scale|·|B|·|A|)·|x| (Higham
    2002, §3.5, on sums in any order). In bfloat16 the merged weights are rounded once more.
    """
    for _, holder, leaf, adapted in adapters_of(model):
        setattr(holder, leaf, adapted.merged())
    for name in EMBEDDINGS:
        module = getattr(model, name, None)
        if isinstance(module, TrainedRows):
            setattr(model, name, module.merged())
    model.requires_grad_(True)


def adapters_of(model: Backbone) -> Iterator[tuple[str, nn.Module, str, LoraLinear]]:
    """Yield the matrix's name without ".weight", its holder, its attribute, and the adapter."""
    for index, layer in enumerate(model.layers):
        for path in TARGETS.values():
            holder, leaf = _place(layer, path)
            found = getattr(holder, leaf)
            if isinstance(found, LoraLinear):
                yield f"layers.{index}.{path}", holder, leaf, found


def _place(layer: nn.Module, path: str) -> tuple[nn.Module, str]:
    holder, leaf = path.split(".")
    return getattr(layer, holder), leaf
