"""What authors published of the same measures, in percent, each with its source.

    published("mmlu")["Qwen-7B"]       # {"value": 58.2, "shots": 5, "source": "Qwen Technical …"}

Prompts and extraction of other papers differ from the harness's: such a value stands beside ours
and is no target.
"""

from collections.abc import Mapping
from typing import Any

QWEN = "Qwen Technical Report, Table"
SIZES = ("Qwen-1.8B", "Qwen-7B", "Qwen-14B")
CHAT_SIZES = ("Qwen-Chat-1.8B", "Qwen-Chat-7B", "Qwen-Chat-14B")

# task -> table, shots, values of Qwen-1.8B, 7B and 14B
_BASE: Mapping[str, tuple[str, int, tuple[float, ...]]] = {
    "mmlu": ("2", 5, (44.6, 58.2, 66.3)),
    "ceval": ("2", 5, (54.7, 63.5, 72.1)),
    "cmmlu": ("15", 5, (49.3, 62.2, 71.0)),
    "agieval": ("15", 0, (36.9, 45.8, 52.3)),
    "arc_easy": ("15", 0, (71.6, 84.0, 90.3)),
    "arc_challenge": ("15", 0, (53.2, 75.3, 84.4)),
    "boolq": ("16", 0, (68.0, 76.4, 86.2)),
    "commonsense_qa": ("16", 8, (60.1, 66.8, 70.3)),
    "nq_open": ("16", 0, (3.2, 17.4, 23.9)),
    "lambada": ("16", 0, (58.4, 67.9, 71.1)),
    "hellaswag": ("17", 0, (56.7, 75.1, 80.2)),
    "piqa": ("17", 0, (73.3, 77.9, 79.9)),
    "siqa": ("17", 0, (56.1, 69.9, 77.9)),
    "ocnli": ("17", 0, (39.0, 47.4, 57.9)),
}
# the same of the chat models, Table 5
_CHAT: Mapping[str, tuple[int, tuple[float, ...]]] = {
    "mmlu": (5, (43.9, 57.0, 66.5)),
    "ceval": (5, (50.3, 59.3, 71.7)),
}


def published(task: str) -> dict[str, dict[str, Any]]:
    """Return model -> value in percent, shots and source; empty where nothing is known."""
    found: dict[str, dict[str, Any]] = {}
    if task in _BASE:
        table, shots, values = _BASE[task]
        found |= _rows(SIZES, values, shots, f"{QWEN} {table}")
    if task in _CHAT:
        shots, values = _CHAT[task]
        found |= _rows(CHAT_SIZES, values, shots, f"{QWEN} 5")
    return found


def _rows(
    models: tuple[str, ...], values: tuple[float, ...], shots: int, source: str
) -> dict[str, dict[str, Any]]:
    return {
        model: {"value": value, "shots": shots, "source": source}
        for model, value in zip(models, values, strict=True)
    }
