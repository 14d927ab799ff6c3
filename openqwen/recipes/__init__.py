"""Complete recipes: functions that return every setting of a lineage."""

from collections.abc import Callable

from openqwen.recipes.corpus import corpus
from openqwen.recipes.finetune import finetune, finetune_lora
from openqwen.recipes.mini import mini
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.tiny import tiny

BUILTIN: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "mini": mini,
    "corpus": corpus,
    "finetune": finetune,
    "finetune-lora": finetune_lora,
}
