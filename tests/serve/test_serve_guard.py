"""What every request passes: hosts, origins, keys, logins, limits, sizes, the log."""

import asyncio
import contextlib
import itertools
import json

import httpx
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from small_servers import Lines

from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.serve.access import COOKIE
from openqwen.serve.app import build_app
from openqwen.serve.config import ServeConfig
from openqwen.serve.errors import ApiError
from openqwen.serve.limits import Limits
from openqwen.serve.logs import JsonLog
from openqwen.serve.models import Models

ALICE, BOB = "alices-secret-key", "bobs-secret-key"
KEYS = {"alice": {"key": ALICE}, "bob": {"key": BOB}}
OPEN = contextlib.AsyncExitStack


def served(lines=None, **settings):
    """An application without a model, with one route that tells what it was asked."""
    config = parse_config(ServeConfig, settings, where="test")
    app = build_app(Models(), config, log=JsonLog(lines or Lines()))

    @app.post("/v1/echo")
    async def echo(request: Request):
        body = (await request.body()).decode()
        return {"client": request.state.client, "body": body}

    @app.post("/v1/broken")
    async def broken():
        raise RuntimeError("a secret detail")

    @app.post("/v1/slow")
    async def slow():
        await app.state.gate.wait()
        return {}

    return app


def client(app, **options):
    transport = httpx.ASGITransport(app=app)
    options = {"base_url": "http://127.0.0.1:8000", "follow_redirects": False} | options
    return httpx.AsyncClient(transport=transport, **options)


