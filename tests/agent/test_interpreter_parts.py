"""The parts of the code interpreter that read what untrusted code sends and leaves behind."""

import base64
import os
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.interpreter.collect import MAX_PIXELS, RECORD_TYPE, Clipped, Collector, read_png
from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.folder import list_inside, make_private, read_inside, write_inside
from openqwen.agent.interpreter.relay import FrameMeter, TooLargeError
from openqwen.agent.interpreter.result import RESTARTED, RunResult, clip
from openqwen.agent.interpreter.tool import NAME, describe_interpreter, interpreter_prompt
from openqwen.agent.react import parse_react
from openqwen.agent.sandbox.folder import remove_tree
from openqwen.agent.tools import read_arguments
from openqwen.core.errors import UserError


def png(width: int = 1, height: int = 1) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\x00\x00")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_small_png_is_taken_as_it_is():
    assert read_png(encoded(png()), 1000) == png()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (17, "no text"),
        ("%%%", "not base64"),
        (encoded(b"<svg onload=alert(1)>"), "not PNG"),
        (encoded(png())[:24], "not PNG"),
        (encoded(png() + b"x" * 2000), "more than 1,000 bytes"),
        ("A" * 10_000, "more than 1,000 bytes"),
        (encoded(png(MAX_PIXELS, 2)), "pixels"),
        (encoded(png(0, 5)), "pixels"),
    ],
)
def test_what_is_no_reasonable_image_is_refused_with_a_reason(data, why):
    assert why in read_png(data, 1000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "text", "data", "image/png", "traceback", RECORD_TYPE, "ename"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["stream", "error", "display_data", "execute_result", "status", "comm_open", None]
)


@given(messages=st.lists(st.tuples(KINDS | JSON, JSON), max_size=6))
def test_no_message_of_any_shape_breaks_the_collector(messages):
    collector = Collector(InterpreterConfig())
    for kind, content in messages:
        collector.take(kind, content)
    for name in ("stdout", "stderr", "value", "error"):
        assert collector.get(name) is None or isinstance(collector.get(name), str)
    assert all(isinstance(image, bytes) for image in collector.images)


def test_outputs_land_under_their_names():
    collector = Collector(InterpreterConfig())
    collector.take("stream", {"name": "stdout", "text": "a\x1b[31mred\x1b[0m\x07"})
    collector.take("stream", {"name": "stderr", "text": "careful"})
    collector.take("execute_result", {"data": {"text/plain": "42"}})
    collector.take(
        "display_data", {"data": {"image/png": encoded(png()), "text/plain": "<Figure>"}}
    )
    collector.take("display_data", {"data": {RECORD_TYPE: {"axes": []}}})
    collector.take("error", {"traceback": ["Traceback", "ValueError: no"]})
    assert collector.get("stdout") == "ared"
    assert collector.get("stderr") == "careful"
    assert collector.get("value") == "42"
    assert collector.get("error") == "Traceback\nValueError: no"
    assert collector.images == [png()]
    assert collector.records == [{"axes": []}]
    assert collector.failed


def test_images_beyond_the_limit_are_dropped_and_said_once():
    collector = Collector(InterpreterConfig(max_images=2))
    for _ in range(5):
        collector.take("display_data", {"data": {"image/png": encoded(png())}})
    assert len(collector.images) == 2
    assert collector.dropped == ["images after the first 2"]


@given(pieces=st.lists(st.text("ab", max_size=30), max_size=20), limit=st.integers(4, 40))
def test_a_long_text_keeps_both_ends_and_says_how_much_is_missing(pieces, limit):
    clipped = Clipped(limit)
    for piece in pieces:
        clipped.add(piece)
    whole, half = "".join(pieces), limit // 2
    if len(whole) <= 2 * half:
        assert clipped.text() == whole
    else:
        assert clipped.text().startswith(whole[:half])
        assert clipped.text().endswith(whole[-half:])
        assert f"{len(whole) - 2 * half:,} characters left out" in clipped.text()


def test_a_model_reads_each_part_under_its_name_and_what_was_lost():
    result = RunResult("timeout", stdout="1\n", value="2", restarted=True, seconds=3.2)
    text = result.text()
    assert text.startswith("stdout:\n\n```\n1\n```\n\nexecute_result:\n\n```\n2\n```")
    assert "The code was stopped after 3 s." in text
    assert text.endswith(RESTARTED)
    assert RunResult("ok").text() == "The code ran and gave no output."


def test_a_long_result_loses_its_middle():
    text = RunResult("ok", stdout="x" * 50_000 + "END").text(limit=1000)
    assert len(text) < 1100
    assert "END" in text
    assert "characters left out" in text
    assert clip("short", 10) == "short"


