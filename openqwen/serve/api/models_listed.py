"""/v1/models: what clients can ask for."""

from typing import Any

from fastapi import FastAPI, Request

from openqwen.serve.api.answers import ERRORS, ModelCard, ModelList
from openqwen.serve.models import ServedModel


def add_models(app: FastAPI) -> None:
    """Add the routes."""

    @app.get("/v1/models", response_model=ModelList, responses=ERRORS, tags=["models"])
    async def list_models(request: Request) -> Any:
        """List models and adapters."""
        return {"data": [_card(model) for model in request.app.state.models.list()]}

    @app.get("/v1/models/{name:path}", response_model=ModelCard, responses=ERRORS, tags=["models"])
    async def get_model(name: str, request: Request) -> Any:
        """Describe one."""
        return _card(request.app.state.models.get(name))


def _card(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "created": model.created,
        "root": model.root.rstrip("/").rpartition("/")[
            2
        ],  # the folders above are nobody's business
        "parent": model.parent,
        "max_model_len": model.lm.context,
    }
