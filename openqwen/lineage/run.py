"""Walk a recipe's stages in a run directory (one process at a time).

run_recipe(resolved, Path("runs/tiny"), until="base")
"""

from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.files import read_json, write_text
from openqwen.core.lock import locked
from openqwen.core.log import say
from openqwen.core.manifest import MANIFEST_NAME
from openqwen.core.runtime import is_launched
from openqwen.lineage.registry import STAGES, stages_until
from openqwen.lineage.stage import Stage, StageWork, execute
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.resolve import Resolved, resolve
from openqwen.recipes.show import to_toml

RECIPE_NAME = "recipe.toml"


def run_recipe(resolved: Resolved, out: Path, *, until: str = "") -> list[Stage]:
    """Bring every stage up to `until` to its end; return the stages that had to be worked on.

    Raises:
        UserError: if another process works in `out`, or a stage finds bad input.
    """
    if is_launched():
        raise UserError(
            "openqwen run walks the stages in one process; torchrun takes one training stage at a "
            "time: torchrun … -m openqwen pretrain, sft or reward"
        )
    stages = stages_until(until)
    with locked(out):
        write_text(out / RECIPE_NAME, to_toml(resolved))
        worked = [s for s in stages if execute(s, stage_work(s, resolved.recipe, out))]
    if not worked:
        say(f"{out}: all {len(stages)} stages are finished and unchanged; nothing to do")
    return worked


def stage_work(stage: Stage, recipe: Recipe, out: Path) -> StageWork:
    """Return the work of one stage of a recipe inside the run directory `out`."""
    inputs = {name: out / name for name in stage.inputs}
    return StageWork.of(stage, recipe, inputs=inputs, out=out / stage.name)


def remake_report(out: Path) -> bool:
    """Write the report of a finished run anew, manifest and all; False where it isn't finished."""
    stage = STAGES["report"]
    if not all((out / name / MANIFEST_NAME).is_file() for name in stage.inputs):
        return False
    recipe = resolve(str(out / RECIPE_NAME)).recipe
    with locked(out):
        return execute(stage, stage_work(stage, recipe, out), again=True)


def say_results(out: Path) -> None:
    """Say where the report is and what the model wrote, as far as the run has got."""
    turn = out / "chat-rlhf" / "samples.json"
    samples = out / "base" / "samples.json"
    if turn.is_file():
        row = read_json(turn)[0]
        say(f"you:         {' '.join(row['prompt'].split())}")
        say(f"the model:   {' '.join(row['text'].split())}")
        say(f"talk to it:  openqwen chat {out / 'chat-rlhf'}")
    elif samples.is_file():
        for row in read_json(samples):
            say(f"the model continues {row['prompt']!r}: {' '.join(row['text'].split())}")
        say(f"talk to it:  openqwen chat {out / 'base'}")
    page = out / "report" / "report.html"
    if page.is_file():
        say(f"the report:  {page}")
