"""What OpenAI's own client says to our server, and what comes back: docs/openai_client.md.

    openqwen serve model.gguf --quantize int4 --port 8123 --name coder &
    python benchmarks/openai_client_transcript.py --url http://127.0.0.1:8123/v1 --write-docs

Every call is shown as it is written and its answer as it came; nothing is edited.
"""

import argparse
import inspect
import textwrap
import time
from collections.abc import Callable
from typing import Any

import openai
from pydantic import BaseModel
from results import ROOT, provenance, write_section

PAGE = ROOT / "docs" / "openai_client.md"
MODEL = "coder"
client: openai.OpenAI  # set by main


class Person(BaseModel):
    """What the schema example asks for."""

    name: str
    age: int
    languages: list[str]


def chat() -> Any:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Write a Python function that reverses a string."}],
        max_tokens=120,
        temperature=0,
    )
    return reply.choices[0].message.content, reply.choices[0].finish_reason, reply.usage


def stream() -> Any:
    pieces = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "用一句话解释什么是质数。"}],
        max_tokens=60,
        temperature=0,
        stream=True,
    )
    return [piece.choices[0].delta.content for piece in pieces]


def choices() -> Any:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name a colour."}],
        n=3,
        seed=7,
        temperature=1.2,
        max_tokens=12,
    )
    return [choice.message.content for choice in reply.choices]


def logprobs() -> Any:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "2 + 2 ="}],
        max_tokens=3,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
    )
    return [
        (
            token.token,
            round(token.logprob, 3),
            [(t.token, round(t.logprob, 3)) for t in token.top_logprobs],
        )
        for token in reply.choices[0].logprobs.content
    ]


def schema() -> Any:
    reply = client.chat.completions.parse(
        model=MODEL,
        messages=[
            {"role": "user", "content": "Ada is 36 and speaks English and French. Describe her."}
        ],
        response_format=Person,
        max_tokens=200,
        temperature=0,
    )
    return reply.choices[0].message.parsed


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}


def tools() -> Any:
    messages = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
    first = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], tool_choice="required", temperature=0
    )
    call = first.choices[0].message.tool_calls[0]
    messages += [first.choices[0].message]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "18 degrees, light rain"}]
    second = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[WEATHER], temperature=0, max_tokens=80
    )
    return call.function.name, call.function.arguments, second.choices[0].message.content


def completion() -> Any:
    reply = client.completions.create(
        model=MODEL, prompt="def fib(n):\n", max_tokens=60, temperature=0, stop=["\n\n"]
    )
    return reply.choices[0].text


def embeddings() -> Any:
    texts = ["a cat sleeps on the sofa", "a kitten naps on the couch", "shares fell in Tokyo"]
    vectors = [each.embedding for each in client.embeddings.create(model=MODEL, input=texts).data]

    def cosine(a: list[float], b: list[float]) -> float:
        norms = sum(x * x for x in a) * sum(x * x for x in b)
        return round(sum(x * y for x, y in zip(a, b, strict=True)) / norms**0.5, 3)

    return len(vectors[0]), cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2])


def refusal() -> Any:
    try:
        client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hi"}],
            temperature=9,
        )
    except openai.BadRequestError as error:
        return type(error).__name__, error.body


STEPS: list[tuple[str, Callable[[], Any]]] = [
    ("A chat", chat),
    ("A stream", stream),
    ("Three choices from a seed", choices),
    ("Log-probabilities", logprobs),
    ("An answer of a pydantic class", schema),
    ("A tool that must be called, and its result", tools),
    ("A text continued", completion),
    ("Embeddings: length, and cosines of two alike and two unlike texts", embeddings),
    ("A mistake", refusal),
]


def main() -> None:
    """Go through the steps."""
    global client
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8123/v1")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    client = openai.OpenAI(base_url=args.url, api_key="none", max_retries=0, timeout=300)
    parts = [
        f"`client = openai.OpenAI(base_url={args.url!r}, api_key='none')`, openai "
        f"{openai.__version__}, models: {[model.id for model in client.models.list()]}."
    ]
    for title, step in STEPS:
        source = textwrap.dedent(inspect.getsource(step)).split("\n", 1)[1]
        began = time.perf_counter()
        answer = step()
        seconds = time.perf_counter() - began
        parts += [
            f"### {title}",
            f"```python\n{textwrap.dedent(source).strip()}\n```",
            f"{seconds:.1f} s:",
            f"```text\n{shown(answer)}\n```",
        ]
        print("\n\n".join(parts[-4:]), flush=True)
    if args.write_docs:
        body = (
            "\n\n".join(parts)
            + "\n\n"
            + provenance("python benchmarks/openai_client_transcript.py")
        )
        write_section(PAGE, "transcript", "Transcript", body)


def shown(answer: Any) -> str:
    """Return an answer as text: strings as they are, the rest as Python shows it."""
    items = answer if isinstance(answer, tuple) else (answer,)
    return "\n".join(item if isinstance(item, str) else repr(item) for item in items)


if __name__ == "__main__":
    main()
