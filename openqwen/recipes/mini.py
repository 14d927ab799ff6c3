"""`mini`: the same lineage for an evening on a laptop."""

from openqwen.data.config import MixtureConfig
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.training.config import ShardsConfig
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.tiny import NON_COMMERCIAL, tiny
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import ModelShape, PretrainConfig

# beside tiny's: long manuals, in English
MANUALS = ("postgresql-doc-15", "python3.11-doc", "git-doc", "sqlite3-doc")
WEIGHTS = {"en": 0.50, "zh": 0.24, "code": 0.18, "instructions": 0.08}


def mini() -> Recipe:
    """Return a recipe of about 20 M parameters and two hours of pretraining on two cores."""
    small = tiny()
    return Recipe(
        name="mini",
        sources=SourcesConfig(names=small.sources.names + MANUALS),
        documents=small.documents.model_copy(
            update={
                "mixture": MixtureConfig(weights=WEIGHTS, non_commercial_sources=NON_COMMERCIAL)
            }
        ),
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
        chat=small.chat.model_copy(update={"context_length": 512, "num_steps": 400}),
        preference=small.preference.model_copy(
            update={"num_comparisons": 6000, "max_tokens": 512, "learning_rate": 2e-4}
        ),
        reward=small.reward.model_copy(update={"max_tokens": 512, "num_epochs": 2.0}),
        chat_rlhf=small.chat_rlhf.model_copy(
            update={"num_steps": 80, "queries_per_step": 24, "max_new_tokens": 96}
        ),
        code=small.code.model_copy(update={"num_steps": 60, "max_epochs": 8.0}),
        code_chat=small.code_chat.model_copy(update={"context_length": 2048, "num_steps": 80}),
        math_chat=small.math_chat.model_copy(
            update={"context_length": 256, "num_problems": 20_000, "num_steps": 600}
        ),
    )
