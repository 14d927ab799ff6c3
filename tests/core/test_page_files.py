import pyarrow.parquet as pq
import pytest

from openqwen.core import documents
from openqwen.core.documents import Page, read_pages, write_pages


@pytest.mark.parametrize(("rows", "size"), [(2, 10**9), (1000, 250), (1, 1)])
def test_batches_are_bounded_by_rows_and_by_size_and_keep_the_order(
    tmp_path, monkeypatch, rows, size
):
    monkeypatch.setattr(documents, "BATCH_ROWS", rows)
    monkeypatch.setattr(documents, "BATCH_SIZE", size)
    pages = [Page(f"{n}", "s", "", "MIT", "text/plain", b"x" * 100) for n in range(7)]
    assert write_pages(tmp_path / "p.parquet", iter(pages)) == 7
    with pq.ParquetFile(tmp_path / "p.parquet") as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sum(groups) == 7
    assert max(groups) <= (rows if size > 10**6 else max(1, -(-size // 100)))
    assert list(read_pages(tmp_path / "p.parquet")) == pages


def test_no_pages_make_a_file_without_rows(tmp_path):
    assert write_pages(tmp_path / "p.parquet", iter([])) == 0
    assert list(read_pages(tmp_path / "p.parquet")) == []
