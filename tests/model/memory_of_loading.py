"""Load a model in this fresh process and print what it cost, as JSON.

    python memory_of_loading.py MODEL

Anonymous memory (RssAnon), in bytes above the idle process that has imported everything; the peak
is sampled every 2 ms.
"""

import json
import sys
import threading
import time
from pathlib import Path

import torch

from openqwen.model.config import count_parameters
from openqwen.model.formats.directory import read_checkpoint


def anonymous_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not tell RssAnon")


def main():
    idle = peak = anonymous_bytes()
    done = threading.Event()

    def sample():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_bytes())

    sampler = threading.Thread(target=sample)
    sampler.start()
    began = time.monotonic()
    model = read_checkpoint(Path(sys.argv[1])).load_model(dtype=torch.bfloat16)
    seconds = time.monotonic() - began
    done.set()
    sampler.join()
    print(
        json.dumps(
            {
                "weights": 2 * count_parameters(model.config),
                "peak": peak - idle,
                "after": anonymous_bytes() - idle,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
