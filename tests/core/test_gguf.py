import struct
import tracemalloc

import numpy as np
import pytest
from gguf_files import write_gguf_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.core.gguf import TensorType, open_gguf

VALUES = {
    "general.name": "small 小",
    "qwen2.block_count": 2,
    "qwen2.rope.freq_base": 1e6,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.tokens": ["a", "Ġb", "", "世"],
    "tokenizer.ggml.token_type": [1, 1, 5, 3],
}
WEIGHTS = np.arange(6 * 32, dtype=np.float32).reshape(6, 32) - 90
TENSORS = {"plain": WEIGHTS, "norm": WEIGHTS[0], "half": ("F16", WEIGHTS), "q": ("Q8_0", WEIGHTS)}


@pytest.fixture
def small(tmp_path):
    return write_gguf_file(tmp_path / "small.gguf", VALUES, TENSORS)


def test_reads_what_the_published_library_writes(small):
    file = open_gguf(small)
    assert file.version == 3
    assert file.values["general.architecture"] == "qwen2"
    for key, value in VALUES.items():
        found = file.values[key]
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == value
    assert [(t.name, t.type, t.shape) for t in file.tensors.values()] == [
        ("plain", TensorType.F32, (6, 32)),
        ("norm", TensorType.F32, (32,)),
        ("half", TensorType.F16, (6, 32)),
        ("q", TensorType.Q8_0, (6, 32)),
    ]
    assert bytes(file.data("plain")) == WEIGHTS.tobytes()
    assert bytes(file.data("half")) == WEIGHTS.astype(np.float16).tobytes()
    assert file.data("q").nbytes == 6 * 34


def test_version_2_has_the_same_layout(small):
    data = bytearray(small.read_bytes())
    data[4:8] = struct.pack("<I", 2)
    small.write_bytes(data)
    assert open_gguf(small).version == 2


def test_every_number_type_and_an_empty_list_are_read(tmp_path):
    forms = ["<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", None, None, "<Q", "<q", "<d"]
    body = b""
    for code, form in enumerate(forms):
        if form is not None:
            key = f"n{code}".encode()
            body += struct.pack("<Q", len(key)) + key + struct.pack("<I", code)
            body += struct.pack(form, 1)
    body += struct.pack("<Q", 1) + b"e" + struct.pack("<IIQ", 9, 4, 0)
    path = tmp_path / "numbers.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 12) + body)
    values = open_gguf(path).values
    assert values.pop("e").tolist() == []
    assert list(values.values()) == [1] * 11
    assert type(values["n6"]) is float
    assert values["n7"] is True


def test_the_data_may_be_changed_in_memory_and_the_file_stays(small):
    before = small.read_bytes()
    file = open_gguf(small)
    file.data("plain")[:4] = b"\1\2\3\4"
    assert small.read_bytes() == before
    file.release()
    assert bytes(file.data("norm")) == WEIGHTS[0].tobytes()


def entry(name=b"t", sizes=(32, 2), code=0, offset=0):
    head = struct.pack("<Q", len(name)) + name + struct.pack("<I", len(sizes))
    return head + struct.pack(f"<{len(sizes)}QIQ", *sizes, code, offset)


def key(name, kind, body):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + body


def raw(*, keys=(), entries=(), num_keys=None, num_tensors=None, version=3, data=512):
    """A file by hand; counts may lie."""
    num_keys = len(keys) if num_keys is None else num_keys
    num_tensors = len(entries) if num_tensors is None else num_tensors
    head = b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)
    head += b"".join(keys) + b"".join(entries)
    return head + bytes(-len(head) % 32 + data)


