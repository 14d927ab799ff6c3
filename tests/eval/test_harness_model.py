"""What the harness gets from a model of ours, and what a killed run computes again."""

import json

import pytest
import torch

from openqwen.agent.models import LocalModel, Options, Reply
from openqwen.core.errors import UserError
from openqwen.eval.harness.generation import read_generation
from openqwen.eval.harness.prompts import Chats, encode_chat_pair, encode_pair
from openqwen.eval.responses import Remembering, Responses
from openqwen.infer.load import LanguageModel
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.tokenizer.tokenizer import Tokenizer

pytest.importorskip("lm_eval", reason="the harness is not installed: pip install openqwen[eval]")

CONFIG = ModelConfig(
    vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, intermediate_size=128, train_length=400,
)  # fmt: skip
BYTES = {bytes([i]): i for i in range(256)}


@pytest.fixture(scope="module")
def lm():
    model = new_decoder(CONFIG, seed=5)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return LanguageModel(model.eval(), Tokenizer(BYTES))


@pytest.fixture
def harness(lm):
    """Makes the harness's model on a store of responses."""
    from openqwen.eval.harness.model import HarnessModel

    def make(path=None, model=None):
        store = Responses(path)
        return HarnessModel(lm, Remembering(model or LocalModel(lm, "small"), store), store, False)

    return make


def asks(kind, *arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]


def logprob(lm, context_ids, continuation_ids):
    ids = context_ids + continuation_ids
    logprobs_TV = lm.logits([ids[:-1]])[0].log_softmax(-1)[-len(continuation_ids) :]
    return float(logprobs_TV.gather(1, torch.tensor(continuation_ids)[:, None]).sum())


def test_white_space_between_context_and_continuation_goes_to_the_continuation():
    tokenizer = Tokenizer(BYTES | {b" b": 256})
    assert encode_pair(tokenizer, "a ", "b") == ([97], [256])
    assert encode_pair(tokenizer, "a", " b") == ([97], [256])
    assert encode_pair(tokenizer, "a\n\n", "b") == ([97], [10, 10, 98])


def test_a_merge_across_the_join_leaves_the_continuation_a_token():
    tokenizer = Tokenizer(BYTES | {b"ab": 256})
    assert tokenizer.encode("ab") == [256]
    assert encode_pair(tokenizer, "a", "b") == ([97], [98])


def test_without_a_context_a_document_begins():
    tokenizer = Tokenizer(BYTES)
    assert encode_pair(tokenizer, "", "b") == ([tokenizer.eos_id], [98])
    assert encode_pair(tokenizer, " \n", "b") == ([tokenizer.eos_id], [32, 10, 98])


def test_log_likelihoods_are_those_of_a_plain_pass_and_wrong_ones_are_not_greedy(lm, harness):
    pairs = [("Question: why?\nAnswer:", f" {letter}") for letter in "ABCD"]
    pairs += [("Question: why?\nAnswer: ", "because it is"), ("", "Once"), ("问题", "回答")]
    found = harness().loglikelihood(asks("loglikelihood", *pairs))
    for (context, continuation), (value, _) in zip(pairs, found, strict=True):
        expected = logprob(lm, *encode_pair(lm.tokenizer, context, continuation))
        assert value == pytest.approx(expected, abs=2e-4)
    best = int(lm.logits([lm.encode("ab")])[0, -1].argmax())
    if best < 256:
        again = harness().loglikelihood(asks("loglikelihood", ("ab", "c"), ("ab", chr(best))))
        assert [is_greedy for _, is_greedy in again] == [best == ord("c"), best < 128]


def test_a_text_longer_than_the_context_is_scored_in_windows_that_meet(lm, harness):
    text = "".join(chr(97 + i * i % 23) for i in range(950))
    [value] = harness().loglikelihood_rolling(asks("loglikelihood_rolling", (text,)))
    ids = [lm.tokenizer.eos_id, *lm.encode(text)]
    first = logprob(lm, ids[:1], ids[1:401])
    second = logprob(lm, ids[400:401], ids[401:801])
    third = logprob(lm, ids[550:801], ids[801:])  # the last window is a whole one, too
    assert value == pytest.approx(first + second + third, abs=1e-2)


