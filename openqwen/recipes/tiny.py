"""`tiny`: the whole lineage in minutes on two cores, every stage real and small."""

from openqwen.data.config import DocumentsConfig, MixtureConfig
from openqwen.data.language.config import LanguageConfig
from openqwen.data.training.config import ShardsConfig
from openqwen.eval.config import LongContextConfig
from openqwen.recipes.recipe import Recipe
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import CodeConfig, ModelShape, PretrainConfig
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.reward_config import PreferenceConfig, RewardConfig
from openqwen.train.sft_config import CodeChatConfig, MathChatConfig, SFTConfig

WEIGHTS = {"en": 0.40, "zh": 0.36, "code": 0.16, "instructions": 0.08}
# Alpaca's answers were written by a model whose terms forbid commercial use: named, so used
NON_COMMERCIAL = ("alpaca-en", "alpaca-zh")

# the report's learning rates move nothing in so few steps of so small a model
CHAT = SFTConfig(
    context_length=256,
    num_steps=140,
    sequences_per_step=8,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_steps=16,
    evaluate_every_steps=70,
    checkpoint_every_steps=35,
)
PREFERENCE = PreferenceConfig(
    num_comparisons=1200,
    max_tokens=256,
    pairs_per_step=16,
    micro_pairs=8,
    learning_rate=3e-4,
    warmup_steps=8,
    log_every_steps=5,
    evaluate_every_steps=40,
    checkpoint_every_steps=20,
)
REWARD = RewardConfig(
    max_tokens=256,
    pairs_per_step=16,
    micro_pairs=8,
    learning_rate=1e-4,
    warmup_steps=4,
    log_every_steps=2,
    evaluate_every_steps=16,
    checkpoint_every_steps=8,
)
CHAT_RLHF = PPOConfig(
    num_steps=30,
    value_warmup_steps=5,
    queries_per_step=12,
    max_prompt_tokens=128,
    max_new_tokens=48,
    learning_rate=1e-4,
    value_learning_rate=3e-4,
    schedule="cosine",
    missing_end_penalty=0.3,
    log_every_steps=1,
    evaluate_every_steps=15,
    checkpoint_every_steps=5,
)
CODE = CodeConfig(
    num_steps=30,
    sequences_per_step=8,
    micro_sequences=2,
    learning_rate=5e-4,
    warmup_steps=1,
    log_every_steps=5,
    evaluate_every_steps=15,
    evaluation_tokens=16_384,
    checkpoint_every_steps=10,
)
CODE_CHAT = CodeChatConfig(
    context_length=1024,
    num_steps=32,
    sequences_per_step=4,
    micro_sequences=2,
    learning_rate=5e-4,
    warmup_steps=1,
    log_every_steps=5,
    evaluate_every_steps=16,
    checkpoint_every_steps=8,
)
MATH_CHAT = MathChatConfig(
    context_length=128,
    contexts_per_row=4,
    num_problems=8000,
    evaluation_problems=96,
    num_steps=480,
    sequences_per_step=2,
    micro_sequences=1,
    dropout=0.0,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_steps=16,
    evaluate_every_steps=160,
    checkpoint_every_steps=80,
)


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
        chat=CHAT,
        preference=PREFERENCE,
        reward=REWARD,
        chat_rlhf=CHAT_RLHF,
        code=CODE,
        code_chat=CODE_CHAT,
        math_chat=MATH_CHAT,
    )
