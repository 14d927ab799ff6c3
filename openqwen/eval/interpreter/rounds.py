"""Tasks solved in rounds: the model writes a step for all of them at once, then their code runs.

    runs = solve(model, tasks, RoundsConfig(), is_chat=True)

Model calls are batched because an engine is several times faster on many sequences; kernels live
only while their task does, `wave` of them at most.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.result import RunResult
from openqwen.agent.interpreter.session import Interpreter
from openqwen.agent.interpreter.tool import NAME, describe_interpreter, interpreter_prompt
from openqwen.agent.models import Options, Prompt, Reply, TextModel
from openqwen.agent.react import STOPS, observation_text, parse_react
from openqwen.agent.sandbox.config import Level
from openqwen.agent.tools import ArgumentError, read_arguments
from openqwen.core.config import Config, setting
from openqwen.core.errors import UserError
from openqwen.eval.interpreter.checks import Evidence
from openqwen.eval.interpreter.task import Task

ENDLESS = "\nQuestion:"  # a base model goes on with a question of its own


class RoundsConfig(Config):
    """How tasks are solved. All values are ours."""

    max_steps: int = setting(4, "replies of one task at most", ge=1)
    max_new_tokens: int = setting(512, "tokens of one reply", ge=1)
    observation_characters: int = setting(
        2000, "characters of a result that the model reads", ge=40
    )
    wave: int = setting(32, "tasks, and so kernels, that are alive at a time", ge=1)
    workers: int = setting(2, "kernels that run code at the same time", ge=1)
    call_timeout_s: float = setting(20.0, "seconds of one call", gt=0)
    memory_mb: int = setting(1024, "memory of one session", ge=128)
    level: Level = setting("full", "weakest isolation that is accepted")

    def interpreter(self) -> InterpreterConfig:
        """Return the settings of one session."""
        plain = {"call_timeout_s": self.call_timeout_s, "memory_mb": self.memory_mb}
        return InterpreterConfig.model_validate(plain | {"level": self.level})


@dataclass
class Run:
    """One task as it is being solved.

    Attributes:
        task: what is solved.
        prompt: the user's turn.
        text: the assistant's turn so far: replies and observations.
        codes: programs that the model wrote, in order.
        results: what came of them.
        final: the final response.
        ended: why it ended: `final`, `no action`, `length`, `steps`; "" while it goes on.
        files: contents that the check needs, read before the session ended.
        level: the isolation that was in force; "" where no code ran.
    """

    task: Task
    prompt: str
    text: str = ""
    codes: list[str] = field(default_factory=list)
    results: list[RunResult] = field(default_factory=list)
    final: str = ""
    ended: str = ""
    steps: int = 0
    files: dict[str, bytes | UserError] = field(default_factory=dict)
    level: str = ""
    python: Interpreter | None = None

    def evidence(self) -> Evidence:
        """Return what the check may look at."""
        texts = [part for r in self.results for part in (r.stdout, r.value or "") if part]
        figures = [record for r in self.results for record in r.records]
        images = [image for r in self.results for image in r.images]
        return Evidence("\n".join(texts), self.final, figures, images, self._read)

    def _read(self, name: str) -> bytes:
        found = self.files[name]
        if isinstance(found, UserError):
            raise found
        return found


def solve(
    model: TextModel, tasks: Sequence[Task], config: RoundsConfig, *, is_chat: bool
) -> Iterator[Run]:
    """Yield finished tasks, wave by wave, in their order.

    Raises:
        UserError: if the machine can't isolate.
    """
    options = Options(config.max_new_tokens, stop=(*STOPS, ENDLESS))
    with ThreadPoolExecutor(config.workers) as pool:
        for begin in range(0, len(tasks), config.wave):
            runs = [start(task) for task in tasks[begin : begin + config.wave]]
            try:
                while live := [run for run in runs if not run.ended]:
                    prompts = [_prompt(run, is_chat=is_chat) for run in live]
                    replies = model.reply(prompts, options)
                    list(pool.map(step, live, replies, [config] * len(live)))
            finally:
                for run in runs:
                    finish(run)
            yield from runs


def start(task: Task) -> Run:
    """Return a task with nothing done yet."""
    return Run(task, interpreter_prompt(task.query()))


def step(run: Run, reply: Reply, config: RoundsConfig) -> None:
    """Take one reply: run its code, or end the task."""
    run.steps += 1
    found = parse_react(reply.text)
    run.text += found.text if found.action is not None else reply.text
    if found.action is None:
        is_cut = reply.finish_reason == "length"
        run.final = found.final if found.final is not None else "" if is_cut else found.thought
        run.ended = "length" if is_cut else "final" if found.final is not None else "no action"
    elif reply.finish_reason == "length" and not _is_closed(found.action_input):
        run.ended = "length"
    else:
        observation = _observe(run, found.action, found.action_input, config)
        run.text += observation_text(observation)
        run.ended = "steps" if run.steps >= config.max_steps else ""
    if run.ended:
        finish(run)


def run_code(run: Run, code: str, config: RoundsConfig) -> RunResult:
    """Run one program in the task's session, which its first program opens."""
    if run.python is None:
        python = Interpreter(
            config.interpreter(),
            files={name: text.encode() for name, text in run.task.files.items()},
            startup=startup_code(run.task),
        )
        run.python = python.__enter__()
        run.level = python.level
    result = run.python.run(code)
    run.codes.append(code)
    run.results.append(result)
    return result


def finish(run: Run) -> None:
    """Read the files that the check needs and close the session."""
    if run.python is not None:
        for name in run.task.check.get("files", ()):
            try:
                run.files[name] = run.python.get(name)
            except UserError as error:  # no such file, or something else in its place
                run.files[name] = error
        run.python.close()
        run.python = None
    for name in run.task.check.get("files", ()):
        run.files.setdefault(name, UserError(f"{name} was not written"))


def startup_code(task: Task) -> str:
    """Return the trusted code that a task's session begins with; it leaves no name behind."""
    parts = []
    if "figure" in task.check:
        recorder = Path(__file__).with_name("inside_figures.py").read_text(encoding="utf-8")
        parts.append(recorder + "\nwatch_figures()\n")
    if task.setup:
        parts.append(task.setup)
    return "\n".join(f"exec({part!r}, {{'__name__': 'openqwen_startup'}})" for part in parts)


def _observe(run: Run, action: str, action_input: str, config: RoundsConfig) -> str:
    if action.strip().casefold() != NAME:
        return f"There is no tool called {action.strip()[:60]!r}; the only one is {NAME}."
    try:
        code = str(read_arguments(describe_interpreter(), action_input)["code"])
    except ArgumentError as error:
        return f"The code could not be read: {error}"
    return run_code(run, code, config).text(config.observation_characters)


def _prompt(run: Run, *, is_chat: bool) -> Prompt:
    if not is_chat:
        return f"{run.prompt}\n{run.text}"
    begun = [{"role": "assistant", "content": run.text}] if run.text else []
    return [{"role": "user", "content": run.prompt}, *begun]


def _is_closed(action_input: str) -> bool:
    """Return whether a program's fence was closed before the reply was cut."""
    return action_input.count("```") >= 2
