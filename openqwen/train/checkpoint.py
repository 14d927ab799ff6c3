"""Training checkpoints: safetensors and JSON, atomic, checksummed, the newest whole one wins.

save_checkpoint(directory, step, tensors, facts, keep=2)
step, tensors, facts = load_newest(directory)      # None where there is none
"""

import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, flush_directory, read_json, sha256_file, write_json
from openqwen.core.log import warn

TENSORS, FACTS = "state.safetensors", "state.json"


def save_checkpoint(
    directory: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, keep: int
) -> None:
    """Write checkpoint `step`, then remove all but the newest `keep`.

    The facts file, written last, holds the tensors' sha256: without it the checkpoint is no
    checkpoint.
    """
    target = directory / f"step-{step:08}"
    shutil.rmtree(target, ignore_errors=True)
    with atomic_path(target / TENSORS) as temporary:
        save_file({name: t.contiguous() for name, t in tensors.items()}, temporary)
    sha256 = sha256_file(target / TENSORS)
    write_json(target / FACTS, {"step": step, "sha256": sha256, **facts})
    flush_directory(directory)
    for old in sorted(directory.glob("step-*"))[:-keep]:
        shutil.rmtree(old)


def load_newest(directory: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return step, tensors and facts of the newest whole checkpoint; None where there is none.

    A torn or changed one is passed over, with a line that says so.
    """
    for target in sorted(directory.glob("step-*"), reverse=True):
        if not (target / FACTS).is_file():
            continue  # the process was killed while writing it
        try:
            facts = read_json(target / FACTS)
            if sha256_file(target / TENSORS) != facts["sha256"]:
                raise UserError(f"{target / TENSORS} has other bytes than when it was written")
            return facts["step"], load_file(target / TENSORS), facts
        except (UserError, OSError, KeyError, SafetensorError) as error:
            warn(f"{target.name} is damaged ({error}); the checkpoint before it is used")
    return None
