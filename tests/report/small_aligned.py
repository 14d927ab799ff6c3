"""The directories of the aligned stages, in the form those stages leave them."""

from openqwen.core.files import write_json
from openqwen.core.log import MetricStream

PPO_METRICS = (
    *("score", "reward", "kl_k1", "kl_k3", "kl_response", "entropy", "length", "no_end_share"),
    *("repetition", "kept_mass", "policy_clip_fraction", "value_clip_fraction"),
    *("explained_variance", "value_loss", "pretraining_loss"),
)
ACCURACY = {"n": 40, "accuracy": 0.6125, "interval": [0.4575, 0.7476], "longer_wins": 0.55}


def write_metrics(out, train, validation):
    stream = MetricStream(out / "metrics.jsonl")
    for step in range(1, 9):
        row = {"kind": "train", "step": step, "tokens": step * 512, "tokens_per_s": 900.0}
        stream.write(row | dict.fromkeys(train, 0.1 * step))
        if step % 4 == 0:
            stream.write({"kind": "validation", "step": step} | validation)


def sample(word):
    return {"group": word, "prompt": f"Q {word}?", "before": f"old {word}", "text": f"new {word}"}


def tuned(out, word):
    held_out = {word: {"loss": 3.5, "tokens": 812, "conversations": 17}}
    write_metrics(out, ("loss", "learning_rate"), {"groups": held_out})
    write_json(out / "samples.json", [sample(word)])
    return {
        "steps": 8,
        "tokens": 4096,
        "epochs": [1.25],
        "context_length": 256,
        "learnt_tokens": 30_000,
        "padding_share": 0.0123,
        "cut_conversations": 5,
        "dropped_conversations": 1,
        "before": {word: {"loss": 4.25, "tokens": 812, "conversations": 17}},
        "validation": held_out,
        "conversations": {"train": {word: 2001}, "validation": {word: 17}},
        "set_aside": {f"empty assistant turn {word}": 3},
    }


def write_chat(out, word):
    pieces = [{"text": f"user {word}\n", "learnt": False}, {"text": "Yes.", "learnt": True}]
    write_json(out / "masks.json", [pieces])
    return tuned(out, word)


def scorer(out, word, **more):
    measured = ACCURACY | {"loss": 0.66, "margin": 0.1, "by_source": {word: ACCURACY}}
    write_metrics(out, ("loss", "accuracy", "chosen_score", "rejected_score"), measured)
    return {
        "pairs": {"train": 450, "validation": 40},
        "steps": 8,
        "epochs": 1.0,
        "max_tokens": 256,
        "padding_share": 0.031,
        "before": measured,
        "validation": measured,
    }


def write_reward(out, word):
    certain = ACCURACY | {"accuracy": 0.9, "interval": [0.77, 0.96]}
    write_json(out / "evaluation.json", {"PMP": {word: ACCURACY}, "RM": {word: certain}})
    return scorer(out, word)


def write_chat_rlhf(out, word):
    write_metrics(out, (*PPO_METRICS, "flags"), {"n": 40, "score": 0.5})
    scores = {"score_before": -0.25, "score": 0.5}
    write_json(out / "samples.json", [sample(word) | scores])
    result = {"n": 40, "wins": 24, "ties": 0, "losses": 16, "rate": 0.6, "interval": [0.45, 0.74]}
    result |= {"difference": 0.12, "half_width": 0.2, "is_measurable": False}
    better = result | {"rate": 0.9, "interval": [0.77, 0.96], "is_measurable": True}
    means = {"sft": -0.1, "rlhf": 0.02}
    found = {
        "n": 40,
        "seed": 17,
        "judges": {"reward": result, "preference": better},
        "mean_score": {"reward": means, "preference": means},
        "mean_length": {"sft": 40.5, "rlhf": 31.25},
        "ended": {"sft": 0.25, "rlhf": 0.75},
    }
    write_json(out / "evaluation.json", found)
    account = {"prompts": 900, "drawn": 360, "tags": 41, "tags_drawn": 40}
    account |= {"entropy_bits": 4.71, "entropy_bits_of_a_plain_draw": 4.02}
    return {"responses": 720, "stop_reason": "", "query_tags": account}


def write_code(out, word):
    after = {word: {"loss": 4.1, "bits_per_byte": 1.811, "tokens": 16_384}}
    write_metrics(out, ("loss",), {"groups": after})
    return {
        "tokens": 245_760,
        "context_length": 1024,
        "before_context": 256,
        "epochs": 0.16,
        "mixture": {"code": 700, word: 300},
        "before": {word: {"loss": 4.3, "bits_per_byte": 1.925, "tokens": 16_384}},
        "validation": after,
    }


def write_code_chat(out, word):
    share = {"parses": 0.25, "interval": [0.13, 0.42]}
    write_json(out / "evaluation.json", {"n": 32, "before": share, "after": share})
    return tuned(out, word)


def write_math_chat(out, word):
    share = {"accuracy": 0.125, "interval": [0.07, 0.21]}
    example = {"prompt": f"1 + 1 {word}", "answer": "2", "reply": f"3 {word}", "right": False}
    found = {"n": 96, "seed": 17, "before": share, "after": share, "examples": [example]}
    found["by_kind"] = {"add_small": {"n": 12, "before": 0.0, "after": 0.25}}
    write_json(out / "evaluation.json", found)
    counts = tuned(out, word)
    del counts["conversations"]
    return counts | {"problems": {"train": 7000, "validation": 1000}}


def write_evaluation(out, word):
    def measured(gap):
        row = {"n": 2, "bits_per_byte": 2.5 + gap, "half_width": 0.1}
        row |= {"difference": gap, "difference_half_width": 0.05 if gap else 0.0}
        share = {"interval": [0.07, 0.21]}
        calls = {"n": 32, "longest_prompt": 410, "valid": {"share": 0.25} | share}
        example = {"question": f"q {word}", "reply": f"Action: {word}", "judged": "INVALID"}
        return {
            "bits": {"en": row},
            "continuations": {"n": 160, "accuracy": 0.5} | share,
            "arithmetic": {"n": 64, "accuracy": 0.125} | share,
            "tool_form": calls | {"right": {"share": 0.125} | share, "examples": [example]},
        }

    models = {"base": measured(0.0), "chat": measured(0.25), "code": measured(0.03)}
    found = {"seed": 17, "chance": 0.25, "documents": {"en": 2}, "models": models}
    write_json(out / "results.json", found)
    return {"models": 3}


ALIGNED_WRITERS = {
    "chat": write_chat,
    "preference": scorer,
    "reward": write_reward,
    "chat-rlhf": write_chat_rlhf,
    "code": write_code,
    "code-chat": write_code_chat,
    "math-chat": write_math_chat,
    "evaluation": write_evaluation,
}
