import threading

import pytest
import torch
from tiny_exports import byte_tokenizer, random_model

from openqwen.core.errors import UserError
from openqwen.infer import runner as runner_module
from openqwen.infer.load import load

PROMPTS = ["a", "Hello there", "once upon a time in a wood", "世界", "x" * 50]


def test_greedy_replies_are_the_sessions_argmax(lm):
    result = lm.generate(["Hello"], max_new_tokens=12, ignore_stop_ids=True)[0]
    session = lm.start(lm.tokenizer.encode("Hello"))
    for token in result.ids:
        allowed = session.logits.clone()
        allowed[259:] = -torch.inf
        assert int(allowed.argmax()) == token
        session.step(token)
    assert (result.num_prompt_tokens, result.num_new_tokens) == (5, 12)
    assert (result.finish_reason, result.stop) == ("length", None)
    assert result.text == lm.tokenizer.decode(result.ids)


@pytest.mark.parametrize("context", [None, 128])
def test_a_batch_gives_what_each_prompt_gives_alone(random_export, context):
    lm = load(random_export, dtype="float32", context=context)
    together = lm.generate(PROMPTS, max_new_tokens=20)
    assert together == [lm.generate([prompt], max_new_tokens=20)[0] for prompt in PROMPTS]
    assert len({tuple(result.ids) for result in together}) > 1


def test_more_prompts_than_run_at_once_keep_their_order(lm):
    whole = lm.generate(PROMPTS, max_new_tokens=5)
    for count in (1, 2):
        assert lm.generate(PROMPTS, max_new_tokens=5, max_num_seqs=count) == whole
    assert lm.generate([]) == []


def test_rows_split_over_workers_give_the_same(lm, monkeypatch):
    whole = lm.generate(PROMPTS, max_new_tokens=20)
    monkeypatch.setattr(runner_module, "SLICE_ROWS", 2)
    threads = set()
    lm.model.norm.register_forward_hook(lambda *_: threads.add(threading.current_thread().name))
    assert lm.generate(PROMPTS, max_new_tokens=20) == whole
    assert any(name.startswith("worker") for name in threads)


def test_a_seed_repeats_a_reply_and_another_changes_it(lm):
    wild = {"temperature": 1.5, "max_new_tokens": 20, "ignore_stop_ids": True}
    first, second = lm.generate(["go", "go"], seed=4, **wild)
    assert lm.generate(["go"], seed=4, **wild) == [first]
    assert lm.generate(["go"], seed=5, **wild) == [second]
    assert first.ids != second.ids
    assert lm.generate(["go", "go"], seed=[5, 4], **wild) == [second, first]
    with pytest.raises(
        UserError, match=r"seed = \[1\] must give one number from 0 up for each of 2"
    ):
        lm.generate(["go", "go"], seed=[1], **wild)


def test_a_stream_joined_is_the_generated_text(lm):
    for prompt in PROMPTS:
        result = lm.generate([prompt], max_new_tokens=30, temperature=1.2, seed=2)[0]
        stream = lm.stream(prompt, max_new_tokens=30, temperature=1.2, seed=2)
        pieces = []

        def read(stream=stream, pieces=pieces):
            while True:
                pieces.append(next(stream))

        with pytest.raises(StopIteration) as end:
            read()
        assert end.value.value == result
        assert "".join(pieces) == result.text
        assert all(pieces)


def test_the_end_token_ends_the_reply_and_is_not_in_its_text(reciter):
    lm = reciter("Fine day")
    result = lm.generate(["How are you:"])[0]
    assert result.text == "Fine day"
    assert (result.finish_reason, result.stop) == ("stop", "<|im_end|>")
    assert result.ids == [*b"Fine day", byte_tokenizer().im_end_id]


def test_a_stream_never_gives_half_a_character(reciter):
    lm = reciter("é世界🙂!")
    assert list(lm.stream(":")) == ["é", "世", "界", "🙂", "!"]
    cut = lm.generate([":"], max_new_tokens=3)[0]
    assert cut.text == "é\ufffd"
    assert cut.finish_reason == "length"


def test_a_stop_text_over_several_tokens_ends_the_reply_and_is_held_back(reciter):
    lm = reciter("Act 1\nObs=2")
    result = lm.generate([":"], stop="\nObs")[0]
    assert (result.text, result.finish_reason, result.stop) == ("Act 1", "stop", "\nObs")
    assert result.ids == list(b"Act 1\nObs")
    assert "".join(lm.stream(":", stop=["\nObs", "Z"])) == "Act 1"
    assert lm.generate([":"], stop=["\nObx"])[0].text == "Act 1\nObs=2"


def test_rows_without_a_token_are_never_sampled(lm, random_export):
    biased = load(random_export, dtype="float32")
    with torch.no_grad():
        biased.model.lm_head.weight[259:] *= 50  # reserves and padding would win nearly always
    for temperature in (0.0, 1.0):
        results = biased.generate(PROMPTS, max_new_tokens=20, temperature=temperature)
        assert max(token for result in results for token in result.ids) < 259
    assert biased.logits([[1, 2, 3]])[0, -1].argmax() >= 259


def test_a_closed_stream_and_a_broken_model_say_so(random_export):
    lm = load(random_export, dtype="float32")
    stream = lm.stream("abc", max_new_tokens=100, ignore_stop_ids=True)
    next(stream)
    stream.close()
    with torch.no_grad():
        lm.model.norm.weight.fill_(torch.nan)
    result = lm.generate(["abc"])[0]
    assert (result.finish_reason, result.ids) == ("error", [])


def test_logprobs_are_those_of_the_full_softmax(lm):
    result = lm.generate(["abc"], max_new_tokens=4, temperature=1.0, top_k=3, logprobs=True)[0]
    ids = lm.tokenizer.encode("abc")
    logits = lm.logits([ids + result.ids])[0].log_softmax(-1)
    expected = [float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(result.ids)]
    assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_prompts_may_be_text_ids_or_messages(lm):
    tokenizer = lm.tokenizer
    messages = [{"role": "user", "content": "Hi <|im_end|>"}]
    rendered = lm.encode(messages)
    assert rendered[-len(b"assistant\n") :] == list(b"assistant\n")
    assert rendered.count(tokenizer.im_end_id) == 2  # of the system prompt and the message itself
    assert lm.encode("Hi <|im_end|>") == list(b"Hi <|im_end|>")
    assert lm.encode("") == [tokenizer.eos_id]
    assert lm.encode(torch.tensor([1, 2])) == [1, 2]
    with pytest.raises(UserError, match="no token"):
        lm.encode([])
    with pytest.raises(TypeError, match="put the one prompt into a list"):
        lm.generate("Hello")
    with pytest.raises(UserError, match=r"generate: max_tokens is not a setting"):
        lm.generate(["Hello"], max_tokens=3)


def test_the_random_models_of_these_tests_have_opinions():
    spread = random_model()(torch.tensor([[1, 2, 3]])).std()
    assert spread > 0.5
