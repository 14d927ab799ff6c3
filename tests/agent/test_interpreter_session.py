"""The code interpreter with its real kernel in the real sandbox."""

import os
import socket

import pytest

from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.result import RESTARTED
from openqwen.agent.interpreter.session import Interpreter
from openqwen.agent.interpreter.tool import interpreter_tool
from openqwen.agent.sandbox.check import require
from openqwen.core.errors import UserError

LIMITS = InterpreterConfig(max_images=3, stop_output_bytes=1_000_000)


@pytest.fixture(scope="module")
def python():
    try:
        require("full")
    except UserError as error:
        pytest.skip(f"no sandbox here: {error}")
    with Interpreter(LIMITS, files={"in/data.csv": b"x,y\n1,2\n3,4\n"}) as session:
        yield session


def test_a_session_keeps_its_variables_and_tells_outputs_apart(python):
    assert python.level == "full"
    assert python.run("x = 6 * 7\nprint('hello')").stdout == "hello\n"
    result = python.run("import sys; print('oops', file=sys.stderr); x")
    assert (result.status, result.value, result.stderr) == ("ok", "42", "oops\n")


def test_an_exception_is_reported_and_the_session_goes_on(python):
    python.run("kept = 1")
    result = python.run("print('before')\n1 / 0")
    assert result.status == "error"
    assert "ZeroDivisionError: division by zero" in result.error
    assert result.stdout == "before\n"
    assert "\x1b" not in result.text()
    assert python.run("kept").value == "1"


def test_files_go_in_and_come_out(python):
    result = python.run(
        "n = open('in/data.csv').read().count('\\n')\nopen('out.txt', 'w').write(str(n))"
    )
    assert result.files == {"out.txt": 1}
    assert python.get("out.txt") == b"3"
    python.put("more.txt", "更多".encode())
    assert python.run("open('more.txt', encoding='utf-8').read()").value == "'更多'"


def test_a_plot_comes_as_a_png_without_complaints_about_fonts(python):
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('价格')\nplt.show()"
    result = python.run(code)
    assert result.status == "ok"
    assert len(result.images) == 1
    assert result.images[0].startswith(b"\x89PNG")
    assert result.stderr == ""
    many = "for i in range(5):\n    plt.figure(); plt.plot([i])"
    result = python.run(many)
    assert (len(result.images), result.dropped) == (3, ("images after the first 3",))


def test_a_stuck_cell_is_interrupted_and_the_variables_stay(python):
    python.run("x = 5")
    result = python.run("import time\ntime.sleep(60)", timeout_s=1)
    assert result.status == "timeout"
    assert not result.restarted
    assert 1 <= result.seconds < 10
    assert python.run("x").value == "5"


def test_endless_output_is_stopped_and_the_variables_stay(python):
    python.run("x = 6")
    result = python.run("while True: print('y' * 1000)")
    assert result.status == "output"
    assert len(result.stdout) < 2 * LIMITS.max_output_bytes
    assert "it wrote too much" in result.text()
    assert python.run("x").value == "6"


def test_a_dead_kernel_is_replaced_and_the_model_is_told(python):
    python.run("x = 1\nopen('stays', 'w').write('1')")
    result = python.run("import os\nos._exit(3)")
    assert (result.status, result.restarted) == ("died", True)
    assert RESTARTED in result.text()
    assert python.run("x").status == "error"
    assert python.run("open('stays').read()").value == "'1'"


def test_links_that_code_leaves_are_not_followed(python):
    python.run("import os\nos.symlink('/etc/passwd', 'innocent.txt')")
    assert "innocent.txt" not in python.files()
    with pytest.raises(UserError, match="links are not followed"):
        python.get("innocent.txt")


