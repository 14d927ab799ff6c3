"""`finetune`: the settings of `openqwen sft`, `reward` and `ppo` on one's own model and data."""

from openqwen.recipes.recipe import Recipe
from openqwen.train.ppo_config import PPOConfig
from openqwen.train.reward_config import RewardConfig
from openqwen.train.sft_config import LoraConfig, SFTConfig

_CHAT = SFTConfig(
    num_steps=0,
    num_epochs=3.0,
    sequences_per_step=8,
    micro_sequences=1,
    learning_rate=1e-5,
    schedule="cosine",
    warmup_steps=10,
    log_every_steps=1,
    evaluate_every_steps=50,
    checkpoint_every_steps=50,
)


def finetune() -> Recipe:
    """Return the report's settings with passes over the data in place of a number of steps."""
    return Recipe(
        name="finetune",
        chat=_CHAT,
        reward=RewardConfig(pairs_per_step=16, micro_pairs=1, log_every_steps=1),
        chat_rlhf=PPOConfig(
            num_steps=100,
            value_warmup_steps=10,
            queries_per_step=16,
            max_new_tokens=128,
            log_every_steps=1,
            checkpoint_every_steps=10,
        ),
    )


def finetune_lora() -> Recipe:
    """Return the same with adapters of rank 16 and their usual learning rate."""
    recipe = finetune()
    chat = _CHAT.model_copy(update={"lora": LoraConfig(rank=16), "learning_rate": 2e-4})
    return recipe.model_copy(update={"name": "finetune-lora", "chat": chat})
