"""Complete recipes: functions that return every setting of a lineage."""

from collections.abc import Callable

from openqwen.recipes.corpus import corpus
from openqwen.recipes.finetune import finetune, finetune_lora
from openqwen.recipes.mini import mini
from openqwen.recipes.qwen import qwen_1_8b, qwen_7b, qwen_14b
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.tiny import tiny

BUILTIN: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "mini": mini,
    "qwen-1.8b": qwen_1_8b,
    "qwen-7b": qwen_7b,
    "qwen-14b": qwen_14b,
    "corpus": corpus,
    "finetune": finetune,
    "finetune-lora": finetune_lora,
}
