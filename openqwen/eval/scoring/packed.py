"""One forward pass over pieces of many texts, end to end, each behind what it continues.

    hidden_RD = packed_states(model, nodes, rows, alpha=1, long_context=methods)

All products take the pieces as one long matrix without padding; only attention knows where one ends
and what stands before it. Nodes with children keep their keys and values.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from openqwen.eval.scoring.tree import Node
from openqwen.model.attention import Attend, Placement, attend
from openqwen.model.decoder import Decoder
from openqwen.model.long_context import LongContext, logn_scale, ntk_base
from openqwen.model.rope import inverse_frequencies, rotary_tables


class PackedRows:
    """Nodes side by side in one row of tokens, as the model's `SequenceCache` for one pass."""

    def __init__(self, nodes: Sequence[Node], long_context: LongContext, alpha: int) -> None:
        """Take the nodes in the order of their tokens; their parents' keys are kept."""
        self.long_context, self.alphas, self.lengths = long_context, [alpha], [0]
        self._spans = []
        begin = 0
        for node in nodes:
            self._spans.append((node, node.path(), begin, begin + len(node.ids)))
            begin += len(node.ids)

    def attend(
        self,
        layer: int,
        q_BHTE: Tensor,
        k_BKTE: Tensor,
        v_BKTE: Tensor,
        *,
        window: int | None,
        by: Attend | None = None,
    ) -> Tensor:
        """Keep what children need; return what each node's queries gather, (1, H, N, E)."""
        way = by or attend
        found = []
        for node, path, begin, end in self._spans:
            k_1KTE, v_1KTE = k_BKTE[:, :, begin:end], v_BKTE[:, :, begin:end]
            if node.children:
                node.kept.append((k_1KTE.clone(), v_1KTE.clone()))
            before = [cast(tuple[Tensor, Tensor], parent.kept[layer]) for parent in path]
            keys = torch.cat([*(k for k, _ in before), k_1KTE], dim=2)
            values = torch.cat([*(v for _, v in before), v_1KTE], dim=2)
            found.append(
                way(q_BHTE[:, :, begin:end], keys, values, starts=[node.start], window=window)
            )
        return torch.cat(found, dim=2)

    def slots(self, layer: int, like: Tensor, *, window: int | None) -> None:
        """Return None: `attend` must do."""

    def advance(self, counts: Sequence[int]) -> None:
        """Do nothing: the rows serve one pass."""


@torch.no_grad()
def packed_states(
    model: Decoder,
    nodes: Sequence[Node],
    rows: Sequence[int],
    *,
    alpha: int,
    long_context: LongContext,
) -> Tensor:
    """Compute nodes whose parents are computed; return the final states of some of their tokens.

    Args:
        model: in evaluation mode.
        nodes: side by side.
        rows: which of all their tokens' states are asked for.
        alpha: dynamic NTK's α, of all texts alike.
        long_context: methods in force.

    Returns:
        (R, D), after the final norm.
    """
    config, device = model.config, model.device
    ids_N = torch.tensor([i for node in nodes for i in node.ids], device=device)
    places = [p for node in nodes for p in range(node.start, node.start + len(node.ids))]
    positions_1N = torch.tensor(places, device=device)[None]
    theta = ntk_base(config.rope_theta, alpha, head_dim=config.head_dim)
    inverse_P = inverse_frequencies(head_dim=config.head_dim, theta=theta, device=device)
    cos_1N1P, sin_1N1P = rotary_tables(positions_1N, inverse_P[None])
    scale_1N11 = None
    if long_context.logn and max(places) >= config.train_length:
        scale_1N = logn_scale(positions_1N, train_length=config.train_length)
        scale_1N11 = scale_1N[:, :, None, None]
    placement = Placement(cos_1N1P, sin_1N1P, scale_1N11, (0,))
    windows = long_context.windows or [None] * config.num_hidden_layers
    cache = PackedRows(nodes, long_context, alpha)
    x_1ND = model.layers(model.embed_tokens(ids_N)[None], placement, windows, cache=cache)
    states_RD: Tensor = model.norm(x_1ND[0, torch.tensor(rows, device=device, dtype=torch.int64)])
    return states_RD
