"""One way to a model, wherever it is.

open_model("runs/tiny/chat")                    # loads it: a directory, GGUF file or hub id
open_model("http://127.0.0.1:8000/v1")          # asks an endpoint; #NAME picks one of its models
"""

from typing import Any

from openqwen.agent.config import EndpointConfig
from openqwen.agent.endpoint import EndpointModel
from openqwen.agent.models import LocalModel, TextModel
from openqwen.core.errors import UserError
from openqwen.core.runtime import endpoint_key
from openqwen.infer.load import load


def is_endpoint(text: str) -> bool:
    """Return whether a model's name is the address of an endpoint."""
    return text.startswith(("http://", "https://"))


def open_model(
    text: str, *, endpoint: EndpointConfig | None = None, **load_options: Any
) -> TextModel:
    """Return the model that a text names.

    Args:
        text: a directory, GGUF file or hub id, as `openqwen.infer.load.load` takes it, or an
            http(s) address of an OpenAI-compatible API, with `#NAME` where it serves several.
        endpoint: how an endpoint is asked; its key is $OPENQWEN_API_KEY.
        load_options: as `load` takes them; what says how a model is loaded means nothing to an
            endpoint and is refused there.

    Raises:
        UserError: one line, as `load` or the endpoint gives it.
    """
    if not is_endpoint(text):
        return LocalModel(load(text, **load_options), text)
    given = [name for name, x in load_options.items() if x not in (None, False, "auto")]
    if given:
        raise UserError(
            f"{given[0].replace('_', '-')} says how to load a model; {text} has loaded its own"
        )
    url, _, name = text.partition("#")
    return EndpointModel(url, name or None, endpoint_key(), endpoint)
