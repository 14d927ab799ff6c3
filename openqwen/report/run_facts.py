"""What a run directory tells: which stages finished, their manifests and files.

facts = read_run(Path("runs/tiny"), Path("runs/tiny/report"))
facts.stage("base").is_done          # True where its manifest is there
facts.stage("base").json("samples.json")
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openqwen.core.errors import UserError
from openqwen.core.files import read_json
from openqwen.core.log import format_bytes, format_duration
from openqwen.core.manifest import Manifest
from openqwen.recipes.recipe import Recipe


@dataclass(frozen=True)
class StageKind:
    """One stage of the lineage (Figure 1): its name, what it does in a sentence, its section."""

    name: str
    title: str
    source: str
    meaning: str


LINEAGE = (
    StageKind(
        "sources",
        "Sources",
        "§2.1",
        "Gathers raw pages, code and instructions, and the benchmark texts that training must not "
        "see.",
    ),
    StageKind(
        "documents",
        "Documents",
        "§2.1",
        "Turns pages into clean text: extraction, language, deduplication, quality rules, "
        "decontamination, and a mixture set by weights.",
    ),
    StageKind(
        "tokenizer",
        "Tokenizer",
        "§2.2",
        "Learns a byte-level BPE vocabulary from the mixture: the pieces of text, called tokens, "
        "that the model reads and writes.",
    ),
    StageKind(
        "shards",
        "Shards",
        "§2.4",
        "Encodes the documents, shuffles and merges them, and cuts them to the training context; "
        "held-out documents form the validation split.",
    ),
    StageKind(
        "base",
        "Base model",
        "§2.3–2.4",
        "Trains a decoder from random weights to predict the next token.",
    ),
    StageKind(
        "longcontext",
        "Long context",
        "§2.3.2",
        "Measures the base model on texts longer than it was trained on, with methods that need no "
        "training: dynamic NTK, LogN scaling and layer-wise windows.",
    ),
    StageKind("chat", "Chat", "§3.1", "Supervised fine-tuning on conversations."),
    StageKind("preference", "Preference", "§3.2.1", "Preference-model pretraining (PMP)."),
    StageKind("reward", "Reward", "§3.2.1", "The reward model, tuned on high-quality pairs."),
    StageKind("chat-rlhf", "Chat RLHF", "§3.2.2", "PPO against the reward model."),
    StageKind("code", "Code", "§4", "Continues pretraining on code and text."),
    StageKind("code-chat", "Code chat", "§4", "Multi-stage fine-tuning on code."),
    StageKind("math-chat", "Math chat", "§5", "Fine-tuning on mathematics."),
    StageKind(
        "evaluation",
        "Evaluation",
        "§2.5, §3.3",
        "Measures every model of the run on the same few hundred items.",
    ),
)


@dataclass(frozen=True)
class StageFacts:
    """One stage of a run; `manifest` is None until it has finished."""

    kind: StageKind
    directory: Path
    manifest: Manifest | None
    in_recipe: bool

    @property
    def is_done(self) -> bool:
        """Return whether the stage has finished."""
        return self.manifest is not None

    @property
    def state(self) -> str:
        """Return "finished", "not run", "not finished" or "not in this recipe"."""
        if self.manifest is not None:
            return "finished"
        if self.directory.is_dir() and any(self.directory.iterdir()):
            return "not finished"
        return "not run" if self.in_recipe else "not in this recipe"

    @property
    def bytes(self) -> int:
        """Return the size of the stage's files, in bytes."""
        outputs = self.manifest.outputs if self.manifest else {}
        return sum(int(facts["bytes"]) for facts in outputs.values())

    def line(self) -> str:
        """Return time, peak memory and size in one line."""
        if self.manifest is None:
            return self.state
        return (
            f"{format_duration(self.manifest.seconds)} · peak memory "
            f"{format_bytes(self.manifest.peak_memory_bytes)} · {format_bytes(self.bytes)} on disk"
        )

    def json(self, name: str) -> Any:
        """Read one of the stage's JSON files; UserError where it is missing or broken."""
        return read_json(self.directory / name)


@dataclass(frozen=True)
class RunFacts:
    """All stages of the lineage in order, the recipe's name and title, and where the page goes."""

    directory: Path
    page_directory: Path
    stages: list[StageFacts]
    recipe: str
    title: str

    def stage(self, name: str) -> StageFacts:
        """Return one stage by name."""
        return next(stage for stage in self.stages if stage.kind.name == name)

    def link(self, path: Path) -> str:
        """Return a file's place as seen from the page, as a relative URL."""
        relative = os.path.relpath(path.resolve(), self.page_directory.resolve())
        return quote(Path(relative).as_posix())

    @property
    def done(self) -> list[StageFacts]:
        """Return the finished stages."""
        return [stage for stage in self.stages if stage.is_done]


def read_run(directory: Path, page_directory: Path) -> RunFacts:
    """Read the manifests of a run directory; the page will stand in `page_directory`.

    Raises:
        UserError: if it holds no finished stage, or a manifest is broken.
    """
    stages = [
        StageFacts(
            kind,
            directory / kind.name,
            Manifest.read(directory / kind.name),
            kind.name.replace("-", "_") in Recipe.model_fields,
        )
        for kind in LINEAGE
    ]
    done = [stage.manifest for stage in stages if stage.manifest]
    if not done:
        raise UserError(
            f"{directory} holds no finished stage to report on (openqwen run RECIPE --out DIR)"
        )
    return RunFacts(directory, page_directory, stages, done[-1].recipe, _title(directory))


def _title(directory: Path) -> str:
    """Return the title that the run's recipe sets, "" where it sets none."""
    path = directory / "recipe.toml"
    if not path.is_file():
        return ""
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not readable TOML: {error}") from None
    return str(recipe.get("report", {}).get("title", ""))
