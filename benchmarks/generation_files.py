"""The files that the peers of generation_speed.py read, all made from one GGUF file.

    files = prepare(Path("model.gguf"), Path("peer-files"))   # {"gguf", "q8_0", "q4_0", "bf16"}

`openqwen convert` writes Q8_0 and the bf16 directory; Q4_0 (the output projection in Q8_0, as
llama.cpp's own tool leaves it at this width) is written with the gguf library of llama.cpp's
authors. What is there already is taken as it is.
"""

from pathlib import Path

import numpy

from openqwen.core.files import atomic_path
from openqwen.core.log import say
from openqwen.infer.convert import convert


def prepare(model: Path, folder: Path) -> dict[str, Path]:
    """Return the path of each form of the model; makes what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "gguf": model,
        "q8_0": folder / f"{model.stem}-q8_0.gguf",
        "q4_0": folder / f"{model.stem}-q4_0.gguf",
        "bf16": folder / f"{model.stem}-bf16",
    }
    if not files["q8_0"].exists():
        convert(model, files["q8_0"], to="gguf", kind="q8_0")
    if not files["bf16"].exists():
        convert(model, files["bf16"], to="qwen2", kind="bf16")
    if not files["q4_0"].exists():
        say(f"{'convert':<14}{files['q4_0'].name}")
        with atomic_path(files["q4_0"]) as temporary:
            write_q4_0(model, Path(temporary))
    return files


def write_q4_0(source: Path, target: Path) -> None:
    """Requantise a GGUF file's matrices to Q4_0, the output projection to Q8_0."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    written_by_itself = ("GGUF.", "general.architecture", "general.file_type")
    for key, field in reader.fields.items():
        if not key.startswith(written_by_itself):
            kind, *inner = field.types
            writer.add_key_value(key, field.contents(), kind, sub_type=inner[-1] if inner else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    kinds = gguf.GGMLQuantizationType
    for tensor in reader.tensors:
        values = numpy.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), numpy.float32)
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, values)
            continue
        kind = kinds.Q8_0 if tensor.name == "output.weight" else kinds.Q4_0
        writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_weight_bytes(path: Path) -> int:
    """Return the bytes of all tensors that a token reads: all but an embedding table of its own."""
    from openqwen.core.gguf import open_gguf

    tensors = open_gguf(path).tensors
    tied = "output.weight" not in tensors
    return sum(
        info.num_bytes for name, info in tensors.items() if tied or name != "token_embd.weight"
    )
