"""Compilation of the layers by torch.compile: one compiled code for all of them.

    apply_compile(model)        # in place, after apply_recompute, before apply_sharding

A layer is compiled when it first meets a new kind of input, and a line says how long that took.
Compiled code is kept between runs in our cache directory. Passes with a cache or a window stay
eager, and so do dropout's draws and the exchange of keys between ranks, inside a compiled layer.

Threads: torch traces one function at a time for the whole process and refuses to run compiled code
meanwhile. So a thread that meets a new kind of input waits until the others are out, compiles both
passes on a copy of the input, and only then lets everybody in again.
"""

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.tensor import DTensor

from openqwen.core.errors import UserError
from openqwen.core.log import say
from openqwen.core.runtime import cache_directory, keep_compiled_code
from openqwen.model.attention import Placement
from openqwen.model.backbone import Backbone
from openqwen.parallel.recompute import Recomputed, put_on


def apply_compile(model: Backbone) -> None:
    """Let every layer run compiled, in place; values are those of the eager layer to rounding.

    Args:
        model: a decoder or a scorer; what recomputes its layers recomputes them compiled.

    Raises:
        UserError: if there is no C++ compiler, or matrices are cut over ranks.
    """
    _check_compiler()
    if any(isinstance(p, DTensor) for p in model.parameters()):  # FSDP2's come after this
        raise UserError(
            "parallel.compile = true with parallel.tensor > 1: torch can't compile the backward "
            "pass of matrices cut over ranks; set parallel.compile to false or parallel.tensor to 1"
        )
    keep_compiled_code(cache_directory() / "compiled")
    for layer in model.layers:
        if isinstance(layer, Compiled):
            continue
        recomputes = isinstance(layer, Recomputed)
        if recomputes:  # that belongs around the compiled layer
            layer.__class__ = type(layer).__bases__[1]
        put_on(layer, Compiled)
        if recomputes:
            put_on(layer, Recomputed)


class Compiled(nn.Module):
    """A layer that runs the compiled code which all layers of its kind share."""

    def forward(self, x_BTD: Tensor, placement: Placement, **options: Any) -> Tensor:
        """Return what the layer returns."""
        eager: Any = super().forward
        if options.get("cache") is not None or options.get("window") is not None:
            result: Tensor = eager(x_BTD, placement, **options)
            return result
        dropout = options.get("dropout")
        if dropout is not None:
            dropout = _Outside(dropout)
        if placement.gather is not None:
            placement = dataclasses.replace(placement, gather=_Outside(placement.gather))
        kind = _kind(self, x_BTD, placement, dropout is not None)
        compiled = _compiled(eager.__func__)
        if kind not in _KNOWN:
            _meet(kind, self, compiled, x_BTD, placement, dropout)
        with _DOOR.open():
            return compiled(self, x_BTD, placement, dropout=dropout)


class _Outside:
    """Something that compiled code calls without looking into it, whichever it is."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def __call__(self, *tensors: Tensor) -> Tensor:
        result: Tensor = _call_outside(self.function, *tensors)
        return result


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _call_outside(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    return function(*tensors)


class _Door:
    """Lets any number of threads in, or one alone."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside, self.is_closed = 0, False

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Be inside with others."""
        with self.changed:
            self.changed.wait_for(lambda: not self.is_closed)
            self.inside += 1
        try:
            yield
        finally:
            with self.changed:
                self.inside -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside alone."""
        with self.changed:
            self.changed.wait_for(lambda: not self.is_closed and self.inside == 0)
            self.is_closed = True
        try:
            yield
        finally:
            with self.changed:
                self.is_closed = False
                self.changed.notify_all()


_DOOR = _Door()
_KNOWN: set[Hashable] = set()  # kinds of input whose code is compiled


@functools.cache
def _compiled(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(forward)


def _kind(layer: nn.Module, x_BTD: Tensor, placement: Placement, drops: bool) -> Hashable:
    """Return all that decides whether a compiled code fits."""
    seen_B1TS = placement.seen_B1TS
    return (
        type(layer),
        x_BTD.shape,
        x_BTD.dtype,
        x_BTD.device,
        x_BTD.requires_grad,
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        tuple((p.shape, p.dtype, p.requires_grad) for p in layer.parameters()),
        placement.cos_BT1P.shape,
        None if seen_B1TS is None else seen_B1TS.shape,
        placement.scale_BT11 is None,
        placement.gather is None,
        drops,
    )


def _meet(
    kind: Hashable,
    layer: nn.Module,
    compiled: Callable[..., Tensor],
    x_BTD: Tensor,
    placement: Placement,
    dropout: Any,
) -> None:
    """Compile for a new kind of input: a forward and a backward pass whose results are dropped."""
    with _DOOR.alone():
        if kind in _KNOWN:
            return
        began = time.perf_counter()
        copy_BTD = x_BTD.detach().clone().requires_grad_(x_BTD.requires_grad)
        kept = None if dropout is None else _Outside(torch.clone)  # nothing is drawn
        with saved_tensors_hooks(_as_it_is, _as_it_is):  # not recompute's: it would come in here
            y_BTD = compiled(layer, copy_BTD, placement, dropout=kept)
            wanted = [t for t in (copy_BTD, *layer.parameters()) if t.requires_grad]
            if y_BTD.requires_grad:
                torch.autograd.grad(y_BTD, wanted, torch.zeros_like(y_BTD), allow_unused=True)
        _KNOWN.add(kind)
        seconds = time.perf_counter() - began
    if seconds > 1:  # a new shape may need no new code
        shape = " × ".join(str(n) for n in x_BTD.shape)
        say(f"{'compile':<14}a layer for inputs of {shape}: {seconds:.1f} s")


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # torch's own kind, which differs between versions
        raise UserError(
            "parallel.compile = true: torch.compile finds no C++ compiler here; install g++ or "
            "set it to false"
        ) from error
