"""A small base model with opinions, and LoRA adapters on it, as directories."""

import torch
from tiny_exports import ROWS, byte_tokenizer

from openqwen.model.adapters import TARGETS, adapters_of, add_lora, train_embeddings
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.formats.write_adapter import write_adapter


def make_base(directory):
    """A base with opinions, its matrices wide enough to be quantised."""
    config = qwen_config(
        hidden_size=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=ROWS,
        train_length=256,
    )  # fmt: skip
    model = new_decoder(config, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    tokenizer = byte_tokenizer()
    write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(directory)


def make_adapter(base, directory, *, targets=tuple(TARGETS), rank=3, seed=1, embeddings=False):
    checkpoint = read_checkpoint(base)
    model = checkpoint.load_model(dtype=torch.float32)
    add_lora(model, rank=rank, alpha=6.0, targets=targets, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for *_, adapted in adapters_of(model):
            for part in adapted.parts:
                part.lora_b.copy_(0.2 * torch.randn(part.lora_b.shape, generator=generator))
    if embeddings:
        train_embeddings(model)
    write_adapter(directory, model, base=checkpoint)
    return directory