def test_a_killed_run_computes_only_what_is_missing(tmp_path, lm, harness, monkeypatch):
    from openqwen.eval.harness import model as module

    monkeypatch.setattr(module, "KEEP_S", 0.0)
    path = tmp_path / "responses.jsonl"
    pairs = [(f"{'abc'[i % 3]} context of number {i // 3}", f" answer {i}") for i in range(12)]
    first = harness(path)
    first._scorer.config = first._scorer.config.model_copy(update={"pass_tokens": 64})
    passes = []

    def dies(*arguments, real=first._scorer._pass):
        if len(passes) == 2:
            raise KeyboardInterrupt
        passes.append(1)
        return real(*arguments)

    monkeypatch.setattr(first._scorer, "_pass", dies)
    with pytest.raises(KeyboardInterrupt):
        first.loglikelihood(asks("loglikelihood", *pairs))
    kept = len(Responses(path))
    assert 0 < kept < 12
    with path.open("a") as file:
        file.write('{"key": "ab')  # a line that the kill tore
    second = harness(path)
    found = second.loglikelihood(asks("loglikelihood", *pairs))
    assert second._scorer.num_given < sum(len(a) + len(b) - 1 for a, b in pairs)
    third = harness(path)
    assert third.loglikelihood(asks("loglikelihood", *pairs)) == found
    assert third._scorer.num_computed == 0
    fresh = harness().loglikelihood(asks("loglikelihood", *pairs))
    assert [a for a, _ in found] == pytest.approx([a for a, _ in fresh], abs=1e-4)


def test_responses_of_other_weights_are_not_taken_for_these(tmp_path, lm, harness):
    path = tmp_path / "responses.jsonl"
    request = asks("loglikelihood", ("a", "b"))
    [before] = harness(path).loglikelihood(request)
    weight = lm.model.layers[0].mlp.down.weight
    with torch.no_grad():
        weight.mul_(2)
    try:
        [after] = harness(path).loglikelihood(request)
    finally:
        with torch.no_grad():
            weight.div_(2)
    assert abs(after[0] - before[0]) > 1e-3
    assert harness(path).loglikelihood(request) == [before]


def test_replies_end_before_the_first_stop_and_at_the_length(lm, harness):
    free = lm.generate(["Once upon"], max_new_tokens=24)[0].text
    assert len(free) > 6
    stop, later = free[3:5], free[5:6]
    model = harness()
    ends = model.generate_until(
        asks(
            "generate_until",
            ("Once upon", {"until": [later, stop], "max_gen_toks": 24, "do_sample": False}),
            ("Once upon", {"until": [], "max_gen_toks": 24}),
            ("Once upon", {"until": stop, "max_new_tokens": 24, "temperature": 0.0}),
            ("Once upon", {"until": ["never there"], "max_gen_toks": 2}),
        )
    )
    cut = min(free.find(stop), free.find(later))
    assert ends[:3] == [free[:cut], free, free[: free.find(stop)]]
    assert free.startswith(ends[3])
    assert len(ends[3]) <= 2


def test_draws_of_one_request_differ_and_come_again(tmp_path, harness):
    how = {"do_sample": True, "temperature": 1.5, "max_gen_toks": 12, "top_p": 0.95, "until": []}
    requests = asks("generate_until", *[("draw", how)] * 4)
    path = tmp_path / "responses.jsonl"
    first = harness(path).generate_until(requests)
    assert len(set(first)) > 1
    assert harness(path).generate_until(requests) == first
    assert harness().generate_until(requests) == first


def test_a_conversation_is_rendered_by_us_and_nobody_can_write_one(lm, harness):
    model = harness()
    messages = [{"role": "user", "content": "<|im_end|> 你好"}]
    text = model.apply_chat_template(messages)
    assert isinstance(text, str)
    assert model.chats.read(text) == messages
    assert Chats().read(text) is None
    assert model.chats.plain({"args": [(text, " A")]}) == {"args": [[messages, " A"]]}
    local = LocalModel(lm, "small")
    context, continuation = encode_chat_pair(local, messages, "A")
    assert context == local.encode(messages)
    assert continuation == [65]
    assert context.count(lm.tokenizer.im_end_id) == 2  # the system's and the user's own
    [(value, _)] = model.loglikelihood(asks("loglikelihood", (text, "A")))
    assert value == pytest.approx(logprob(lm, context, [65]), abs=2e-4)
    [reply] = model.generate_until(asks("generate_until", (text, {"max_gen_toks": 8})))
    assert reply == lm.generate([messages], max_new_tokens=8)[0].text


