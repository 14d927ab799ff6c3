"""The way to the engine: streams, fair turns, bounds, time limits, failures, threads."""

import asyncio
import itertools
import time

import httpx
import pytest
from small_servers import Lines, small_app, write_endless
from tiny_exports import write_reciting

from openqwen.agent.models import Options
from openqwen.core.errors import UserError
from openqwen.serve.config import ServeConfig
from openqwen.serve.errors import ApiError
from openqwen.serve.service import OWNER, Owned
from openqwen.serve.text_model import ServedTextModel


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return write_endless(tmp_path_factory.mktemp("endless") / "m")


@pytest.fixture(scope="module")
def greeting(tmp_path_factory):
    return write_reciting(tmp_path_factory.mktemp("greeting") / "hi", "helo!", train_length=2048)


def run(directory, talk, *, config=None, lines=None, **model):
    """Run `talk(service, served model)` on an application's service."""
    with small_app(directory, config=config, lines=lines, **model) as app:
        return asyncio.run(talk(app.state.service, app.state.models.list()[0]))


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


async def idle(service, model):
    """Wait until nothing runs; return the engine's figures then."""
    for _ in range(2000):
        if not service.num_unfinished and not model.worker.held_bytes:
            return model.worker.engine.stats()
        await asyncio.sleep(0.01)
    raise AssertionError("the engine stays busy")


def test_a_stream_gives_every_token_once_and_then_the_result(greeting):
    async def talk(service, model):
        request = model.request("\n", max_new_tokens=20, logprobs=True, top_logprobs=2)
        stream = await service.submit(model, request, client="a")
        await stream.started()
        return [piece async for piece in stream], stream.result

    pieces, result = run(greeting, talk)
    assert "".join(piece.text for piece in pieces) == result.text == "helo!"
    assert joined(piece.ids for piece in pieces) == result.ids
    assert joined(piece.logprobs for piece in pieces) == result.logprobs
    assert joined(piece.top_logprobs for piece in pieces) == result.top_logprobs
    assert len(result.top_logprobs) == len(result.ids) == 6  # the end token is counted
    assert result.finish_reason == "stop"


def test_many_streams_at_once_each_get_their_own_reply(tmp_path):
    path = write_reciting(tmp_path / "m", "abcdefghij", after=10, train_length=2048)

    async def talk(service, model):
        begins = ["\n", "a", "bc", "d", "e", "h"] * 6
        streams = [
            await service.submit(model, model.request(text, max_new_tokens=30), client=f"c{i % 5}")
            for i, text in enumerate(begins)
        ]
        return begins, [(await stream.collect()).text for stream in streams]

    begins, texts = run(path, talk)
    whole = "abcdefghij"
    assert texts == [whole[whole.find(b[-1]) + 1 :] if b != "\n" else whole for b in begins]


def test_cancelling_frees_the_memory_and_says_so(endless):
    async def talk(service, model):
        request = model.request("a", max_new_tokens=5000)
        stream = await service.submit(model, request, client="a")
        async for _ in stream:
            break
        assert model.worker.held_bytes > 0
        stream.cancel()
        rest = [piece async for piece in stream]
        return rest, stream.result, await idle(service, model)

    _, result, stats = run(endless, talk)
    assert result.finish_reason == "cancelled"
    assert 0 < result.num_new_tokens < 5000
    assert (stats.num_running, stats.blocks_used) == (0, 0)


def test_what_a_request_owns_ends_with_it(endless):
    async def talk(service, model):
        owner = Owned()
        OWNER.set(owner)
        streams = [
            await service.submit(model, model.request("a", max_new_tokens=5000), client="a")
            for _ in range(3)
        ]
        await streams[0].started()
        owner.close()
        return [(await s.collect()).finish_reason for s in streams], await idle(service, model)

    reasons, stats = run(endless, talk)
    assert reasons == ["cancelled"] * 3
    assert stats.blocks_used == 0


