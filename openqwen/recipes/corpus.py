"""`corpus`: the settings of `openqwen data build` on one's own pages: every language, as it is."""

from openqwen.data.config import DocumentsConfig
from openqwen.data.inputs.config import SourcesConfig
from openqwen.recipes.recipe import Recipe


def corpus() -> Recipe:
    """Return the documents stage without weights and without a choice of languages."""
    return Recipe(name="corpus", sources=SourcesConfig(preferences=()), documents=DocumentsConfig())
