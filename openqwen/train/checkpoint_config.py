"""Which checkpoints stay, and how they are written; light to import."""

from typing import ClassVar

from openqwen.core.config import Config, setting


class CheckpointsConfig(Config):
    """Beside the newest ones (`keep_checkpoints`): which stay for good, and how they are written.

    What stays for good lies in `checkpoints/` of the stage's directory, linked to the same bytes.
    """

    keep_every_steps: int = setting(
        0, "a checkpoint of a step that this divides stays for good; 0: none", ge=0
    )
    best_measure: str = setting(
        "",
        "validation measure whose best checkpoint stays for good, as groups.en.loss; empty: none",
    )
    best_is: str = setting(
        "lowest", "which value of best_measure is the best", pattern="^(lowest|highest)$"
    )
    asynchronous: bool = setting(
        False, "copy the state and write it beside the next steps; needs memory for the copy"
    )

    how_only: ClassVar[frozenset[str]] = frozenset(
        ("keep_every_steps", "best_measure", "best_is", "asynchronous")
    )
