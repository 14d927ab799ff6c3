"""64 streaming clients at once, beside the same requests one by one and llama.cpp's server.

    python benchmarks/serve_load.py MODEL.gguf --rounds 2 --write-docs

A turn is all jobs, at once or one by one, on a server that was started for it, so that no prompt is
remembered from a turn before. The servers take turns. Loopback only.
"""

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from results import PERFORMANCE, provenance, write_section
from serve_clients import Job, Run, make_jobs, measure

HERE = Path(__file__).parent


@dataclass
class Server:
    """A server under test.

    Attributes:
        name: in tables.
        model: what its API calls the model.
        command: starts it, but for its port.
        turns: runs by how many clients there were at once.
    """

    name: str
    model: str
    command: list[str]
    turns: dict[int, list[Run]] = field(default_factory=dict)

    def take_turn(self, jobs: list[Job], at_once: int) -> Run:
        """Start the server, let it compile or map what it will, do all jobs, stop it."""
        port = free_port()
        with running([*self.command, "--port", str(port)], port):
            measure("127.0.0.1", port, self.model, make_jobs(2, seed=99, longest=32), at_once=2)
            run = measure("127.0.0.1", port, self.model, jobs, at_once=at_once)
        self.turns.setdefault(at_once, []).append(run)
        return run


def main() -> None:
    """Run, print every sample, perhaps write the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--quantize", default="int4")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--longest", type=int, default=192, help="tokens of the longest answer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", choices=("llama.cpp", "none"), default="llama.cpp")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    jobs = make_jobs(args.clients, seed=args.seed, longest=args.longest)
    servers = [ours(args.model, args.quantize, args.clients)]
    if args.peer != "none":
        servers.append(llama_cpp(args.model, args.clients))
    for round_number in range(args.rounds):
        for at_once in (args.clients, 1):
            for server in servers:
                run = server.take_turn(jobs, at_once)
                line = f"round {round_number + 1}, {server.name}, {one_line(run, at_once)}"
                print(line, flush=True)
    print(body := table(servers, jobs, args.clients) + checks(servers, jobs, args.clients))
    if args.write_docs:
        command = (
            f"python benchmarks/serve_load.py MODEL --rounds {args.rounds} --longest {args.longest}"
        )
        write_section(
            PERFORMANCE, "serve_load", "Serving under load", body + "\n\n" + provenance(command)
        )


def ours(model: str, quantize: str, clients: int) -> Server:
    """Return `openqwen serve`."""
    command = [sys.executable, "-m", "openqwen", "serve", model, "--quantize", quantize]
    return Server("openqwen", "ours", [*command, "--name", "ours", "--max-num-seqs", str(clients)])


def llama_cpp(model: str, clients: int) -> Server:
    """Return llama.cpp's server, with a slot for each client."""
    command = [sys.executable, str(HERE / "serve_peer.py"), model, "--slots", str(clients)]
    return Server("llama.cpp", "peer", command)


@contextlib.contextmanager
def running(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it answers, stop it."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
                break
            time.sleep(0.5)
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def one_line(run: Run, at_once: int) -> str:
    """Return one turn's figures."""
    lost = sum(bool(s.problem) for s in run.streams)
    return f"{at_once} at once: {run.tokens_s:.1f} tokens/s, {run.seconds:.0f} s, lost {lost}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of all lie below or at, the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def table(servers: Sequence[Server], jobs: Sequence[Job], clients: int) -> str:
    """Return latencies and throughput of all turns, as Markdown."""
    lines = [
        f"{clients} jobs, questions that list 5 to 60 words, answers of exactly "
        f"{min(j.max_tokens for j in jobs)} to {max(j.max_tokens for j in jobs)} tokens (both "
        "log-uniform, seed 0), greedy, each server with its own template. Seconds from the request "
        "to the first piece, and between the pieces of a stream; throughput is new tokens over the "
        "wall time of all jobs, prompts included. All samples are shown; medians count.",
        "",
        "| server | clients | first piece, s: p50 / p99 | next piece, ms: p50 / p99 "
        "| new tokens/s | samples |",
        "|---|---|---|---|---|---|",
    ]
    for server in servers:
        for at_once, runs in sorted(server.turns.items(), reverse=True):
            streams = [s for run in runs for s in run.streams if s.arrivals]
            first = [s.first_s for s in streams]
            gaps = [1000 * gap for s in streams for gap in s.gaps_s]
            samples = [run.tokens_s for run in runs]
            lines.append(
                f"| {server.name} | {at_once if at_once > 1 else 'one by one'} "
                f"| {percentile(first, 0.5):.2f} / {percentile(first, 0.99):.2f} "
                f"| {percentile(gaps, 0.5):.0f} / {percentile(gaps, 0.99):.0f} "
                f"| {statistics.median(samples):.1f} | {', '.join(f'{x:.1f}' for x in samples)} |"
            )
    return "\n".join(lines)


def checks(servers: Sequence[Server], jobs: Sequence[Job], clients: int) -> str:
    """Return what the streams show besides: ratios, lost and mixed-up streams."""
    medians = {
        (s.name, n): statistics.median(run.tokens_s for run in runs)
        for s in servers
        for n, runs in s.turns.items()
    }
    mine = medians["openqwen", clients]
    ratio = mine / medians["openqwen", 1]
    lines = ["", "", f"Together {ratio:.2f} × one by one (asked for: 3 ×)."]
    if len(servers) > 1:
        peer = servers[1].name
        lines.append(
            f"Beside {peer} on the same file: {mine / medians[peer, clients]:.2f} × together, "
            f"{medians['openqwen', 1] / medians[peer, 1]:.2f} × one by one."
        )
    for server in servers:
        together = [s for run in server.turns[clients] for s in run.streams]
        alone = server.turns[1][0].streams
        lost = sum(bool(s.problem) for s in together)
        short = sum(s.new_tokens != job.max_tokens for s, job in pairs(together, jobs))
        mixed = sum(
            any(other.code in s.text for other in jobs if other.code != job.code)
            for s, job in pairs(together, jobs)
        )
        own = sum(job.code in s.text for s, job in pairs(together, jobs))
        same = sum(s.text == alone[i % len(jobs)].text for i, s in enumerate(together))
        lines.append(
            f"{server.name}: of {len(together)} streams {lost} lost, {short} of another length, "
            f"{mixed} with another's code, {own} with their own; {same} word for word as one by "
            "one."
        )
    problems = sorted({s.problem for server in servers for s in all_streams(server) if s.problem})
    return " ".join(lines).replace("  ", "\n\n", 1) + (
        "\n\n" + "; ".join(problems[:5]) if problems else ""
    )


def pairs(streams: Sequence, jobs: Sequence[Job]) -> Iterator[tuple]:
    """Yield each stream of some rounds with its job."""
    return ((s, jobs[i % len(jobs)]) for i, s in enumerate(streams))


def all_streams(server: Server) -> Iterator:
    """Yield every stream of a server's turns."""
    return (s for runs in server.turns.values() for run in runs for s in run.streams)


if __name__ == "__main__":
    main()
