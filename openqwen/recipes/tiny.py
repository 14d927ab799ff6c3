"""`tiny`: the whole lineage in minutes on two cores, every stage real and small."""

from openqwen.data.config import DocumentsConfig, LanguageConfig, MixtureConfig
from openqwen.data.shards_config import ShardsConfig
from openqwen.eval.config import LongContextConfig
from openqwen.recipes.recipe import Recipe
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import ModelShape, PretrainConfig

WEIGHTS = {"en": 0.40, "zh": 0.36, "code": 0.16, "instructions": 0.08}
# Alpaca's answers were written by a model whose terms forbid commercial use: named, so used
NON_COMMERCIAL = ("alpaca-en", "alpaca-zh")


def tiny() -> Recipe:
    """Return the recipe of `make demo`."""
    return Recipe(
        name="tiny",
        documents=DocumentsConfig(
            language=LanguageConfig(languages=("en", "zh")),
            mixture=MixtureConfig(weights=WEIGHTS, non_commercial_sources=NON_COMMERCIAL),
        ),
        tokenizer=TokenizerConfig(num_ranks=5936, max_train_bytes=16_000_000),
        shards=ShardsConfig(context_length=256),
        longcontext=LongContextConfig(
            num_documents=6, truncated_stride_share=0.25, passkey_trials=2
        ),
        base=PretrainConfig(
            model=ModelShape(hidden_size=256, num_hidden_layers=6, num_attention_heads=4),
            num_steps=480,
            sequences_per_step=8,
            micro_sequences=4,
            learning_rate=2e-3,
            warmup_steps=40,
            evaluate_every_steps=120,
            evaluation_tokens=16_384,
            checkpoint_every_steps=50,
        ),
    )
