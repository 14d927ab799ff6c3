"""What a run shows beside metrics.jsonl: event files, services, traces, the progress line."""

import gzip
import json
import math
import os
import pty
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from small_trainers import pretrainer, run, scorer, write_shards

from openqwen.core.config import parse_config, to_identity
from openqwen.core.errors import UserError
from openqwen.core.log import Progress, fit, read_metrics
from openqwen.core.manifest import describe_outputs
from openqwen.train import tracking
from openqwen.train.config import PretrainConfig
from openqwen.train.tracking import ServiceObserver, open_observers, scalars_of
from openqwen.train.tracking_config import TrackingConfig


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


class Killed(BaseException):
    """What a kill is to the loop: no clause of it catches this one."""


def points(folder):
    """Every point in the event files, as TensorBoard's own reader gives them, none purged."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = []
    for path in sorted(folder.iterdir()):
        for event in loader.LegacyEventFileLoader(str(path)).Load():
            found += [
                (value.tag, event.step, value.simple_value, event.wall_time)
                for value in event.summary.value
            ]
    return found


def test_trackers_are_known_by_name():
    def read(value):
        return parse_config(TrackingConfig, {"trackers": value}, where="my.toml").trackers

    assert read("wandb, trackio") == ("wandb", "trackio")
    assert read("none") == read("") == read([]) == ()
    assert read(["auto"]) == ("auto",)
    with pytest.raises(UserError, match=r"my.toml: trackers: 'wandbb' is not a tracker; there are"):
        read("wandbb")


def test_what_is_shown_is_no_part_of_what_is_learnt():
    shown = PretrainConfig(tracking=TrackingConfig(trackers=(), trace_first=3))
    assert to_identity(shown) == to_identity(PretrainConfig())
    assert "tracking" not in to_identity(shown)


def test_a_named_tracker_that_is_missing_is_an_error_and_auto_says_so(
    tmp_path, monkeypatch, capsys
):
    for name in ("tensorboard", "wandb"):
        monkeypatch.setitem(tracking._PACKAGES, name, "not_installed_anywhere")
    assert open_observers(TrackingConfig(), "base", tmp_path) == []
    assert "no TensorBoard events: pip install 'openqwen[track]'" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"names wandb, which needs the package .* pip install"):
        open_observers(TrackingConfig(trackers=("wandb",)), "base", tmp_path)


def test_rows_become_flat_names():
    row = {"kind": "validation", "step": 20, "groups": {"en": {"loss": 2.5, "tokens": 100}}}
    assert scalars_of(row) == {"validation/en/loss": 2.5, "validation/en/tokens": 100.0}
    assert scalars_of({"kind": "train", "step": 1, "time": 1e9, "loss": 2, "note": "x"}) == {
        "train/loss": 2.0
    }


def test_event_files_say_what_the_metrics_say_also_after_a_kill(tmp_path, shards):
    class Breaks(type(pretrainer(shards))):
        def step(self, step):
            if step == 5:
                raise Killed
            return super().step(step)

    shown = {"tracking": {"trackers": ["tensorboard"]}}
    with pytest.raises(Killed):
        run(pretrainer(shards, kind=Breaks, **shown), tmp_path)
    assert max(step for _, step, _, _ in points(tmp_path / "events")) == 5
    run(pretrainer(shards, **shown), tmp_path)

    found = points(tmp_path / "events")
    told = {(tag, step): value for tag, step, value, _ in found}
    assert len(told) == len(found), "no step has two points, also not after a kill"
    rows = read_metrics(tmp_path / "metrics.jsonl")
    expected = {
        (name, row["step"]): value for row in rows for name, value in scalars_of(row).items()
    }
    assert told.keys() == expected.keys()
    assert all(told[key] == pytest.approx(expected[key], rel=1e-6) for key in expected)
    assert {step for tag, step in told if tag == "train/loss"} == set(range(1, 9))
    assert ("validation/en/bits_per_byte", 8) in told
    times = {row["step"]: row["time"] for row in rows if row["kind"] == "train"}
    written = {step: time for tag, step, _, time in found if tag == "train/loss"}
    assert written == pytest.approx(times, abs=0.01), "rows written anew keep their own time"


def test_event_files_and_traces_are_no_outputs(tmp_path):
    for name in ("events/events.out.tfevents.1", "trace/step-1.txt", "model.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(describe_outputs(tmp_path)) == ["model.bin"]


def test_every_kind_of_training_is_shown(tmp_path):
    run(scorer(tracking={"trackers": ["tensorboard"]}), tmp_path)
    assert {"train/accuracy", "train/loss"} <= {tag for tag, *_ in points(tmp_path / "events")}


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(tmp_path, shards, capsys):
    (tmp_path / "events").write_text("in the way")
    run(pretrainer(shards, tracking={"trackers": ["tensorboard"]}), tmp_path)
    assert "tensorboard failed (" in (error := capsys.readouterr().err)
    assert error.count("is left out; training goes on") == 1
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == 8


def test_a_service_is_told_each_row_once(tmp_path):
    told = []

    def open_again():
        return ServiceObserver(
            tmp_path / "told.json", lambda values, step: told.append((step, values)), lambda: None
        )

    first = open_again()
    first.row({"kind": "train", "step": 1, "loss": 3.0})
    first.row({"kind": "train", "step": 2, "loss": 2.0})  # killed before its validation
    again = open_again()
    again.row({"kind": "train", "step": 2, "loss": 2.0})
    again.row({"kind": "validation", "step": 2, "loss": 2.5})
    again.row({"kind": "train", "step": 3, "loss": 1.0})
    assert told == [
        (1, {"train/loss": 3.0}),
        (2, {"train/loss": 2.0}),
        (2, {"validation/loss": 2.5}),
        (3, {"train/loss": 1.0}),
    ]


def test_a_trace_holds_the_steps_asked_for_and_all_threads(tmp_path, shards, capsys):
    asked = {"trackers": [], "trace_first": 3, "trace_steps": 2}
    run(pretrainer(shards, count=2, tracking=asked), tmp_path)
    assert f"trace of steps 3 to 4: {tmp_path}/trace/step-3.json.gz" in capsys.readouterr().out
    with gzip.open(tmp_path / "trace" / "step-3.json.gz", "rt", encoding="utf-8") as file:
        events = [e for e in json.load(file)["traceEvents"] if e.get("ph") == "X"]
    names = {event["name"] for event in events}
    assert {"step 3", "step 4", "data", "forward and backward", "optimiser"} <= names
    assert not {"step 2", "step 5"} & names
    steps = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in events if e["name"][:5] == "step "}
    inside = [e for e in events if e["name"] == "optimiser"]
    assert len(inside) == 2
    for event, (start, end) in zip(inside, steps.values(), strict=True):
        assert start <= event["ts"] <= event["ts"] + event["dur"] <= end
    products = {e["tid"] for e in events if e["name"] == "aten::mm"}
    assert len(products) >= 2, "micro-batches are worked on in threads, which the trace holds too"
    table = (tmp_path / "trace" / "step-3.txt").read_text()
    assert "Self CPU" in table
    assert "aten::" in table


def test_a_trace_that_is_past_is_said(tmp_path, capsys):
    asked = TrackingConfig(trackers=(), trace_first=3)
    (observer,) = open_observers(asked, "base", tmp_path)
    observer.step_begins(7)
    assert "step 3 is past; no trace is written" in capsys.readouterr().err


def test_training_rows_tell_bits_a_byte_of_their_own_batch(tmp_path, shards):
    run(pretrainer(shards), tmp_path)
    rows = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    for row in rows:  # a token is a byte here
        assert row["bits_per_byte"] == pytest.approx(row["loss"] / math.log(2), rel=1e-5)


def test_the_progress_line_tells_loss_bits_speed_and_share(tmp_path, shards, capsys):
    run(pretrainer(shards), tmp_path, flops_per_token=1e6, peak_flops_per_s=1e12)
    line = capsys.readouterr().out.splitlines()[-1]
    for part in ("8/8 steps", "loss ", " bits/byte", " tokens/s", " % of peak"):
        assert part in line, line


def test_a_terminal_line_is_redrawn_and_never_wraps():
    assert fit("a   b", 80) == "a   b"
    assert fit("a" + " " * 20 + "b", 10) == "a  b"
    assert fit("word " * 9, 20) == "word word word wor…"
    leader, follower = pty.openpty()
    read = []
    reader = threading.Thread(target=lambda: read.append(os.read(leader, 10_000)))
    with os.fdopen(follower, "w") as terminal:
        progress = Progress("base", total=3, unit="steps", stream=terminal)
        progress.shown -= 1
        reader.start()
        progress.advance(note="loss 3.100")
        reader.join(5)
        assert read[0].startswith(b"\r\x1b[Kbase")
        assert read[0].endswith(b"loss 3.100"), "no line end: the next one takes its place"


SERVICE_RUN = """
import sys
from pathlib import Path
from small_trainers import pretrainer, run
class Breaks(type(pretrainer(Path(sys.argv[1])))):
    def step(self, step):
        if step == int(sys.argv[4]):
            raise SystemExit
        return super().step(step)