def test_only_what_fits_at_its_longest_runs_so_nothing_is_preempted(endless):
    async def talk(service, model):
        engine = model.worker.engine
        most = engine.limit_bytes // engine.bytes_of(2 + 100)
        requests = [model.request("aa", max_new_tokens=100) for _ in range(3 * most)]
        streams = [await service.submit(model, r, client="a") for r in requests]
        seen = 0
        while not all(stream.is_finished for stream in streams):
            seen = max(seen, model.worker.num_running)
            assert model.worker.held_bytes <= engine.limit_bytes
            await asyncio.sleep(0.005)
        return most, seen, engine.stats(), [stream.result.num_new_tokens for stream in streams]

    most, seen, stats, counts = run(endless, talk, kv_bytes=2_000_000)
    assert 2 <= most <= 8
    assert 1 <= seen <= most
    assert stats.num_preemptions == 0
    assert counts == [100] * (3 * most)


def test_replies_that_may_grow_long_run_together_until_memory_is_short(endless):
    """Each of these may fill a third of the memory; together they are right, one after another."""
    config = ServeConfig(reserve_tokens=32)

    async def talk(service, model):
        engine = model.worker.engine
        assert engine.bytes_of(300) * 3 > engine.limit_bytes * 0.6
        requests = [model.request("a" * (n + 1), max_new_tokens=300) for n in range(6)]
        streams = [await service.submit(model, r, client="a") for r in requests]
        most = 0
        while not all(stream.is_finished for stream in streams):
            most = max(most, model.worker.num_running)
            await asyncio.sleep(0.002)
        return most, engine.stats(), [stream.result for stream in streams]

    most, stats, results = run(endless, talk, config=config, kv_bytes=4_500_000)
    assert most > 4_500_000 // (300 * 4096)
    assert [(r.text, r.finish_reason) for r in results] == [("ba" * 150, "length")] * 6
    assert stats.blocks_used == 0


def test_a_client_with_many_requests_does_not_starve_another(endless):
    async def talk(service, model):
        order = []

        async def ask(client):
            request = model.request("a", max_new_tokens=30)
            await (await service.submit(model, request, client=client)).collect()
            order.append(client)

        greedy = [asyncio.create_task(ask("greedy")) for _ in range(30)]
        await asyncio.sleep(0.05)
        await ask("late")
        place = order.index("late")
        for task in greedy:
            await task
        return place

    assert run(endless, talk, max_num_seqs=2) < 24


def test_a_full_queue_is_429_with_the_time_to_come_back(endless):
    config = ServeConfig(max_waiting=3)

    async def talk(service, model):
        def ask(client):
            return service.submit(model, model.request("a", max_new_tokens=300), client=client)

        running = await ask("a")
        await running.started()
        waiting = [await ask("a") for _ in range(3)]
        with pytest.raises(ApiError) as refused:
            await ask("a")
        newcomer = await ask("b")  # who has nothing waiting gets a place
        for stream in [running, *waiting, newcomer]:
            stream.cancel()
        return refused.value

    error = run(endless, talk, config=config, max_num_seqs=1)
    assert (error.status, error.code, error.type) == (429, "server_overloaded", "rate_limit_error")
    assert 1 <= int(error.headers["retry-after"]) <= 600


def test_a_reply_without_a_bound_waits_as_what_replies_usually_take(endless):
    config = ServeConfig(max_waiting_tokens=100, reserve_tokens=20)

    async def talk(service, model):
        def ask():
            return service.submit(model, model.request("a", max_new_tokens=300), client="a")

        running = await ask()
        await running.started()
        waiting = [await ask() for _ in range(4)]  # 4 · (1 + 20) tokens
        with pytest.raises(ApiError, match="84 tokens wait"):
            await ask()
        for stream in [running, *waiting]:
            stream.cancel()

    run(endless, talk, config=config, max_num_seqs=1)


def test_what_never_fits_is_400_with_the_numbers(endless):
    async def talk(service, model):
        found = []
        for tokens in (9000, 5000):
            with pytest.raises(ApiError) as refused:
                await service.submit(model, model.request("a", max_new_tokens=tokens), client="a")
            found.append(refused.value)
        return found

    long, large = run(endless, talk, kv_bytes=9_000_000)
    assert {long.status, large.status} == {400}
    assert {long.code, large.code} == {"context_length_exceeded"}
    assert "the context of m is 8,192 tokens" in long.message
    assert "9,000,000" in large.message or "and m has 9,000,000" in large.message


