"""Engines take turns, and a refused client is told when to come back."""

import itertools
import threading

import pytest

from openqwen.serve.throughput import FIRST_GUESS, Throughput
from openqwen.serve.worker import Turns


def test_workers_go_around_and_never_two_at_once():
    turns, order, inside = Turns(), [], []
    barrier = threading.Barrier(3)

    def work(name):
        barrier.wait()
        for _ in range(200):
            with turns:
                inside.append(name)
                assert len(inside) == 1
                order.append(name)
                threading.Event().wait(0.0002)  # lets the others come and wait
                inside.remove(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == ["a"] * 200 + ["b"] * 200 + ["c"] * 200
    middle = order[30:500]
    repeats = sum(now == before for before, now in itertools.pairwise(middle))
    assert repeats < len(middle) / 10  # a plain lock is taken again by whoever gave it back


def test_a_turn_is_given_back_after_a_failure():
    turns = Turns()
    with pytest.raises(RuntimeError), turns:
        raise RuntimeError
    with turns:
        pass


def test_the_rate_is_what_has_ended_by_the_seconds_of_steps():
    rate = Throughput()
    assert rate.seconds_of(round(FIRST_GUESS * 10)) == pytest.approx(10)
    for _ in range(100):
        rate.count_seconds(1.0)
        rate.count_tokens(500)
    assert rate.tokens_per_second == pytest.approx(500, rel=0.05)
    for _ in range(600):  # a slower hour is believed after a while
        rate.count_seconds(1.0)
        rate.count_tokens(50)
    assert rate.tokens_per_second == pytest.approx(50, rel=0.05)


def test_the_time_to_come_back_is_between_a_second_and_ten_minutes():
    rate = Throughput()
    assert rate.seconds_of(0) == 1
    assert rate.seconds_of(10**9) == 600
