"""Pages that save by themselves, at the level of requests."""

import json
import threading

import pytest
from page_folders import arena, audit, made, voting
from starlette.testclient import TestClient

from openqwen.agent.instruct.review import sample_hash
from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.eval.arena.votes import VOTES_NAME, open_votes
from openqwen.serve.app import build_app
from openqwen.serve.config import ServeConfig
from openqwen.serve.models import Models

NEW = {"If-None-Match": "*"}


def client(*folders):
    app = build_app(Models(), ServeConfig(pages=tuple(map(str, folders))))
    return TestClient(app, base_url="http://127.0.0.1:8000")


def votes(name="Lin", **given):
    return {"kind": "openqwen votes", "by": {"kind": "person", "name": name}, "votes": given}


def put(opened, content, headers=NEW, page="votes/vote.html"):
    return opened.put(f"/pages/{page}.saved", json=content, headers=headers)


def test_pages_are_listed_and_served_with_the_place_where_they_save(tmp_path):
    voting(tmp_path / "votes")
    audit(tmp_path / "documents")
    opened = client(tmp_path / "votes", tmp_path / "documents")
    listed = opened.get("/pages/").text
    assert 'href="votes/vote.html"' in listed
    assert 'href="documents/audit.html"' in listed
    page = opened.get("/pages/votes/vote.html")
    assert '<body data-saves="vote.html.saved" data-kind="openqwen votes">' in page.text
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    on_disk = (tmp_path / "votes" / "vote.html").read_text()
    assert "data-saves=" not in on_disk


def test_votes_become_a_file_a_person_that_the_command_reads(tmp_path, capsys):
    folder = voting(tmp_path / "votes")
    opened = client(folder)
    assert opened.get("/pages/votes/vote.html.saved?name=Lin").json() is None
    first = put(opened, votes(**{"00000": "left"}))
    assert first.status_code == 200
    later = votes(**{"00000": "right", "00001": "tie"})
    assert put(opened, later, {"If-Match": first.headers["etag"]}).status_code == 200
    assert put(opened, votes("王 小明", **{"00000": "right"})).status_code == 200
    again = opened.get("/pages/votes/vote.html.saved?name=Lin")
    assert again.json()["votes"] == {"00000": "right", "00001": "tie"}
    assert (folder / "votes-Lin.json").is_file()
    assert len(list(folder.glob("votes-王-小明-*.json"))) == 1
    out = tmp_path / "pairs.jsonl"
    assert main(["preferences", "read", str(folder), "--of", str(folder), "--out", str(out)]) == 0
    assert "3 votes on 3 pairs: 1 judged, 1 ties" in capsys.readouterr().out
    assert json.loads(out.read_text())["chosen"] == "R0"


def test_who_has_not_seen_the_last_version_is_told_and_nothing_is_lost(tmp_path):
    opened = client(voting(tmp_path / "votes"))
    first = put(opened, votes(**{"00000": "left"}))
    assert put(opened, votes(**{"00001": "left"})).status_code == 412
    old = {"If-Match": first.headers["etag"]}
    assert put(opened, votes(**{"00000": "left", "00001": "tie"}), old).status_code == 200
    refused = put(opened, votes(**{"00002": "left"}), old)
    assert refused.status_code == 412
    kept = opened.get("/pages/votes/vote.html.saved?name=Lin").json()["votes"]
    assert kept == {"00000": "left", "00001": "tie"}
    assert put(opened, votes(**{"00002": "left"}), {}).status_code == 428


