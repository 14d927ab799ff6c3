"""The sources stage: raw pages from package registries or from a user's files."""

from typing import Any

from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.sources import gather_sources
from openqwen.lineage.stage import StageWork


def run(work: StageWork) -> dict[str, Any]:
    """Gather pages and benchmark texts into the stage's directory."""
    assert isinstance(work.config, SourcesConfig)
    return gather_sources(work.config, work.out)
