"""Several LoRA adapters on one base, each row of a batch with its own or with none.

    adapters = attach(model, {"legal": read_adapter(Path("adapters/legal"), base), "tone": …})
    with adapters.rows([0, 2, 0]):            # of a batch of three the second answers as "tone"
        model.hidden(ids_BT)

The base's product is computed for all rows as ever; each adapter that is present adds its thin
product to its own rows (as Punica, Chen et al. 2023, does on a GPU). Rows without an adapter are
computed by the same operations as in a batch without any.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from openqwen.core.errors import UserError
from openqwen.model.adapters import LowRank
from openqwen.model.decoder import Decoder
from openqwen.model.formats.adapter import Adapter

NONE = 0  # the number of no adapter


class Adapters:
    """The adapters of a model and, for each thread, which rows of its batch have which.

    Attributes:
        names: by number, from 1 on; the first place is no adapter's.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        """Take the names in order."""
        self.names = (None, *names)
        self._here = threading.local()

    def number(self, name: str | None) -> int:
        """Return an adapter's number; `NONE` for none.

        Raises:
            UserError: if there is none of that name.
        """
        if name not in self.names:
            known = ", ".join(str(each) for each in self.names[1:]) or "none are loaded"
            raise UserError(f"there is no adapter {name!r}; there are: {known}")
        return self.names.index(name)

    @property
    def present(self) -> Mapping[int, Tensor]:
        """Return the rows (N,) of each adapter in this thread's batch; empty where none has one."""
        found: Mapping[int, Tensor] = getattr(self._here, "present", {})
        return found

    @contextlib.contextmanager
    def rows(self, numbers: Sequence[int]) -> Iterator[None]:
        """Say which adapter each row of the passes inside has."""
        before = self.present
        self._here.present = {
            number: torch.tensor([row for row, each in enumerate(numbers) if each == number])
            for number in sorted(set(numbers) - {NONE})
        }
        try:
            yield
        finally:
            self._here.present = before


class AdaptedLinear(nn.Module):
    """A linear layer, quantised or not, with every adapter's thin products beside it."""

    def __init__(self, base: nn.Module, adapters: Adapters) -> None:
        """Wrap `base`; `add` gives it pairs."""
        super().__init__()
        self.base = base
        self.adapters = adapters
        self._pairs: dict[int, list[LowRank]] = {}

    def add(self, number: int, pairs: Sequence[LowRank]) -> None:
        """Take one adapter's pairs."""
        self._pairs[number] = list(pairs)
        for place, pair in enumerate(pairs):
            self.add_module(f"adapter_{number}_{place}", pair)

    def forward(self, x: Tensor) -> Tensor:
        """Return the base's output plus what each row's adapter adds."""
        y: Tensor = self.base(x)
        return self.added(x, y)

    def added(self, x: Tensor, y: Tensor) -> Tensor:
        """Add to rows of y (B, …, N) what their adapters make of x (B, …, K), in place."""
        for number, rows_N in self.adapters.present.items():
            if number not in self._pairs:
                continue
            rows_N = rows_N.to(y.device)
            given = x.index_select(0, rows_N)
            for pair in self._pairs[number]:
                of_rows = y[..., pair.start : pair.start + pair.rows]
                made = pair(given.to(pair.lora_a.dtype)).to(y.dtype)
                of_rows.index_add_(0, rows_N, made)
        return y


def attach(model: Decoder, found: Mapping[str, Adapter]) -> Adapters:
    """Put adapters beside a model's matrices, in place; return what says who has which.

    Args:
        model: loaded, quantised and fused as it will run.
        found: adapters by name, read with this model's base.

    Raises:
        UserError: if an adapter does not fit the model, or brings embeddings of its own.
    """
    adapters = Adapters(tuple(found))
    for number, adapter in enumerate(found.values(), start=1):
        if adapter.rows:
            raise UserError(
                f"{adapter.directory} brings {' and '.join(adapter.rows)} of its own, which "
                "adapters on one base share; fold it in by openqwen merge"
            )
        for parameter, pairs in adapter.pairs(model.device).items():
            path, leaf = parameter.removesuffix(".weight").rsplit(".", 1)
            holder = model.get_submodule(path)
            layer = getattr(holder, leaf)
            if not isinstance(layer, AdaptedLinear):
                layer = AdaptedLinear(layer, adapters)
                setattr(holder, leaf, layer)
            for pair in pairs:
                pair.requires_grad_(False)
            layer.add(number, pairs)
    return adapters
