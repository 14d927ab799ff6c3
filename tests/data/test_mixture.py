from dataclasses import replace

import numpy as np
import pytest
from documents_for_tests import code, document
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.config import parse_config
from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.data import mixture
from openqwen.data.config import DocumentsConfig, MixtureConfig
from openqwen.data.mixture import apply_plan, copies_for, drop_non_commercial, plan_mixture
from openqwen.data.steps import Rejected
from openqwen.data.weighed import Weighed


def corpus(**counts):
    """Return documents of 100 bytes: `en=3` gives three of source "en-books"."""
    documents = []
    for group, count in counts.items():
        for i in range(count):
            id = f"{group}-books/{i}"
            text = f"{id} ".ljust(100, "x")
            found = code(text, id) if group == "code" else document(text, id, language=group)
            documents.append(found)
    return documents


def mix(documents, seed=0, validation_share=0.0, **settings):
    config = DocumentsConfig(
        mixture=MixtureConfig(**settings),
        validation_share=validation_share,
        long_validation_documents=0,
    )
    plan = plan_mixture(Weighed.of(documents, seed=seed), config)
    outcomes = list(apply_plan(documents, plan, config.mixture))
    kept = [o for o in outcomes if isinstance(o, Document)]
    dropped = [o for o in outcomes if isinstance(o, Rejected)]
    assert len(kept) + len(dropped) == len(documents)
    return kept, dropped, plan.report


def hold_out(documents, config, seed=0):
    """Return the ids of the documents held out."""
    held_N = mixture.hold_out(Weighed.of(documents, seed=seed), config)
    return [d.id for d, held in zip(documents, held_N, strict=True) if held]


def whole_copies(documents, sizes, copies, *, seed):
    """Return id -> copies of documents that have these sizes."""
    weighed = replace(Weighed.of(documents, seed=seed), size_N=np.array(sizes))
    given_N = mixture.whole_copies(weighed, np.arange(len(sizes)), copies)
    return dict(zip([d.id for d in documents], given_N.tolist(), strict=True))


def test_without_weights_every_document_is_used_once():
    kept, dropped, report = mix(corpus(en=7, zh=3))
    assert [d.epochs for d in kept] == [1] * 10
    assert dropped == []
    assert report["groups"]["zh"]["share_got"] == 0.3


def test_weights_set_the_shares_of_bytes():
    kept, _, report = mix(corpus(en=300, zh=100, code=100), weights={"en": 2, "zh": 2, "code": 1})
    groups = report["groups"]
    # 500 documents' bytes are shared 200 : 200 : 100
    assert groups["en"]["epochs"] == pytest.approx(2 / 3, abs=0.01)
    assert {d.epochs for d in kept if d.group == "zh"} == {2}
    assert {d.epochs for d in kept if d.group == "code"} == {1}
    assert groups["en"]["share_got"] == pytest.approx(0.4, abs=0.003)
    assert report["mixture_bytes"] == sum(100 * d.epochs for d in kept)


def test_what_gets_no_copy_is_dropped_by_the_mixture():
    kept, dropped, _ = mix(corpus(en=300, zh=300), weights={"en": 1, "zh": 3})
    assert {d.reason for d in dropped} == {"mixture"}
    assert len([d for d in kept if d.group == "en"]) == pytest.approx(150, abs=2)


def test_copies_are_capped_and_the_shortfall_is_said():
    kept, _, report = mix(corpus(en=90, zh=10), weights={"en": 1, "zh": 1}, max_epochs=3)
    assert {d.epochs for d in kept if d.group == "zh"} == {3}
    assert report["groups"]["zh"]["wanted_bytes"] == 5000
    assert report["groups"]["zh"]["shortfall_bytes"] == 2000


def test_a_target_scales_the_whole():
    _, _, report = mix(corpus(en=50, zh=50), weights={"en": 3, "zh": 1}, target_bytes=20_000)
    assert report["groups"]["en"]["mixture_bytes"] == pytest.approx(15_000, abs=150)
    assert report["groups"]["zh"]["mixture_bytes"] == pytest.approx(5_000, abs=150)


def test_a_group_without_a_weight_is_dropped_and_told_so():
    _, dropped, report = mix(corpus(en=5, fr=5, de=5), weights={"en": 1, "de": 0})
    assert {(d.document.group, d.reason) for d in dropped} == {
        ("fr", "no weight"),
        ("de", "no weight"),
    }
    assert "en, de only" in dropped[0].detail
    assert report["groups"]["en"]["epochs"] == 1.0


