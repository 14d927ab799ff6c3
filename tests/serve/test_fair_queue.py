"""Fair turns: nothing is lost, nobody starves, and nobody's own requests overtake each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.serve.fair import FairQueue

requests = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(1, 3000)), min_size=1, max_size=60
)


def filled(pairs, quantum=512):
    queue = FairQueue(quantum)
    for number, (client, cost) in enumerate(pairs):
        queue.push(client, (client, number, cost), cost=cost)
    return queue


def drained(queue):
    return [queue.pop() for _ in range(len(queue))]


@given(requests, st.integers(1, 2000))
def test_what_goes_in_comes_out_once(pairs, quantum):
    queue = filled(pairs, quantum)
    assert queue.cost == sum(cost for _, cost in pairs)
    out = drained(queue)
    assert sorted(number for _, number, _ in out) == list(range(len(pairs)))
    assert (len(queue), queue.cost, queue.peek()) == (0, 0, None)


@given(requests)
def test_a_clients_requests_keep_their_order(pairs):
    numbers = {}
    for client, number, _ in drained(filled(pairs)):
        numbers.setdefault(client, []).append(number)
    assert all(order == sorted(order) for order in numbers.values())


@given(requests, st.integers(1, 2000))
def test_while_all_wait_nobody_gets_much_more_than_another(pairs, quantum):
    """The classic bound of deficit round robin: one quantum and one largest request apart."""
    queue, served = filled(pairs, quantum), dict.fromkeys("abcde", 0)
    largest = max(cost for _, cost in pairs)
    clients = {client for client, _ in pairs}
    while all(queue.waiting(client) for client in clients):
        client, _, cost = queue.pop()
        served[client] += cost
        counts = [served[client] for client in clients]
        assert max(counts) - min(counts) <= 2 * (quantum + largest)


def test_shares_are_equal_in_tokens_whatever_the_requests_are():
    queue = filled([("large", 1000)] * 60 + [("small", 25)] * 2400 + [("middle", 300)] * 200)
    served = {"large": 0, "small": 0, "middle": 0}
    while sum(served.values()) < 90_000:
        client, _, cost = queue.pop()
        served[client] += cost
    assert all(abs(count - 30_000) < 2000 for count in served.values()), served


def test_one_client_with_a_hundred_requests_delays_another_by_a_few():
    queue = filled([("greedy", 100)] * 100)
    queue.push("late", "hello", cost=100)
    assert drained(queue).index("hello") <= 512 // 100 + 1


def test_a_large_request_is_not_passed_for_ever():
    queue = filled([("large", 30_000)])
    for number in range(1000):
        queue.push("small", number, cost=10)
    out = drained(queue)
    assert out.index(("large", 0, 30_000)) <= 30_000 / 10 + 512
    endless = filled([("large", 30_000)])
    for turn in itertools.count():
        endless.push("small", turn, cost=500)
        if endless.pop() == ("large", 0, 30_000):
            break
        assert turn < 100


@given(requests, st.data())
def test_removing_takes_out_that_request_and_no_other(pairs, data):
    queue = filled(pairs)
    gone = []
    while len(queue) and data.draw(st.booleans()):
        item = data.draw(st.sampled_from(list(queue)))
        if data.draw(st.booleans()):
            queue.peek()
        assert queue.remove(item)
        assert not queue.remove(item)
        gone.append(item)
    left = drained(queue)
    assert len(left) + len(gone) == len(pairs)
    assert not set(left) & set(gone)
    assert queue.cost == 0


@given(requests)
def test_whoever_is_next_stays_next_until_it_is_taken(pairs):
    queue = filled(pairs)
    seen = queue.peek()
    queue.push("newcomer", "new", cost=1)
    assert queue.peek() is seen
    assert queue.pop() is seen


def test_an_empty_queue_and_an_empty_cost_are_refused():
    with pytest.raises(IndexError, match="nobody waits"):
        FairQueue().pop()
    with pytest.raises(ValueError, match="cost must be at least 1, got 0"):
        FairQueue().push("a", "x", cost=0)
    with pytest.raises(ValueError, match="quantum must be at least 1, got 0"):
        FairQueue(0)
