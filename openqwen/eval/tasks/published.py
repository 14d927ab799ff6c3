"""What authors published of the same benchmarks, in percent, each with its shots and source.

    published("mmlu")["Qwen-7B"]["value"]                               # 58.2
    published("humaneval")["Qwen2.5-Coder-0.5B-Instruct"]["value"]      # 61.6

Prompts and extraction of other papers differ from ours, and some values are of another part of the
benchmark: they stand beside ours and are no target. What was published of our own measures stands
with them (`openqwen/eval/tool_use/measure.py` and its neighbours).
"""

from collections.abc import Mapping
from typing import Any

MATHS = "Qwen2.5-Coder Technical Report (arXiv 2409.12186v3), mathematics of base models"
QWEN = "Qwen Technical Report (arXiv 2309.16609), Table"
CODER = "Qwen2.5-Coder Technical Report (arXiv 2409.12186v3), Table"


def _base(*values: float) -> dict[str, float]:
    """Return the report's base models' values, 1.8B, 7B and 14B in this order."""
    return dict(zip(("Qwen-1.8B", "Qwen-7B", "Qwen-14B"), values, strict=True))


def _chat(*values: float) -> dict[str, float]:
    """Return the report's chat models' values, in the same order."""
    return {name.replace("Qwen-", "Qwen-Chat-"): value for name, value in _base(*values).items()}


# task -> source and shots -> model -> value
_VALUES: Mapping[str, Mapping[tuple[str, int], Mapping[str, float]]] = {
    "mmlu": {
        (f"{QWEN} 2", 5): _base(44.6, 58.2, 66.3),
        (f"{QWEN} 5", 5): _chat(43.9, 57.0, 66.5),
    },
    "ceval": {
        (f"{QWEN} 2", 5): _base(54.7, 63.5, 72.1),
        (f"{QWEN} 5", 5): _chat(50.3, 59.3, 71.7),
    },
    "cmmlu": {(f"{QWEN} 15", 5): _base(49.3, 62.2, 71.0)},
    "agieval": {(f"{QWEN} 15", 0): _base(36.9, 45.8, 52.3)},
    "arc_easy": {(f"{QWEN} 15", 0): _base(71.6, 84.0, 90.3)},
    "arc_challenge": {(f"{QWEN} 15", 0): _base(53.2, 75.3, 84.4)},
    "boolq": {(f"{QWEN} 16", 0): _base(68.0, 76.4, 86.2)},
    "commonsense_qa": {(f"{QWEN} 16", 8): _base(60.1, 66.8, 70.3)},
    "nq_open": {(f"{QWEN} 16", 0): _base(3.2, 17.4, 23.9)},
    "lambada": {(f"{QWEN} 16", 0): _base(58.4, 67.9, 71.1)},
    "hellaswag": {(f"{QWEN} 17", 0): _base(56.7, 75.1, 80.2)},
    "piqa": {(f"{QWEN} 17", 0): _base(73.3, 77.9, 79.9)},
    "siqa": {(f"{QWEN} 17", 0): _base(56.1, 69.9, 77.9)},
    "ocnli": {(f"{QWEN} 17", 0): _base(39.0, 47.4, 57.9)},
    "gsm8k": {
        (f"{QWEN} 2", 8): _base(21.2, 51.7, 61.3),
        (f"{QWEN} 5", 8): _chat(19.5, 54.1, 59.3),
        (f"{QWEN} 12", 0): {"Math-Qwen-Chat-7B": 62.5, "Math-Qwen-Chat-14B": 69.8},
        (MATHS, 4): {"Qwen2.5-Coder-0.5B": 34.5},
    },
    "math": {
        (f"{QWEN} 2", 4): _base(5.6, 11.6, 24.8),
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
        (f"{QWEN} 2", 0): _base(17.1, 29.9, 32.3),
        (f"{QWEN} 5", 0): _chat(14.6, 37.2, 43.9),
        (f"{QWEN} 10", 0): {"Code-Qwen-7B": 40.2, "Code-Qwen-Chat-14B": 66.4},
        (f"{CODER} 5", 0): {"Qwen2.5-Coder-0.5B": 28.0},
        (f"{CODER} 16", 0): {"Qwen2.5-Coder-0.5B-Instruct": 61.6},
    },
    "mbpp": {
        (f"{QWEN} 2", 3): _base(14.8, 31.6, 40.8),
        (f"{QWEN} 10", 0): {"Code-Qwen-7B": 41.8, "Code-Qwen-Chat-14B": 52.4},
        (f"{CODER} 5", 3): {"Qwen2.5-Coder-0.5B": 40.4},
        (f"{CODER} 16 (EvalPlus' 378 problems)", 0): {"Qwen2.5-Coder-0.5B-Instruct": 52.4},
    },
    "bbh": {
        (f"{QWEN} 2", 3): _base(28.2, 45.0, 53.4),
        (f"{QWEN} 5", 3): _chat(25.0, 46.7, 58.7),
    },
    "gaokao_bench": {
        (f"{QWEN} 15", 0): _base(44.9, 52.5, 61.9),
    },
}


def published(task: str) -> dict[str, dict[str, Any]]:
    """Return model -> value in percent, shots and source; empty where nothing is known."""
    return {
        model: {"value": value, "shots": shots, "source": source}
        for (source, shots), values in _VALUES.get(task, {}).items()
        for model, value in values.items()
    }
