"""The chat page at `/chat/`.

mount_chat(app)
"""

from fastapi import FastAPI


def mount_chat(app: FastAPI) -> None:
    """Add the chat page to a server."""
