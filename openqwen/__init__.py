"""openqwen: from raw web pages to an aligned chat model, after the Qwen Technical Report.

Only names are bound here; torch is loaded when one of them is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openqwen.infer.load import LanguageModel, load
    from openqwen.tokenizer.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["LanguageModel", "Tokenizer", "__version__", "load"]

_HOMES = {
    "LanguageModel": "openqwen.infer.load",
    "Tokenizer": "openqwen.tokenizer.tokenizer",
    "load": "openqwen.infer.load",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its room on first use."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'openqwen' has no attribute {name!r}")
