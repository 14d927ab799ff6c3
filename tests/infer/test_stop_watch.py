from hypothesis import given
from hypothesis import strategies as st

from openqwen.infer.stops import StopWatch


def test_a_possible_start_is_held_back_until_it_is_decided():
    watch = StopWatch(["\nObservation:"])
    assert watch.push("42\nObs") == "42"
    assert watch.push("erv") == ""
    assert watch.push("e.") == "\nObserve."
    assert watch.push("\nObservation: made up") == ""
    assert watch.matched == "\nObservation:"
    assert watch.push("more") + watch.flush() == ""


def test_of_several_stops_the_first_place_counts_and_then_the_longer():
    watch = StopWatch(["bc", "b", "bcd"])
    assert watch.push("abcd") == "a"
    assert watch.matched == "bcd"


def test_the_end_of_the_text_frees_what_was_held():
    watch = StopWatch(["###"])
    assert watch.push("a##") == "a"
    assert watch.flush() == "##"
    assert watch.matched is None


@given(
    pieces=st.lists(st.text("ab\n", max_size=4), max_size=12),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3),
)
def test_text_up_to_the_first_stop_passes_however_it_is_cut(pieces, stops):
    watch = StopWatch(stops)
    passed = "".join(watch.push(piece) for piece in pieces)
    whole = "".join(pieces)
    if watch.matched is None:
        assert passed + watch.flush() == whole
        assert not any(stop in whole for stop in stops)
    else:
        assert whole.startswith(passed + watch.matched)
        assert not any(stop in passed for stop in stops)
