"""How a function with its tests is compiled and run in six languages, inside the sandbox.

    can_run("java")                                     # "" or the reason why not
    program("cpp", "int one() { return 1; }", "int main() { return one() - 1; }")

The sandbox shows a program /usr and this Python: a compiler that lies elsewhere is not there.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.eval.generative.judge import Program, end_of, with_tests

COMPILED_TIMEOUT_S = 60.0  # a compiler and a virtual machine on a busy processor
# console.assert only prints; the tests of HumanEvalPack rely on somebody reading it
_JS_ASSERT = (
    "console.assert = (holds, ...words) => "
    "{ if (!holds) throw new Error('Assertion failed ' + words.join(' ')); };\n"
)
# a virtual machine reserves more addresses than it uses, and they are limited
_JAVA = "-Xmx256m -XX:CompressedClassSpaceSize=64m -XX:ReservedCodeCacheSize=64m -XX:+UseSerialGC"
_TUPLES = "import org.javatuples.*;\n"
_TUPLE_NAMES = ("Unit", "Pair", "Triplet", "Quartet", "Quintet", "Sextet", "Septet", "Octet")


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        names: under which files of benchmarks know it.
        file: what the program is called.
        script: shell commands that compile and run it; "" for Python.
        tool: the program that must be there; `{folder}` in the script is where it lies.
        version: how it is asked whether it works.
        shown: its name in a code block.
    """

    names: tuple[str, ...]
    file: str
    script: str
    tool: str
    shown: str
    version: str = "--version"


LANGUAGES: Mapping[str, Language] = {
    "python": Language(("python", "py"), "program.py", "", "python", "python"),
    "javascript": Language(
        ("javascript", "js"), "program.js", "node program.js", "node", "javascript"
    ),
    "java": Language(
        ("java",),
        "Main.java",
        f"export JAVA_TOOL_OPTIONS='{_JAVA}'; "
        "{folder}javac -nowarn -encoding UTF-8 -d . Main.java && "
        "{folder}java -Xss64m -ea -cp . $(test -f Main.class && echo Main || echo Problem)",
        "javac",
        "java",
        f"{_JAVA} -version".replace("-X", "-J-X"),
    ),
    "go": Language(
        ("go", "go_test.go"),
        "program_test.go",
        "go mod init program && go test .",
        "go",
        "go",
        "version",
    ),
    "cpp": Language(
        ("cpp", "c++"),
        "program.cpp",
        "g++ -std=c++17 -w -o program program.cpp && ./program",
        "g++",
        "cpp",
    ),
    "rust": Language(
        ("rust", "rs"),
        "program.rs",
        "if grep -q '#\\[test\\]' program.rs; then rustc --test -A warnings -o program program.rs; "
        "else rustc -A warnings -o program program.rs; fi && ./program",
        "rustc",
        "rust",
    ),
}


def language_of(name: str) -> str | None:
    """Return the language that a benchmark's file calls so; None for an unknown one."""
    found = (key for key, value in LANGUAGES.items() if name.lower() in value.names)
    return next(found, None)


def can_run(language: str) -> str:
    """Return "" where the language's compiler works in the sandbox, else the reason.

    Raises:
        UserError: if there is no sandbox on this machine.
    """
    known = LANGUAGES[language]
    if not known.script or tool_folder(language) is not None:
        return ""
    return f"no {known.tool} works in the sandbox, which shows /usr only"


@functools.cache
def tool_folder(language: str) -> str | None:
    """Return the folder of a compiler that works in the sandbox: "" for PATH; None without one.

    Of several Javas the first that starts is taken: Debian's keeps its settings in /etc, which the
    sandbox does not show.

    Raises:
        UserError: if there is no sandbox on this machine.
    """
    from openqwen.agent.sandbox.run import run_program

    known = LANGUAGES[language]
    for folder in ("", *(f"{path}/bin/" for path in sorted(Path("/usr/lib/jvm").glob("*")))):
        if folder and language != "java":
            break
        command = ("sh", "-c", f"{folder}{known.tool} {known.version}")
        if run_program({}, SandboxConfig(timeout_s=COMPILED_TIMEOUT_S), command=command).ok:
            return folder
    return None


def program(language: str, function: str, tests: str) -> Program:
    """Return a function and its tests as a program that the judge can run.

    A script (Python, JavaScript) could end itself before its tests, so it says when it is through;
    in the other languages `main` is the tests' own.
    """
    known = LANGUAGES[language]
    if not known.script:
        return with_tests(function, tests)
    source, end = f"{function}\n{tests}\n", ""
    if language == "javascript":
        end = end_of(tests)
        source = f"{_JS_ASSERT}{source}\nconsole.log({json.dumps(end)});\n"
    if language == "java":
        source = _without_tuples(source)
    return Program(
        source,
        file=known.file,
        command=("sh", "-c", known.script.replace("{folder}", tool_folder(language) or "")),
        timeout_s=COMPILED_TIMEOUT_S,
        end=end,
    )


def _without_tuples(source: str) -> str:
    """Drop an import of a library that few tests need and hardly any machine has."""
    rest = source.replace(_TUPLES, "")
    return (
        source if any(f"{name}<" in rest or f"{name}." in rest for name in _TUPLE_NAMES) else rest
    )


def cut_at_closing(prompt: str, completion: str) -> str:
    """Return a completion up to the brace that closes the outermost one its prompt opened.

    Braces in quotes and comments don't count.
    """
    depth = sum(change for _, change in _braces(prompt))
    for place, change in _braces(completion):
        depth += change
        if depth <= 0:
            return completion[: place + 1] + "\n"
    return completion if completion.endswith("\n") else completion + "\n"


def _braces(text: str) -> list[tuple[int, int]]:
    """Return the places of braces that are code, +1 for an opening and -1 for a closing one."""
    found, place = [], 0
    while place < len(text):
        two = text[place : place + 2]
        if two in ("//", "/*"):
            end = text.find("\n" if two == "//" else "*/", place + 2)
            place = len(text) if end < 0 else end + 1
            continue
        if text[place] in "\"'`":
            place = _after_quote(text, place)
            continue
        if text[place] in "{}":
            found.append((place, 1 if text[place] == "{" else -1))
        place += 1
    return found


def _after_quote(text: str, begin: int) -> int:
    """Return the place behind a quoted text; a lone quote, as a Rust lifetime's, ends at once."""
    place = begin + 1
    while place < len(text) and text[place] != text[begin]:
        if text[place] == "\n" and text[begin] != "`":
            return begin + 1
        place += 2 if text[place] == "\\" else 1
    return place + 1 if place < len(text) else begin + 1
