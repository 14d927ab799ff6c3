"""Functions run on several gloo ranks: processes of their own, met through a file, no port."""

import multiprocessing
import tempfile
import time
import traceback
from pathlib import Path

import torch
from torch import distributed


def run_ranks(function, count, *arguments, timeout_s=150):
    """Return what `function(*arguments)` returns on each of `count` ranks: numbers and tensors.

    `function` is a module's own; inside it the default process group is there, one thread a rank.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=_rank, args=(function, rank, count, arguments, folder))
            for rank in range(count)
        ]
        for process in ranks:
            process.start()
        deadline = time.monotonic() + timeout_s
        try:
            _wait(ranks, folder, deadline)
        finally:
            for process in ranks:
                if process.is_alive():
                    process.kill()
                process.join()
        return [torch.load(_result(folder, rank), weights_only=True) for rank in range(count)]


def _wait(ranks, folder, deadline):
    """Wait until all have ended; one that fails or a lapse of time fails the whole."""
    while any(process.is_alive() for process in ranks):
        assert time.monotonic() < deadline, f"the ranks had not ended in time\n{_errors(folder)}"
        if any(process.exitcode not in (None, 0) for process in ranks):
            time.sleep(1)  # others may be writing why they fail
            break
        time.sleep(0.02)
    codes = [process.exitcode for process in ranks]
    assert not any(codes), f"exit codes {codes}\n{_errors(folder)}"


def _errors(folder):
    return "\n".join(path.read_text() for path in sorted(Path(folder).glob("*.error")))


def _result(folder, rank):
    return Path(folder) / f"{rank}.result"


def _rank(function, rank, count, arguments, folder):
    try:
        torch.set_num_threads(1)
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count
        )
        torch.save(function(*arguments), _result(folder, rank))
        distributed.barrier()
        distributed.destroy_process_group()
    except BaseException:
        (Path(folder) / f"{rank}.error").write_text(f"rank {rank}\n{traceback.format_exc()}")
        raise
