"""Adapters by name through the API: listed, chosen, in the base's batch."""

import concurrent.futures

import pytest
from adapted_exports import make_adapter, make_base
from fastapi.testclient import TestClient
from small_servers import small_app

from openqwen.infer.load import load

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    make_base(folder / "base")
    for seed, name in enumerate(("red", "blue"), start=1):
        make_adapter(folder / "base", folder / name, seed=seed)
    return folder


@pytest.fixture(scope="module")
def client(folder):
    adapters = {name: str(folder / name) for name in ("red", "blue")}
    with (
        small_app(folder / "base", adapters=adapters, dtype="float32", context=1024) as app,
        TestClient(app, base_url="http://127.0.0.1") as client,
    ):
        yield client


def ask(client, model):
    body = {
        "model": model,
        "prompt": "abcabc",
        "max_tokens": 12,
        "temperature": 0,
        "ignore_eos": True,
    }
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def test_adapters_are_listed_with_their_base(client):
    cards = {card["id"]: card["parent"] for card in client.get("/v1/models").json()["data"]}
    assert cards == {"base": None, "red": "base", "blue": "base"}


def test_each_name_answers_as_its_adapter_folded_in_also_all_at_once(client, folder):
    names = ["base", "red", "blue"]
    alone = {name: ask(client, name) for name in names}
    assert len(set(alone.values())) == 3
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda name: ask(client, name), names * 4))
    assert together == [alone[name] for name in names] * 4
    for name in ("red", "blue"):
        folded = load(folder / "base", adapter=folder / name, dtype="float32", context=1024)
        result = folded.generate(["abcabc"], max_new_tokens=12, ignore_stop_ids=True)[0]
        assert result.text == alone[name]


def test_a_chat_goes_to_an_adapter_too_and_embeddings_are_the_bases(client):
    body = {"model": "red", "messages": MESSAGES, "max_tokens": 4}
    assert client.post("/v1/chat/completions", json=body).json()["model"] == "red"
    answer = client.post("/v1/embeddings", json={"model": "red", "input": "a"})
    assert answer.status_code == 400
    assert "embeddings are the base model's" in answer.json()["error"]["message"]
