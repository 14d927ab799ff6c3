"""Deduplication over files: parts, partitions, workers, an index of earlier crawls, memory."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documents_for_tests import GOOD_ENGLISH, document
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup import corpus as corpus_module
from openqwen.data.dedup import ragged
from openqwen.data.dedup.find import find_duplicates
from openqwen.data.dedup.here import find_among
from openqwen.data.dedup.index import extend_index, index_parts
from openqwen.data.dedup.key_runs import KeyRunWriter, count_partitions, read_partition
from openqwen.data.dedup.ragged import RaggedFile, RaggedWriter
from openqwen.data.dedup.sketches import SketchPart, SketchWriter
from openqwen.data.dedup.verdicts import read_reasons, read_verdicts
from openqwen.data.engines.config import EngineConfig
from openqwen.data.engines.engine import open_engine, perform

CONFIG = MinHashConfig(urls="all")
WORDS = [f"w{i}" for i in range(3000)]


def made_documents(seed=0, groups=60):
    """Return documents among which are twins of every kind, and chains of them."""
    generator = random.Random(seed)
    documents = []
    for number in range(groups):
        words = generator.choices(WORDS, k=generator.randrange(30, 120))
        for copy in range(generator.randrange(1, 6)):
            changed = [w if generator.random() > 0.01 * copy else "new" for w in words]
            url = f"http://e.org/{generator.randrange(300)}"
            id = f"潮/{number:03}-{copy}"
            documents.append(document(" ".join(changed), id, url=url))
    generator.shuffle(documents)
    return documents


def write_parts(folder, documents, count, config=CONFIG):
    parts = []
    for number in range(count):
        parts.append(folder / f"{number:03}")
        with SketchWriter(parts[-1], config) as writer:
            writer.add(documents[number::count])
    return parts


class Here:
    """An engine of this process: starting workers takes longer than these tasks."""

    num_workers = 1

    def run(self, tasks):
        for task, folder in tasks:
            perform(task, folder)
            yield task.name


def search(tmp_path, parts, config=CONFIG, engine=None, **options):
    """Return id -> verdict, over all parts."""
    folders = find_duplicates(engine or Here(), tmp_path, parts, config, **options)
    return {v.id: v[2:] for folder in folders for v in read_verdicts(folder)}


@pytest.fixture(scope="module")
def made():
    """Return documents, and what becomes of them in one process."""
    documents = made_documents()
    found = {v.id: v[2:] for v in find_among(documents, CONFIG).values()}
    assert {row[0] for row in found.values()} == {"same url", "same text", "near duplicate"}
    return documents, found


def test_parts_workers_and_their_order_do_not_change_who_stays(made, tmp_path):
    documents, expected = made
    one = write_parts(tmp_path / "one", documents, 1)
    assert search(tmp_path / "a", one) == expected
    shuffled = list(documents)
    random.Random(1).shuffle(shuffled)
    five = write_parts(tmp_path / "five", shuffled, 5)
    with open_engine(EngineConfig(num_workers=2)) as engine:
        assert search(tmp_path / "b", five, engine=engine) == expected
        assert search(tmp_path / "c", five[::-1], engine=engine) == expected


def test_many_small_partitions_find_what_one_finds(made, tmp_path, monkeypatch):
    documents, expected = made
    parts = write_parts(tmp_path / "parts", documents, 3)
    small = CONFIG.model_copy(update={"partition_bytes": 10_000})
    assert search(tmp_path / "work", parts, small) == expected
    assert len(list((tmp_path / "work" / "dedup-bands").iterdir())) > 8
    assert len(list((tmp_path / "work" / "dedup-verify").iterdir())) > 2


def test_pairs_compared_a_few_at_a_time_have_the_same_similarity(made, tmp_path, monkeypatch):
    documents, expected = made
    monkeypatch.setattr(corpus_module, "COMPARE_BYTES", 1)
    assert {v.id: v[2:] for v in find_among(documents, CONFIG).values()} == expected


def test_verdicts_stand_row_by_row_as_the_documents_were_added(made, tmp_path):
    documents, expected = made
    parts = write_parts(tmp_path / "parts", documents, 2)
    folders = find_duplicates(Here(), tmp_path / "work", parts, CONFIG)
    for number, folder in enumerate(folders):
        added = documents[number::2]
        reasons = read_reasons(folder)
        assert len(reasons) == len(added)
        for verdict in read_verdicts(folder):
            assert added[verdict.row].id == verdict.id
            assert reasons[verdict.row] > 0
        assert [bool(r) for r in reasons] == [d.id in expected for d in added]


def test_keys_that_share_their_first_half_only_are_not_the_same(monkeypatch):
    halves = {"http://e.org/1": b"12345678", "http://e.org/2": b"87654321"}
    monkeypatch.setattr(
        "openqwen.data.dedup.sketches.url_key", lambda url: b"the same" + halves[url]
    )
    pages = [document(f"word{n}", f"s/{n}", url=f"http://e.org/{n % 2 + 1}") for n in range(3)]
    found = find_among(pages, CONFIG)
    assert {v.id: (v.reason, v.survivor) for v in found.values()} == {"s/2": ("same url", "s/0")}


def test_kinds_that_are_skipped_stay(made, tmp_path):
    documents, _ = made
    parts = write_parts(tmp_path / "parts", documents, 1)
    kinds = {"url": "same url", "exact": "same text", "minhash": "near duplicate"}
    for kind, reason in kinds.items():
        found = search(tmp_path / kind, parts, skip=frozenset(kinds) - {kind})
        assert {row[0] for row in found.values()} == {reason}
    assert search(tmp_path / "none", parts, skip=frozenset(kinds)) == {}


def test_a_search_that_was_stopped_goes_on_where_it_was(made, tmp_path):
    documents, expected = made
    parts = write_parts(tmp_path / "parts", documents, 2)
    assert search(tmp_path / "work", parts) == expected
    old = (tmp_path / "work" / "dedup-bands" / "00000" / "done.json").stat().st_mtime_ns
    (tmp_path / "work" / "dedup-judge" / "00001" / "done.json").unlink()
    assert search(tmp_path / "work", parts) == expected
    new = (tmp_path / "work" / "dedup-bands" / "00000" / "done.json").stat().st_mtime_ns
    assert new == old


def test_documents_of_an_index_win_whatever_their_length_and_id(tmp_path):
    old = write_parts(tmp_path / "old", [document(GOOD_ENGLISH, "z/old", url="u:1")], 1)
    index = tmp_path / "index"
    kept = find_duplicates(Here(), tmp_path / "a", old, CONFIG)
    assert extend_index(index, "one", old, kept, CONFIG) == 1
    news = [
        document(GOOD_ENGLISH + " And that was all.", "a/longer"),
        document(GOOD_ENGLISH, "a/equal"),
        document("Another text, at an address that was seen.", "a/url", url="u:1"),
        document("A text of its own about nothing that stands in the other ones.", "a/own"),
    ]
    new = write_parts(tmp_path / "new", news, 2)
    found = search(tmp_path / "b", new, index=index)
    assert {id: row[0] for id, row in found.items()} == {
        "a/longer": "near duplicate",
        "a/equal": "same text",
        "a/url": "same url",
    }
    assert {row[2] for row in found.values()} == {"z/old"}


def test_crawl_after_crawl_keeps_what_one_search_in_their_order_would(made, tmp_path):
    documents, _ = made
    index, kept = tmp_path / "index", []
    for crawl in range(3):
        news = documents[crawl::3]
        parts = write_parts(tmp_path / f"parts-{crawl}", news, 2)
        work = tmp_path / f"work-{crawl}"
        folders = find_duplicates(Here(), work, parts, CONFIG, index=index)
        added = extend_index(index, f"{crawl}", parts, folders, CONFIG)
        gone = {v.id for folder in folders for v in read_verdicts(folder)}
        kept += [d for d in news if d.id not in gone]
        assert added == len(news) - len(gone)
    # nothing that was kept is like another
    assert find_among(kept, CONFIG) == {}
    assert len(kept) < len(documents)


def test_a_crawl_that_is_added_again_takes_its_own_place(made, tmp_path):
    documents, expected = made
    parts = write_parts(tmp_path / "parts", documents, 1)
    index = tmp_path / "index"
    for attempt in ("a", "b"):
        found = search(tmp_path / attempt, parts, index=index, index_without="this")
        assert found == expected
        folders = [tmp_path / attempt / "dedup-judge" / "00000"]
        extend_index(index, "this", parts, folders, CONFIG)
    assert len(index_parts(index)) == 1
    left = SketchPart(index_parts(index)[0])
    assert left.count == len(documents) - len(expected)
    again = search(tmp_path / "c", parts, index=index)
    assert len(again) == len(documents)


def test_a_search_goes_on_beside_an_index_that_has_grown_in_between(made, tmp_path):
    documents, _ = made
    index = tmp_path / "index"
    parts = [write_parts(tmp_path / f"{n}", documents[n::3], 1) for n in range(3)]
    for crawl in (0, 1):
        assert search(tmp_path / "work", parts[2], index=index)  # stopped before its end, say
        folders = find_duplicates(Here(), tmp_path / f"w{crawl}", parts[crawl], CONFIG, index=index)
        extend_index(index, f"{crawl}", parts[crawl], folders, CONFIG)
    again = search(tmp_path / "work", parts[2], index=index)
    assert again == search(tmp_path / "afresh", parts[2], index=index)


def test_a_copied_part_of_an_index_has_the_same_keys_and_shingles(made, tmp_path):
    documents, _ = made
    parts = write_parts(tmp_path / "parts", documents, 1)
    search(tmp_path / "work", parts, skip=frozenset({"url", "exact", "minhash"}))
    folders = [tmp_path / "work" / "dedup-judge" / "00000"]
    extend_index(tmp_path / "index", "all", parts, folders, CONFIG)
    copied = index_parts(tmp_path / "index")[0]
    for name in ("facts.rows", "ids.values", "ids.ends", "shingles.values", "shingles.ends"):
        assert (copied / name).read_bytes() == (parts[0] / name).read_bytes()
    for name in ("bands", "url", "exact"):
        one, other = (
            sorted(
                zip(
                    *map(np.ndarray.tolist, *read_partition(p, name, partition=0, partitions=1)),
                    strict=True,
                )
            )
            for p in (copied, parts[0])
        )
        assert one == other


def test_an_index_of_other_settings_or_another_folder_is_refused(made, tmp_path):
    documents, _ = made
    parts = write_parts(tmp_path / "parts", documents, 1)
    other = MinHashConfig(urls="all", threshold=0.9)
    with pytest.raises(UserError, match="was sketched with bands 25, these settings ask for"):
        search(tmp_path / "work", parts, other)
    (tmp_path / "index" / "photos").mkdir(parents=True)
    with pytest.raises(UserError, match="holds photos, which is no crawl of an index"):
        search(tmp_path / "work", parts, index=tmp_path / "index")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=30), max_size=20), st.data())
def test_rows_of_a_ragged_file_are_read_as_they_were_written(tmp_path_factory, rows, data):
    path = tmp_path_factory.mktemp("ragged") / "rows"
    with RaggedWriter(path, np.uint32) as writer:
        for start in range(0, len(rows), 3):
            batch = rows[start : start + 3]
            ends = np.cumsum([len(row) for row in batch], dtype=np.int64)
            writer.append(np.array([v for row in batch for v in row], dtype=np.uint32), ends)
    chosen = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))) if rows else []
    file = RaggedFile(path, np.uint32)
    for gap in (ragged.GAP_BYTES, 16, 0):  # one block, some, one for each run of rows
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ragged, "GAP_BYTES", gap)
            values, starts, ends = file.read(np.array(chosen, dtype=np.int64))
        found = [values[a:b].tolist() for a, b in zip(starts, ends, strict=True)]
        assert found == [rows[place] for place in chosen]
        assert gap or len(values) == sum(map(len, found))


@pytest.mark.parametrize("partitions", [1, 4, 1024])
def test_every_key_stands_in_one_partition_and_equal_keys_in_the_same(
    tmp_path, partitions, monkeypatch
):
    monkeypatch.setattr("openqwen.data.dedup.key_runs.RUN_ENTRIES", 300)
    keys = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    keys[500:] = keys[:500]
    writer = KeyRunWriter(tmp_path, "k")
    for start in range(0, 1000, 100):
        writer.append(keys[start : start + 100], np.arange(start, start + 100, dtype=np.uint32))
    writer.close()
    seen = {}
    for partition in range(partitions):
        for found, rows in read_partition(
            tmp_path, "k", partition=partition, partitions=partitions
        ):
            assert (keys[rows] == found).all()
            for row in rows.tolist():
                assert row not in seen
                seen[row] = partition
    assert len(seen) == 1000
    assert all(seen[row] == seen[row + 500] for row in range(500))


def test_partitions_are_a_power_of_two_that_keeps_to_the_memory_given():
    assert count_partitions(0, 60, 100) == 1
    assert count_partitions(10, 60, 100) == 8
    assert count_partitions(10**12, 60, 100) == 1024


MEMORY = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_dedup_parts import Here, page_of
from openqwen.core.runtime import peak_memory_bytes
from openqwen.data.config import MinHashConfig
from openqwen.data.dedup import corpus, key_runs
from openqwen.data.dedup.find import find_duplicates
from openqwen.data.dedup.here import find_among
from openqwen.data.dedup.sketches import SketchWriter
corpus.COMPARE_BYTES, key_runs.RUN_ENTRIES = 500_000, 20_000
config = MinHashConfig(partition_bytes=1_000_000)
folder, count = Path(sys.argv[1]), int(sys.argv[3])
find_among([page_of(n) for n in range(20)], config)
before = peak_memory_bytes()
parts = []
for start in range(0, count, 1000):
    parts.append(folder / f"{start}")
    with SketchWriter(parts[-1], config) as writer:
        for first in range(start, start + 1000, 100):
            writer.add([page_of(n) for n in range(first, first + 100)])
find_duplicates(Here(), folder, parts, config)
print(peak_memory_bytes() - before)
"""


def page_of(number):
    """Return one of many pages; every eighth is nearly the one before it."""
    draw = np.random.default_rng(number - (number % 8 == 7))
    words = " ".join(f"w{n}" for n in draw.integers(0, 10**9, 300).tolist())
    return document(f"{words} {number}", f"p/{number:06}")


def test_memory_does_not_grow_with_the_input(tmp_path):
    grown = {}
    for count in (1000, 10_000):
        folder = tmp_path / str(count)
        command = [sys.executable, "-c", MEMORY, str(folder), str(Path(__file__).parent)]
        done = subprocess.run([*command, str(count)], capture_output=True, text=True, check=True)
        grown[count] = int(done.stdout.splitlines()[-1])
        dropped = folder / "dedup-cluster" / "00000" / "drops.npy"
        assert len(np.load(dropped)) == count // 8
    # the larger input is 30 MB of text, 12 MB of shingles, 3 MB of keys
    assert grown[10_000] < grown[1000] + 8_000_000, grown
