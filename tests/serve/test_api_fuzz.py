"""The API against requests made from its own OpenAPI document: no 5xx, answers of the said form."""

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_servers import ServerProcess, write_endless

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
ROUTES = [
    *("GET /v1/models", "GET /v1/models/{name}", "POST /v1/chat/completions"),
    *("POST /v1/completions", "POST /v1/embeddings", "POST /tokenize", "POST /detokenize"),
]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    directory = write_endless(tmp_path_factory.mktemp("fuzz") / "m", context=256)
    with ServerProcess(directory) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def operations_of(api):
    return {op.label: op for op in (found.ok() for found in api.get_all_operations())}


def meant_for_the_model(case):
    """Most requests name the model that is there and ask for little; the rest stays as drawn."""
    body = case.body
    if isinstance(body, dict):
        if isinstance(body.get("model"), str) and len(body["model"]) != 1:
            body["model"] = "m"
        for name in ("max_tokens", "max_completion_tokens"):
            value = body.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 1000:
                body[name] = 1 + value % 30
        if isinstance(body.get("messages"), list) and len(str(body)) % 2:
            body["messages"] = [{"role": "user", "content": "a"}]
            if not body.get("tools"):
                body.pop("tool_choice", None)
    with contextlib.suppress(AttributeError, TypeError):
        if "name" in case.path_parameters and len(case.path_parameters["name"]) % 2:
            case.path_parameters["name"] = "m"
    return case


def fuzz(operation, max_examples, *, again):
    seen = set()

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=again,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(operation.as_strategy())
    def one(case):
        seen.add(
            meant_for_the_model(case).call_and_validate(checks=CHECKS, timeout=240).status_code
        )

    one()
    return seen


def test_the_document_names_every_route(api):
    assert sorted(operations_of(api)) == sorted(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_no_request_from_the_document_breaks_the_server(api, route):
    seen = fuzz(operations_of(api)[route], 40, again=True)
    assert 200 in seen


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_no_request_of_a_thousand_breaks_the_server(api, route):
    assert 200 in fuzz(operations_of(api)[route], 1000, again=False)
