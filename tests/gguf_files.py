"""Small GGUF files written by the published gguf library, not by us."""

import gguf
import numpy as np


def write_gguf_file(path, values, tensors, *, architecture="qwen2"):
    """Write a file.

    Args:
        path: the file.
        values: key -> value of a Python type: float as float32, int as uint32, list as an array.
        tensors: name -> float32 array, or (name of a type, array) to have it packed, or (name of a
            type, bytes, shape) for bytes of our own.
        architecture: value of general.architecture.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in values.items():
        kind = gguf.GGUFValueType.get_type(value)
        if kind == gguf.GGUFValueType.INT32:
            kind = gguf.GGUFValueType.UINT32
        is_array = kind == gguf.GGUFValueType.ARRAY
        sub_type = gguf.GGUFValueType.get_type(value[0]) if is_array else None
        writer.add_key_value(key, value, kind, sub_type)
    for name, given in tensors.items():
        kind, *rest = given if isinstance(given, tuple) else ("F32", given)
        number = gguf.GGMLQuantizationType[kind]
        if len(rest) == 2:
            shape = gguf.quant_shape_to_byte_shape(rest[1], number)
            data = np.frombuffer(rest[0], np.uint8).reshape(shape)
        else:
            array = np.ascontiguousarray(rest[0], np.float32)
            if kind in ("F32", "F16"):
                writer.add_tensor(name, array.astype({"F32": np.float32, "F16": np.float16}[kind]))
                continue
            data = gguf.quants.quantize(array, number)
        writer.add_tensor(name, data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
