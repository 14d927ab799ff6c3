"""Settings of the data engine; light, so that recipes import it freely."""

from typing import Literal

from openqwen.core.config import Config, setting


class EngineConfig(Config):
    """What runs the tasks of the data pipeline; none of it changes the bytes that come out."""

    name: Literal["local", "ray"] = setting(
        "local", "processes of this machine, or a Ray cluster (pip install 'openqwen[ray]')"
    )
    num_workers: int = setting(
        0,
        "tasks at the same time; 0 is one a processor, on Ray one a processor of the cluster",
        ge=0,
    )
    max_attempts: int = setting(
        3, "times a task is begun whose worker was killed before the run stops", ge=1
    )
    address: str = setting("", "of a running Ray cluster; empty starts one on this machine")
