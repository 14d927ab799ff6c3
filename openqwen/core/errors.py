"""The one exception that means "the user can mend this".

    raise UserError("my.toml: base.num_steps must be at least 1, got 0")

The command line prints it as one line and exits with code 2; everything else is a defect of ours
and keeps its traceback.
"""


class UserError(Exception):
    """Bad input from a user: a one-line message with the bad value, where it stood and the fix."""


class PartDone(Exception):  # noqa: N818
    """Nothing went wrong: this process has done its part of a stage, the first one finishes it."""
