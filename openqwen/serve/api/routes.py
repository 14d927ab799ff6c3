"""The API's routes.

add_api(app)
"""

from fastapi import FastAPI


def add_api(app: FastAPI) -> None:
    """Add the API to a server."""