@pytest.mark.parametrize("weights", [{"en": 1}, {"en": 1, "instructions": 0.0001}])
def test_a_conversation_without_a_copy_stays_for_fine_tuning(weights):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    talks = [
        Document(f"t/{i}", "talks", "", "MIT", "x", f"Hi {i}".ljust(100), messages=messages)
        for i in range(5)
    ]
    kept, dropped, report = mix([*corpus(en=20), *talks], weights=weights)
    found = [d for d in kept if d.messages]
    assert len(found) == 5
    assert 0 in {d.epochs for d in found}
    assert not any(d.document.messages for d in dropped)
    assert report["mixture_bytes"] == sum(100 * d.epochs for d in kept if not d.messages) + sum(
        row["mixture_bytes"] for g, row in report["groups"].items() if g == "instructions"
    )


def test_a_weight_without_documents_goes_to_the_groups_that_are_there():
    kept, _, report = mix(corpus(en=10, code=10), weights={"en": 1, "zh": 2, "code": 1})
    assert {d.epochs for d in kept} == {1}
    assert report["groups"]["zh"]["documents"] == 0
    assert report["groups"]["zh"]["share_asked"] == 0.5
    assert report["groups"]["en"]["share_got"] == 0.5


def test_a_boosted_source_has_that_many_times_the_copies_of_the_others():
    wiki = [document("w" * 100, f"wiki/{i}") for i in range(100)]
    _, _, report = mix(
        corpus(en=100) + wiki, weights={"en": 1}, target_bytes=40_000, source_boost={"wiki": 3}
    )
    assert report["sources"]["wiki"]["epochs"] == pytest.approx(3, abs=0.02)
    assert report["sources"]["en-books"]["epochs"] == pytest.approx(1, abs=0.02)


def test_a_boost_of_zero_removes_a_source():
    kept, dropped, _ = mix(
        [*corpus(en=4), document("w" * 100, "wiki/1")], source_boost={"wiki": 0}, max_epochs=9
    )
    assert [d.document.id for d in dropped] == ["wiki/1"]
    assert sum(d.epochs for d in kept) == 5


@settings(deadline=None)
@given(
    st.floats(0, 1e6),
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.integers(0, 10_000), st.floats(0, 8).filter(lambda x: x == 0 or x > 0.01)),
        min_size=1,
    ),
    st.floats(0.5, 8),
)
def test_copies_add_up_to_what_is_wanted_or_to_the_cap(wanted, parts, cap):
    copies = copies_for(wanted, parts, cap)
    assert all(0 <= copies[name] <= cap * (1 + 1e-9) for name in parts)
    total = sum(parts[name][0] * copies[name] for name in parts)
    possible = sum(size * cap for size, factor in parts.values() if factor > 0)
    assert total == pytest.approx(min(wanted, possible), rel=1e-6, abs=1e-6)
    free = [n for n in parts if 0 < copies[n] < cap * (1 - 1e-9)]
    rates = [copies[name] / parts[name][1] for name in free]
    assert rates == pytest.approx([rates[0]] * len(rates)) if rates else True


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.floats(0, 4), st.integers(0, 99))
def test_whole_copies_stay_within_one_large_document_of_the_bytes_asked(sizes, copies, seed):
    documents = [document("", f"s/{i}") for i in range(len(sizes))]
    given_copies = whole_copies(documents, sizes, copies, seed=seed)
    assert all(abs(n - copies) < 1 for n in given_copies.values())
    got = sum(given_copies[d.id] * n for d, n in zip(documents, sizes, strict=True))
    assert abs(got - copies * sum(sizes)) <= max(sizes)


