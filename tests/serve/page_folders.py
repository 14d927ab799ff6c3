"""Folders with a page of each kind, as the verbs write them, for tests of the pages."""

from openqwen.agent.instruct.generate import KEPT
from openqwen.agent.instruct.review import write_review
from openqwen.agent.instruct.sample import Sample, Verdict, write_rows
from openqwen.core.documents import Document
from openqwen.data.audit.funnel import Funnel
from openqwen.data.audit.pages import write_audit
from openqwen.data.config import AuditConfig
from openqwen.data.steps import Rejected
from openqwen.eval.arena.ballots import Prompt, make_ballots, write_ballots
from openqwen.eval.collect import Candidate, Duel, write_duels, write_vote_page


def voting(folder, num=3):
    duels = [
        Duel(
            f"{i:05}",
            [{"role": "user", "content": f"Ask {i} <script>fail()</script>"}],
            Candidate(i, f"L{i}", "one", "t"),
            Candidate(i, f"R{i}", "two", "t"),
        )
        for i in range(num)
    ]
    write_duels(folder / "duels.jsonl", duels)
    write_vote_page(folder / "vote.html", duels)
    return folder


def arena(folder, num=3):
    prompts = [Prompt(f"p{i}", "", [{"role": "user", "content": f"Ask {i}"}]) for i in range(num)]
    answers = {name: [f"{name} {i}" for i in range(num)] for name in ("a", "b")}
    write_ballots(folder, make_ballots(prompts, answers, seed=0))
    return folder


def made(folder, num=3):
    samples = [
        Sample(
            f"r1-general-en-{i}",
            "general",
            "en",
            f"Ask {i}",
            [{"role": "user", "content": f"Ask {i}"}, {"role": "assistant", "content": f"Say {i}"}],
            {"round": 1},
        )
        for i in range(num)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / KEPT, [Verdict(sample).as_json() for sample in samples])
    write_review(folder / "review.html", samples, {})
    return folder, samples


def audit(folder, **settings):
    funnel = Funnel(AuditConfig(**settings), seed=0)

    def odd_ones(documents):
        for number, found in enumerate(documents):
            yield Rejected(found, "odd", 1.0) if number % 2 else found

    facts = {"url": "", "licence": "CC0-1.0", "media": "text/plain", "language": "en"}
    documents = [Document(id=f"s/{i}", text=f"text {i}", source="s", **facts) for i in range(6)]
    for kept in funnel.through("oddity", odd_ones, documents):
        funnel.samples.offer_kept(kept)
    write_audit(folder / "audit.html", funnel)
    return folder