def test_many_people_at_once_lose_no_vote(tmp_path):
    folder, num = arena(tmp_path / "arena", 20), 8
    opened = client(folder)
    failed = []

    def vote(name):
        version, ranks = NEW, {}
        for i in range(20):
            ranks[f"{i:05}"] = [1, 2]
            content = {"kind": "openqwen ranks", "annotator": name, "ranks": ranks}
            answer = put(opened, content, version, "arena/vote.html")
            if answer.status_code != 200:
                failed.append(answer.text)
                return
            version = {"If-Match": answer.headers["etag"]}

    people = [threading.Thread(target=vote, args=[f"p{i}"]) for i in range(num)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert not failed
    with open_votes(folder / VOTES_NAME) as kept:
        assert len(kept.all()) == num * 20


def test_arena_ranks_go_where_the_table_reads_them(tmp_path, capsys):
    folder = arena(tmp_path / "arena")
    opened = client(folder)
    ranks = {"kind": "openqwen ranks", "annotator": "Lin", "ranks": {"00000": [2, 1]}}
    assert put(opened, ranks, page="arena/vote.html").status_code == 200
    loaded = opened.get("/pages/arena/vote.html.saved?name=Lin")
    assert loaded.json() == ranks
    assert opened.get("/pages/arena/vote.html.saved?name=Wang").json() is None
    assert main(["arena", "table", str(folder)]) == 0
    assert "people: 1 votes of Lin" in capsys.readouterr().out


def test_marks_and_reviews_are_read_from_the_folder(tmp_path, capsys):
    folder, samples = made(tmp_path / "made")
    documents = audit(tmp_path / "documents")
    opened = client(folder, documents)
    by = {"kind": "person", "name": "Lin"}
    rows = [{"id": samples[0].id, "hash": sample_hash(samples[0]), "mark": "accept"}]
    review = {"kind": "openqwen instruct marks", "by": by, "marks": rows}
    assert put(opened, review, page="made/review.html").status_code == 200
    assert main(["instruct", "accept", str(folder), str(folder)]) == 0
    assert "1 of 3 samples" in capsys.readouterr().out
    mark = {"id": "s/1", "step": "oddity", "reason": "odd", "mark": "bad"}
    marks = {"kind": "openqwen audit marks", "judges": "texts", "by": by, "marks": [mark]}
    assert put(opened, marks, page="documents/audit.html").status_code == 200
    assert (documents / "audit-marks-Lin.json").is_file()
    assert main(["data", "marks", str(documents)]) == 0
    assert "person **Lin**: 1 marks, 0 good" in capsys.readouterr().out


def test_a_page_of_several_saves_under_its_own_name(tmp_path):
    documents = audit(tmp_path / "documents", page_samples=1)
    parts = sorted(path.name for path in (documents / "audit").glob("*.html"))
    opened = client(documents)
    listed = opened.get("/pages/").text
    assert "links to its parts" in listed
    assert f'href="documents/audit/{parts[0]}"' in listed
    assert f'data-saves="{parts[0]}.saved"' in opened.get(f"/pages/documents/audit/{parts[0]}").text
    mark = {"id": "s/1", "step": "oddity", "reason": "odd", "mark": "bad"}
    by = {"kind": "person", "name": "Lin"}
    marks = {"kind": "openqwen audit marks", "judges": "texts", "by": by, "marks": [mark]}
    where = f"documents/audit/{parts[0]}"
    assert put(opened, marks, page=where).status_code == 200
    assert (documents / f"audit-{parts[0].removesuffix('.html')}-marks-Lin.json").is_file()
    assert put(opened, marks, page=f"documents/audit/{parts[1]}").status_code == 422
    assert put(opened, marks, page="documents/audit.html").status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        (votes(**{"00000": "both"}), 422, "a vote is one of"),
        (votes(**{"00009": "left"}), 422, "there is no pair"),
        (votes("") | {"by": {"kind": "person", "name": " "}}, 422, "a name has 1 to 60"),
        (votes("../../etc/passwd"), 200, ""),
        (
            {"kind": "openqwen ranks", "annotator": "Lin", "ranks": {}},
            422,
            "saves 'openqwen votes'",
        ),
        (votes() | {"votes": [1]}, 422, "no file of votes"),
        ([1, 2], 422, "must be a JSON object"),
        ({"kind": "openqwen votes", "votes": {}}, 422, "does not say who"),
    ],
)
def test_only_what_the_reader_takes_is_kept(tmp_path, content, status, why):
    folder = voting(tmp_path / "votes")
    answer = put(client(folder), content)
    assert answer.status_code == status
    assert why in answer.text
    saved = {path.name for path in tmp_path.rglob("*") if path.suffix not in (".html", "")}
    assert len(saved) == (2 if status == 200 else 1)
    assert {path.name for path in tmp_path.iterdir()} == {"votes"}


@pytest.mark.parametrize(
    "path",
    [
        "votes/duels.jsonl",
        "votes/../votes/duels.jsonl",
        "votes/%2e%2e/secret.html",
        "votes/..%2fsecret.html",
        "other/vote.html",
        "votes/linked.html",
        "votes/notes.html",
    ],
)
def test_nothing_but_the_pages_of_the_folder_is_served(tmp_path, path):
    folder = voting(tmp_path / "votes")
    secret = tmp_path / "secret.html"
    secret.write_text('<body data-kind="openqwen votes">')
    (folder / "linked.html").symlink_to(secret)
    (folder / "notes.html").write_text("<body>mine")
    assert client(folder).get(f"/pages/{path}").status_code == 404


def test_what_is_no_json_or_too_large_is_refused(tmp_path):
    opened = client(voting(tmp_path / "votes"))
    where, plain = "/pages/votes/vote.html.saved", {"content-type": "application/json"} | NEW
    assert opened.put(where, content=b"{", headers=plain).status_code == 400
    assert opened.put(where, content=b'{"a": NaN}', headers=plain).status_code == 400
    assert opened.put(where, content=b'{"a": "\\ud800"}', headers=plain).status_code == 400
    assert opened.put(where, content=b"[" * 100_000, headers=plain).status_code == 400
    assert opened.put(where, content=b"{}", headers=NEW).status_code == 415
    assert opened.put(where, content=b" " * 4_000_001, headers=plain).status_code == 413


def test_a_page_of_an_older_version_is_shown_and_saves_by_download(tmp_path):
    folder = voting(tmp_path / "votes")
    page = folder / "vote.html"
    page.write_text(page.read_text().replace("function saving(page)", "function older(page)"))
    opened = client(folder)
    assert "saves by download only" in opened.get("/pages/").text
    assert "data-saves=" not in opened.get("/pages/votes/vote.html").text
    assert put(opened, votes(**{"00000": "left"})).status_code == 404


def test_a_folder_without_a_page_is_refused_with_what_writes_one(tmp_path):
    with pytest.raises(UserError, match="no page in it; `data build`"):
        client(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        client(tmp_path / "none")


def test_other_sites_pages_can_save_nothing(tmp_path):
    folder = voting(tmp_path / "votes")
    foreign = NEW | {"Origin": "https://elsewhere.example"}
    assert put(client(folder), votes(**{"00000": "left"}), foreign).status_code == 403
    assert not list(folder.glob("votes-*"))
