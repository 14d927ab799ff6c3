"""One task of the field's harness, run on a model of ours.

result = run_task(TASKS["hellaswag"], setting, shots=0)
"""

from openqwen.eval.measure import Setting
from openqwen.eval.results import TaskResult
from openqwen.eval.tasks.definitions import quiet_harness
from openqwen.eval.tasks.info import TaskInfo, build_task


def run_task(info: TaskInfo, setting: Setting, shots: int) -> TaskResult:
    """Build a task, ask the model everything, judge the answers by the harness's own rules.

    Raises:
        UserError: if its data is not to be had, or the model can't give what it needs.
    """
    from lm_eval.evaluator import evaluate

    from openqwen.eval.harness.model import HarnessModel
    from openqwen.eval.tasks.convert import as_result

    built = build_task(info, setting, shots)
    model = HarnessModel(setting.lm, setting.model, setting.responses, setting.is_chat)
    with quiet_harness():
        found = evaluate(
            lm=model,
            task_dict=built.tasks,
            samples=built.samples,
            log_samples=True,
            bootstrap_iters=0,
            apply_chat_template=setting.is_chat,
            fewshot_as_multiturn=setting.is_chat,
            confirm_run_unsafe_code=False,
        )
    assert found is not None, "this process has rank 0"
    return as_result(built, model.chats.plain(found["samples"]), setting)
