import json

import pytest

from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.comparisons import KINDS, make_comparisons
from openqwen.data.training.conversation_rows import BadRowError
from openqwen.data.training.conversations import Conversation
from openqwen.data.training.preferences import pair_of, read_pairs
from openqwen.data.training.prompt_sampler import sample_prompts
from openqwen.data.training.prompt_tags import complexity_of, tags_of

ASKED = [{"role": "user", "content": "Hi?"}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "chosen": "Yes", "rejected": "No"},
        {"prompt": ASKED, "chosen": [{"role": "assistant", "content": "Yes"}], "rejected": "No"},
        {
            "chosen": "\n\nHuman: Hi?\n\nAssistant: Yes",
            "rejected": "\n\nHuman: Hi?\n\nAssistant: No",
        },
        {
            "conversations": [{"from": "human", "value": "Hi?"}],
            "chosen": {"from": "gpt", "value": "Yes"},
            "rejected": {"from": "gpt", "value": "No"},
        },
        {
            "chosen": [*ASKED, {"role": "assistant", "content": "Yes"}],
            "rejected": [*ASKED, {"role": "assistant", "content": "No"}],
        },
        {"history": "Hi?", "human_ref_A": "No", "human_ref_B": "Yes", "labels": 0},
    ],
)
def test_the_forms_people_have_are_one_pair(row):
    assert pair_of(row) == (ASKED, "Yes", "No")


def test_a_comparison_of_summaries_is_a_pair():
    row = {"info": {"post": "Long."}, "summaries": [{"text": "A"}, {"text": "B"}], "choice": 1}
    prompt, chosen, rejected = pair_of(row)
    assert (prompt[0]["content"], chosen, rejected) == ("Summarize:\nLong.", "B", "A")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Hi?", "chosen": "Yes", "rejected": "Yes "}, "both answers are the same"),
        ({"prompt": "Hi?", "chosen": "", "rejected": "No"}, "empty answer"),
        ({"prompt": "Hi?", "chosen": "Yes"}, "no chosen and rejected"),
        ({"chosen": "Yes", "rejected": "No"}, "a dialogue without turns"),
        (
            {"prompt": [{"role": "assistant", "content": "x"}], "chosen": "a", "rejected": "b"},
            "end",
        ),
        (
            {
                "prompt": "Hi?",
                "chosen": "a",
                "rejected": "b",
                "score_chosen": 5,
                "score_rejected": 5,
            },
            "same score",
        ),
    ],
)
def test_a_bad_pair_says_why(row, reason):
    with pytest.raises(BadRowError, match=reason):
        pair_of(row)


def test_no_prompt_is_on_both_sides(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Q{i % 20}", "chosen": f"a{i}", "rejected": f"b{i}"} for i in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {}]) + "oops\n")
    set_aside = SetAside()
    pairs = list(read_pairs([path], set_aside=set_aside, validation_share=0.3))
    assert len(pairs) == 80
    assert set_aside.counts == {"not JSON": 1, "no chosen and rejected": 1}
    held = {p.prompt[0]["content"] for p in pairs if p.split == "validation"}
    kept = {p.prompt[0]["content"] for p in pairs if p.split == "train"}
    assert held
    assert not held & kept
    assert pairs[0].source == "pairs"
    with pytest.raises(UserError, match="is none of"):
        list(
            read_pairs([tmp_path / "pairs.txt"], set_aside=set_aside)
            if (tmp_path / "pairs.txt").write_text("x")
            else []
        )


def some_talks(count=40):
    talks = []
    for i in range(count):
        answer = f"Number {i} is fine. It is {i} long. Then comes {i + 1}. " * (1 + i % 3)
        if i % 2:
            answer = f"数字{i}很好。它有{i}长。然后是{i + 1}。" * (1 + i % 3)
        messages = [{"role": "user", "content": f"Tell me of {i}"}]
        messages.append({"role": "assistant", "content": answer})
        talks.append(Conversation(f"t/{i}", "t", "MIT", messages, "train"))
    return talks


def test_comparisons_come_in_all_kinds_and_the_given_answer_is_the_better_one():
    talks = some_talks()
    answers = {c.messages[0]["content"]: c.messages[1]["content"] for c in talks}
    pairs = make_comparisons(talks, num=100, seed=0)
    assert pairs == make_comparisons(talks, num=100, seed=0)
    assert {pair.source for pair in pairs} == set(KINDS)
    assert len({pair.id for pair in pairs}) == len(pairs) == 100
    for pair in pairs:
        assert pair.chosen == answers[pair.prompt[-1]["content"]]
        assert pair.rejected.strip() not in ("", pair.chosen.strip())
    by_talk = {}
    for pair in pairs:
        by_talk.setdefault(pair.prompt[-1]["content"], set()).add(pair.split)
    assert all(len(splits) == 1 for splits in by_talk.values())
    assert any(pair.split == "validation" for pair in pairs)
    for pair in pairs:
        if pair.source == "other_language":
            assert ("数字" in pair.chosen) != ("数字" in pair.rejected)
        if pair.source == "cut_off":
            assert pair.chosen.startswith(pair.rejected)


def test_tags_tell_language_task_form_and_subject():
    english = tags_of([{"role": "user", "content": "Write a poem about rain."}])
    assert {"en", "task:write", "form:poem", "topic:nature", "turns:1"} <= set(english)
    assert {"zh", "task:translate"} <= set(tags_of([{"role": "user", "content": "翻译这句话"}]))
    assert "task:list" not in tags_of([{"role": "user", "content": "a listing"}])
    assert complexity_of(english) == 3 + 0


def test_the_sampler_evens_out_tags_and_repeats_no_prompt():
    common = [f"What is {i}?" for i in range(300)]
    rare = ["Write a poem about rain.", "Translate this sentence.", "写一个故事", "Plan a trip"]
    prompts = [[{"role": "user", "content": text}] for text in (*common, *rare)]
    drawn, account = sample_prompts(prompts, 30, seed=1)
    texts = [prompt[0]["content"] for prompt in drawn]
    assert len(set(texts)) == 30
    assert set(rare) <= set(texts)
    assert account["entropy_bits"] > account["entropy_bits_of_a_plain_draw"] + 0.2
    assert sample_prompts(prompts, 30, seed=1)[0] == drawn
    assert len(sample_prompts(prompts, 10_000, seed=1)[0]) == len(prompts)
