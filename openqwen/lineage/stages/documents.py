"""The documents stage: extraction to mixture (§2.1)."""

from typing import Any

from openqwen.data.config import DocumentsConfig
from openqwen.data.documents import build_documents
from openqwen.lineage.stage import StageWork


def run(work: StageWork) -> dict[str, Any]:
    """Turn the sources' pages into documents, drops, a funnel and an audit page."""
    assert isinstance(work.config, DocumentsConfig)
    return build_documents(work.config, work.inputs["sources"], work.out, seed=work.seed)
