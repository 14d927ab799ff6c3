import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_machine import BLOCK, PaperMachine

from openqwen.infer import blocks as blocks_module

WINDOWS = st.sampled_from([(None,), (6,), (None, 3, 9), (1, 4, 5, 30)])
ROOMY = {"max_num_seqs": 8, "max_tokens": 64}


def test_memory_and_policy_know_no_torch():
    code = "import sys, openqwen.infer.scheduler; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@settings(max_examples=150, deadline=None)
@given(
    windows=WINDOWS,
    limit=st.integers(120, 1500),
    share=st.booleans(),
    max_num_seqs=st.integers(1, 5),
    max_tokens=st.integers(1, 40),
    fixed_chunk=st.sampled_from([None, 4, 8]),
    data=st.data(),
)
def test_blocks_are_conserved_and_every_query_sees_its_own_past(
    windows, limit, share, max_num_seqs, max_tokens, fixed_chunk, data
):
    """Random arrivals, steps and cancellations, with preemption where memory is short."""
    machine = PaperMachine(
        windows=windows, limit=limit, share=share, max_num_seqs=max_num_seqs,
        max_tokens=max_tokens, fixed_chunk=fixed_chunk,
    )  # fmt: skip
    actions = data.draw(st.lists(st.sampled_from(["add", "step", "step", "cancel"]), max_size=40))
    for number, action in enumerate(actions):
        if action == "add":
            tokens = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=40))
            alpha, new = data.draw(st.sampled_from([1, 3])), data.draw(st.integers(1, 30))
            if machine.blocks.fits_alone(len(tokens), machine.scheduler.chunk):
                machine.add(number, tokens, new=new, alpha=alpha)
            else:
                with pytest.raises(ValueError, match="never fit"):
                    machine.add(number, tokens)
        elif action == "step":
            machine.step()
        else:
            there = [*machine.scheduler.running, *machine.scheduler.waiting]
            if there:
                machine.scheduler.remove(data.draw(st.sampled_from(there)))
                machine.check()
    machine.run()
    assert all(pool.num_held == 0 for pool in machine.blocks.pools)
    for sequence in machine.exhausted:
        size = len(sequence.tokens)
        assert not machine.blocks.fits_alone(size, machine.scheduler.chunk)


def test_decoding_comes_first_and_prompts_fill_the_step():
    machine = PaperMachine(max_num_seqs=4, max_tokens=10)
    machine.add(0, [0] * 3, new=20)
    machine.step()
    machine.add(1, [1] * 25, new=3)
    machine.add(2, [1, 0] * 4, new=3)
    for _ in range(5):
        machine.step()
    # 25 tokens of the second in chunks beside one of the first; the third follows
    assert machine.lengths == [[3], [1, 9], [1, 9], [1, 7, 2], [1, 1, 6], [1, 1, 1]]


def test_sequences_start_in_the_order_of_their_arrival():
    machine = PaperMachine(max_num_seqs=2, max_tokens=64)
    for number in range(6):
        machine.add(number, [number % 2] * (20 - 3 * number), new=4)
    machine.run()
    assert [sequence.number for sequence in machine.finished] == [0, 1, 2, 3, 4, 5]


def test_the_latest_gives_way_and_finds_its_blocks_again():
    machine = PaperMachine(limit=10 * 12, **ROOMY)
    machine.add(0, [0] * 16, new=12)
    machine.add(1, [1] * 16, new=12)
    machine.run()
    assert machine.scheduler.num_preemptions > 0
    assert [sequence.number for sequence in machine.finished] == [0, 1]
    assert machine.computed[0] == 16 + 11
    assert 16 + 11 < machine.computed[1] < 2 * (16 + 11)


def test_what_others_have_computed_is_computed_once():
    machine = PaperMachine(**ROOMY)
    common = [0, 1, 1, 0] * 5
    machine.add(0, [*common, 1, 1], new=2)
    machine.add(1, [*common, 0, 0], new=2)
    machine.run()
    machine.add(2, [*common], new=2)
    machine.add(3, [*common, 0], new=2, alpha=3)
    machine.run()
    # beside its own: one new token of two is fed; the last token of a prompt is always computed
    assert machine.computed == {0: 22 + 1, 1: 2 + 1, 2: 4 + 1, 3: 21 + 1}
    assert machine.scheduler.num_shared_tokens == 20 + 16


