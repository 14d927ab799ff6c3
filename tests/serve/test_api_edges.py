"""The API at its edges: what no fuzz draws, and what a small KV memory leaves."""

import json

import pytest
from small_servers import small_app
from starlette.testclient import TestClient
from tiny_exports import write_reciting

SAID = "Hi, you!"
HELLO = [{"role": "user", "content": "Hello"}]
HALF = "\ud800"  # of a surrogate pair: JSON can say it, UTF-8 can't


def ask(client, **given):
    body = {"model": "m", "messages": HELLO, "temperature": 0} | given
    headers = {"content-type": "application/json"}
    return client.post("/v1/chat/completions", content=json.dumps(body), headers=headers)


def serve(directory, **model):
    return small_app(write_reciting(directory / "m", SAID, train_length=4096), **model)


def called_before(arguments):
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": "c", "content": "3"}
    return [*HELLO, {"role": "assistant", "tool_calls": [call]}, result]


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with (
        serve(tmp_path_factory.mktemp("edges")) as app,
        TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client,
    ):
        yield client


@pytest.mark.parametrize("schema", [{"enum": [HALF]}, {"type": "string", "description": HALF}])
def test_a_schema_that_utf8_cannot_write_is_the_clients_mistake(client, schema):
    answer = ask(client, response_format=form(schema))
    assert answer.status_code == 400
    assert "the JSON schema cannot be followed" in answer.json()["error"]["message"]


@pytest.mark.parametrize("arguments", ["[" * 100_000, "[" * 1500 + "]" * 1500])
def test_earlier_arguments_that_are_too_deep_stay_text(client, arguments):
    answer = ask(client, messages=called_before(arguments), max_tokens=4)
    assert answer.status_code in (200, 400)
    assert answer.status_code == 200 or "context" in answer.json()["error"]["message"]


def test_without_max_tokens_a_reply_may_have_what_kv_memory_holds(tmp_path):
    with (
        serve(tmp_path, kv_bytes=600_000) as app,
        TestClient(app, base_url="http://127.0.0.1") as client,
    ):
        engine = app.state.models.get("m").worker.engine
        assert engine.bytes_of(4096) > engine.limit_bytes  # else nothing is tested
        assert ask(client).json()["choices"][0]["message"]["content"] == SAID
        asked = ask(client, max_tokens=4000)
        assert asked.json()["error"]["code"] == "context_length_exceeded"
