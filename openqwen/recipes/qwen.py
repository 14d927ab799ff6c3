"""`qwen-1.8b`, `qwen-7b`, `qwen-14b`: the report's own sizes, learning rates and token counts.

Nobody has run them here: they are what `openqwen plan` prices and what a cluster would start from.
Data comes from your own files (`sources.paths`), some 100 TB of pages for the report's tokens.
"""

from openqwen.data.training.config import ShardsConfig
from openqwen.recipes.recipe import Recipe
from openqwen.train.config import CodeConfig, ModelShape, PretrainConfig
from openqwen.train.sft_config import CodeChatConfig

CONTEXT = 2048  # §2.4
SEQUENCES = 2048  # Table 1: a batch of 4 M tokens


def qwen_1_8b() -> Recipe:
    """Return the 1.8B model of Table 1, 2.2 T tokens."""
    return _qwen("qwen-1.8b", ModelShape(), num_tokens=2.2e12)


def qwen_7b() -> Recipe:
    """Return the 7B model of Table 1, 2.4 T tokens, and Code-Qwen's settings (§4)."""
    shape = ModelShape(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32)
    return _qwen("qwen-7b", shape, num_tokens=2.4e12)


def qwen_14b() -> Recipe:
    """Return the 14B model of Table 1, 3.0 T tokens, and Code-Qwen's settings (§4)."""
    shape = ModelShape(hidden_size=5120, num_hidden_layers=40, num_attention_heads=40)
    recipe = _qwen("qwen-14b", shape, num_tokens=3.0e12)
    return recipe.model_copy(
        update={
            "code": CodeConfig(learning_rate=6e-5),
            "code_chat": CodeChatConfig(learning_rate=2e-6),
        }
    )


def _qwen(name: str, shape: ModelShape, *, num_tokens: float) -> Recipe:
    base = PretrainConfig(
        model=shape,
        num_steps=round(num_tokens / (SEQUENCES * CONTEXT)),
        sequences_per_step=SEQUENCES,
        micro_sequences=4,
        learning_rate=3e-4,
    )
    return Recipe(name=name, shards=ShardsConfig(context_length=CONTEXT), base=base)
