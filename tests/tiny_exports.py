"""Small real export directories: random ones, and one whose model recites a text."""

import itertools

import torch

from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export
from openqwen.tokenizer.tokenizer import Tokenizer

ROWS = 512  # more than the tokenizer's 464 ids, as in published models
TRAIN_LENGTH = 32


def byte_tokenizer(controls=None):
    """One token a byte, and control tokens: Qwen's own, or those named."""
    named = None if controls is None else {name: 256 + i for i, name in enumerate(controls)}
    return Tokenizer({bytes([i]): i for i in range(256)}, controls=named)


def random_model(seed=0):
    config = qwen_config(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=ROWS,
        train_length=TRAIN_LENGTH,
    )  # fmt: skip
    model = new_decoder(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # a fresh model is nearly uniform; this one has opinions
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def reciting_model(chain, *, train_length=TRAIN_LENGTH):
    """A model that says chain[i + 1] after chain[i], surely, whatever came before."""
    config = qwen_config(
        hidden_size=ROWS, num_attention_heads=4, num_hidden_layers=1, vocab_size=ROWS,
        train_length=train_length,
    )  # fmt: skip
    model = new_decoder(config, seed=0)
    with torch.no_grad():
        model.embed_tokens.weight.copy_(torch.eye(ROWS))
        model.layers[0].attention.out.weight.zero_()
        model.layers[0].mlp.down.weight.zero_()
        model.lm_head.weight.zero_()
        for now, following in itertools.pairwise(chain):
            model.lm_head.weight[following, now] = 10.0
    return model


def write(directory, model, *, with_tokenizer=True):
    tokenizer = byte_tokenizer()
    write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    if with_tokenizer:
        tokenizer.save(directory)
    return directory


def write_reciting(directory, text, *, after=10, train_length=TRAIN_LENGTH):
    """An export that answers the token `after` (a line break) with `text`, of distinct bytes."""
    tokenizer = byte_tokenizer()
    chain = [after, *text.encode(), tokenizer.im_end_id]
    assert len(set(chain)) == len(chain), "a chain must not meet itself"
    return write(directory, reciting_model(chain, train_length=train_length))
