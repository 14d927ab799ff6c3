"""A vocabulary as Qwen-1 publishes it: `qwen.tiktoken` and `tokenizer_config.json`.

    write_qwen1_vocabulary(directory, vocabulary, train_length=8192)

The published code (tokenization_qwen.py) knows its control tokens, split pattern and NFC by heart;
what a vocabulary has otherwise only we read from these files.
"""

from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.files import write_json
from openqwen.tokenizer.control import control_tokens
from openqwen.tokenizer.files import CONFIG_FILE, RANK_FILE, write_ranks
from openqwen.tokenizer.huggingface import tokenizer_config
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, Vocabulary


def check_qwen1_vocabulary(vocabulary: Vocabulary) -> None:
    """Raise UserError unless a rank file can say the vocabulary."""
    if vocabulary.pattern != QWEN_PATTERN:
        raise UserError("the tokenizer splits text by another pattern than Qwen-1's code does")
    if sorted(vocabulary.ranks.values()) != list(range(len(vocabulary.ranks))):
        raise UserError("the tokenizer's ids have holes, which a rank file can't say")


def write_qwen1_vocabulary(directory: Path, vocabulary: Vocabulary, *, train_length: int) -> None:
    """Write the rank file and the settings beside it; `check_qwen1_vocabulary` has passed."""
    write_ranks(directory / RANK_FILE, vocabulary.ranks)
    own = tokenizer_config(vocabulary)
    kept = ["nfc", "chat_template"]
    if dict(vocabulary.controls) != control_tokens(len(vocabulary.ranks)):
        kept.append("added_tokens_decoder")
    config = {
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
        "model_max_length": train_length,
    }
    write_json(directory / CONFIG_FILE, config | {key: own[key] for key in kept if key in own})


def unsaid_in_qwen1_ranks(vocabulary: Vocabulary) -> list[str]:
    """Return one line for each thing that the published tokenizer code does otherwise."""
    lines = []
    theirs = control_tokens(len(vocabulary.ranks))
    other = [name for name, i in vocabulary.controls.items() if theirs.get(name) != i]
    if other:
        first = min(other, key=vocabulary.controls.__getitem__)
        lines.append(
            f"{len(other):,} control tokens from {first} (id {vocabulary.controls[first]}) on have "
            "other names in Qwen-1's tokenizer code"
        )
    if not vocabulary.nfc:
        lines.append("Qwen-1's tokenizer code composes text (NFC), which this tokenizer does not")
    return lines
