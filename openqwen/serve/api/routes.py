"""The OpenAI-compatible API: its routes and the form of its errors.

add_api(app)
"""

from fastapi import FastAPI

from openqwen.serve.api.chat import add_chat
from openqwen.serve.api.completions import add_completions
from openqwen.serve.api.embeddings import add_embeddings
from openqwen.serve.api.models_listed import add_models
from openqwen.serve.api.refusals import add_refusals
from openqwen.serve.api.tokens import add_tokens


def add_api(app: FastAPI) -> None:
    """Add the API to a server."""
    add_refusals(app)
    add_models(app)
    add_chat(app)
    add_completions(app)
    add_embeddings(app)
    add_tokens(app)