def test_a_link_out_of_the_folder_is_neither_read_nor_written(tmp_path):
    folder, secret = tmp_path / "in", tmp_path / "secret"
    folder.mkdir()
    secret.write_bytes(b"mine")
    (folder / "link").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path)
    (tmp_path / "other").write_bytes(b"mine, too")
    os.link(tmp_path / "other", folder / "hard")
    os.mkfifo(folder / "pipe")
    for name in ("link", "away/secret", "hard", "pipe", "missing"):
        with pytest.raises(UserError, match=name.split("/")[0]):
            read_inside(folder, name, 100)
    with pytest.raises(UserError, match="away"):
        write_inside(folder, "away/new", b"x")
    write_inside(folder, "link", b"theirs")  # takes the link's place
    assert secret.read_bytes() == b"mine"
    assert read_inside(folder, "link", 100) == b"theirs"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="no file name"):
        read_inside(tmp_path, name, 100)


def test_files_are_listed_without_hidden_ones_and_links(tmp_path):
    write_inside(tmp_path, "a/b.txt", b"123")
    make_private(tmp_path, ".own")
    write_inside(tmp_path, ".own/key", b"k")
    (tmp_path / "c").symlink_to("a/b.txt")
    assert {name: size for name, (size, _) in list_inside(tmp_path).items()} == {"a/b.txt": 3}


def test_a_file_over_the_limit_is_refused(tmp_path):
    write_inside(tmp_path, "big", b"x" * 11)
    with pytest.raises(UserError, match="larger than 10 bytes"):
        read_inside(tmp_path, "big", 10)


def test_the_tool_takes_a_program_in_a_fence_as_published():
    tool = describe_interpreter()
    prompt = interpreter_prompt("What is 6 * 7?")
    assert f"{NAME}: Call this tool to interact with the Code Interpreter API." in prompt
    assert "Parameters: \n```py\ncode\n```\n Enclose the code within triple backticks" in prompt
    assert prompt.endswith("Begin!\n\nQuestion: What is 6 * 7?")
    step = parse_react(
        f"Thought: run it\nAction: {NAME}\nAction Input:\n```py\nprint(6 * 7)\n```\nObservation: 4"
    )
    assert read_arguments(tool, step.action_input) == {"code": "print(6 * 7)"}


@pytest.fixture
def in_memory():
    """A temporary folder where making folders is fast."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        yield Path(name)


def test_a_message_is_refused_by_the_sum_of_its_parts():
    def frame(size: int, *, more: bool) -> bytes:
        head = bytes([more, size]) if size < 256 else bytes([2 | more]) + size.to_bytes(8)
        return head + b"x" * size

    stream = b"g" * 64 + frame(400, more=True) + frame(200, more=False) + frame(600, more=False)
    meter = FrameMeter(600)
    for at in range(len(stream)):  # in pieces of any size
        meter.feed(stream[at : at + 1])
    meter.feed(frame(400, more=True))
    with pytest.raises(TooLargeError):
        meter.feed(frame(201, more=True)[:9])  # before its body is there
    with pytest.raises(TooLargeError):
        FrameMeter(600).feed(b"g" * 64 + frame(0, more=True) * 65)


def test_what_is_nested_too_deep_or_too_large_is_neither_kept_nor_shown():
    deep: list = []
    for _ in range(900):
        deep = [deep]
    collector = Collector(InterpreterConfig(stop_output_bytes=1000))
    collector.take("error", {"ename": deep, "evalue": "bad"})
    assert collector.get("error") == "bad"
    collector.take("display_data", {"data": {RECORD_TYPE: deep}})
    collector.take("display_data", {"data": {RECORD_TYPE: 1}}, 4_000_000)
    assert collector.records == []
    collector.received = 1500
    collector.take("display_data", {"data": {RECORD_TYPE: 1}}, 600)
    collector.take("display_data", {"data": {RECORD_TYPE: 2}}, 100)  # after the stop
    assert collector.records == [1]
    collector.take("stream", {"text": "\x9b31mC1"})
    assert collector.get("stdout") == "31mC1"


def test_a_tree_of_any_depth_and_closed_folders_is_listed_and_removed(in_memory):
    tmp_path = in_memory  # thousands of folders
    top, kept = tmp_path / "session", tmp_path / "kept"
    top.mkdir()
    kept.write_text("mine")
    (top / "link").symlink_to(kept)
    (top / "closed").mkdir()
    (top / "closed" / "file").touch()
    (top / "closed").chmod(0)
    here = os.getcwd()
    try:
        os.chdir(top)
        for _ in range(1200):  # more than calls may be nested
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    top.chmod(0)
    assert set(list_inside(top)) <= {"closed/file"}  # root is let in
    remove_tree(top)
    assert os.listdir(tmp_path) == ["kept"]
    assert kept.read_text() == "mine"
    remove_tree(top)  # what is gone is no error
