"""Settings of what a training run shows while it goes on; light to import."""

from typing import Any, ClassVar

from pydantic import field_validator

from openqwen.core.config import Config, setting

TRACKERS = ("auto", "tensorboard", "wandb", "trackio")


class TrackingConfig(Config):
    """Where metrics go beside metrics.jsonl, and a profiler trace; none of it changes the model."""

    trackers: tuple[str, ...] = setting(
        ("auto",), "auto (tensorboard where it is installed), tensorboard, wandb, trackio; or none"
    )
    project: str = setting("openqwen", "project in wandb and trackio", min_length=1)
    name: str = setting("", "name of the run there; empty: its folder and stage, as tiny/base")
    trace_first: int = setting(0, "first step of a profiler trace, counted from 1; 0: none", ge=0)
    trace_steps: int = setting(3, "steps that the trace covers", ge=1, le=1000)

    how_only: ClassVar[frozenset[str]] = frozenset(
        ("trackers", "project", "name", "trace_first", "trace_steps")
    )

    @field_validator("trackers", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",")]
            value = [] if value in ([""], ["none"]) else value
        return tuple(value) if isinstance(value, list) else value  # as strict types want it

    @field_validator("trackers")
    @classmethod
    def _known_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in TRACKERS:
                raise ValueError(f"{name!r} is not a tracker; there are {', '.join(TRACKERS)}")
        return names