def ask(app, *requests, **options):
    """Send requests one after the other; return their responses."""

    async def talk():
        async with client(app, **options) as http:
            return [await http.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(talk())


def post(path="/v1/echo", **more):
    return ("POST", path, more)


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def code_of(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error["code"]


def test_a_name_that_somebody_pointed_to_this_machine_is_refused():
    app = served(allowed_hosts=["qwen.example"])
    hosts = {
        "localhost:8000": 200, "127.0.0.1": 200, "[::1]:8000": 200, "127.8.8.8": 200,
        "qwen.example:80": 200, "QWEN.example": 200, "evil.example": 403, "192.168.0.7": 403,
        "localhost.evil.example": 403,
    }  # fmt: skip
    answers = ask(app, *[post(headers={"host": host}) for host in hosts])
    assert {h: a.status_code for h, a in zip(hosts, answers, strict=True)} == hosts
    assert code_of(answers[6]) == (403, "host_not_allowed")


def test_where_other_machines_may_connect_any_host_passes_unless_some_are_named():
    anyone = served(host="0.0.0.0", keys=KEYS)
    named = served(host="0.0.0.0", keys=KEYS, allowed_hosts=["qwen.example"])
    headers = [{"host": host} | bearer(BOB) for host in ("evil.example", "10.0.0.5", "localhost")]
    assert [a.status_code for a in ask(anyone, *[post(headers=h) for h in headers])] == [200] * 3
    assert [a.status_code for a in ask(named, *[post(headers=h) for h in headers])] == [
        403, 200, 200,
    ]  # fmt: skip


def test_another_sites_page_cannot_make_a_browser_ask():
    app = served(cors_origins=["https://friend.example"])
    own, friend, evil, null = ask(
        app,
        *[
            post(headers={"origin": origin})
            for origin in (
                "http://127.0.0.1:8000",
                "https://friend.example",
                "https://evil.example",
                "null",
            )
        ],
    )
    assert [own.status_code, friend.status_code] == [200, 200]
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in own.headers
    assert code_of(evil) == code_of(null) == (403, "origin_not_allowed")


def test_cors_is_off_unless_asked_for():
    preflight = {
        "origin": "https://friend.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    [closed] = ask(served(), ("OPTIONS", "/v1/echo", {"headers": preflight}))
    assert "access-control-allow-origin" not in closed.headers
    app = served(cors_origins=["https://friend.example"], keys=KEYS)
    [opened] = ask(app, ("OPTIONS", "/v1/echo", {"headers": preflight}))
    assert opened.status_code == 200
    assert opened.headers["access-control-allow-origin"] == "https://friend.example"


def test_with_keys_a_right_one_is_needed_and_names_its_holder():
    app = served(keys=KEYS)
    right, lower, none, wrong, prefix, basic, snow = ask(
        app,
        post(headers=bearer(ALICE)),
        post(headers={"authorization": f"bearer {BOB}"}),
        post(),
        post(headers=bearer("wrong")),
        post(headers=bearer(ALICE[:-1])),
        post(headers={"authorization": f"Basic {ALICE}"}),
        post(headers={"authorization": "Bearer ☃".encode()}),
    )
    assert [right.json()["client"], lower.json()["client"]] == ["alice", "bob"]
    for refused in (none, wrong, prefix, basic, snow):
        assert code_of(refused) == (401, "invalid_api_key")
        assert refused.headers["www-authenticate"] == "Bearer"


def test_without_keys_the_address_names_the_caller():
    [answer] = ask(served(), post())
    assert answer.json()["client"] == "127.0.0.1"


def test_health_is_open_and_metrics_need_the_key():
    app = served(keys=KEYS)
    health, closed, opened = ask(
        app,
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
        ("GET", "/metrics", {"headers": bearer(ALICE)}),
    )
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert code_of(closed) == (401, "invalid_api_key")
    assert "openqwen_requests_total" in opened.text


def test_a_browser_is_led_to_the_login_and_back():
    app = served(keys=KEYS)
    page = {"accept": "text/html"}

    async def talk():
        async with client(app) as http:
            led = await http.get("/chat/", headers=page)
            form = await http.get(led.headers["location"])
            wrong = await http.post(led.headers["location"], data={"key": "nonsense"})
            own = {"origin": "http://127.0.0.1:8000"}
            right = await http.post(led.headers["location"], data={"key": ALICE}, headers=own)
            token = http.cookies[COOKIE]
            asked = await http.post("/v1/echo", headers=own)
            await http.post("/logout", headers=own)
            http.cookies.set(COOKIE, token)
            after = await http.post("/v1/echo", headers=own)
            return led, form, wrong, right, asked, after, token

    led, form, wrong, right, asked, after, token = asyncio.run(talk())
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/chat/")
    assert 'type="password"' in form.text
    assert "http" not in form.text.replace("http-equiv", "")  # nothing from outside
    assert wrong.status_code == 401
    assert (right.status_code, right.headers["location"]) == (303, "/chat/")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ALICE not in cookie
    assert len(token) > 30
    assert asked.json()["client"] == "alice"
    assert code_of(after) == (401, "invalid_api_key")  # a session that was left is worth nothing


def test_a_cookie_alone_does_not_let_another_page_use_the_api():
    app = served(keys=KEYS, cors_origins=["https://friend.example"])
    token = app.state.access.log_in(BOB)
    cookie = {"cookie": f"{COOKIE}={token}"}
    own, without, friend = ask(
        app,
        post(headers=cookie | {"origin": "http://127.0.0.1:8000"}),
        post(headers=cookie),
        post(headers=cookie | {"origin": "https://friend.example"}),
    )
    assert own.json()["client"] == "bob"
    assert code_of(without) == code_of(friend) == (401, "invalid_api_key")


def test_the_login_leads_nowhere_else_and_bounds_its_tries():
    app = served(keys=KEYS)
    targets = ["//evil.example", "https://evil.example", "/\\evil.example", "/pages/x"]
    answers = ask(app, *[post("/login", params={"next": t}, data={"key": ALICE}) for t in targets])
    assert [a.headers["location"] for a in answers] == ["/chat/"] * 3 + ["/pages/x"]
    tries = ask(app, *[post("/login", data={"key": f"guess{i}"}) for i in range(8)])
    assert [a.status_code for a in tries] == [401] * 6 + [429] * 2
    assert int(tries[-1].headers["retry-after"]) >= 1


def test_requests_a_minute_are_counted_for_each_key():
    keys = {"alice": {"key": ALICE, "requests_per_minute": 2}, "bob": {"key": BOB}}
    app = served(keys=keys, requests_per_minute=4)
    first, second, third, other = ask(
        app, *[post(headers=bearer(ALICE))] * 3, post(headers=bearer(BOB))
    )
    assert (first.status_code, second.status_code, other.status_code) == (200, 200, 200)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert other.headers["x-ratelimit-limit-requests"] == "4"
    assert code_of(third) == (429, "rate_limit_exceeded")
    assert 1 <= int(third.headers["retry-after"]) <= 30
    assert third.headers["x-ratelimit-remaining-requests"] == "0"


def test_requests_at_once_are_counted_for_each_key():
    app = served(keys=KEYS, max_concurrent=2)

    async def talk():
        app.state.gate = asyncio.Event()
        async with client(app) as http:
            tasks = [
                asyncio.create_task(http.post("/v1/slow", headers=bearer(ALICE))) for _ in range(2)
            ]
            await asyncio.sleep(0.05)
            refused = await http.post("/v1/echo", headers=bearer(ALICE))
            other = await http.post("/v1/echo", headers=bearer(BOB))
            app.state.gate.set()
            await asyncio.gather(*tasks)
            after = await http.post("/v1/echo", headers=bearer(ALICE))
            return refused, other, after

    refused, other, after = asyncio.run(talk())
    assert code_of(refused) == (429, "concurrency_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert (other.status_code, after.status_code) == (200, 200)


@given(st.lists(st.floats(0, 5), max_size=80), st.integers(1, 90))
def test_no_minute_sees_more_than_twice_what_is_allowed(gaps, per_minute):
    """A full bucket and a minute's refill: the bound of every token bucket."""
    limits, passed = Limits(), []
    for now in itertools.accumulate(gaps, initial=100.0):
        with contextlib.suppress(ApiError):
            limits.enter("a", per_minute=per_minute, at_once=0, now=now)
            passed.append(now)
    for begin in passed:
        assert sum(begin <= now < begin + 60 for now in passed) <= 2 * per_minute


def test_a_steady_client_gets_what_a_minute_allows():
    limits, passed = Limits(), 0
    for second in range(600):
        with contextlib.suppress(ApiError):
            limits.enter("a", per_minute=6, at_once=0, now=float(second))
            passed += 1
    assert 60 <= passed <= 66  # ten minutes, and a full bucket at the beginning


@given(st.integers(1, 600), st.floats(0, 1e6))
def test_who_comes_back_when_told_passes(per_minute, start):
    limits = Limits()
    for _ in range(per_minute):
        limits.enter("a", per_minute=per_minute, at_once=0, now=start)
    with pytest.raises(ApiError) as refused:
        limits.enter("a", per_minute=per_minute, at_once=0, now=start)
    later = start + int(refused.value.headers["retry-after"]) + 1e-3
    limits.enter("a", per_minute=per_minute, at_once=0, now=later)


def test_clients_that_are_gone_are_forgotten():
    limits = Limits(most_clients=10)
    for number in range(1000):
        limits.enter(f"c{number}", per_minute=60, at_once=0, now=float(number))
        limits.leave(f"c{number}")
    assert len(limits._accounts) <= 11


def test_a_body_over_the_bound_is_413_declared_or_in_chunks():
    app = served(max_body_bytes=1000)

    async def chunks(count):
        for _ in range(count):
            yield b"x" * 100

    fits, declared, chunked, chunked_fits = ask(
        app,
        post(content=b"x" * 1000),
        post(content=b"x" * 1001),
        post(content=chunks(11)),
        post(content=chunks(10)),
    )
    assert (fits.status_code, chunked_fits.status_code) == (200, 200)
    assert len(chunked_fits.json()["body"]) == 1000
    assert code_of(declared) == code_of(chunked) == (413, "request_too_large")


def test_a_body_that_dawdles_is_408():
    async def dawdle():
        yield b"x"
        await asyncio.sleep(5)
        yield b"x"

    [slow] = ask(served(body_timeout_s=0.1), post(content=dawdle()))
    assert code_of(slow) == (408, "request_timeout")


def test_a_defect_is_500_without_details_and_the_log_has_them():
    lines = Lines()
    [broken] = ask(served(lines), post("/v1/broken"))
    assert code_of(broken) == (500, "internal_error")
    assert "secret detail" not in broken.text
    [logged] = lines.events("error")
    assert "a secret detail" in logged["traceback"]


def test_while_draining_new_requests_are_503_and_health_says_so():
    app = served()
    app.state.service.is_draining = True
    refused, health = ask(app, post(), ("GET", "/health", {}))
    assert code_of(refused) == (503, "draining")
    assert refused.headers["connection"] == "close"
    assert int(refused.headers["retry-after"]) >= 1
    assert (health.status_code, health.json()) == (503, {"status": "draining"})


def test_the_log_has_a_line_a_request_and_no_contents_or_keys():
    lines = Lines()
    app = served(lines, keys=KEYS)
    named, _ = ask(
        app,
        post(headers=bearer(ALICE) | {"x-request-id": "mine-1"}, content=b"a private question"),
        post(headers=bearer("wrong-key") | {"x-request-id": "bad id\t{}"}),
    )
    first, second = lines.events()
    assert named.headers["x-request-id"] == first["id"] == "mine-1"
    assert second["id"].startswith("req-")
    assert (first["client"], first["status"], first["path"]) == ("alice", 200, "/v1/echo")
    assert first["total_s"] >= 0
    assert (second["status"], second["note"]) == (401, "invalid_api_key")
    for secret in ("private question", ALICE, BOB, "wrong-key"):
        assert secret not in lines.text
    json.loads(lines.text.splitlines()[0])


def test_contents_are_logged_where_asked_for():
    lines = Lines()
    ask(served(lines, log_contents=True), post(content=b"a private question"))
    assert lines.events()[0]["request"] == "a private question"


def test_every_answer_forbids_what_browsers_should_not_do():
    for answer in ask(served(), post(), ("GET", "/login", {}), ("GET", "/nothing", {})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "host = '0.0.0.0' lets other machines in, and there is no key"),
        ({"prot": 8000}, "prot is not a setting; did you mean port?"),
        ({"port": "8000"}, 'port = "8000" is not valid'),
        ({"port": 70000}, "port = 70000 is not valid"),
        ({"keys": {"a": {"key": "x"}, "b": {"key": "x"}}}, "two names have the same key"),
        ({"keys": {"a": {"key": "with space"}}}, "keys.a: a key has printable ASCII"),
        ({"keys": {"a": {"key": "x", "per_minute": 1}}}, "keys.a.per_minute is not a setting"),
        ({"cors_origins": ["example.org"]}, "'example.org' is no origin"),
        ({"tools": ["shell"]}, '"shell" is not valid'),
    ],
)
def test_wrong_settings_are_one_line(settings, message):
    with pytest.raises(UserError) as refused:
        parse_config(ServeConfig, settings, where="serve.toml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_anybody_is_served_on_request_only():
    assert parse_config(ServeConfig, {"host": "0.0.0.0", "allow_no_key": True}, where="").port
