"""What authors published of the same measures, in percent, each with its shots and source.

    published("humaneval")["Qwen2.5-Coder-0.5B-Instruct"]["value"]      # 61.6

Prompts and extraction of other papers differ from ours, and some values are of another part of the
benchmark: they stand beside ours and are no target.
"""

from collections.abc import Mapping
from typing import Any

MATHS = "Qwen2.5-Coder Technical Report (arXiv 2409.12186v3), mathematics of base models"
QWEN = "Qwen Technical Report (arXiv 2309.16609), Table"
CODER = "Qwen2.5-Coder Technical Report (arXiv 2409.12186v3), Table"

# task -> source -> shots -> model -> value
_VALUES: Mapping[str, Mapping[tuple[str, int], Mapping[str, float]]] = {
    "gsm8k": {
        (f"{QWEN} 2", 8): {"Qwen-1.8B": 21.2, "Qwen-7B": 51.7, "Qwen-14B": 61.3},
        (f"{QWEN} 5", 8): {"Qwen-Chat-1.8B": 19.5, "Qwen-Chat-7B": 54.1, "Qwen-Chat-14B": 59.3},
        (f"{QWEN} 12", 0): {"Math-Qwen-Chat-7B": 62.5, "Math-Qwen-Chat-14B": 69.8},
        (MATHS, 4): {"Qwen2.5-Coder-0.5B": 34.5},
    },
    "math": {
        (f"{QWEN} 2", 4): {"Qwen-1.8B": 5.6, "Qwen-7B": 11.6, "Qwen-14B": 24.8},
        (MATHS, 4): {"Qwen2.5-Coder-0.5B": 15.4},
    },
    "math500": {
        (f"{QWEN} 12", 0): {
            "Qwen-Chat-7B": 6.8,
            "Qwen-Chat-14B": 18.4,
            "Math-Qwen-Chat-7B": 17.2,
            "Math-Qwen-Chat-14B": 24.2,
        }
    },
    "math401": {
        (f"{QWEN} 12", 0): {
            "Qwen-Chat-7B": 57.4,
            "Qwen-Chat-14B": 70.1,
            "Math-Qwen-Chat-7B": 80.8,
            "Math-Qwen-Chat-14B": 85.0,
        }
    },
    "math23k": {
        (f"{QWEN} 12", 0): {
            "Qwen-Chat-7B": 51.2,
            "Qwen-Chat-14B": 67.0,
            "Math-Qwen-Chat-7B": 75.4,
            "Math-Qwen-Chat-14B": 78.4,
        }
    },
    "humaneval": {
        (f"{QWEN} 2", 0): {"Qwen-1.8B": 17.1, "Qwen-7B": 29.9, "Qwen-14B": 32.3},
        (f"{QWEN} 5", 0): {"Qwen-Chat-1.8B": 14.6, "Qwen-Chat-7B": 37.2, "Qwen-Chat-14B": 43.9},
        (f"{QWEN} 10", 0): {"Code-Qwen-7B": 40.2, "Code-Qwen-Chat-14B": 66.4},
        (f"{CODER} 5", 0): {"Qwen2.5-Coder-0.5B": 28.0},
        (f"{CODER} 16", 0): {"Qwen2.5-Coder-0.5B-Instruct": 61.6},
    },
    "mbpp": {
        (f"{QWEN} 2", 3): {"Qwen-1.8B": 14.8, "Qwen-7B": 31.6, "Qwen-14B": 40.8},
        (f"{QWEN} 10", 0): {"Code-Qwen-7B": 41.8, "Code-Qwen-Chat-14B": 52.4},
        (f"{CODER} 5", 3): {"Qwen2.5-Coder-0.5B": 40.4},
        (f"{CODER} 16 (EvalPlus' 378 problems)", 0): {"Qwen2.5-Coder-0.5B-Instruct": 52.4},
    },
    "bbh": {
        (f"{QWEN} 2", 3): {"Qwen-1.8B": 28.2, "Qwen-7B": 45.0, "Qwen-14B": 53.4},
        (f"{QWEN} 5", 3): {"Qwen-Chat-1.8B": 25.0, "Qwen-Chat-7B": 46.7, "Qwen-Chat-14B": 58.7},
    },
    "gaokao_bench": {
        (f"{QWEN} 15", 0): {"Qwen-1.8B": 44.9, "Qwen-7B": 52.5, "Qwen-14B": 61.9},
    },
}


def published(task: str) -> dict[str, dict[str, Any]]:
    """Return model -> value in percent, shots and source; empty where nothing is known."""
    return {
        model: {"value": value, "shots": shots, "source": source}
        for (source, shots), values in _VALUES.get(task, {}).items()
        for model, value in values.items()
    }
