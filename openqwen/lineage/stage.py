"""A stage: directories and settings in, one directory and a manifest out.

    worked = execute(STAGES["tokenizer"], work)      # skips, resumes or runs

A finished stage whose settings and inputs are unchanged is skipped. One that was killed is taken up
again. One made with other settings or inputs is moved to `replaced/`, never deleted.
"""

import contextlib
import importlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import openqwen
from openqwen.core.config import Config, config_hash, to_identity
from openqwen.core.errors import PartDone, UserError
from openqwen.core.files import list_files, read_json, sha256_text, write_json
from openqwen.core.lock import LOCK_NAME, locked
from openqwen.core.log import format_bytes, format_duration, say
from openqwen.core.manifest import (
    SCRATCH_NAME,
    STARTED_NAME,
    Manifest,
    content_hash,
    describe_outputs,
    manifest_hash,
)
from openqwen.core.runtime import (
    give_memory_back,
    host_description,
    is_launched,
    peak_memory_bytes,
    pick_device,
    reset_peak_memory,
)
from openqwen.recipes.recipe import Recipe

SETTINGS_NAME = "settings.json"


@dataclass(frozen=True)
class Stage:
    """One kind of stage; `run` is "module:function", imported only when it is needed."""

    name: str
    meaning: str
    inputs: tuple[str, ...]
    run: str
    resumes: bool = False  # keeps what a killed attempt left; others start from an empty directory
    spreads: bool = False  # may be worked on by many processes that torchrun starts

    @property
    def section(self) -> str:
        """Return the name of the recipe's section that sets it."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class StageWork:
    """One stage to be done: its settings, where it reads and where it writes."""

    config: Config
    inputs: dict[str, Path]
    out: Path
    seed: int
    recipe: str
    recipe_hash: str

    @classmethod
    def of(cls, stage: Stage, recipe: Recipe, *, inputs: dict[str, Path], out: Path) -> Self:
        """Return the work of one stage with a recipe's settings."""
        return cls(
            config=getattr(recipe, stage.section),
            inputs=inputs,
            out=out,
            seed=recipe.seed,
            recipe=recipe.name,
            recipe_hash=config_hash(recipe),
        )

    def identity(self, stage: str) -> dict[str, Any]:
        """Return what decides the outputs; equal identities mean equal bytes."""
        return {
            "stage": stage,
            "settings": to_identity(self.config),
            "inputs": {name: _input_hash(path) for name, path in self.inputs.items()}
            | listing_hashes(getattr(self.config, "paths", ())),
            "seed": self.seed,
        }

    def lineage_hash(self, stage: str) -> str:
        """Return the identity of what this stage makes, the same on every repeat of the lineage."""
        parts = self.identity(stage)
        parts["inputs"] = {
            name: content_hash(path) if Manifest.read(path) else _input_hash(path)
            for name, path in self.inputs.items()
        }
        return sha256_text(json.dumps(parts, sort_keys=True, ensure_ascii=False))


def _is_foreign_model(path: Path) -> bool:
    """Return whether a directory holds a model, or an adapter, that no stage is working on."""
    is_model = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
    return is_model and not (path / STARTED_NAME).is_file()


def _input_hash(path: Path) -> str:
    """Return an input's identity: its manifest's hash, or of a foreign model its files' listing."""
    if Manifest.read(path) is not None:
        return manifest_hash(path)
    return listing_hashes((str(path),))[str(path)]


def execute(stage: Stage, work: StageWork, *, again: bool = False) -> bool:
    """Bring one stage to its end; return whether there was anything to do.

    With `again` a finished stage is made anew in its place. Of many processes (torchrun) every one
    comes here; the first looks after the directory, all train.

    Raises:
        UserError: if an input directory has no manifest (its stage has not finished), or many
            processes were started for a stage that works in one; if another process works in the
            directory.
    """
    with contextlib.ExitStack() as held:
        return _execute(stage, work, again=again, held=held)


def _execute(stage: Stage, work: StageWork, *, again: bool, held: contextlib.ExitStack) -> bool:
    """Do what `execute` does; the directory's lock goes into `held`."""
    if not is_launched():
        identity = _begin(stage, work, again=again, held=held)
        if identity is not None:
            _end(stage, work, identity, *_worked(stage, work))
        return identity is not None
    if not stage.spreads:
        raise UserError(
            f"{stage.name} works in one process, not under torchrun; torchrun is for "
            "openqwen pretrain, sft and reward"
        )
    from openqwen.parallel.mesh import of_first, process_group

    with process_group(pick_device()):
        identity = of_first(lambda: _begin(stage, work, again=again, held=held))
        if identity is not None:
            with contextlib.suppress(PartDone):  # raised on all but the first
                worked = _worked(stage, work)
                _end(stage, work, identity, *worked)
            of_first(lambda: None)  # the others wait for the first
    return identity is not None


