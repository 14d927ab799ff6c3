import subprocess
import sys
from pathlib import Path

import pytest

from openqwen.core.errors import UserError
from openqwen.core.runtime import child_environment
from openqwen.data.engines.config import EngineConfig
from openqwen.data.engines.engine import Task, open_engine, run_phase
from openqwen.data.engines.local import TaskError

HERE = Path(__file__).parent
# a network of its own with only the loopback device: Ray listens on every address it finds
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"']


def squares(*numbers):
    return [Task(f"{n:03}", "engine_tasks:square", {"number": n}) for n in numbers]


def dying(number, times):
    return Task(f"{number:03}", "engine_tasks:die", {"number": number, "times": times})


def run(work, tasks, **settings):
    with open_engine(EngineConfig(num_workers=2, **settings)) as engine:
        return run_phase(engine, work, "p", tasks)


def asked(work, number):
    path = work / "p" / f"asked-{number}"
    return len(path.read_text()) if path.exists() else 0


def test_results_come_in_the_order_of_the_tasks(tmp_path):
    done = run(tmp_path, squares(*range(9)))
    assert [d.result["square"] for d in done] == [n * n for n in range(9)]
    assert [(d.folder / "square.txt").read_text() for d in done] == [str(n * n) for n in range(9)]


def test_what_is_done_is_not_done_again(tmp_path):
    run(tmp_path, squares(1, 2))
    run(tmp_path, squares(1, 2, 3))
    assert [asked(tmp_path, n) for n in (1, 2, 3)] == [1, 1, 1]


def test_a_damaged_output_is_made_again(tmp_path):
    (done,) = run(tmp_path, squares(5))
    (done.folder / "square.txt").write_text("")
    (again,) = run(tmp_path, squares(5))
    assert (again.folder / "square.txt").read_text() == "25"
    assert asked(tmp_path, 5) == 2


def test_a_killed_worker_costs_its_task_only(tmp_path, capfd):
    done = run(tmp_path, [*squares(1, 2), dying(3, times=2), *squares(4, 5)])
    assert [d.result["square"] for d in done] == [1, 4, 9, 16, 25]
    assert [asked(tmp_path, n) for n in (1, 2, 3, 4, 5)] == [1] * 5
    assert not (done[2].folder / "half.txt").exists()
    lines = capfd.readouterr().err.splitlines()
    said = "openqwen: the worker of die 003 was ended by signal 9; this part is begun again"
    assert lines == [said] * 2


def test_a_task_that_kills_every_worker_ends_the_run_and_the_rest_stays_done(tmp_path):
    with pytest.raises(UserError, match="die 003 was ended by signal 9, 3 times; if memory"):
        run(tmp_path, [*squares(1, 2), dying(3, times=9)])
    assert [asked(tmp_path, n) for n in (1, 2)] == [1, 1]
    (tmp_path / "p" / "deaths-3").write_text("x" * 9)
    done = run(tmp_path, [*squares(1, 2), dying(3, times=9)])
    assert [d.result["square"] for d in done] == [1, 4, 9]
    assert [asked(tmp_path, n) for n in (1, 2)] == [1, 1]


def test_the_users_mistake_comes_as_it_is_and_a_defect_with_its_traceback(tmp_path):
    with pytest.raises(UserError, match=r"^my\.warc: nothing in it$"):
        run(tmp_path, [Task("a", "engine_tasks:refuse", {})])
    with pytest.raises(TaskError, match="KeyError: 'a defect'"):
        run(tmp_path, [Task("a", "engine_tasks:stumble", {})])


def test_ray_gives_the_same_and_survives_a_killed_worker(tmp_path):
    pytest.importorskip("ray")
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network name space of one's own can be made here")
    code = (
        f"import sys; sys.path[:] = {[str(HERE), *sys.path]!r}; from pathlib import Path;"
        "from test_data_engine import *; work = Path(sys.argv[1]);"
        "done = run(work, [*squares(1, 2), dying(3, times=1), *squares(4)], name='ray');"
        "print([d.result['square'] for d in done]);"
        "run(work, [Task('b', 'engine_tasks:refuse', {})], name='ray')"
    )
    found = subprocess.run(
        [*ALONE, sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=child_environment(PYTHONPATH=str(HERE)),
    )
    assert "[1, 4, 9, 16]" in found.stdout, found.stderr[-2000:]
    assert "UserError: my.warc: nothing in it" in found.stderr
    assert [asked(tmp_path, n) for n in (1, 2, 3, 4)] == [1] * 4


def test_an_unreachable_cluster_is_one_line():
    pytest.importorskip("ray")
    with (
        pytest.raises(UserError, match=r"no Ray cluster at ray://127\.0\.0\.1:1"),
        open_engine(EngineConfig(name="ray", address="ray://127.0.0.1:1")),
    ):
        pass
