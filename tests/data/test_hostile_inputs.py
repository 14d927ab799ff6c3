import pytest
from hostile_inputs import CASES, SMALL, good_text

from openqwen.core.documents import Document
from openqwen.data.config import ExtractConfig
from openqwen.data.extraction.extract import extract
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.splits import list_splits, read_split

CONFIG = ExtractConfig(
    num_workers=1, max_page_bytes=SMALL.limit, timeout_s=1.0, memory_bytes=500_000_000
)


def run(folder):
    """Return the texts that come out of a folder, and how often each reason was counted."""
    set_aside = SetAside()
    texts = []

    def pages():
        for split in list_splits([str(folder)], target_bytes=1 << 20):
            yield from read_split(split, Origin(split.source, "", SMALL.limit, set_aside))

    for outcome in extract(CONFIG, pages()):
        if isinstance(outcome, Document):
            texts.append(outcome.text)
        else:
            set_aside.add(outcome.reason, outcome.document.id)
    return texts, set_aside.counts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_input_is_counted_and_nothing_else_is_lost(case, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    case.write(folder, SMALL)
    texts, counts = run(folder)
    good = [good_text(number) for number in range(case.good)]
    assert sorted(text for text in texts if text in good) == sorted(good)
    assert all(text in good or text.startswith("]>\n\n&a59") for text in texts)
    assert not any("�" in text for text in texts)
    named = set().union(*(reasons.split("|") for reasons in case.reasons))
    assert set(counts) <= named
    for reasons in case.reasons:
        assert set(reasons.split("|")) & set(counts), reasons
