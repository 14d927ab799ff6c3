"""The server as a process: addresses, drains, clients that leave, stand still or send garbage."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import time

import httpx
import pytest
from small_servers import ServerProcess, write_endless
from tiny_exports import write_reciting

SMALL_KV = 60_000_000


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return write_endless(tmp_path_factory.mktemp("endless") / "m")


@pytest.fixture(scope="module")
def server(endless):
    """One server for all tests that leave it as it was."""
    bounds = ["--kv-bytes", SMALL_KV, "--config", write_config(endless.parent)]
    with ServerProcess(endless, *bounds, says=True) as process:
        yield process
        assert process.stop() == 0


def write_config(folder):
    path = folder / "bounds.toml"
    path.write_text(
        "[server]\nidle_timeout_s = 1.0\nbody_timeout_s = 2.0\nclient_timeout_s = 1.0\n"
        "max_connections = 40\n"
    )
    return path


def say(server, tokens, *, whole=False, model="m", **more):
    path = f"{server.url}/v1/say?model={model}&tokens={tokens}" + ("&whole=1" if whole else "")
    return httpx.post(path, content="a", timeout=60, **more)


def begin(server, tokens, *, whole=False):
    """Send a request over a bare connection; return it as it stands."""
    connection = server.connect()
    path = f"/v1/say?model=m&tokens={tokens}" + ("&whole=1" if whole else "")
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na"
    connection.sendall(head.encode())
    return connection


def read_all(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def is_idle(server):
    return server.metric("openqwen_running") == 0 == server.metric("openqwen_kv_used_bytes")


@pytest.mark.parametrize("whole", [False, True], ids=["streaming", "waiting"])
def test_a_client_that_leaves_frees_its_memory(server, whole):
    connection = begin(server, 8000, whole=whole)
    server.wait_for(lambda: server.metric("openqwen_running") == 1)
    assert server.metric("openqwen_kv_used_bytes") > 0
    connection.close()
    server.wait_for(lambda: is_idle(server), seconds=5)
    server.wait_for(lambda: server.events()[-1].get("note") == "client left")
    line = server.events()[-1]
    assert line["finish"] == "cancelled"
    assert line["new_tokens"] < 8000
    assert say(server, 6).text == "bababa"


def test_the_log_line_of_a_reply_has_its_counts_and_times(server):
    answer = say(server, 20)
    server.wait_for(lambda: server.events()[-1]["id"] == answer.headers["x-request-id"])
    line = server.events()[-1]
    assert (line["model"], line["prompt_tokens"], line["new_tokens"]) == ("m", 1, 20)
    assert line["finish"] == "length"
    assert "note" not in line
    assert 0 <= line["queue_s"] <= line["ttft_s"] <= line["total_s"]


def test_metrics_count_requests_tokens_and_times(server):
    before = server.metric("openqwen_new_tokens_total")
    say(server, 30)
    assert server.metric("openqwen_new_tokens_total") - before == 30
    for name in (
        'openqwen_replies_total{finish="length",model="m"}',
        'openqwen_queue_seconds_count{model="m"}',
        'openqwen_time_to_first_token_seconds_count{model="m"}',
        'openqwen_time_per_token_seconds_count{model="m"}',
        'openqwen_kv_limit_bytes{model="m"}',
    ):
        assert server.metric(name) > 0, name
    assert server.metric("openqwen_preemptions_total") == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"hello?\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/say HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/say HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"\x00" * 5000 + b"\r\n\r\n",
        b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["tls", "words", "version", "length", "chunks", "zeros", "long"],
)
def test_garbage_is_400_and_hurts_nobody(server, garbage):
    with server.connect() as connection:
        connection.sendall(garbage)
        try:
            answer = read_all(connection)
        except ConnectionResetError:  # closed with bytes unread
            answer = b""
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")), answer
    if answer:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    assert say(server, 4).text == "baba"


def test_a_connection_without_a_request_is_closed(server):
    with server.connect() as connection:
        begin_s = time.monotonic()
        assert read_all_or_reset(connection) == b""
        assert time.monotonic() - begin_s < 5


def test_a_head_that_dawdles_is_cut_off(server):
    with server.connect() as connection:
        begin_s = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b"G")
                time.sleep(0.1)
        assert 1.0 < time.monotonic() - begin_s < 8


def test_a_body_that_dawdles_is_408(server):
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/say?model=m&tokens=3 HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 9\r\n\r\na"
        )
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


def read_all_or_reset(connection):
    try:
        return read_all(connection)
    except ConnectionResetError:
        return b""


def test_more_idle_connections_than_allowed_hurt_nobody(server):
    connections = [server.connect() for _ in range(60)]
    try:
        assert say(server, 4).text == "baba"
    finally:
        for connection in connections:
            connection.close()
    assert say(server, 4).text == "baba"


def test_a_reader_that_stands_still_is_cut_off_and_holds_nobody_up(server):
    with server.connect() as connection:
        head = "POST /v1/flood HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())
        assert say(server, 4).text == "baba"
        server.wait_for(lambda: server.events()[-1].get("note") == "client stood still", seconds=10)
        connection.settimeout(10)
        assert len(read_all_or_reset(connection)) < 1024 * 65_536


def test_sigterm_lets_running_replies_finish_and_turns_new_ones_away(endless):
    with ServerProcess(endless, says=True) as server:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = pool.submit(say, server, 600)
            server.wait_for(lambda: server.metric("openqwen_running") == 1)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(lambda: server.events("draining"))
            health = httpx.get(f"{server.url}/health")
            refused = say(server, 4)
            assert running.result().text == "ba" * 300
        assert (health.status_code, health.json()) == (503, {"status": "draining"})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "draining"
        assert refused.headers["connection"] == "close"
        assert server.process.wait(20) == 0
        assert server.events("drained")[0]["cut"] == 0


@pytest.mark.slow
def test_a_drain_has_an_end_and_a_second_signal_ends_it_at_once(endless):
    with (
        ServerProcess(endless, "--drain-timeout", 0.5, says=True) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        running = pool.submit(say, server, 8000)
        server.wait_for(lambda: server.metric("openqwen_running") == 1)
        assert server.stop(signal.SIGINT, seconds=15) == 0
        assert server.events("drained")[0]["cut"] == 1
        with pytest.raises(httpx.HTTPError):  # half a reply doesn't look like a whole one
            running.result()
    with ServerProcess(endless, "--drain-timeout", 600, says=True) as server, begin(server, 8000):
        server.wait_for(lambda: server.metric("openqwen_running") == 1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for(lambda: server.events("draining"))
        begin_s = time.monotonic()
        assert server.stop(signal.SIGTERM, seconds=15) == 1
        assert time.monotonic() - begin_s < 8


@pytest.mark.slow
def test_killed_in_the_middle_it_starts_again_on_the_same_port(endless):
    with ServerProcess(endless, says=True) as server:
        connection = begin(server, 8000)
        server.wait_for(lambda: server.metric("openqwen_running") == 1)
        server.stop(signal.SIGKILL)
        port = server.port
    with ServerProcess(endless, port=port, says=True) as again:
        assert again.port == port
        assert say(again, 4).text == "baba"
        assert server.process.returncode == -signal.SIGKILL
    connection.close()


def test_a_taken_port_is_one_line(capsys, endless):
    from openqwen.cli.main import main

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(endless), "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"openqwen: port {port} on 127.0.0.1 is taken; give another with --port\n"
    )


def test_several_models_come_from_a_file(tmp_path, endless):
    write_reciting(tmp_path / "hi", "helo!", train_length=256)
    (tmp_path / "serve.toml").write_text(
        f"""
        [server]
        max_waiting = 20

        [[model]]
        path = "{endless}"
        name = "endless"
        context = 512

        [[model]]
        path = "{tmp_path}/hi"
        default_system = "none"
        """
    )
    with ServerProcess("--config", tmp_path / "serve.toml", says=True) as server:
        assert say(server, 4, model="endless").text == "baba"
        assert (
            httpx.post(f"{server.url}/v1/say?model=hi&tokens=9&whole=1", content="\n").text
            == "helo!"
        )
        unknown = say(server, 4, model="m")
        assert unknown.status_code == 404
        assert unknown.json()["error"] == {
            "message": "the model 'm' does not exist; there are: endless, hi",
            "type": "invalid_request_error", "param": "model", "code": "model_not_found",
        }  # fmt: skip
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", "[server]: prot is not a setting; did you mean port?"),
        ("[[model]]\npath = 'x'\nquantise = 'int4'", "[[model]] 1: quantise is not a setting"),
        ("[[model]]\nname = 'x'", "[[model]] 1: path"),
        ("[models]\n", "models is no table; there are [server] and [[model]]"),
        ("[model]\npath = 'x'", "write [server] once, and [[model]] for each model"),
        ("[[model]]\npath = 'x'\n[[model]]\npath = 'a/x'", "two models are called 'x'"),
        ("[server", "is no TOML"),
        ("[server]\nhost = '0.0.0.0'", "lets other machines in, and there is no key"),
        ("", "nothing to serve"),
        ("[[model]]\npath = 'not/here'", "not/here does not exist"),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path, capsys, monkeypatch, text, message):
    from openqwen.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve.toml").write_text(text)
    assert main(["serve", "--config", "serve.toml", "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to serve: give MODEL"),
        (["m", "--host", "0.0.0.0"], "there is no key: give --api-key NAME=KEY"),
        (["m", "--api-key", "a="], "--api-key: write NAME=KEY"),
        (["m", "--api-key", "a=@not/here"], "--api-key a: not/here: No such file"),
        (["m", "--adapter", "tone"], "--adapter tone: write NAME=DIR"),
        (["--pages", "x", "--context", "5"], "--context is about MODEL, and none is given"),
        (["m", "--tools", "shell"], '"shell" is not valid'),
        (["m", "--host", "not.a.host.example", "--allow-no-key"], "is no address of this machine"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(capsys, arguments, message):
    from openqwen.cli.main import main

    assert main(["serve", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
