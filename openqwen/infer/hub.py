"""Models by their id on a hub: `owner/name`, fetched through huggingface-hub where it is installed.

    path = find_model("Qwen/Qwen2.5-0.5B")            # what is here by that name comes first
    path = find_model("Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q8_0.gguf")

Only data is taken: safetensors or one GGUF file, settings, vocabulary, licence. Never code; pickled
.bin weights only where a model has no others. Files stay in the hub library's own cache, which
other programs share; what is there is used when the hub can't be reached.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.log import warn

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w.-]+\.gguf)?")
SETTINGS = re.compile(r"[\w.-]+\.(json|tiktoken|jinja)|(LICEN[SC]E|NOTICE|COPYING).*")
TIMEOUT_S = 10.0


def find_model(name: str | Path) -> Path:
    """Return the path of a model: the path itself, or what a hub id has fetched.

    A string that names nothing here and reads as owner/name is a hub id.

    Raises:
        UserError: one line if a hub id's model can't be had.
    """
    if isinstance(name, Path) or Path(name).exists() or not HUB_ID.fullmatch(name):
        return Path(name)
    try:
        return fetch_from_hub(name)
    except UserError as error:
        raise UserError(f"{name} does not exist here; {error}") from None


def fetch_from_hub(hub_id: str, *, into: Path | None = None) -> Path:
    """Return the directory, or the GGUF file, of a model on the hub.

    Args:
        hub_id: owner/name, or owner/name/file.gguf.
        into: a directory to put the files into; None for the hub library's cache.

    Raises:
        UserError: one line if the library is missing, the hub out of reach and the cache empty, or
            the model not there, not public, or without weights that we read.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        raise UserError(f"to fetch {hub_id} from the hub: pip install 'openqwen[hub]'") from None
    owner, name, *file = hub_id.split("/")
    model = f"{owner}/{name}"
    unreachable = (OSError, getattr(errors, "HTTPError", OSError))  # a class of its HTTP library
    try:
        found = huggingface_hub.model_info(model, timeout=TIMEOUT_S)
        names = [entry.rfilename for entry in found.siblings or []]
        wanted = _choose_files(model, names, file[0] if file else None)
        warn(f"{hub_id}: {len(wanted)} files from the hub")
        path = Path(huggingface_hub.snapshot_download(model, allow_patterns=wanted, local_dir=into))
    except errors.GatedRepoError:
        raise UserError(
            f"{model} on the hub asks for consent: give it on its page, then log in (hf auth login)"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"the hub has no public model {model} (hf auth login for private ones)"
        ) from None
    except errors.HFValidationError:
        raise UserError(f"{model} is no name the hub allows") from None
    except unreachable as error:
        path = _from_cache(hub_id, model, file[0] if file else "config.json", error)
    return _weights_of(path, file[0] if file else None)


def _choose_files(model: str, names: Sequence[str], file: str | None) -> list[str]:
    """Return the files to take: weights of one kind, and all settings beside them."""
    here = [name for name in names if "/" not in name]
    settings = [n for n in here if SETTINGS.fullmatch(n)]
    ggufs = [n for n in here if n.endswith(".gguf")]
    if file is not None:
        if file not in ggufs:
            raise UserError(f"{model} on the hub has no file {file}")
        return [file]
    safetensors = [n for n in here if n.endswith(".safetensors")]
    if safetensors:
        return [*safetensors, *settings]
    if len(ggufs) > 1:
        shown = ", ".join(ggufs[:3]) + (" …" if len(ggufs) > 3 else "")
        raise UserError(
            f"{model} on the hub holds {len(ggufs)} GGUF files; name one: {model}/{ggufs[0]} "
            f"({shown})"
        )
    weights = ggufs or [n for n in here if n.endswith(".bin")]
    if not weights:
        raise UserError(f"{model} on the hub has no safetensors, GGUF or .bin weights")
    return [*weights, *settings]


def _from_cache(hub_id: str, model: str, file: str, error: Exception) -> Path:
    """Return what an earlier fetch has left in the hub library's cache, if `file` is there."""
    import huggingface_hub

    reason = " ".join(str(error).split())[:120] or type(error).__name__
    try:
        path = Path(
            huggingface_hub.snapshot_download(model, allow_patterns=file, local_files_only=True)
        )
    except (OSError, ValueError):
        raise UserError(
            f"can't fetch {hub_id}: the hub can't be reached ({reason}); check the network"
        ) from None
    warn(f"{hub_id}: the hub can't be reached ({reason}); using what was fetched before")
    return path


def _weights_of(path: Path, file: str | None) -> Path:
    """Return the file asked for, or the only GGUF file, or the directory."""
    if file is not None:
        if not (path / file).is_file():
            raise UserError(f"{path} has no {file}; it was not fetched before")
        return path / file
    return path
