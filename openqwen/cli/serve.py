"""`openqwen serve`: an OpenAI-compatible server with a chat page."""

import argparse
from pathlib import Path
from typing import Any

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.serve.config import ModelConfig, ServeConfig, read_serve_file

NAME = "serve"
HELP = "serve a model: OpenAI's API, a chat page in the browser"
MANUAL = """\
Loopback only unless told otherwise, and never beyond this machine without a key. With --pages alone
it serves the pages that other verbs wrote, which then save marks and votes by themselves."""
DOCS = "docs/serving.md"
EXIT_CODES = {0: "drained and ended", 1: "a second signal ended it at once"}
EXAMPLE = """\
openqwen serve runs/tiny/chat --context 2048
openqwen serve --pages corpus/documents votes arena made"""

# options that are settings of the server, and of the model, by their names there
SERVER_OPTIONS = (
    "host", "port", "requests_per_minute", "max_concurrent", "max_waiting", "queue_timeout_s",
    "request_timeout_s", "drain_timeout_s", "max_body_bytes",
)  # fmt: skip
MODEL_OPTIONS = ("context", "quantize", "dtype", "device", "kv_bytes", "kv_dtype", "max_num_seqs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        help="a model directory such as runs/tiny/chat, a GGUF file, or a hub id",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a TOML file with [server] and one [[model]] for each"
    )
    _add_model_options(parser)
    _add_server_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the memory plan and leave, loading nothing"
    )


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    fields = ModelConfig.model_fields
    group.add_argument("--name", metavar="NAME", help=fields["name"].description)
    group.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a LoRA adapter on it, served by this name; may be given several times",
    )
    group.add_argument("--context", type=int, metavar="N", help=fields["context"].description)
    group.add_argument("--quantize", choices=("int8", "int4"), help=fields["quantize"].description)
    group.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16", "float16"),
        help=f"{fields['dtype'].description} (auto)",
    )  # fmt: skip
    group.add_argument("--device", metavar="NAME", help=f"{fields['device'].description} (auto)")
    group.add_argument("--kv-bytes", type=int, metavar="N", help=fields["kv_bytes"].description)
    group.add_argument(
        "--kv-dtype", choices=("auto", "int8"), help=f"{fields['kv_dtype'].description} (auto)"
    )
    group.add_argument(
        "--max-num-seqs", type=int, metavar="N",
        help=f"{fields['max_num_seqs'].description} ({fields['max_num_seqs'].default})",
    )  # fmt: skip
    group.add_argument("--system", metavar="TEXT", help=fields["default_system"].description)


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the server")
    for name in SERVER_OPTIONS:
        field = ServeConfig.model_fields[name]
        kind = type(field.default)
        group.add_argument(
            "--" + name.removesuffix("_s").replace("_", "-"),
            dest=name,
            type=kind,
            metavar="TEXT" if kind is str else "N",
            help=f"{field.description} ({field.default})",
        )
    group.add_argument(
        "--api-key",
        action="append",
        default=[],
        metavar="NAME=KEY",
        help="a key that clients must send, and the name that logs and limits know it by; "
        "NAME=@FILE reads it from a file; may be given several times",
    )
    fields = ServeConfig.model_fields
    group.add_argument(
        "--allow-no-key", action="store_true", help=fields["allow_no_key"].description
    )
    for option, name in (("--allowed-host", "allowed_hosts"), ("--cors-origin", "cors_origins")):
        group.add_argument(
            option, dest=name, action="append", default=[], metavar="NAME",
            help=fields[name].description,
        )  # fmt: skip
    group.add_argument(
        "--tools",
        metavar="NAMES",
        help=f"{fields['tools'].description}: calculator, plot, python; several with commas",
    )
    group.add_argument(
        "--no-chat", action="store_true", help="leave out the chat page (and what it needs)"
    )
    group.add_argument("--pages", nargs="+", metavar="DIR", help=fields["pages"].description)
    group.add_argument(
        "--log-contents", action="store_true", help=fields["log_contents"].description
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it; 0 after a drain."""
    config, models = read_settings(args)
    if args.dry_run:
        from openqwen.serve.memory import plan_memory

        plan = plan_memory(models)
        print(plan.text())
        plan.check()
        return 0
    from openqwen.serve.run import serve

    return serve(config, models)


def read_settings(args: argparse.Namespace) -> tuple[ServeConfig, tuple[ModelConfig, ...]]:
    """Return the settings of a command line and its configuration file.

    Raises:
        UserError: one line, if something is wrong, missing or would be ignored.
    """
    changes = _server_changes(args)
    given = {name: getattr(args, name) for name in MODEL_OPTIONS} | {
        "name": args.name,
        "default_system": args.system,
        "adapters": dict(_pair(text, "--adapter", "NAME=DIR") for text in args.adapter) or None,
    }
    given = {name: x for name, x in given.items() if x is not None}
    if args.config is None:
        config = parse_config(ServeConfig, changes, where="command line")
        models: tuple[ModelConfig, ...] = ()
    else:
        config, models = read_serve_file(Path(args.config), changes)
    if args.model is not None:
        if models:
            raise UserError(f"{args.config} has [[model]]; leave out MODEL, or the tables")
        models = (parse_config(ModelConfig, given | {"path": args.model}, where="command line"),)
    elif given:
        option = (
            next(iter(given)).replace("default_system", "system").replace("adapters", "adapter")
        )
        raise UserError(f"--{option.replace('_', '-')} is about MODEL, and none is given")
    if not models and not config.pages:
        raise UserError(
            "nothing to serve: give MODEL, --config FILE with [[model]], or --pages DIR"
        )
    return config, models


def _server_changes(args: argparse.Namespace) -> dict[str, Any]:
    changes = {name: getattr(args, name) for name in SERVER_OPTIONS}
    changes |= {
        "allow_no_key": args.allow_no_key or None,
        "log_contents": args.log_contents or None,
        "chat": False if args.no_chat else None,
        "allowed_hosts": args.allowed_hosts or None,
        "cors_origins": args.cors_origins or None,
        "pages": args.pages,
        "keys": dict(map(_read_key, args.api_key, range(1, 1 + len(args.api_key)))) or None,
        "tools": args.tools and [name.strip() for name in args.tools.split(",")],
    }
    return {name: x for name, x in changes.items() if x is not None}


def _read_key(text: str, number: int) -> tuple[str, dict[str, str]]:
    """Return a key's name and settings; one without a name is called key1, key2 …"""
    name, equals, key = text.partition("=")
    if not equals:
        name, key = f"key{number}", text
    if key.startswith("@"):
        try:
            key = Path(key[1:]).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserError(f"--api-key {name}: {key[1:]}: {error.strerror}") from None
    if not name or not key:
        raise UserError("--api-key: write NAME=KEY")
    return name, {"key": key}


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"{option} {text}: write {form}")
    return name, value
