"""Conversations as ids and loss mask, prompts within a window, replies as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.tokenizer.chatml import (
    DEFAULT_SYSTEM,
    ROLES,
    build_context,
    decode_reply,
    render,
)
from openqwen.tokenizer.template import chat_template

contents = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>assistant\n", "\n", " ", "hi", "中"])
    | st.text(max_size=8),
    max_size=6,
).map("".join)
conversations = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": contents}),
    min_size=1,
    max_size=6,
)


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def text_of(messages: list[dict[str, str]]) -> str:
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)


def test_a_conversation_is_rendered_as_chatml_with_the_default_system(tokenizer):
    said = [message("user", "Hi"), message("assistant", "Hello!")]
    rendered = render(said, tokenizer)
    assert tokenizer.decode(rendered.ids) == text_of([message("system", DEFAULT_SYSTEM), *said])
    assert DEFAULT_SYSTEM == "You are a helpful assistant."
    assert tokenizer.decode(render(said, tokenizer, default_system=None).ids) == text_of(said)
    own = render([message("system", "Be brief."), *said], tokenizer)
    assert tokenizer.decode(own.ids) == text_of([message("system", "Be brief."), *said])
    prompt = render(said[:1], tokenizer, default_system=None, add_generation_prompt=True)
    assert tokenizer.decode(prompt.ids) == text_of(said[:1]) + "<|im_start|>assistant\n"
    assert not any(prompt.learnt)


def test_learnt_are_the_assistants_content_and_its_end_token(tokenizer):
    said = [message("user", "1"), message("assistant", "2"), message("user", "3")]
    rendered = render(said, tokenizer, default_system=None)
    im_start, im_end = tokenizer.im_start_id, tokenizer.im_end_id
    newline = tokenizer.ranks[b"\n"]
    one, two, three = (tokenizer.ranks[digit] for digit in (b"1", b"2", b"3"))
    user, assistant = tokenizer.encode("user"), tokenizer.encode("assistant")
    assert rendered.ids == [
        *[im_start, *user, newline, one, im_end, newline],
        *[im_start, *assistant, newline, two, im_end, newline],
        *[im_start, *user, newline, three, im_end, newline],
    ]
    learnt = [i for i, is_learnt in enumerate(rendered.learnt) if is_learnt]
    first = len(user) + len(assistant) + 7
    assert learnt == [first, first + 1]
    assert [rendered.ids[i] for i in learnt] == [two, im_end]


@given(said=conversations, prompt=st.booleans())
def test_the_mask_covers_exactly_the_assistants_tokens(tokenizer, said, prompt):
    rendered = render(said, tokenizer, add_generation_prompt=prompt)
    assert len(rendered.learnt) == len(rendered.ids)
    runs: list[list[int]] = []
    previous = False
    for token_id, is_learnt in zip(rendered.ids, rendered.learnt, strict=True):
        if is_learnt and not previous:
            runs.append([])
        if is_learnt:
            runs[-1].append(token_id)
        previous = is_learnt
    answers = [m["content"] for m in said if m["role"] == "assistant"]
    assert [tokenizer.decode(run) for run in runs] == [f"{text}<|im_end|>" for text in answers]
    assert all(run.index(tokenizer.im_end_id) == len(run) - 1 for run in runs)


@given(said=conversations)
def test_nobody_can_write_a_control_token_into_a_conversation(tokenizer, said):
    ids = render(said, tokenizer, default_system=None).ids
    assert ids.count(tokenizer.im_start_id) == ids.count(tokenizer.im_end_id) == len(said)
    assert tokenizer.decode(ids) == text_of(said)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([], "at least one message"),
        ([{"role": "user"}], "message 0 has no content"),
        ([message("user", "a"), {"content": "a"}], "message 1 has no role"),
        (
            [message("function", "a")],
            "message 0 has role 'function'; use one of system, user, assistant, tool",
        ),
        ([message("user", None)], r"message 0 \(user\) has a NoneType, not a text"),
    ],
)
def test_a_broken_conversation_is_refused_and_the_message_named(tokenizer, said, text):
    with pytest.raises(ValueError, match=text):
        render(said, tokenizer)
    with pytest.raises(UserError, match=text):
        render(said, tokenizer)


@pytest.fixture(scope="module")
def peer(saved):
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained(str(saved))


@given(said=conversations, prompt=st.booleans())
def test_the_template_for_other_tools_renders_the_same_text(tokenizer, peer, said, prompt):
    ours = render(said, tokenizer, add_generation_prompt=prompt)
    theirs = peer.apply_chat_template(said, tokenize=False, add_generation_prompt=prompt)
    assert theirs == tokenizer.decode(ours.ids)


def test_the_template_gives_the_same_ids_for_ordinary_contents(tokenizer, peer, texts):
    said = [message(role, text.lstrip()) for role, text in zip(ROLES * 5, texts, strict=False)]
    for chosen in (said, said[1:3], said[1:2]):
        ours = render(chosen, tokenizer, add_generation_prompt=True).ids
        theirs = peer.apply_chat_template(
            chosen, add_generation_prompt=True, return_dict=False, tokenize=True
        )
        assert theirs == ours


@pytest.mark.parametrize("system", ["Don't \\ be\nlong", None])
def test_the_template_takes_another_default_system(tokenizer, peer, system):
    said = [message("user", "Hi")]
    text = peer.apply_chat_template(said, chat_template=chat_template(system), tokenize=False)
    assert text == tokenizer.decode(render(said, tokenizer, default_system=system).ids)


@pytest.mark.parametrize("said", [[], [message("function", "x")]])
def test_the_template_refuses_what_render_refuses_in_any_jinja(said):
    jinja2 = pytest.importorskip("jinja2")

    def refuse(text: str) -> None:
        raise ZeroDivisionError(text)

    template = jinja2.Environment().from_string(chat_template())
    with pytest.raises(ZeroDivisionError, match=r"at least one message|use one of the roles"):
        template.render(messages=said, raise_exception=refuse)


def test_a_turn_is_kept_while_all_is_strictly_under_the_window(tokenizer):
    history = [("a", "b"), ("c", "d"), ("e", "f")]
    # in the original a newline opens each later message; in `render` it ends each: same lengths
    system = len(render([message("system", "s")], tokenizer).ids) - 1
    turn = len(
        render(
            [message("user", "a"), message("assistant", "b")], tokenizer, default_system=None
        ).ids
    )
    for turns in range(4):
        exact = system + turns * turn
        assert build_context(tokenizer, "q", history, "s", exact + 1).num_turns == turns
        assert build_context(tokenizer, "q", history, "s", exact).num_turns == max(0, turns - 1)


@given(query=contents, history=st.lists(st.tuples(contents, contents), max_size=4), system=contents)
def test_a_context_that_holds_all_turns_is_the_rendered_conversation(
    tokenizer, query, history, system
):
    context = build_context(tokenizer, query, history, system, 10**6)
    said = [message("system", system)]
    for asked, answered in history:
        said += [message("user", asked), message("assistant", answered)]
    said.append(message("user", query))
    assert context.ids == render(said, tokenizer, add_generation_prompt=True).ids
    assert context.text == text_of(said) + "<|im_start|>assistant\n"
    assert context.num_turns == len(history)


def test_a_reply_ends_at_its_first_end_token_or_with_its_last_token(tokenizer):
    context = build_context(tokenizer, "q", [], "s", 100).ids
    words = tokenizer.encode(" two words ")
    for end, stop in ((tokenizer.im_end_id, "<|im_end|>"), (tokenizer.im_start_id, "<|im_start|>")):
        reply = decode_reply(tokenizer, [*context, *words, end, *words, end], len(context))
        assert (reply.text, reply.stop, reply.num_tokens) == ("two words", stop, len(words))
    cut = decode_reply(tokenizer, [*context, *words], len(context))
    assert (cut.text, cut.stop, cut.num_tokens) == ("two words", None, len(words))
    assert decode_reply(tokenizer, context, len(context)).text == ""
