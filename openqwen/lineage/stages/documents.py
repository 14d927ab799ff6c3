"""The documents stage: extraction to mixture (§2.1)."""

from typing import Any

from openqwen.data.config import DocumentsConfig
from openqwen.data.documents import build_documents
from openqwen.data.scores.step import check_models
from openqwen.lineage.stage import StageWork

# scorers of kind "model" get theirs from it, in the workers' processes
LANGUAGE_MODELS = "openqwen.lineage.language_scorer:open_language_model"


def run(work: StageWork) -> dict[str, Any]:
    """Turn the sources' pages into documents, drops, a funnel and an audit page."""
    assert isinstance(work.config, DocumentsConfig)
    check_models(work.config.scores)
    return build_documents(
        work.config,
        work.inputs["sources"],
        work.out,
        seed=work.seed,
        open_language_model=LANGUAGE_MODELS,
    )