def test_waiting_too_long_is_503_and_running_too_long_504(endless):
    async def talk(service, model):
        first = await service.submit(model, model.request("a", max_new_tokens=8000), client="a")
        await first.started()
        second = await service.submit(model, model.request("a", max_new_tokens=10), client="a")
        with pytest.raises(ApiError) as waited:
            await second.started()
        with pytest.raises(ApiError) as ran:
            await first.collect()
        return waited.value, ran.value, await idle(service, model)

    config = ServeConfig(queue_timeout_s=0.3, request_timeout_s=1.0)
    waited, ran, stats = run(endless, talk, config=config, max_num_seqs=1)
    assert (waited.status, waited.code) == (503, "queue_timeout")
    assert int(waited.headers["retry-after"]) >= 1
    assert (ran.status, ran.code) == (504, "request_timeout")
    assert stats.blocks_used == 0


def test_a_failing_step_ends_what_runs_and_the_next_request_works(greeting, endless):
    lines = Lines()

    async def talk(service, model):
        engine = model.worker.engine
        stream = await service.submit(model, model.request("a", max_new_tokens=5000), client="a")
        await stream.started()
        runner, broken = engine._runner.run, [True]

        def fail_once(plan):
            if broken.pop() if broken else False:
                raise RuntimeError("the processor is on fire")
            return runner(plan)

        engine._runner.run = fail_once
        with pytest.raises(ApiError) as failed:
            await stream.collect()
        again = await service.submit(model, model.request("a", max_new_tokens=4), client="a")
        return failed.value, (await again.collect()).text, await idle(service, model)

    error, text, stats = run(endless, talk, lines=lines)
    assert (error.status, error.type) == (500, "server_error")
    assert "fire" not in error.message  # details are for the log
    assert text == "baba"
    assert stats.blocks_used == 0
    [logged] = lines.events("error")
    assert "the processor is on fire" in logged["traceback"]


def test_a_request_that_cannot_begin_is_told_so_and_hurts_no_other(endless):
    lines = Lines()

    async def talk(service, model):
        add, found = model.worker.engine.add, []

        def refuse(request):
            raise found.pop() if found else RuntimeError

        for error in (RuntimeError("no room on disk"), UserError("no such adapter: x")):
            found.append(error)
            model.worker.engine.add = refuse
            stream = await service.submit(model, model.request("a", max_new_tokens=5), client="a")
            with pytest.raises(ApiError) as failed:
                await stream.started()
            found.append(failed.value)
            model.worker.engine.add = add
            again = await service.submit(model, model.request("a", max_new_tokens=4), client="a")
            found.append((await again.collect()).text)
        return found

    broken, first, refused, second = run(endless, talk, lines=lines)
    assert (broken.status, broken.code) == (500, "internal_error")
    assert (refused.status, refused.message) == (400, "no such adapter: x")
    assert [first, second] == ["baba", "baba"]
    assert "no room on disk" in lines.events("error")[0]["traceback"]


def test_numbers_that_are_not_finite_end_the_reply_with_500(endless):
    async def talk(service, model):
        model.lm.model.lm_head.weight.data.fill_(float("nan"))
        stream = await service.submit(model, model.request("a", max_new_tokens=5), client="a")
        with pytest.raises(ApiError) as failed:
            await stream.collect()
        return failed.value

    error = run(endless, talk)
    assert error.status == 500
    assert "not finite" in error.message


def test_a_reader_that_stands_still_holds_nobody_up(endless):
    async def talk(service, model):
        lazy = await service.submit(model, model.request("a", max_new_tokens=200), client="lazy")
        busy = await service.submit(model, model.request("a", max_new_tokens=50), client="busy")
        await busy.collect()
        stats = await idle(service, model)
        return stats, [piece.text async for piece in lazy]

    stats, texts = run(endless, talk)
    assert stats.blocks_used == 0  # the lazy one's reply is done, whoever reads it
    assert "".join(texts) == "ba" * 100


