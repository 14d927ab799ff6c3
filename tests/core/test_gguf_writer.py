import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.gguf import TensorType, open_gguf
from openqwen.core.gguf_writer import CHUNK_WEIGHTS, GGUFTensor, quantise_q8_0, write_gguf

VALUES = {
    "general.architecture": "qwen2",
    "a.count": 4_000_000_000,
    "a.base": 1e6,
    "a.flag": True,
    "a.texts": ["Ġx", "", "世"],
    "a.numbers": [1, -5, 3],
    "a.nothing": [],
}


def random_matrix(rows, width, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def tensor(name, values, kind):
    return GGUFTensor(name, tuple(values.shape), kind, lambda a, b: values[a:b])


def test_the_published_library_reads_every_value_and_type(tmp_path):
    matrix = random_matrix(5, 64)
    tensors = [tensor(kind.name, matrix, kind) for kind in (
        TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0
    )]  # fmt: skip
    write_gguf(
        tmp_path / "x.gguf", VALUES, [*tensors, tensor("odd", matrix[0, :3], TensorType.F32)]
    )
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    for key, value in VALUES.items():
        found = reader.get_field(key).contents() if value != [] else []
        assert found == value
    kinds = reader.get_field("a.numbers").types
    assert kinds == [gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.INT32]
    assert [t.name for t in reader.tensors] == ["F32", "F16", "BF16", "Q8_0", "odd"]
    for found in reader.tensors[:4]:
        assert found.tensor_type.name == found.name
        assert found.shape.tolist() == [64, 5]  # the library keeps the file's order
        packed = gguf.quants.quantize(matrix.numpy(), found.tensor_type)
        assert found.data.tobytes() == packed.tobytes()
    assert reader.tensors[4].data.tolist() == matrix[0, :3].tolist()


def test_our_reader_takes_it_and_a_large_tensor_is_written_in_pieces(tmp_path):
    rows = CHUNK_WEIGHTS // 64 + 3
    matrix = torch.arange(rows, dtype=torch.float32)[:, None].expand(rows, 64)
    asked = []

    def read(start, stop):
        asked.append((start, stop))
        return matrix[start:stop]

    path = tmp_path / "new" / "x.gguf"
    write_gguf(path, VALUES, [GGUFTensor("m", (rows, 64), TensorType.F32, read)])
    assert asked == [(0, rows - 3), (rows - 3, rows)]
    file = open_gguf(path)
    found = np.frombuffer(file.data("m"), np.float32).reshape(rows, 64)
    assert np.array_equal(found, matrix.numpy())
    assert file.values["a.numbers"].tolist() == VALUES["a.numbers"]
    assert [p.name for p in path.parent.iterdir()] == ["x.gguf"]


ROWS_OF_32 = st.lists(st.floats(-1e4, 1e4, width=32), min_size=32, max_size=32)


@settings(max_examples=60, deadline=None)
@given(blocks=st.lists(ROWS_OF_32, min_size=1, max_size=4), exponent=st.integers(-12, 2))
def test_q8_0_is_the_published_librarys_bit_for_bit(blocks, exponent):
    values = np.array(blocks, np.float32) * np.float32(10.0**exponent)
    expected = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    assert quantise_q8_0(torch.from_numpy(values)) == expected.tobytes()


def test_q8_0_rounds_halves_away_from_zero_and_takes_zeros():
    halves = torch.arange(-127, 129).repeat(2).reshape(-1, 32) * 0.5
    halves[:, 0] = 127.0  # the scale is 1: every second weight is a half
    packed = quantise_q8_0(torch.cat([halves, torch.zeros(1, 32)]))
    blocks = np.frombuffer(packed, np.int8).reshape(-1, 34)
    assert blocks[0, 3:6].tolist() == [-63, -63, -62]  # of -63, -62.5 and -62
    assert not blocks[-1].any()


def test_what_a_type_can_not_hold_is_refused_and_leaves_no_file(tmp_path):
    large = torch.full((2, 32), 7e4)
    with pytest.raises(OverflowError, match="7e\\+04"):
        write_gguf(tmp_path / "x.gguf", VALUES, [tensor("m", large, TensorType.F16)])
    with pytest.raises(ValueError, match="m: rows of 33 weights are no blocks of 32"):
        write_gguf(tmp_path / "x.gguf", VALUES, [tensor("m", torch.ones(2, 33), TensorType.Q8_0)])
    with pytest.raises(ValueError, match="a: dict has no type"):
        write_gguf(tmp_path / "x.gguf", {"a": {}}, [])
    assert not list(tmp_path.iterdir())
