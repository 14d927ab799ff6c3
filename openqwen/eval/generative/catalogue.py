"""Lines of the catalogue: benchmarks whose answer is written (mathematics, code, exam sheets)."""

from openqwen.eval.tasks.info import TaskInfo

TASKS: dict[str, TaskInfo] = {}