def test_a_call_runs_between_steps_and_its_errors_come_back(endless):
    async def talk(service, model):
        stream = await service.submit(model, model.request("a", max_new_tokens=300), client="a")
        await stream.started()
        value = await service.run(model, lambda: model.lm.encode("abc"), client="b", cost=3)
        with pytest.raises(ApiError) as refused:
            await service.run(model, lambda: model.request("a", temperature=-1.0), client="b")
        with pytest.raises(ApiError) as failed:
            await service.run(model, lambda: 1 / 0, client="b")
        still = stream.is_finished
        stream.cancel()
        return value, refused.value, failed.value, still

    value, refused, failed, was_finished = run(endless, talk)
    assert value == [97, 98, 99]
    assert refused.status == 400
    assert "temperature = -1.0" in refused.message
    assert (failed.status, failed.code) == (500, "internal_error")
    assert not was_finished


def test_agents_ask_from_their_threads_in_the_same_batch(greeting):
    async def talk(service, model):
        texts = ServedTextModel(service, model, client="agent")
        chat = [{"role": "user", "content": "Hi"}]

        def streamed():
            stream, pieces = texts.stream(chat, Options(max_new_tokens=30)), []
            while True:
                try:
                    pieces.append(next(stream))
                except StopIteration as end:
                    return pieces, end.value

        replies = await asyncio.to_thread(texts.reply, [chat, "\n"], Options(max_new_tokens=30))
        pieces, reply = await asyncio.to_thread(streamed)
        too_long = await asyncio.gather(
            asyncio.to_thread(texts.reply, ["x" * 4000], Options()), return_exceptions=True
        )
        return replies, pieces, reply, too_long[0]

    replies, pieces, reply, too_long = run(greeting, talk)
    assert [r.text for r in replies] == ["helo!", "helo!"]
    assert "".join(pieces) == reply.text == "helo!"
    assert (reply.finish_reason, reply.stop) == ("stop", "<|im_end|>")
    assert too_long.code == "context_length_exceeded"


def test_leaving_an_agents_stream_ends_its_reply(endless):
    async def talk(service, model):
        texts = ServedTextModel(service, model, client="agent")

        def leave():
            stream = texts.stream("a", Options(max_new_tokens=8000))
            next(stream)
            stream.close()

        await asyncio.to_thread(leave)
        return await idle(service, model)

    assert run(endless, talk).blocks_used == 0


def test_two_models_take_turns_and_keep_apart(greeting, endless):
    with small_app(endless, greeting) as app:
        service, models = app.state.service, app.state.models

        async def talk():
            long = models.get("m")
            stream = await service.submit(long, long.request("a", max_new_tokens=4000), client="a")
            await stream.started()
            other = models.get("hi")
            begin = time.monotonic()
            short = await service.submit(other, other.request("\n", max_new_tokens=9), client="a")
            text = (await short.collect()).text
            waited, is_done = time.monotonic() - begin, stream.is_finished
            stream.cancel()
            return text, waited, is_done

        text, waited, is_done = asyncio.run(talk())
    assert text == "helo!"
    assert not is_done
    assert waited < 5


def test_what_a_handler_leaves_unread_ends_with_its_request(endless):
    with small_app(endless) as app:
        service, model = app.state.service, app.state.models.list()[0]

        @app.post("/v1/forget")
        async def forget():
            request = model.request("a", max_new_tokens=8000)
            await (await service.submit(model, request, client="a")).started()
            return {}

        async def talk():
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                answer = await http.post("/v1/forget")
            return answer.status_code, await idle(service, model)

        status, stats = asyncio.run(talk())
    assert status == 200
    assert stats.num_new_tokens < 4000
    assert stats.blocks_used == 0


def test_closing_ends_everything_with_503(endless):
    async def talk(service, model):
        running = await service.submit(model, model.request("a", max_new_tokens=8000), client="a")
        await running.started()
        waiting = await service.submit(model, model.request("a", max_new_tokens=10), client="a")
        service.close()
        codes = []
        for stream in (running, waiting):
            with pytest.raises(ApiError) as ended:
                await stream.collect()
            codes.append((ended.value.status, ended.value.code))
        with pytest.raises(ApiError) as refused:
            await service.submit(model, model.request("a", max_new_tokens=10), client="a")
        return codes, refused.value.status

    codes, status = run(endless, talk, max_num_seqs=1)
    assert codes == [(503, "draining")] * 2
    assert status == 503