def test_large_documents_are_drawn_as_often_as_small_ones():
    sizes = [size for size in (10, 50, 300, 2000) for _ in range(8000 // size)]
    documents = [document("", f"s/{i}") for i in range(len(sizes))]
    taken = dict.fromkeys(sizes, 0)
    for seed in range(150):
        copies = whole_copies(documents, sizes, 0.3, seed=seed)
        for found, size in zip(documents, sizes, strict=True):
            taken[size] += copies[found.id] / sizes.count(size) / 150
    assert list(taken.values()) == pytest.approx([0.3] * 4, abs=0.05)


def test_copies_do_not_depend_on_the_order_and_do_on_the_seed():
    documents = corpus(en=200)
    first = {d.id: d.epochs for d in mix(documents, weights={"en": 1}, target_bytes=5000)[0]}
    again = {d.id: d.epochs for d in mix(documents[::-1], weights={"en": 1}, target_bytes=5000)[0]}
    other = {d.id for d in mix(documents, seed=1, weights={"en": 1}, target_bytes=5000)[0]}
    assert first == again
    assert other != set(first)


def test_held_out_documents_are_a_share_of_every_group_and_get_one_copy():
    documents = corpus(en=100, zh=10, code=1)
    kept, _, report = mix(
        documents, weights={"en": 1, "zh": 1, "code": 1}, max_epochs=9, validation_share=0.05
    )
    held = [d for d in kept if d.split == "validation"]
    assert sorted(d.group for d in held) == ["en"] * 5 + ["zh"]
    assert {d.epochs for d in held} == {1}
    assert report["groups"]["en"]["validation_documents"] == 5
    assert report["groups"]["en"]["documents"] == 95


def test_some_long_prose_is_held_out_too_a_language_in_turn_the_shortest_first():
    documents = corpus(en=300, zh=300, code=50)
    for size in (3000, 2000, 1000, 500):
        for group in ("en", "zh"):
            documents.append(document("x" * size, f"long/{group}-{size}", language=group))
        documents.append(code("x" * size, f"long/code-{size}"))
    config = DocumentsConfig(
        validation_share=0.0001, long_validation_documents=3, long_validation_bytes=1000
    )
    held = set(hold_out(documents, config))
    assert {"long/en-1000", "long/zh-1000", "long/en-2000"} <= held
    assert len(held) <= 3 + 3


def test_a_corpus_of_long_documents_does_not_all_become_validation():
    documents = [document("x" * 1000, f"long/{i}") for i in range(30)]
    config = DocumentsConfig(
        validation_share=0.01, long_validation_documents=8, long_validation_bytes=1000
    )
    assert len(hold_out(documents, config)) <= 3 + 1


def test_nothing_is_held_out_where_nothing_is_asked():
    assert hold_out(corpus(en=9), DocumentsConfig(validation_share=0)) == []


def test_fixed_epochs_of_a_source_hold_whatever_its_group_weighs():
    wiki = [document("w" * 100, f"wiki/{i}") for i in range(10)]
    kept, _, report = mix(
        corpus(en=90) + wiki, weights={"en": 1}, target_bytes=10_000, source_epochs={"wiki": 6}
    )
    assert {d.epochs for d in kept if d.source == "wiki"} == {6}
    # the rest of the 10,000 bytes: 4,000 from 90 documents of 100
    assert report["sources"]["en-books"]["mixture_bytes"] == pytest.approx(4000, abs=100)


def test_a_budget_of_tokens_is_one_of_bytes():
    _, _, report = mix(corpus(en=100), target_tokens=1000, bytes_per_token=4.0)
    assert report["mixture_bytes"] == pytest.approx(4000, abs=100)


def test_parts_weighed_apart_are_the_whole(tmp_path):
    documents = corpus(en=7, zh=3, code=2)
    parts = [Weighed.of(documents[:5], seed=3), Weighed.of(documents[5:], seed=3)]
    parts[1].save(tmp_path / "part.npz")
    joined = Weighed.joined([parts[0], Weighed.load(tmp_path / "part.npz")])
    whole = Weighed.joined([Weighed.of(documents, seed=3)])
    assert (joined.groups, joined.sources) == (whole.groups, whole.sources)
    for name in ("group_N", "source_N", "size_N", "is_chat_N", "draws_3N"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name)), name


def test_non_commercial_sources_enter_by_name_only():
    documents = [document("x", "free/1"), document("y", "alpaca/1"), document("z", "other/1")]
    config = MixtureConfig(non_commercial_sources=("other",))
    outcomes = list(drop_non_commercial(config, frozenset({"alpaca", "other"}), documents))
    assert [o.id for o in outcomes if isinstance(o, Document)] == ["free/1", "other/1"]
    (dropped,) = [o for o in outcomes if isinstance(o, Rejected)]
    assert (dropped.document.id, dropped.reason) == ("alpaca/1", "non-commercial")
    assert "documents.mixture.non_commercial_sources" in dropped.detail


def test_a_licence_is_judged_where_only_the_row_names_it():
    rows = [document("x", "mine/1", licence="CC-BY-NC-4.0"), document("y", "mine/2")]
    outcomes = list(drop_non_commercial(MixtureConfig(), frozenset(), rows))
    assert [o.id for o in outcomes if isinstance(o, Document)] == ["mine/2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"mixture": {"weights": {"en": 0}}}, "weights are all 0"),
        ({"mixture": {"weights": {"en": -1}}}, "mixture.weights.en = -1"),
        ({"skip": ["language"]}, "skip.0"),
        ({"mixture": {"target_bytes": 1, "target_tokens": 1}}, "both set"),
        ({"mixture": {"max_epoch": 2}}, "did you mean mixture.max_epochs"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(data, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        parse_config(DocumentsConfig, data, where="my.toml")
