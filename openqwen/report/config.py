"""Settings of the report page; light to import."""

from openqwen.core.config import Config, setting


class ReportConfig(Config):
    """What the page at the end of a run shows."""

    title: str = setting("", "heading of the page; empty: the recipe's name")
