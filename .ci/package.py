"""Build the wheel and the sdist, install the wheel in a clean environment, try the first minute.

    python .ci/package.py           # make package

Only files under version control are built from, so that one that was not added is missed here. The
start-up times have a bound; as machines are noisy, only three times the bound is a failure.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BOUNDS_S = {"import openqwen": 0.3, "openqwen --help": 0.6}
NOISE = 3
REPEATS = 7
IS_LIGHT = "import openqwen, sys; sys.exit('torch' in sys.modules)"
IS_WHOLE = "import openqwen; [getattr(openqwen, name) for name in openqwen.__all__]"


def run(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command that must end with `code`; return all that it printed."""
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=plain,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != code:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def tracked(tree: Path) -> set[str]:
    """Copy the files under version control into `tree`; return their names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = {name for name in listed.stdout.decode().split("\0") if name}
    names = {name for name in names if (ROOT / name).is_file()}
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return names


def contents(wheel: Path) -> dict[str, bytes]:
    """Return a wheel's files, its record left out."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("RECORD")]
        return {name: archive.read(name) for name in names}


def build(work: Path) -> Path:
    """Build the sdist and from it the wheel, and one from the tree; compare; return the wheel."""
    tree, dist, direct = work / "tree", work / "dist", work / "direct"
    names = tracked(tree)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, cwd=tree)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", direct, cwd=tree)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    found = contents(wheel)
    ours = {name for name in names if name.startswith("openqwen/")}
    missing = sorted(ours - found.keys())
    if missing:
        sys.exit(f"the wheel lacks {', '.join(missing)}: package-data in pyproject.toml")
    if found != contents(next(direct.glob("*.whl"))):
        sys.exit("the wheel of the sdist is not the wheel of the tree")
    with tarfile.open(sdist) as archive:
        print(f"sdist    {sdist.stat().st_size:,} bytes, {len(archive.getnames()):,} files")
    print(
        f"wheel    {wheel.stat().st_size:,} bytes, {len(found):,} files, all {len(ours):,} of ours"
    )
    return wheel


def fastest(command: list[str], cwd: Path) -> float:
    """Return the shortest time of some runs, the first one left out, in seconds."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        run(*command, cwd=cwd)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def try_out(python: Path, elsewhere: Path) -> None:
    """Do what a newcomer does first, with nothing but the base install."""
    openqwen = str(python.parent / "openqwen")
    run(python, "-c", IS_LIGHT, cwd=elsewhere)
    run(python, "-c", IS_WHOLE, cwd=elsewhere)
    commands = {
        "import openqwen": [str(python), "-c", "import openqwen"],
        "openqwen --help": [openqwen, "--help"],
    }
    for name, command in commands.items():
        took, bound = fastest(command, elsewhere), BOUNDS_S[name]
        print(f"{name:<17}{took:.3f} s (bound {bound} s, at most {NOISE} times that here)")
        if took > NOISE * bound:
            sys.exit(f"{name} took {took:.2f} s, more than {NOISE} times {bound} s")
    doctor = run(openqwen, "doctor", cwd=elsewhere)
    if "serve       lacks fastapi" not in doctor or "BROKEN" in doctor:
        sys.exit(f"openqwen doctor does not say what is missing:\n{doctor}")
    if "[base]" not in run(openqwen, "recipe", "show", "tiny", cwd=elsewhere):
        sys.exit("openqwen recipe show tiny prints no recipe")
    for words, extra in (
        (["serve", "a-model"], "serve"),
        (["serve", "--pages", "."], "serve"),
        (["instruct", "review", "."], ""),
    ):
        said = run(openqwen, *words, cwd=elsewhere, code=2)
        if said.count("\n") != 1 or f"openqwen[{extra}" * bool(extra) not in said:
            sys.exit(f"openqwen {' '.join(words)} does not say what it lacks in one line:\n{said}")
        print(said, end="")
    run(openqwen, "completion", "bash", cwd=elsewhere)


def main() -> None:
    """Build, install, try out."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "elsewhere").mkdir()
        wheel = build(work)
        run(sys.executable, "-m", "venv", work / "clean", cwd=work)
        python = work / "clean" / "bin" / "python"
        pins = ROOT / "requirements" / "demo.txt"
        run(python, "-m", "pip", "install", "--quiet", "--no-compile", "-c", pins, wheel, cwd=work)
        run(python, "-m", "pip", "check", cwd=work)
        installed = run(python, "-m", "pip", "list", "--format=freeze", cwd=work).count("==")
        print(f"installed in a clean environment, {installed} packages")
        try_out(python, work / "elsewhere")
    print(f"package  good, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
