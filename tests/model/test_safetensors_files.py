"""Hostile and damaged safetensors directories: success or one line, in bounded memory."""

import json
import struct
import tracemalloc

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_models import roughen, small_config

from openqwen.core.errors import UserError
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export

TINY = small_config(
    hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4,
    vocab_size=12, intermediate_size=8,
)  # fmt: skip


@pytest.fixture
def directory(tmp_path):
    write_export(tmp_path, roughen(new_decoder(TINY, seed=0)), stop_ids=[1])
    return tmp_path


def parts_of(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(path, edit):
    """Rewrite the header; the data stays."""
    header, data = parts_of(path)
    text = edit(header)
    text = text if isinstance(text, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


NORM = "model.norm.weight"


def change(**fields):
    return lambda header: header[NORM].update(fields)


def doubled(header):
    text = json.dumps(header)
    entry = json.dumps(header[NORM])
    return (text[:-1] + f', "{NORM}": {entry}}}').encode()


def overlapping(header):
    names = [name for name in header if name != "__metadata__"]
    first = min(names, key=lambda name: header[name]["data_offsets"])
    header[NORM]["data_offsets"] = header[first]["data_offsets"]


HEADERS = {
    "length": change(shape=[9]),
    "huge shape": change(shape=[1 << 62, 1 << 62]),
    "beyond the end": change(data_offsets=[1 << 40, (1 << 40) + 32]),
    "backwards": change(data_offsets=[32, 0]),
    "negative": change(data_offsets=[-32, 0]),
    "unknown type": change(dtype="F13"),
    "overlap": overlapping,
    "a hole": lambda header: header.pop(NORM) and None,
    "twice": doubled,
    "no JSON": lambda header: b"{" * 10,
    "deep": lambda header: b"[" * 100_000,
    "a list": lambda header: b"[1, 2, 3]",
    "digits": lambda header: b'{"a": ' + b"9" * 100_000 + b"}",
    "no UTF-8": lambda header: b'{"\xff": 1}',
}


@pytest.mark.parametrize("edit", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_lies_is_refused_in_one_line(directory, edit):
    with_header(directory / "model.safetensors", edit)
    with pytest.raises(UserError, match="can't be read as safetensors") as caught:
        read_checkpoint(directory).load_model()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("length", [1 << 63, 1 << 40, 0])
def test_a_header_longer_than_the_file_is_refused_before_it_is_read(directory, length):
    path = directory / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(UserError, match="can't be read as safetensors"):
        read_checkpoint(directory).load_model()


def test_float8_weights_are_no_plain_floats(directory):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {NORM: tensors[NORM].to(torch.float8_e4m3fn)}, path)
    with pytest.raises(UserError, match=r"model\.norm\.weight has type float8_e4m3fn, need one of"):
        read_checkpoint(directory).load_model()


INDEXES = {
    "elsewhere": ({"weight_map": {"a": "../model.safetensors"}}, "outside its directory"),
    "root": ({"weight_map": {"a": "/etc/passwd"}}, "outside its directory"),
    "parent": ({"weight_map": {"a": ".."}}, "outside its directory"),
    "a zero byte": ({"weight_map": {"a": "a\0b"}}, "outside its directory"),
    "missing": ({"weight_map": {"a": "b.safetensors"}}, "b.safetensors is missing, though"),
    "empty": ({"weight_map": {}}, "has no weight_map"),
    "no table": ({"weight_map": ["a"]}, "has no weight_map"),
    "no object": ([1], "has no weight_map"),
}


@pytest.mark.parametrize(("index", "message"), INDEXES.values(), ids=INDEXES.keys())
def test_an_index_names_files_of_its_own_directory_only(directory, index, message):
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(directory).load_model()
    assert "\n" not in str(caught.value)


def test_an_index_that_is_no_json_gives_one_line(directory):
    (directory / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"index\.json is not valid JSON"):
        read_checkpoint(directory).load_model()


def test_a_tensor_in_two_shards_is_refused(directory):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    save_file({NORM: tensors[NORM]}, directory / "more.safetensors")
    table = dict.fromkeys(tensors, "model.safetensors") | {"x": "more.safetensors"}
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    with pytest.raises(UserError, match=r"tensor model\.norm\.weight is in model\.safetensors too"):
        read_checkpoint(directory).load_model()


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 10**9}, {"vocab_size": 10**15}, {"intermediate_size": 10**14}],
)
def test_absurd_sizes_in_config_json_ask_for_no_memory(directory, changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError) as caught:
        read_checkpoint(directory).load_model()
    assert "\n" not in str(caught.value)


@settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_happens_to_a_file_it_loads_or_is_refused_within_bounds(directory, data):
    path = directory / "model.safetensors"
    original = directory / "original"
    if not original.exists():
        original.write_bytes(path.read_bytes())
    changed = bytearray(original.read_bytes())
    header_end = 8 + struct.unpack("<Q", changed[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        # mostly in the header, as the data is free to be anything
        last = data.draw(st.sampled_from([8, header_end, len(changed)]))
        place = data.draw(st.integers(0, min(last, len(changed)) - 1))
        kind = data.draw(st.sampled_from(["flip", "count", "digits", "cut", "repeat"]))
        if kind == "flip":
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "count":
            changed[place : place + 8] = data.draw(st.binary(min_size=8, max_size=8))
        elif kind == "digits":
            changed[place:place] = b"9" * data.draw(st.integers(1, 30))
        elif kind == "cut":
            del changed[max(place, 1) :]
        else:
            changed[place:place] = changed[place : place + 64]
    path.write_bytes(changed)
    refusal = ""
    tracemalloc.start()
    try:
        read_checkpoint(directory).load_model()
    except UserError as error:
        refusal = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in refusal
    assert peak < 3_000_000
