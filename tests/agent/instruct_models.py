"""A model of rules for self-instruct: writes numbered tasks, answers, requests, ReAct steps."""

import re

from openqwen.agent.models import Reply

KINDS = (
    "birds",
    "rivers",
    "tools",
    "songs",
    "metals",
    "colours",
    "games",
    "herbs",
    "winds",
    "teas",
)


class Writer:
    """Answers by the form of the prompt; what it writes depends on prompt and seed alone."""

    name = "writer"

    def __init__(self, *, answers=None, steps=None, limit=None):
        self.answers, self.steps, self.limit = answers or {}, steps or {}, limit
        self.calls = 0

    def reply(self, prompts, options):
        self.calls += 1
        if self.limit is not None and self.calls > self.limit:
            raise KeyboardInterrupt
        return [self._one(prompt, options.seed + i) for i, prompt in enumerate(prompts)]

    def _one(self, prompt, seed):
        if isinstance(prompt, str):
            return Reply(self._text(prompt, seed), "stop")
        told = prompt[-1]
        if "Answer the following questions" in prompt[0]["content"]:
            question = prompt[0]["content"].rpartition("Question: ")[2]
            begun = told["content"] if told["role"] == "assistant" else ""
            steps = next(steps for word, steps in self.steps.items() if word in question)
            return Reply(steps[begun.count("Observation:")], "stop")
        question = told["content"]
        known = [text for word, text in self.answers.items() if word in question]
        return Reply(known[0] if known else f"Some answer about {question.lower()}", "stop")

    def _text(self, prompt, seed):
        if prompt.endswith("Returns:"):
            return ' {"sky": "clear"}'
        if prompt.endswith("Request:"):
            used = re.findall(r"Tool needed: (\w+)", prompt)[-1]
            return f" Please use {used} on the {KINDS[seed % 10]} number {seed % 997} for me"
        first, second = KINDS[seed % 10], KINDS[seed // 10 % 10]
        number = int(re.findall(r"Task (\d+)\nInstruction:$", prompt)[-1])
        return (
            f" List {seed % 991} {first} that {second} in {seed % 89} know well\nInput: none\n\n"
            f"Task {number + 1}\nInstruction: Compare {seed % 83} {second} of {seed % 977} with "
            f"{first}\nInput: {first}, {second}"
        )
