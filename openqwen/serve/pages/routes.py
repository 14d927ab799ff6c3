"""`/pages/`: the static pages of other stages, served so that they save by themselves.

add_pages(app)          # reads app.state.config.pages, the folders to serve
"""

from fastapi import FastAPI


def add_pages(app: FastAPI) -> None:
    """Add the pages of the folders that the settings name; without any, nothing."""
