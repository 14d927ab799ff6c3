"""`openqwen agent`: a model that works with tools, in the terminal or on one question."""

import argparse
import sys
from pathlib import Path

from openqwen.agent.config import AgentConfig
from openqwen.cli.model_options import add_model_arguments, loading_options

NAME = "agent"
HELP = "let a model work with tools: calculator, files, search, plots, Python"
MANUAL = """\
The model is a directory, a GGUF file, a hub id or an OpenAI-compatible endpoint. Python runs in
the sandbox only."""
DOCS = "docs/agent.md"
EXIT_CODES = {0: "answered (with --ask)", 1: "ended without an answer"}
EXAMPLE = 'openqwen agent runs/tiny/chat --tools calculator --ask "What is 17 * 23?"'
_OPTIONS = {
    "steps": "max_steps",
    "seconds": "max_seconds",
    "tokens": "max_tokens",
    "max_new_tokens": "max_new_tokens",
    "malformed": "max_malformed",
    "repeats": "max_repeats",
    "tool_timeout": "tool_timeout_s",
    "observation": "max_observation_chars",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    add_model_arguments(parser)
    tools = parser.add_argument_group("tools")
    tools.add_argument(
        "--tools",
        default="calculator",
        metavar="NAMES",
        help="of calculator, files, search, plot, python; several with commas (calculator)",
    )
    tools.add_argument("--folder", metavar="DIR", help="what files and search may see")
    tools.add_argument(
        "--form",
        choices=("react", "tool_call", "functions"),
        default=AgentConfig.model_fields["form"].default,
        help="how tools are told and called: ReAct, Qwen2.5's <tool_call>, OpenAI's functions "
        "(react)",
    )
    parser.add_argument("--ask", metavar="TEXT", help="answer this and leave; - reads the input")
    parser.add_argument("--trace", metavar="DIR", help="keep each run's trace and files here")
    parser.add_argument("--quiet", action="store_true", help="with --ask: print the answer alone")
    bounds = parser.add_argument_group("bounds and sampling")
    for option, name in _OPTIONS.items():
        field = AgentConfig.model_fields[name]
        bounds.add_argument(
            "--" + option.replace("_", "-"),
            type=type(field.default),
            metavar="N" if isinstance(field.default, int) else "X",
            help=f"{field.description} ({field.default})",
        )


def run(args: argparse.Namespace) -> int:
    """Open the model and its tools; answer one question, or until the input ends.

    Returns 0; of `--ask` 1 where there is no answer, and 2 where the model can't be asked.
    """
    from openqwen.agent.endpoint import EndpointModel
    from openqwen.agent.loop import run_agent
    from openqwen.agent.models import LocalModel
    from openqwen.agent.open_model import open_model
    from openqwen.agent.terminal import Terminal, next_folder
    from openqwen.agent.toolbox.catalogue import open_tools
    from openqwen.core.config import parse_config
    from openqwen.core.errors import UserError
    from openqwen.core.log import warn

    given = {name: getattr(args, option) for option, name in _OPTIONS.items()}
    settings = {name: x for name, x in given.items() if x is not None} | {"form": args.form}
    config = parse_config(AgentConfig, settings, where="command line")
    if args.quiet and args.ask is None:
        raise UserError("--quiet goes with --ask TEXT")
    names = [name.strip() for name in args.tools.split(",") if name.strip()]
    folder = Path(args.folder) if args.folder else None
    trace = Path(args.trace) if args.trace else None
    with open_tools(names, folder) as tools:
        model = open_model(args.model, **loading_options(args))
        if isinstance(model, LocalModel):
            warn(f"{model.name}: {model.lm.describe()}")
        elif isinstance(model, EndpointModel):
            warn(f"{model.served}: {model.describe()}")
        question = sys.stdin.read().strip() if args.ask == "-" else args.ask
        if question is not None and not question.strip():
            raise UserError("--ask needs a question")
        if question is not None and args.quiet:
            kept = None if trace is None else next_folder(trace)
            done = run_agent(model, tools, question, config, folder=kept)
            if done.reason == "error":
                raise UserError(done.error)
            print(done.answer)
            warn(done.ending())
            return 0 if done.is_answered else 1
        terminal = Terminal(model, tools, config, stdin=sys.stdin, stdout=sys.stdout, folder=trace)
        if question is not None:
            done = terminal.ask(question)
            return 2 if done.reason == "error" else 0 if done.is_answered else 1
        terminal.run()
    return 0
