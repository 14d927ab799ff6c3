"""Programs that models wrote, run in the sandbox, a few at a time, each only once.

    judge = Judge(setting.responses)
    judge.run([Program("assert 1 == 1")])
    judge.outcome(Program("assert 1 == 1"))["status"]        # "ok"

Nothing runs outside the sandbox, and where the sandbox refuses, so does this (`UserError`).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.core.runtime import count_processors
from openqwen.eval.generative.pass_at_k import pass_at_k
from openqwen.eval.generative.stock import scored_by
from openqwen.eval.responses import Responses

Row = Mapping[str, Any]
TIMEOUT_S = 10.0  # of a program that tests one function
KEPT_CHARS = 400  # of what it printed last


@dataclass(frozen=True)
class Program:
    """Something to run.

    Attributes:
        source: Python where there is no command, else the text of `file`.
        file: its name in the sandbox, where there is a command.
        command: what runs it (a compiler too); empty for Python.
        files: others that must lie beside it.
        timeout_s: wall time.
        end: what it must print last: a program that ends itself before its tests has not passed.
    """

    source: str
    file: str = "program.py"
    command: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    timeout_s: float = TIMEOUT_S
    end: str = ""


def end_of(tests: str) -> str:
    """Return what a script prints behind its tests to say that it got there."""
    return f"passed {hashlib.sha256(tests.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def with_tests(program: str, tests: str) -> Program:
    """Return a Python program with its tests behind it and, last, a line that says it got there."""
    end = end_of(tests)
    return Program(f"{program}\n{tests}\nprint({end!r})\n", end=end)


@dataclass
class Judge:
    """Runs programs and remembers what became of them."""

    responses: Responses
    config: SandboxConfig = field(default_factory=SandboxConfig)

    def run(self, programs: Iterable[Program]) -> None:
        """Run all programs that have not been run, as many at a time as there are processors.

        Raises:
            UserError: if this machine can't isolate them.
        """
        missing = {self._key(p): p for p in programs if self.responses.find(self._key(p)) is None}
        by_kind: dict[tuple[Any, ...], list[Program]] = {}
        for program in missing.values():
            kind = (program.file, program.command, program.files, program.timeout_s)
            by_kind.setdefault(kind, []).append(program)
        for same in by_kind.values():
            self._run_alike(same)

    def outcome(self, program: Program) -> dict[str, Any]:
        """Return status, reason, level and the end of what a program printed; run it if need be."""
        found = self.responses.find(self._key(program))
        if found is None:
            self.run([program])
            found = self.responses.find(self._key(program))
        assert isinstance(found, dict), "a program that was run has an outcome"
        return found

    def shares(self, programs: Sequence[Program], ks: Sequence[int] = (1,)) -> dict[str, float]:
        """Return pass@k of one problem from the programs written for it, for each k."""
        correct = sum(self.outcome(program)["status"] == "ok" for program in programs)
        return {f"pass@{k}": pass_at_k(n=len(programs), correct=correct, k=k) for k in ks}

    def _run_alike(self, programs: Sequence[Program]) -> None:
        """Run programs of one kind and keep what became of them, some at a time."""
        from openqwen.agent.sandbox.run import run_program, run_programs

        first = programs[0]
        config = self.config.model_copy(update={"timeout_s": first.timeout_s})
        workers = count_processors()
        if not first.command:
            verdicts = run_programs([p.source for p in programs], config, workers=workers)
            self._keep(programs, verdicts)
            return

        def run(program: Program) -> Any:
            files = {program.file: program.source, **dict(program.files)}
            return run_program(
                {name: text.encode() for name, text in files.items()},
                config,
                command=program.command,
            )

        with ThreadPoolExecutor(workers) as pool:
            self._keep(programs, pool.map(run, programs))

    def _keep(self, programs: Sequence[Program], verdicts: Iterable[Any]) -> None:
        for program, verdict in zip(programs, verdicts, strict=True):
            found = {"status": verdict.status, "reason": verdict.reason, "level": verdict.level}
            if verdict.status == "ok" and not verdict.stdout.rstrip().endswith(program.end):
                found |= {"status": "error", "reason": "it ended before its tests did"}
            self.responses.keep(
                self._key(program), found | {"stderr": verdict.stderr[-KEPT_CHARS:]}
            )

    def _key(self, program: Program) -> str:
        return self.responses.key("program", program.__dict__, self.config.model_dump())


def scored_by_tests(
    judge: Judge, written: Callable[[Row, str], str], tested: Callable[[Row, str], Program]
) -> dict[str, Any]:
    """Return the part of a harness definition that turns replies into programs and runs them.

    Args:
        judge: runs them, all rows' together.
        written: the program that a reply makes of its row.
        tested: a row's program with what tells whether it is right.
    """

    def programs_of(replies: Sequence[Sequence[str]], rows: Sequence[Row]) -> list[list[str]]:
        found = [
            [written(row, reply) for reply in some] for some, row in zip(replies, rows, strict=True)
        ]
        judge.run(tested(row, one) for row, some in zip(rows, found, strict=True) for one in some)
        return found

    return {
        "metric_list": scored_by("pass@1"),
        "filter_list": [
            {"name": "program", "filter": [{"function": "custom", "filter_fn": programs_of}]}
        ],
        "process_results": lambda row, results: judge.shares(
            [tested(row, program) for program in results[0]]
        ),
    }