def test_a_begun_reply_is_continued(lm, harness):
    model = harness()
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Answer: "}]
    text = model.apply_chat_template(messages, add_generation_prompt=False)
    local = LocalModel(lm, "small")
    context, continuation = encode_chat_pair(local, messages, "A")
    header = local.encode([messages[0]])
    assert context == header + list(b"Answer:")
    assert continuation == list(b" A")
    [(value, _)] = model.loglikelihood(asks("loglikelihood", (text, "A")))
    assert value == pytest.approx(logprob(lm, context, continuation), abs=2e-4)


def test_a_prompt_that_leaves_no_room_is_cut_from_the_left_and_told(lm, harness, capsys):
    model = harness()
    text = "x" * 500 + "the end"
    [reply] = model.generate_until(asks("generate_until", (text, {"max_gen_toks": 10})))
    assert reply == lm.generate([lm.encode(text)[-390:]], max_new_tokens=10)[0].text
    assert "1 prompts were cut from the left" in capsys.readouterr().err
    with pytest.raises(UserError, match="leave no room for a prompt"):
        model.generate_until(asks("generate_until", ("a", {"max_gen_toks": 400})))


class Parrot:
    """A model behind an address: says the last word of its prompt."""

    name = "parrot at http://127.0.0.1"

    def __init__(self):
        self.asked = []

    def reply(self, prompts, options):
        self.asked += [(json.dumps(prompt), options) for prompt in prompts]
        return [Reply(str(prompt).split()[-1], "stop") for prompt in prompts]


def test_an_endpoint_gives_replies_but_no_log_likelihoods():
    from openqwen.eval.harness.model import HarnessModel

    parrot, store = Parrot(), Responses(None)
    model = HarnessModel(None, Remembering(parrot, store), store, True)
    how = {"until": ["."], "max_gen_toks": 7}
    assert model.generate_until(asks("generate_until", ("say cheese", how))) == ["cheese"]
    assert model.generate_until(asks("generate_until", ("say cheese", how))) == ["cheese"]
    assert parrot.asked == [('"say cheese"', Options(7, (".",)))]
    messages = [{"role": "user", "content": "Hi"}]
    model.generate_until(asks("generate_until", (model.apply_chat_template(messages), how)))
    assert json.loads(parrot.asked[-1][0]) == messages
    with pytest.raises(UserError, match="gives replies, no log-likelihoods"):
        model.loglikelihood(asks("loglikelihood", ("a", "b")))
    with pytest.raises(UserError, match="gives replies, no log-likelihoods"):
        model.loglikelihood_rolling(asks("loglikelihood_rolling", ("a",)))


def test_settings_that_would_change_replies_are_refused_where_they_are_not_known():
    with pytest.raises(UserError, match="num_beams = 4 is not supported"):
        read_generation({"num_beams": 4})
    plain = read_generation({"num_beams": 1, "do_sample": False, "temperature": 0.7, "top_p": 0.9})
    assert (plain.temperature, plain.filters, plain.max_new_tokens) == (0.0, (), 256)


@pytest.mark.real
def test_scores_of_the_real_model_are_the_harness_backends_own(tmp_path, coder05_path):
    pytest.importorskip("accelerate", reason="the harness's transformers backend needs accelerate")
    from lm_eval.models.huggingface import HFLM

    from openqwen.eval.harness.model import HarnessModel
    from openqwen.infer.convert import convert
    from openqwen.infer.load import load

    convert(coder05_path, tmp_path / "model", to="qwen2", kind="bf16")
    shots = "Question: 2 + 2?\nA. 3\nB. 4\nAnswer: B\n\nQuestion: 1 + 2?\nA. 3\nB. 5\nAnswer:"
    pairs = [(shots, " A"), (shots, " B"), (shots, " C or neither")]
    pairs += [("问题：中国的首都是哪里？\n答案是：", city) for city in ("北京", "上海", "北京市")]
    pairs += [("def add(a, b):\n    return ", text) for text in ("a + b", "a - b", "None")]
    pairs += [("The cat ", "sat on the mat."), ("A man is running. He", " stops.\n")]
    requests = asks("loglikelihood", *pairs)
    lm = load(tmp_path / "model", dtype="float32")
    ours = HarnessModel(lm, LocalModel(lm, "m"), Responses(None), False).loglikelihood(requests)
    peer = HFLM(str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=4)
    theirs = peer.loglikelihood(requests, disable_tqdm=True)
    assert [value for value, _ in ours] == pytest.approx([v for v, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert any(greedy for _, greedy in ours)
