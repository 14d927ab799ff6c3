import pytest
from small_models import QWEN1_CONFIG, Qwen1Directory, qwen1_tensors


@pytest.fixture
def qwen1_directory(tmp_path):
    """Makes a Qwen-1 directory; keyword arguments change its config.json."""

    def make(name="qwen1", *, tensors=None, **changes):
        config = QWEN1_CONFIG | changes
        return Qwen1Directory(tmp_path / name, config, tensors or qwen1_tensors(config))

    return make
