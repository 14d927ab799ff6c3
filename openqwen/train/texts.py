"""Texts of different lengths as one batch with next to no padding.

batch = pack_texts([[5, 6, 7], [8, 9]])
hidden_BTD = batch.hidden(model)
last_ND = hidden_BTD[batch.rows, batch.ends]            # the state at each text's last token
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openqwen.data.training.packing import best_fit
from openqwen.model.backbone import PADDING, Backbone

WIDTH_STEP = 32  # tokens between the row lengths that are tried
NUM_WIDTHS = 12


@dataclass(frozen=True)
class TextBatch:
    """Texts packed into rows; text i takes columns `starts[i]` to `ends[i]` of row `rows[i]`.

    `segments_BT` is None where each row holds one text: then plain causal attention will do, which
    is faster, and what stands behind a text's end is never read.
    """

    ids_BT: Tensor
    segments_BT: Tensor | None
    rows: Tensor
    starts: Tensor
    ends: Tensor  # of the last token, not past it

    def hidden(self, model: Backbone) -> Tensor:
        """Return a model's states of these rows, (B, T, D)."""
        device = model.embed_tokens.weight.device
        segments_BT = None if self.segments_BT is None else self.segments_BT.to(device)
        return model.hidden(self.ids_BT.to(device), segments_BT=segments_BT)


def pack_texts(texts: Sequence[Sequence[int]]) -> TextBatch:
    """Pack texts into rows, of the length (at least the longest text's) that pads the least."""
    lengths = np.array([len(ids) for ids in texts], dtype=np.int64)
    order = np.arange(len(texts))
    longest = int(lengths.max())
    widths = [longest + WIDTH_STEP * i for i in range(NUM_WIDTHS)]
    packings = [(width, best_fit(lengths, order, width)) for width in widths]
    width, placed = min(packings, key=lambda found: (found[0] * len(found[1]), found[0]))
    ids = np.zeros((len(placed), width), np.int64)
    segments = np.full((len(placed), width), PADDING, np.int64)
    rows, starts = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    for row, indices in enumerate(placed):
        at = 0
        for segment, index in enumerate(indices):
            end = at + len(texts[index])
            ids[row, at:end] = texts[index]
            segments[row, at:end] = segment
            rows[index], starts[index] = row, at
            at = end
    numbers = None if len(placed) == len(texts) else torch.from_numpy(segments)
    others = (torch.from_numpy(array) for array in (rows, starts, starts + lengths - 1))
    return TextBatch(torch.from_numpy(ids), numbers, *others)