def test_equal_tokens_behind_other_tokens_are_not_shared():
    machine = PaperMachine(**ROOMY)
    machine.add(0, [0, 0, 0, 0, 1, 1, 1, 1, 0])
    machine.add(1, [1, 0, 0, 0, 1, 1, 1, 1, 0])
    machine.run()
    assert machine.scheduler.num_shared_tokens == 0


def test_a_window_bounds_the_blocks_of_its_layers():
    machine = PaperMachine(windows=(None, 6), limit=2000, max_num_seqs=1, max_tokens=8)
    machine.add(0, [0, 1] * 20, new=60)
    most = [0, 0]
    while machine.scheduler.running or machine.scheduler.waiting:
        machine.step()
        most = [max(n, p.num_held) for n, p in zip(most, machine.blocks.pools, strict=True)]
    assert most[0] == -(-100 // BLOCK)
    assert most[1] <= (6 + 8) // BLOCK + 2


def test_a_prefix_is_shared_where_its_windows_are_still_there():
    machine = PaperMachine(windows=(6,), **ROOMY)
    prompt = [0, 1, 0, 0, 1, 1, 1, 0] * 4
    machine.add(0, prompt, new=9)
    machine.run()
    machine.add(1, [*prompt, *machine.finished[0].tokens[32:], 1], new=2)
    machine.run()
    assert machine.finished[1].num_shared == 40


def test_remembered_blocks_go_when_memory_is_needed_the_oldest_first():
    machine = PaperMachine(limit=10 * 11, **ROOMY)  # ten blocks
    machine.add(0, [0] * 17)
    machine.run()
    machine.add(1, [1] * 17)
    machine.run()
    machine.add(2, [0, 1] * 8 + [1])
    machine.run()
    machine.add(3, [1] * 17)
    machine.run()
    machine.add(4, [0] * 17)
    machine.run()
    shared = [sequence.num_shared for sequence in machine.finished]
    assert shared[3] == 16
    assert shared[4] < 16


def test_memory_grows_with_what_runs_and_not_with_what_has_run(monkeypatch):
    monkeypatch.setattr(blocks_module, "GROWTH_BYTES", 1)
    machine = PaperMachine(**ROOMY)
    for number in range(60):
        machine.add(number, [int(digit) for digit in f"{number:020b}"])
        machine.run()
    assert machine.blocks.pools[0].capacity <= 2 * 5 + 5
    machine.add(60, [0, 1, 1] * 6)
    machine.run()
    machine.add(61, [1] * 90)  # more than all: memory grows before everything is forgotten
    machine.run()
    machine.add(62, [0, 1, 1] * 6)
    machine.run()
    assert machine.finished[-1].num_shared >= 4


def test_what_never_fits_is_refused_and_what_grows_too_long_ends():
    machine = PaperMachine(limit=10 * 6, **ROOMY)  # five blocks
    with pytest.raises(ValueError, match="21 tokens never fit"):
        machine.add(0, [0] * 21)
    machine.add(1, [0] * 18, new=10)
    machine.add(2, [1] * 4, new=2)
    machine.run()
    assert [len(sequence.tokens) for sequence in machine.exhausted] == [21]
    assert [sequence.number for sequence in machine.finished] == [2]


def test_pools_of_past_needs_make_way():
    """Many short sequences fill the pool of the window; one long one then needs the other's."""
    machine = PaperMachine(windows=(None, 4), limit=800, **ROOMY)
    for number in range(8):
        machine.add(number, [number % 2] * 15, new=2)
    machine.run()
    longest = machine.blocks.most_tokens(machine.scheduler.chunk)
    machine.add(9, [0, 1] * (longest // 2 - 4), new=6)
    machine.run()
    assert not machine.exhausted
    assert machine.finished[-1].number == 9


def test_fixed_chunks_are_cut_at_the_same_places_and_replies_fed_token_by_token():
    machine = PaperMachine(max_num_seqs=2, max_tokens=64, fixed_chunk=8, limit=10 * 10)
    machine.add(0, [0] * 19, new=14)
    machine.add(1, [1] * 11, new=14)
    machine.run()
    assert machine.scheduler.num_preemptions > 0
    assert {n for lengths in machine.lengths for n in lengths} == {8, 3, 1}
