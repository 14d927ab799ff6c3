"""Complete recipes: functions that return every setting of a lineage."""

from collections.abc import Callable

from openqwen.recipes.mini import mini
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.tiny import tiny

BUILTIN: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "mini": mini}
