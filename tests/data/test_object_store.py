"""A store that speaks S3 on this machine: pip install moto[s3] flask flask-cors to run these."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openqwen.core.errors import UserError
from openqwen.data.inputs import row_files, splits
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.splits import list_splits, read_split
from openqwen.data.inputs.stores import StoreError

server = pytest.importorskip("moto.server", reason="moto is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a URI of a folder in a bucket, and the same folder on this machine."""
    import boto3

    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    folder = tmp_path / "pages"
    (folder / "down").mkdir(parents=True)
    monkeypatch.setattr(row_files, "WHOLE_BYTES", 100_000)
    monkeypatch.setattr(splits, "WHOLE_BYTES", 100_000)
    rows = [json.dumps({"text": f"row {n} " + "x" * 2000}) for n in range(500)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "down" / "a b#1?.html").write_text("<p>odd name</p>")
    pq.write_table(
        pa.table({"text": [f"p {n}" for n in range(900)]}), folder / "p.parquet", row_group_size=99
    )
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="crawl")
    for path in folder.rglob("*.*"):
        client.upload_file(str(path), "crawl", f"pages/{path.relative_to(folder).as_posix()}")
    options = f"?endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"
    yield f"s3://crawl/pages{options}", folder
    running.stop()


def read(path, target):
    set_aside = SetAside()
    found = list_splits([str(path)], target_bytes=target)
    origin = Origin("s", "", 16_000_000, set_aside)
    return [page for split in found for page in read_split(split, origin)], set_aside.counts


def test_a_bucket_gives_the_pages_of_the_same_folder_here(store):
    uri, folder = store
    whole, counts = read(uri, 1 << 30)
    assert (len(whole), counts) == (1_401, {})
    assert whole == read(folder, 1 << 30)[0]
    assert whole == read(uri, 200_000)[0]


def test_what_is_not_there_is_one_line(store):
    uri, _ = store
    for wrong in (uri.replace("pages", "none"), uri.replace("crawl", "nobucket")):
        with pytest.raises(UserError, match="does not exist"):
            list_splits([wrong], target_bytes=1)


def test_a_store_that_does_not_answer_is_one_line():
    with pytest.raises(StoreError, match="can't be reached") as found:
        list_splits(["s3://x/y?endpoint_override=127.0.0.1%3A9&scheme=http"], target_bytes=1)
    assert "\n" not in str(found.value)
