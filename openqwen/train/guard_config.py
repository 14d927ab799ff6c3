"""What training does about a loss that is no number, or that jumps; light to import."""

from typing import Self

from pydantic import model_validator

from openqwen.core.config import Config, setting


class GuardConfig(Config):
    """Each update is judged by its loss and gradient norm before it is taken.

    stop: the run ends with one line. skip: this update is dropped. rollback: the state of an
    earlier checkpoint is taken up again and the steps in question are left out the second time.
    """

    non_finite: str = setting(
        "stop",
        "a loss or gradient norm that is not finite: stop, skip or rollback",
        pattern="^(stop|skip|rollback)$",
    )
    spike: str = setting(
        "off",
        "a loss or gradient norm far above the last ones: off, stop, skip or rollback",
        pattern="^(off|stop|skip|rollback)$",
    )
    loss_deviations: float = setting(
        6.0, "standard deviations above the window's mean from which a loss is a spike", gt=0
    )
    norm_multiple: float = setting(
        10.0, "multiple of the window's median from which a gradient norm is a spike", gt=1
    )
    window_steps: int = setting(128, "accepted updates that mean and median are taken over", ge=2)
    quiet_steps: int = setting(
        32, "accepted updates before the first judgement of spikes; at most window_steps", ge=2
    )
    rollback_steps: int = setting(
        1, "steps left out the second time: this many, the last of them the one judged", ge=1
    )
    most_incidents: int = setting(10, "skips and rollbacks after which the run stops", ge=0)

    @model_validator(mode="after")
    def _the_window_can_be_quiet(self) -> Self:
        if self.quiet_steps > self.window_steps:
            raise ValueError(
                f"quiet_steps = {self.quiet_steps} must be at most window_steps = "
                f"{self.window_steps}, or no spike is ever found"
            )
        return self
