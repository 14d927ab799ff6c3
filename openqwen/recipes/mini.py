"""`mini`: the same lineage for an evening on a laptop."""

from openqwen.data.shards_config import ShardsConfig
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.tiny import tiny
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import ModelShape, PretrainConfig


def mini() -> Recipe:
    """Return a recipe of about 20 M parameters and two hours of pretraining on two cores."""
    return Recipe(
        name="mini",
        documents=tiny().documents,
        tokenizer=TokenizerConfig(num_ranks=16_176, max_train_bytes=64_000_000),
        shards=ShardsConfig(context_length=512),
        base=PretrainConfig(
            model=ModelShape(hidden_size=384, num_hidden_layers=6, num_attention_heads=6),
            num_steps=2600,
            sequences_per_step=16,
            micro_sequences=4,
            learning_rate=1.5e-3,
            warmup_steps=200,
            evaluate_every_steps=500,
            checkpoint_every_steps=50,
        ),
    )