run(pretrainer(Path(sys.argv[1]), kind=Breaks, tracking={"trackers": [sys.argv[3]]}),
    Path(sys.argv[2]))
"""


def run_with_service(name, shards, out, home, *, breaks_at=99):
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "WANDB_MODE": "offline"}
    environment |= {"TRACKIO_DIR": str(home), "HOME": str(home)}
    command = [sys.executable, "-c", SERVICE_RUN, str(shards), str(out), name, str(breaks_at)]
    subprocess.run(command, check=True, env=environment, timeout=240)


def log_records(data):
    """The records of a file in LevelDB's log format, as wandb's; 7 bytes of its own come first."""
    at, record = 7, b""
    while at + 7 <= len(data):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


@pytest.mark.slow
def test_weights_and_biases_keeps_an_offline_run_across_a_stop(tmp_path, shards):
    pytest.importorskip("wandb")
    out = tmp_path / "tiny" / "base"
    run_with_service("wandb", shards, out, tmp_path, breaks_at=5)
    run_with_service("wandb", shards, out, tmp_path)
    from wandb.proto.wandb_internal_pb2 import Record

    told = []
    for path in sorted((out / "events" / "wandb").rglob("run-*.wandb")):
        for data in log_records(path.read_bytes()):
            record = Record.FromString(data)
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            if "train/loss" in items:
                told.append((int(items["_step"]), float(items["train/loss"])))
    rows = [r for r in read_metrics(out / "metrics.jsonl") if r["kind"] == "train"]
    assert told == [(row["step"], pytest.approx(row["loss"])) for row in rows]


@pytest.mark.slow
def test_trackio_keeps_a_run_across_a_stop(tmp_path, shards):
    pytest.importorskip("trackio")
    out = tmp_path / "tiny" / "base"
    run_with_service("trackio", shards, out, tmp_path, breaks_at=5)
    run_with_service("trackio", shards, out, tmp_path)
    (name,) = ask_trackio(tmp_path, "list", "runs")["runs"]
    assert name.startswith("tiny/base-")
    found = ask_trackio(tmp_path, "get", "metric", "--run", name, "--metric", "train/loss")
    told = [(point["step"], point["value"]) for point in found["values"]]
    rows = [r for r in read_metrics(out / "metrics.jsonl") if r["kind"] == "train"]
    assert told == [(row["step"], pytest.approx(row["loss"])) for row in rows]


def ask_trackio(home, *question):
    command = [
        Path(sys.executable).parent / "trackio",
        *question,
        "--project",
        "openqwen",
        "--json",
    ]
    environment = os.environ | {"TRACKIO_DIR": str(home), "HOME": str(home)}
    answer = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return json.loads(answer.stdout)