MANY = 1 << 62
DAMAGED = {
    "empty": (b"", "is no GGUF file"),
    "other": (b"PK\3\4 something", "is no GGUF file: it starts with b'PK"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
    "header": (b"GGUF\3\0\0", "is damaged: the version"),
    "version 1": (raw(version=1), "version 1 are not read"),
    "big-endian": (raw(version=3 << 24), "big-endian are not read"),
    "keys": (raw(num_keys=MANY), "claims 4,611,686,018,427,387,904 key-values"),
    "tensors": (raw(num_tensors=MANY), "claims 4,611,686,018,427,387,904 tensors"),
    "key's length": (raw(keys=[struct.pack("<Q", MANY)]), "a key's name at byte 32 would take"),
    "key's letters": (raw(keys=[key(b"a\nb", 4, bytes(4))]), "a key's name"),
    "value's type": (raw(keys=[key(b"a", 77, bytes(8))]), "a has the unknown type 77"),
    "text": (raw(keys=[key(b"a", 8, struct.pack("<Q", MANY))]), "a at byte .* would take"),
    "numbers": (raw(keys=[key(b"a", 9, struct.pack("<IQ", 4, MANY))]), "claims .* items of a"),
    "texts": (raw(keys=[key(b"a", 9, struct.pack("<IQ", 8, MANY))]), "claims .* items of a"),
    "a text in a list": (
        raw(keys=[key(b"a", 9, struct.pack("<IQQ", 8, 1, MANY))]),
        "a goes beyond its end",
    ),
    "nested": (raw(keys=[key(b"a", 9, struct.pack("<IQ", 9, 1))]), "an array of arrays"),
    "key twice": (raw(keys=[key(b"a", 4, bytes(4))] * 2), "key 'a' is there twice"),
    "alignment": (
        raw(keys=[key(b"general.alignment", 4, struct.pack("<I", 24))]),
        "general.alignment = 24 is not a power of two",
    ),
    "dimensions": (raw(entries=[entry(sizes=(32,) * 5)]), "t has 5 dimensions, 1 to 4"),
    "no rows": (raw(entries=[entry(sizes=(32, 0))]), r"t has shape \[32, 0\]"),
    "part of a block": (raw(entries=[entry(sizes=(33, 2), code=8)]), "no whole blocks of 32"),
    "other type": (raw(entries=[entry(code=10)]), "t has type Q2_K, which is not read; F32"),
    "unknown type": (raw(entries=[entry(code=999)]), "t has type number 999"),
    "misaligned": (raw(entries=[entry(offset=8)]), "t starts at 8"),
    "cut off": (raw(entries=[entry(sizes=(32, 8))]), "cut off or damaged: tensor t needs"),
    "huge": (raw(entries=[entry(sizes=(1 << 40, 1 << 40))]), "cut off or damaged: tensor t"),
    "name twice": (raw(entries=[entry(), entry(offset=256)]), "tensor t is there twice"),
    "overlap": (
        raw(entries=[entry(), entry(b"u", offset=224)]),
        "tensors t and u overlap",
    ),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused_in_one_line(tmp_path, data, message):
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        open_gguf(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_hand_made_files_are_sound_but_for_their_one_mistake(tmp_path):
    path = tmp_path / "good.gguf"
    path.write_bytes(raw(keys=[key(b"a", 4, bytes(4))], entries=[entry(), entry(b"u", offset=256)]))
    assert list(open_gguf(path).tensors) == ["t", "u"]


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(UserError, match=r"gone\.gguf can't be opened: No such file"):
        open_gguf(tmp_path / "gone.gguf")


@settings(
    max_examples=400, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_happens_to_a_file_it_opens_or_is_refused_within_its_own_size(small, data):
    whole = small.read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from(["flip", "count", "cut", "repeat"]))
        if kind == "flip":
            changed[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "count":
            width = data.draw(st.sampled_from([4, 8]))
            changed[place : place + width] = data.draw(st.binary(min_size=width, max_size=width))
        elif kind == "cut":
            del changed[max(place, 1) :]
        else:
            changed[place:place] = changed[place : place + 64]
    path = small.with_name("changed.gguf")
    path.write_bytes(changed)
    refusal = ""
    tracemalloc.start()
    try:
        file = open_gguf(path)
        assert all(len(file.data(name)) == info.num_bytes for name, info in file.tensors.items())
    except UserError as error:
        refusal = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "\n" not in refusal
    assert peak < 100 * len(whole) + 200_000