def test_forged_messages_do_not_harm_the_host(python):
    forge = """
kernel = get_ipython().kernel
def send(kind, content, **more):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent(), **more)
send('stream', {'name': ['stdout'], 'text': {'a': 1}})
send('display_data', {'data': {'image/png': 'no base64 at all'}})
send('display_data', b'[1, 2, 3]')
send('error', {'traceback': 7, 'ename': None})
send('status', 'idle')
send('execute_result', {'data': {'text/plain': ['x'] * 10}})
kernel.iopub_socket.send_multipart([b'<IDS|MSG>', b'forged', b'{}', b'{}', b'{}', b'{}'])
deep = b'[' * 100000 + b']' * 100000
kernel.iopub_socket.send_multipart([b'<IDS|MSG>', kernel.session.sign([deep] * 4)] + [deep] * 4)
print('after')
"""
    result = python.run(forge)
    assert result.stdout == "after\n"
    assert result.images == ()
    assert "an image that is not base64" in result.dropped
    assert python.run("1 + 1").value == "2"


def test_a_message_without_end_is_cut_off_before_it_fills_the_hosts_memory(python):
    flood = (
        "socket = get_ipython().kernel.iopub_thread.socket\n"
        "socket.send_multipart([b'x' * 5_000_000] * 40, copy=False)\nimport time; time.sleep(20)"
    )
    result = python.run(flood)
    assert (result.status, result.restarted) == ("output", True)
    assert result.seconds < 15


def test_a_kernel_that_takes_its_sockets_away_costs_a_call_and_no_more(python):
    result = python.run("import os\nos.execv('/usr/bin/sleep', ['sleep', '60'])", timeout_s=0.3)
    assert (result.status, result.restarted) == ("timeout", True)
    assert python.run("1").value == "1"


def test_whatever_code_allows_for_its_folder_others_stay_out_and_nothing_stays():
    with Interpreter(LIMITS) as python:
        above = python._folder.parent
        assert python.run("import os; os.mkdir('x'); os.chmod('/work', 0o777)").is_ok
        assert above.stat().st_mode & 0o077 == 0
        python.run("os.chmod('x', 0); os.chmod('/work', 0)")  # as a user, it may end by this
        assert python.run("1").status in ("ok", "limit")
    assert not above.exists()


def test_code_sees_neither_the_network_nor_the_users_files(python):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = python.run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)")
    assert "ConnectionRefusedError" in result.error
    here = os.path.abspath(__file__)
    assert python.run(f"import os; os.path.exists({here!r})").value == "False"
    assert python.run("os.getcwd(), os.getuid() == 0").value == "('/work', False)"


def test_the_session_ends_when_its_calls_are_used_up(python):
    with Interpreter(InterpreterConfig(max_calls=1)) as short:
        assert short.run("1").value == "1"
        assert short.run("2").status == "limit"
        assert "used up" in short.run("2").text()
    with pytest.raises(UserError, match="not open"):
        short.run("3")


def test_a_cell_that_ignores_interrupts_costs_the_variables(python):
    python.run("x = 1")
    stubborn = "import time\nwhile True:\n    try: time.sleep(1)\n    except BaseException: pass"
    result = python.run(stubborn, timeout_s=0.5)
    assert (result.status, result.restarted) == ("timeout", True)
    assert "NameError" in python.run("x").error


def test_the_tool_of_an_agent_returns_text_and_plots(python):
    tool = interpreter_tool(python)
    found = tool.call({"code": "import matplotlib.pyplot as plt\nplt.plot([3, 1])\nprint('drawn')"})
    assert found.text.startswith("stdout:\n\n```\ndrawn\n```")
    assert list(found.files) == ["figure-1.png"]


@pytest.mark.slow
def test_memory_over_many_processes_ends_the_session_with_its_name():
    with Interpreter(InterpreterConfig(memory_mb=300)) as python:
        result = python.run(
            "import os, time\nfor i in range(6):\n    if os.fork() == 0:\n"
            "        b = bytearray(100_000_000); time.sleep(20)\ntime.sleep(20)"
        )
        assert (result.status, result.restarted) == ("memory", True)
        assert "took more memory" in result.text()
