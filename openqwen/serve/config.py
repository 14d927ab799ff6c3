"""What a server serves and how far it goes: settings of `openqwen serve`; light to import.

    config, models = read_serve_file(Path("serve.toml"))

A file has a table `[server]` and one `[[model]]` for each model; `docs/serving.md` shows one.
"""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from openqwen.core.config import Config, parse_config, setting
from openqwen.core.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TOOLS = ("calculator", "plot", "python")


class KeyConfig(Config):
    """One key and what its holder may do."""

    key: str = setting(..., "the secret that clients send as Authorization: Bearer", min_length=1)
    requests_per_minute: int | None = setting(None, "in place of the server's own", ge=0)
    max_concurrent: int | None = setting(None, "in place of the server's own", ge=0)


class ServeConfig(Config):
    """One server: address, keys, bounds."""

    host: str = setting("127.0.0.1", "address to listen on; beyond this machine it needs a key")
    port: int = setting(8000, "port; 0 takes any that is free", ge=0, le=65535)
    keys: dict[str, KeyConfig] = setting({}, "keys by the name that logs and limits know them by")
    allow_no_key: bool = setting(False, "serve other machines without a key")
    allowed_hosts: tuple[str, ...] = setting(
        (), "names in the Host header beside this machine's own; empty takes any where the address "
        "is not a loopback one",
    )  # fmt: skip
    cors_origins: tuple[str, ...] = setting((), "origins whose pages may call the API")
    requests_per_minute: int = setting(0, "of one client; 0 for no bound", ge=0)
    max_concurrent: int = setting(0, "requests of one client under way; 0 for no bound", ge=0)
    max_waiting: int = setting(256, "requests that wait for their turn, all clients", ge=1)
    max_waiting_tokens: int = setting(
        1_000_000, "tokens of all that wait, of a reply at most reserve_tokens; one request is "
        "always let in", ge=1,
    )  # fmt: skip
    reserve_tokens: int = setting(
        1024, "tokens of KV memory kept free ahead of each running reply; those that it may grow "
        "beyond are taken as they come", ge=1,
    )  # fmt: skip
    queue_timeout_s: float = setting(120.0, "seconds a request may wait for its turn", gt=0)
    request_timeout_s: float = setting(600.0, "seconds from a request's arrival to its end", gt=0)
    client_timeout_s: float = setting(30.0, "seconds that a client may stand still, reading", gt=0)
    body_timeout_s: float = setting(30.0, "seconds for a request's head, and for its body", gt=0)
    idle_timeout_s: float = setting(15.0, "seconds that a connection may wait for a request", gt=0)
    drain_timeout_s: float = setting(30.0, "seconds that running replies have after SIGTERM", ge=0)
    max_body_bytes: int = setting(4_000_000, "bytes of a request's body", ge=1)
    max_connections: int = setting(1000, "open connections; then the longest idle one goes", ge=8)
    login_hours: float = setting(12.0, "hours that a browser stays logged in", gt=0)
    log_contents: bool = setting(False, "write prompts and replies to the log, too")
    chat: bool = setting(True, "show the chat page at /chat/")
    tools: tuple[Literal["calculator", "plot", "python"], ...] = setting(
        (), "tools that the chat page may run"
    )
    pages: tuple[str, ...] = setting((), "folders whose pages are served and save by themselves")

    @property
    def is_local(self) -> bool:
        """Return whether only this machine can connect."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.is_local and not self.keys and not self.allow_no_key:
            raise ValueError(
                f"host = {self.host!r} lets other machines in, and there is no key: give --api-key "
                "NAME=KEY, or --allow-no-key to serve anybody"
            )
        secrets = [entry.key for entry in self.keys.values()]
        if len(set(secrets)) < len(secrets):
            raise ValueError("keys: two names have the same key")
        for name, entry in self.keys.items():
            if not (entry.key.isascii() and entry.key.isprintable()) or " " in entry.key:
                raise ValueError(f"keys.{name}: a key has printable ASCII characters, no space")
        for origin in self.cors_origins:
            if origin != "*" and "://" not in origin:
                raise ValueError(
                    f"cors_origins: {origin!r} is no origin; write https://example.org"
                )
        return self


class ModelConfig(Config):
    """One model and the adapters on it."""

    path: str = setting(..., "a model directory, GGUF file or hub id", min_length=1)
    name: str | None = setting(None, "what clients call it (the path's last part)", min_length=1)
    adapters: dict[str, str] = setting({}, "LoRA adapters by the name that clients call them")
    context: int | None = setting(None, "tokens of prompt and reply (the file's own)", ge=1)
    quantize: Literal["int8", "int4"] | None = setting(None, "weights of 8 or 4 bits")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting("auto", "compute type")
    device: str = setting("auto", "auto, cpu, cuda, cuda:1 …")
    kv_bytes: int | None = setting(
        None, "bound on KV memory in bytes (a quarter of memory, shared by all models)", ge=1
    )
    kv_dtype: Literal["auto", "int8"] = setting("auto", "int8 keeps keys and values in half")
    max_num_seqs: int = setting(32, "replies computed at the same time", ge=1)
    max_tokens_per_step: int = setting(128, "tokens a step computes, prompts' included", ge=1)
    default_system: str | None = setting(
        None, 'system prompt of conversations without one; "none" for no message (the model\'s own)'
    )

    @property
    def served_name(self) -> str:
        """Return what clients call the model."""
        return self.name or Path(self.path).name.removesuffix(".gguf") or self.path


def check_models(models: tuple[ModelConfig, ...], *, where: str) -> None:
    """Refuse two models or adapters of one name.

    Raises:
        UserError: naming it.
    """
    names = [name for model in models for name in (model.served_name, *model.adapters)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{where}: two models are called {twice!r}; give one another name")


def read_serve_file(
    path: Path, changes: dict[str, Any] | None = None
) -> tuple[ServeConfig, tuple[ModelConfig, ...]]:
    """Read a configuration file; `changes` of the command line go before its `[server]`.

    Raises:
        UserError: one line if it can't be read, is no TOML, or a setting is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}") from None
    unknown = next((name for name in data if name not in ("server", "model")), None)
    if unknown is not None:
        raise UserError(f"{path}: {unknown} is no table; there are [server] and [[model]]")
    tables = data.get("model", [])
    if not isinstance(tables, list) or not isinstance(data.get("server", {}), dict):
        raise UserError(f"{path}: write [server] once, and [[model]] for each model")
    config = parse_config(
        ServeConfig, data.get("server", {}) | (changes or {}), where=f"{path}: [server]"
    )
    models = tuple(
        parse_config(ModelConfig, table, where=f"{path}: [[model]] {number}")
        for number, table in enumerate(tables, 1)
    )
    check_models(models, where=str(path))
    return config, models
