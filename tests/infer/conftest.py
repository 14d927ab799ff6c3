import pytest
from tiny_exports import byte_tokenizer, random_model, write, write_reciting

from openqwen.infer.load import load


@pytest.fixture(scope="session")
def random_export(tmp_path_factory):
    """Directory of a random model with a byte tokenizer."""
    return write(tmp_path_factory.mktemp("random") / "base", random_model())


@pytest.fixture(scope="session")
def lm(random_export):
    return load(random_export, dtype="float32")


@pytest.fixture
def reciter(tmp_path):
    """Makes a loaded model that recites a text after a token, a colon by default."""

    def make(text, *, after=58):
        return load(write_reciting(tmp_path / "reciter", text, after=after), dtype="float32")

    return make


@pytest.fixture
def chat_reciter(reciter):
    """Makes a loaded model that recites a text as its reply to any message."""
    newline = byte_tokenizer().encode("\n")[-1]
    return lambda text: reciter(text, after=newline)
