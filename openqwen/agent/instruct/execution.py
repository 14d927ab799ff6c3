"""Python in answers is run, only ever in the sandbox: what fails teaches nothing.

find_programs("Use this:\\n```python\\nprint(1)\\n```")     # ["print(1)"]
try_code(sample, config)           # (None, {"code": "ok", "level": "full"})
"""

import ast
import re
from typing import Any

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.filters import Reason
from openqwen.agent.instruct.sample import Sample
from openqwen.agent.sandbox.config import SandboxConfig

_FENCE = re.compile(r"^```[ \t]*([\w+-]*)[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OUTPUT = ("", "text", "plaintext", "output", "console")
PYTHON = ("python", "py", "python3")


def find_programs(answer: str) -> list[str]:
    """Return the fenced Python blocks of an answer; other fences are not run."""
    found = _FENCE.findall(answer)
    return [body.strip("\n") for language, body in found if language.lower() in PYTHON]


def find_told_output(answer: str) -> str:
    """Return what an answer says its last program prints: the fence after it; "" without one."""
    fences = [(language.lower(), body.strip()) for language, body in _FENCE.findall(answer)]
    places = [place for place, (language, _) in enumerate(fences) if language in PYTHON]
    after = fences[places[-1] + 1 :] if places else []
    return after[0][1] if after and after[0][0] in OUTPUT else ""


def try_code(sample: Sample, config: InstructConfig) -> tuple[Reason | None, dict[str, Any]]:
    """Run an answer's Python blocks as one program; return why it is dropped, and what happened.

    Raises:
        UserError: if this machine can't isolate a program.
    """
    programs = find_programs(sample.answer)
    if not programs or config.code == "keep":
        return None, {"code": "not run"} if programs else {}
    if config.code == "drop":
        return ("code not run", "the setting code is drop"), {}
    from openqwen.agent.sandbox.run import run_program

    source = "\n\n".join(programs) + "\n"
    try:
        ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return ("not executable", str(error)), {}
    limits = SandboxConfig(timeout_s=config.code_timeout_s)
    verdict = run_program(source, limits)
    facts = {"code": verdict.status, "level": verdict.level}
    told = find_told_output(sample.answer)
    if verdict.ok and told and " ".join(told.split()) not in " ".join(verdict.stdout.split()):
        return ("prints something else", f"{verdict.stdout.strip()[:100]} for {told[:100]}"), facts
    if verdict.ok:
        return None, facts
    last = (verdict.stderr.strip().splitlines() or [verdict.reason])[-1]
    reason = "code too slow" if verdict.status == "timeout" else "code fails"
    return (reason, f"{verdict.status}: {last}"[:300]), facts