def _begin(
    stage: Stage, work: StageWork, *, again: bool, held: contextlib.ExitStack
) -> dict[str, Any] | None:
    """Make the directory ready and return the identity; None where the stage is done already."""
    for name, path in work.inputs.items():
        if Manifest.read(path) is None and not _is_foreign_model(path):
            raise UserError(f"{stage.name}: {path} has no manifest: the stage {name} comes first")
    identity = work.identity(stage.name)
    if (work.out / STARTED_NAME).is_file():
        with locked(work.out):  # refused where another process is at work: nothing is moved aside
            pass
    if again and Manifest.read(work.out) is not None:
        _discard(work.out)
    done = _finished(stage, work.out, identity)
    if done is not None:
        _sweep(work.out)
        say(f"{stage.name:<14}done before, in {format_duration(done.seconds)}")
        return None
    _make_room(stage, work.out, identity)
    write_json(work.out / STARTED_NAME, identity)
    held.enter_context(locked(work.out))
    write_json(work.out / SETTINGS_NAME, identity["settings"])
    return identity


def _worked(stage: Stage, work: StageWork) -> tuple[dict[str, Any], float]:
    """Do a stage's work; return its counts and the seconds it took."""
    give_memory_back()  # of the stage before
    reset_peak_memory()
    started = time.monotonic()
    return _load(stage.run)(work), time.monotonic() - started


def _end(
    stage: Stage, work: StageWork, identity: dict[str, Any], counts: dict[str, Any], seconds: float
) -> None:
    """Write the manifest and clear up."""
    manifest = Manifest(
        recipe=work.recipe,
        recipe_hash=work.recipe_hash,
        outputs=describe_outputs(work.out),
        counts=counts,
        seconds=round(seconds, 3),
        peak_memory_bytes=peak_memory_bytes(),
        versions=_versions(),
        host=host_description(),
        **identity,
    )
    manifest.write(work.out)  # from here on the stage is done, whenever it is killed
    _sweep(work.out)
    say(
        f"{stage.name:<14}finished in {format_duration(manifest.seconds)}, peak memory "
        f"{format_bytes(manifest.peak_memory_bytes)}   {work.out}"
    )


def _finished(stage: Stage, out: Path, identity: dict[str, Any]) -> Manifest | None:
    """Return the manifest of a stage that needs no work, None where there is any to do."""
    manifest = Manifest.read(out)
    if manifest is None or changes(manifest, identity):
        return None
    problems = manifest.problems(out)
    if problems:
        say(f"{stage.name:<14}is made again: {problems[0]}")
        return None
    return manifest


def changes(manifest: Manifest, identity: dict[str, Any]) -> list[str]:
    """Return what differs between a finished stage and what is asked now, a line each."""
    found = []
    for name, value in identity["settings"].items():
        old = manifest.settings.get(name)
        if old != value:
            found.append(f"{name} {old} → {value}")
    gone = sorted(manifest.settings.keys() - identity["settings"].keys())
    found += [f"{name} is no longer a setting" for name in gone]
    for name, value in identity["inputs"].items():
        if manifest.inputs.get(name) != value:
            found.append(f"input {name} is another")
    if manifest.seed != identity["seed"]:
        found.append(f"seed {manifest.seed} → {identity['seed']}")
    return found


def listing_hashes(paths: tuple[str, ...]) -> dict[str, str]:
    """Return path -> hash of the names, sizes and times of a user's files, to notice a change."""
    found = {}
    for name in paths:
        path = Path(name)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        facts = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        found[name] = sha256_text(repr(facts))
    return found


def _make_room(stage: Stage, out: Path, identity: dict[str, Any]) -> None:
    """Leave `out` ready to be written: moved aside, emptied or kept for resuming."""
    shutil.rmtree(_removed(out), ignore_errors=True)  # a kill while discarding left it
    manifest = Manifest.read(out)
    if manifest is not None:
        found = changes(manifest, identity) or ["a file was missing or changed"]
        _move_aside(stage, out, "; ".join(found))
    elif (out / STARTED_NAME).is_file():
        if read_json(out / STARTED_NAME) == identity:
            if not stage.resumes:
                _discard(out)
        else:
            _move_aside(stage, out, "settings or inputs changed since it was started")
    elif out.is_dir() and list_files(out):
        raise UserError(
            f"{out} holds files that no stage of openqwen wrote; name an empty directory"
        )
    out.mkdir(parents=True, exist_ok=True)


def _sweep(out: Path) -> None:
    """Remove what only an unfinished stage needs."""
    shutil.rmtree(out / SCRATCH_NAME, ignore_errors=True)
    (out / STARTED_NAME).unlink(missing_ok=True)
    (out / LOCK_NAME).unlink(missing_ok=True)


def _discard(out: Path) -> None:
    """Remove a stage's directory at once, so that a kill can't leave half of one."""
    shutil.rmtree(_removed(out), ignore_errors=True)
    out.rename(_removed(out))
    shutil.rmtree(_removed(out), ignore_errors=True)


def _removed(out: Path) -> Path:
    return out.with_name(f".removed-{out.name}")


def _move_aside(stage: Stage, out: Path, why: str) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    target = out.parent / "replaced" / f"{out.name}-{stamp}"
    target.parent.mkdir(exist_ok=True)
    shutil.move(out, target)
    say(f"{stage.name:<14}is made again ({why[:200]}); the earlier one is kept in {target}")


def _load(path: str) -> Callable[[StageWork], dict[str, Any]]:
    module, function = path.split(":")
    found: Callable[[StageWork], dict[str, Any]] = getattr(
        importlib.import_module(module), function
    )
    return found


def _versions() -> dict[str, str]:
    return {
        "openqwen": openqwen.__version__,
        "torch": version("torch"),
        "python": platform.python_version(),
    }
