"""The child's side of train_speed.py: one trainer in a process of its own, asked for steps.

    serve_trainee(Trainer)        # class Trainer(Trainee), made of the job that --job says

Standard library and torch only: the peers' environments import it. All children draw equal batches
from the step's number. Memory is the highest resident size since the first step ended, above what
the process had before the model was made (imports alone).
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from turns import serve


class Trainee:
    """What takes steps.

    Attributes:
        versions: of the libraries that matter.
    """

    versions: dict[str, str]

    def __init__(self, job: dict[str, Any]) -> None:
        """Make model and optimiser of the job's shape."""
        raise NotImplementedError

    def step(self, inputs_BT: Tensor, targets_BT: Tensor) -> float:
        """Take one training step; return the mean loss in nats a token."""
        raise NotImplementedError

    def name_parts(self) -> None:
        """Prepare for the profiler, before the first step."""

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer a question other than those about steps and memory."""
        raise SystemExit(f"no such task: {question}")


def batch(job: dict[str, Any], number: int) -> tuple[Tensor, Tensor]:
    """Return input and target ids of a step, (B, T) each, equal in every process."""
    draw = torch.Generator().manual_seed(number)
    size = (job["sequences"], job["context"] + 1)
    ids_BT = torch.randint(job["vocab_size"], size, generator=draw)
    return ids_BT[:, :-1].contiguous(), ids_BT[:, 1:].contiguous()


def resident_bytes(field: str = "VmRSS") -> int:
    """Return the resident size now, or (VmHWM) its highest since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc, which needs Linux")


def name_ranges(owner: Any, names: list[str], label: str) -> None:
    """Let functions of a module or object run in a profiler's range of that name."""
    for name in names:
        function = getattr(owner, name)

        @functools.wraps(function)
        def named(*args: Any, _function: Any = function, **kwargs: Any) -> Any:
            with torch.profiler.record_function(label):
                return _function(*args, **kwargs)

        setattr(owner, name, named)


def profiled(trainee: Trainee, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Return seconds of the steps, and each operation's own by ranges, name and input shapes.

    Operations of all threads count, so where threads work side by side they add up to more than
    the steps took.
    """
    everywhere = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        record_shapes=True,
        experimental_config=everywhere,
    ) as profiler:
        start = time.perf_counter()
        for inputs_BT, targets_BT in batches:
            trainee.step(inputs_BT, targets_BT)
        seconds = time.perf_counter() - start
    found: dict[tuple[str, str, str], float] = {}
    for event in profiler.events():
        ranges, parent = [], event.cpu_parent
        while parent is not None:
            ranges.append(parent.name)
            parent = parent.cpu_parent
        shapes = json.dumps([s for s in event.input_shapes or [] if s])
        key = (" < ".join(ranges), event.name, shapes)
        found[key] = found.get(key, 0.0) + event.self_cpu_time_total / 1e6
    return {"seconds": seconds, "operations": [[*key, value] for key, value in found.items()]}


def serve_trainee(kind: type[Trainee]) -> None:
    """Make the trainer and answer until the parent ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", required=True, help="shape and sizes, JSON")
    job = json.loads(parser.parse_args().job)

    def prepare() -> tuple[dict[str, Any], Any]:
        before = resident_bytes()
        began = time.perf_counter()
        trainee = kind(job)
        making = time.perf_counter() - began
        if job.get("is_profiled"):
            trainee.name_parts()
        taken = 0

        def take_steps(count: int) -> dict[str, Any]:
            nonlocal taken
            batches = [batch(job, taken + i) for i in range(count)]
            losses = []
            start = time.perf_counter()
            for inputs_BT, targets_BT in batches:
                losses.append(trainee.step(inputs_BT, targets_BT))
            seconds = time.perf_counter() - start
            if not taken:  # what compiling took is not training's
                Path("/proc/self/clear_refs").write_text("5")
            taken += count
            return {"seconds": seconds, "losses": losses}

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            if question["task"] == "steps":
                return take_steps(question["count"])
            if question["task"] == "memory":
                return {"bytes": resident_bytes("VmHWM") - before}
            if question["task"] == "profile":
                return profiled(trainee, [batch(job, i) for i in range(question["count"])])
            return trainee.answer(question)

        def timed(question: dict[str, Any]) -> dict[str, Any]:
            used = time.process_time()
            found = answer(question)
            return found | {"cpu_seconds": time.process_time() - used}

        return {"versions": trainee.versions, "making_seconds": making}, timed

    serve(prepare)
