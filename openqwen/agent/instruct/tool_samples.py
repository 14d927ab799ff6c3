"""Tool samples: a request to given tools, and the whole ReAct conversation that answers it.

Calls of tools that have a function are executed. Of a tool that is only described the model writes
the observation itself, marked `simulated` in the provenance. In a sample the assistant's turn ends
at the action's input and the observation is a message of the role tool, so that SFT learns neither
tools' results nor to write them.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from openqwen.agent.instruct.filters import Reason, Rules
from openqwen.agent.instruct.job import Batch, Job
from openqwen.agent.instruct.prompts import observation_prompt, request_prompt
from openqwen.agent.instruct.sample import Sample, Verdict
from openqwen.agent.instruct.seeds import Request
from openqwen.agent.models import Message, Options, Reply
from openqwen.agent.react import STOPS, Step, observation_text, parse_react, react_prompt
from openqwen.agent.tools import ArgumentError, Tool, read_arguments, read_tool
from openqwen.core.errors import UserError
from openqwen.core.files import sha256_text

KIND = "tools"
SHOWN = 4  # requests in a prompt
QUERY_TOKENS, OBSERVATION_TOKENS, STEP_TOKENS = 96, 128, 256
HEADING = "Thought:"
MAX_OBSERVATION = 2000  # characters


@dataclass
class Talk:
    """A conversation under way.

    Attributes:
        sample: what it becomes.
        tools: on offer, by name.
        begun: the assistant's turn so far, as ReAct continues it.
        messages: the same in messages, as SFT reads it.
        calls: tool, arguments and how the observation came about.
        reason: why it is dropped; None while it goes on or where it ended well.
        is_over: nothing is asked any more.
    """

    sample: Sample
    tools: dict[str, Tool]
    begun: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    reason: Reason | None = None
    is_over: bool = False

    def drop(self, reason: str, detail: str = "") -> None:
        """End it."""
        self.reason, self.is_over = (reason, detail), True

    def verdict(self) -> Verdict:
        """Return what became of it."""
        provenance = self.sample.provenance | {"calls": self.calls}
        sample = replace(
            self.sample, messages=[*self.sample.messages, *self.messages], provenance=provenance
        )
        return Verdict(sample, *(self.reason or (None, "")))


@dataclass
class ToolMaker:
    """Makes batches of tool conversations; what it keeps serves as examples of later batches."""

    job: Job
    rules: Rules
    own: list[Request]

    def make(self, batch: Batch) -> list[Verdict]:
        """Return what became of every request that the model wrote, in order."""
        rng = random.Random(batch.seed)
        talks = self._requests(batch, rng)
        for _ in range(self.job.config.max_steps + 1):
            going = [talk for talk in talks if not talk.is_over]
            if not going:
                break
            self._step(going)
        verdicts = []
        for talk in talks:
            if not talk.is_over:
                talk.drop("agent did not finish", f"{self.job.config.max_steps} actions")
            verdict = talk.verdict()
            if verdict.reason is None:
                reason = self.rules.judge(verdict.sample)
                verdict = Verdict(verdict.sample, *(reason or (None, "")))
            if verdict.reason is None:
                self._keep(verdict.sample)
            verdicts.append(verdict)
        return verdicts

    def absorb(self, verdicts: Sequence[Verdict]) -> None:
        """Take in what an earlier attempt kept of a batch."""
        for sample in (verdict.sample for verdict in verdicts if verdict.reason is None):
            self._keep(sample)

    def _keep(self, sample: Sample) -> None:
        self.rules.keep(sample)
        facts = sample.provenance
        self.own.append(
            Request(sample.id, sample.language, sample.instruction, facts["tools"], facts["used"])
        )

    def _requests(self, batch: Batch, rng: random.Random) -> list[Talk]:
        """Let the model write a request for each of a few sets of tools."""
        config = self.job.config
        offers = [self._offer(batch.language, rng) for _ in range(config.batch)]
        prompts = []
        for tools, used in offers:
            examples = self._examples(batch.language, rng)
            plain = [tool.definition()["function"] for tool in tools]
            prompts.append((request_prompt(examples, plain, used, batch.language), examples))
        options = Options(QUERY_TOKENS, ("\n",), config.temperature, config.top_p, batch.seed)
        replies = self.job.model.reply([prompt for prompt, _ in prompts], options)
        talks = []
        for place, (reply, (tools, used), (prompt, examples)) in enumerate(
            zip(replies, offers, prompts, strict=True)
        ):
            query = reply.text.strip()
            facts = self.job.provenance(batch) | {
                "request_prompt": sha256_text(prompt),
                "examples": [example.id for example in examples],
                "query": query,
                "tools": [tool.definition()["function"] for tool in tools],
                "used": used,
            }
            asked = [{"role": "user", "content": react_prompt(tools, query)}]
            sample = Sample(batch.id(KIND, place), KIND, batch.language, query, asked, facts)
            talk = Talk(sample, {tool.name: tool for tool in tools})
            reason = self.rules.judge_instruction(query, batch.language, has_tools=True)
            if reply.finish_reason != "stop":
                reason = ("cut off", "the request reached its limit of tokens")
            if reason is not None:
                talk.drop(*reason)
            talks.append(talk)
        return talks

    def _offer(self, language: str, rng: random.Random) -> tuple[list[Tool], str]:
        """Return up to `max_tools` tools, one that can be executed among them, and one to use."""
        requests = self.job.seeds.of(language)[1]
        described = [tool for request in requests for tool in request.tools]
        names: dict[str, Tool] = {tool.name: tool for tool in self.job.tools}
        for written in described:
            if written["name"] not in names:
                try:
                    names[written["name"]] = read_tool(written)
                except UserError:
                    continue  # a name that a model could not write
        own = [tool for tool in names.values() if tool.function is not None]
        others = [tool for tool in names.values() if tool.function is None]
        if not names:
            raise UserError(
                f"no tool to ask for in {language}: name some with --tools, or give seeds with "
                "tools in that language"
            )
        # half of the requests are for a tool that answers, where there are some
        used = rng.choice(own) if own and (not others or rng.random() < 0.5) else rng.choice(others)
        rest = [tool for tool in names.values() if tool is not used]
        count = min(rng.randint(0, self.job.config.max_tools - 1), len(rest))
        tools = [used, *rng.sample(rest, count)]
        rng.shuffle(tools)
        return tools, used.name

    def _examples(self, language: str, rng: random.Random) -> list[Request]:
        config = self.job.config
        seeds = self.job.seeds.of(language)[1]
        people = [
            request
            for request in seeds
            if request.id not in self.job.seeds.own
            and len(request.query) <= config.max_example_chars
        ]
        if not people:
            raise UserError(
                f"no {language} seed with tools; give conversations with tool calls in that "
                "language or leave it out of --languages"
            )
        own = [r for r in (*seeds, *self.own) if r.id in self.job.seeds.own or r in self.own]
        own = [request for request in own if request.language == language]
        num_own = min(config.own_examples, len(own), SHOWN - 1)
        shown = rng.sample(people, min(SHOWN - num_own, len(people))) + rng.sample(own, num_own)
        rng.shuffle(shown)
        return shown

    def _step(self, talks: list[Talk]) -> None:
        """Let the model take one step in each conversation, and answer its calls."""
        prompts = [
            [
                *talk.sample.messages,
                *([{"role": "assistant", "content": talk.begun}] * bool(talk.begun)),
            ]
            for talk in talks
        ]
        replies = self.job.model.reply(prompts, Options(STEP_TOKENS, STOPS))
        waiting: list[tuple[Talk, Tool, dict[str, Any], Step]] = []
        for talk, reply in zip(talks, replies, strict=True):
            step = parse_react(f"{HEADING}{reply.text}" if talk.begun else reply.text)
            called = self._read(talk, step, reply)
            if called is not None:
                waiting.append((talk, *called, step))
        simulated = [wait for wait in waiting if wait[1].function is None]
        prompts_of = [
            observation_prompt(tool.definition()["function"], arguments)
            for _, tool, arguments, _ in simulated
        ]
        written = (
            self.job.model.reply(prompts_of, Options(OBSERVATION_TOKENS, ("\n",)))
            if simulated
            else []
        )
        of_talk = {id(wait[0]): reply for wait, reply in zip(simulated, written, strict=True)}
        for talk, tool, arguments, step in waiting:
            self._observe(talk, tool, arguments, step, of_talk.get(id(talk)))

    def _read(self, talk: Talk, step: Step, reply: Reply) -> tuple[Tool, dict[str, Any]] | None:
        """Return the call that a step makes; None where the conversation is over with it."""
        text = step.text.strip()
        said: Message = {"role": "assistant", "content": text}
        if step.final is not None:
            talk.messages.append(dict(said))
            if reply.finish_reason == "length":
                talk.drop("cut off", "the final answer reached its limit of tokens")
            elif not step.final:
                talk.drop("no answer")
            elif not talk.calls:
                talk.drop("no tool used")
            elif talk.sample.provenance["used"] not in [call["tool"] for call in talk.calls]:
                talk.drop("another tool used", f"not {talk.sample.provenance['used']}")
            talk.is_over = True
            return None
        talk.messages.append(dict(said))
        if step.action is None:
            cut = reply.finish_reason == "length"
            talk.drop("cut off" if cut else "agent did not finish", "neither action nor answer")
            return None
        tool = talk.tools.get(step.action)
        if tool is None:
            talk.drop("tool call invalid", f"no tool is called {step.action[:60]}")
            return None
        try:
            arguments = read_arguments(tool, step.action_input)
        except ArgumentError as error:
            talk.drop("tool call invalid", str(error)[:200])
            return None
        if any(c["tool"] == tool.name and c["arguments"] == arguments for c in talk.calls):
            talk.drop("agent did not finish", f"{tool.name} was called twice with the same input")
            return None
        invented = _invented(talk, arguments) if self.job.config.grounded else []
        if invented:
            talk.drop("arguments invented", f"{', '.join(invented)} stands nowhere before")
            return None
        return tool, arguments

    def _observe(
        self, talk: Talk, tool: Tool, arguments: dict[str, Any], step: Step, written: Reply | None
    ) -> None:
        """Execute a call, or take what the model wrote in its place."""
        call: dict[str, Any] = {"tool": tool.name, "arguments": arguments}
        if written is not None:
            if not self.job.config.simulate:
                talk.drop("tool call invalid", f"{tool.name} can't be executed; simulate is off")
                return
            observed, call["by"] = written.text.strip(), "simulated"
            if not observed or written.finish_reason == "length":
                talk.drop("tool failed", "the model wrote no whole observation")
                return
        else:
            try:
                observed, call["by"] = tool.call(arguments).text[:MAX_OBSERVATION], "executed"
            except Exception as error:  # whatever a tool raises concerns this sample alone
                talk.drop("tool failed", f"{type(error).__name__}: {error}"[:200])
                return
        talk.calls.append(call)
        # `begun` ends in the next thought's heading, which the step's text has too
        talk.begun = talk.begun.removesuffix(HEADING) + step.text.strip()
        talk.begun += observation_text(observed)
        talk.messages.append({"role": "tool", "content": observed})


def _invented(talk: Talk, arguments: dict[str, Any]) -> list[str]:
    """Return the numbers of a call that stand neither in the request nor in an observation.

    5 % may be written as 0.05 or 5. Other arguments are rarely repeated word by word.
    """
    observed = [m["content"] for m in talk.messages if m["role"] == "tool"]
    known = {float(found) for found in _numbers("\n".join([talk.sample.instruction, *observed]))}
    known |= {round(number / 100, 9) for number in known}
    written = _numbers(json.dumps(arguments, ensure_ascii=False))
    return [number for number in written if float(number) not in known]


def _numbers(text: str) -> list[str]:
    """Return the numbers in a text, commas between thousands taken out."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return re.findall(r"\d+(?:\.\d+)?", plain, re.ASCII)
