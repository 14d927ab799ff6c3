import os
import signal
import time
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.data.extraction import isolate
from openqwen.data.extraction.isolate import Failure, Isolated
from openqwen.data.extraction.isolated_child import OK, frame, take_frames

WHERE = "test_isolation:stubborn"
HELD = []


def stubborn(text):
    """What a child runs in these tests: loops, dies, fails or answers, as it is told."""
    if text == "loop":
        while True:
            pass
    if text == "die":
        os._exit(3)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "abort":
        os.write(2, b"terminate called after throwing 'std::bad_alloc'\n")
        os.abort()
    if text == "hoard":
        return "x" * 800_000_000
    if text == "swell":
        HELD.append(bytearray(b"x") * 350_000_000)
        return str(len(HELD[0]))
    if text == "fail":
        raise ValueError("no such luck")
    if text == "pid":
        return str(os.getpid())
    return text.upper()


def str_of(item):
    return item


def answers(items, *, num_workers=1, cpu_s=5.0, memory_bytes=600_000_000):
    with Isolated(WHERE, num_workers, cpu_s=cpu_s, memory_bytes=memory_bytes) as pool:
        return [answer for _, answer in pool.map(items, str_of)]


def test_a_page_that_hangs_dies_or_fails_costs_only_itself():
    items = ["a", "loop", "b", "die", "hoard", "fail", "kill", "abort", None, "c"]
    found = [a.reason if isinstance(a, Failure) else a for a in answers(items, cpu_s=0.3)]
    expected = ["A", "timeout", "B", "crash", "memory", "failed", "memory", "memory", None, "C"]
    assert found == expected


def test_failures_say_what_happened():
    loop, die, fail, abort = answers(["loop", "die", "fail", "abort"], cpu_s=0.2)
    assert loop.detail == "took more than 0.2 s of processor time"
    assert die.detail == "ended by code 3"
    assert fail.detail == "ValueError: no such luck"
    assert "bad_alloc" in abort.detail


def test_a_child_that_has_grown_is_replaced_and_no_page_is_blamed():
    before, size, after, still = answers(["pid", "swell", "pid", "pid"])
    assert size == "350000000"
    assert before != after == still


def test_what_the_caller_holds_is_not_laid_to_the_child():
    hoard = bytearray(b"x") * 600_000_000
    items = ["pid", "fail", "die", "pid", "pid"]
    before, fail, die, after, still = answers(items)
    assert (len(hoard), fail.reason, die.reason) == (600_000_000, "failed", "crash")
    assert before != after == still


def test_texts_larger_than_any_pipe_pass_both_ways():
    items = ["x" * size for size in (3_000_000, 10, 5_000_000, 3_000_000, 1)] * 3
    assert answers(items) == [item.upper() for item in items]


@settings(deadline=None, max_examples=5)
@given(
    items=st.lists(
        st.one_of(st.none(), st.text(max_size=50), st.sampled_from(["die", "fail"])), max_size=300
    ),
    num_workers=st.integers(1, 3),
)
def test_every_item_gets_its_own_answer_in_order(items, num_workers):
    found = answers(items, num_workers=num_workers)
    for item, answer in zip(items, found, strict=True):
        if item in ("die", "fail"):
            assert answer.reason == {"die": "crash", "fail": "failed"}[item]
        else:
            assert answer == (None if item is None else item.upper())


def test_a_child_works_on_while_the_caller_does():
    with Isolated("test_isolation:slow", 1, cpu_s=5, memory_bytes=600_000_000) as pool:
        results = pool.map(["a"] * 30, str_of)
        next(results)
        time.sleep(1.0)  # the caller's own work, longer than all 29 calls take
        begin = time.monotonic()
        assert len(list(results)) == 29
    assert time.monotonic() - begin < 0.3


def slow(text):
    time.sleep(0.02)
    return text


def test_no_more_is_taken_ahead_than_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(isolate, "MAX_WAITING_BYTES", 1000)
    taken = 0

    def source():
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield "x" * 400

    with Isolated(WHERE, 1, cpu_s=5, memory_bytes=600_000_000) as pool:
        results = pool.map(source(), str_of)
        next(results)
        assert taken == 3


def test_a_function_that_is_not_there_is_a_fault_of_ours_and_no_page_is_blamed():
    with (
        pytest.raises(RuntimeError, match=r"did not start \(code 1\): .*no_such_module"),
        Isolated("no_such_module:f", 1, cpu_s=1, memory_bytes=600_000_000) as pool,
    ):
        list(pool.map(["a"], str_of))


def test_children_end_with_the_pool_even_when_the_reader_stops_early():
    with Isolated(WHERE, 2, cpu_s=5, memory_bytes=1_000_000_000) as pool:
        list(islice(pool.map(["a"] * 50, str_of), 3))
        children = list(pool.children)
    assert len(children) == 2
    assert all(child.process.returncode is not None for child in children)


@given(texts=st.lists(st.binary(max_size=40), max_size=10), step=st.integers(1, 60))
def test_frames_come_out_as_they_went_in_however_they_are_cut(texts, step):
    data = b"".join(frame(OK, text) for text in texts)
    buffer, found = bytearray(), []
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        found += [text for _, text in take_frames(buffer)]
    assert (found, buffer) == (texts, b"")
