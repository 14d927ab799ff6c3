import io
import shutil
import tarfile
import zipfile

import pytest

from openqwen.core.archives import archive_files, read_member, unpack_archive
from openqwen.core.errors import UserError


def make_tar(path, *members):
    """Write a source package from (name, text) or (name, link type, target)."""
    with tarfile.open(path, "w:gz") as bundle:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            if len(rest) == 2:
                info.type, info.linkname = rest
                bundle.addfile(info)
            else:
                info.size = len(rest[0])
                bundle.addfile(info, io.BytesIO(rest[0]))
    return path


def test_only_files_that_match_are_written_and_folders_are_kept(tmp_path):
    archive = make_tar(
        tmp_path / "p-1.tar.gz",
        ("p-1/doc/a.html", b"A"),
        ("p-1/doc/deep/b.html", b"B"),
        ("p-1/doc/c.HTML", b"C"),
        ("p-1/src/d.html", b"D"),
    )
    assert unpack_archive(archive, tmp_path / "out", ["doc/*.html"]) == 2
    found = {p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/**/*.html")}
    assert found == {"doc/a.html", "doc/deep/b.html"}
    assert read_member(archive, "src/d.html") == b"D"


def test_links_are_never_written(tmp_path):
    archive = make_tar(
        tmp_path / "p-1.tar.gz",
        ("p-1/a", tarfile.SYMTYPE, "/etc"),
        ("p-1/b", tarfile.LNKTYPE, "p-1/a"),
        ("p-1/a/passwd", b"x"),
    )
    assert [name for name, _ in archive_files(archive)] == ["a/passwd"]
    unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "a").is_symlink()


@pytest.mark.parametrize("name", ["p-1/../../evil", "p-1/x/../../../evil"])
def test_a_name_that_climbs_out_is_refused(tmp_path, name):
    archive = make_tar(tmp_path / "p-1.tar.gz", (name, b"x"))
    with pytest.raises(UserError, match="holds a file outside its own folder"):
        unpack_archive(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_an_absolute_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as bundle:
        bundle.writestr("/evil", "x")
    with pytest.raises(UserError, match="holds a file outside its own folder: /evil"):
        read_member(tmp_path / "p.whl", "x")


@pytest.mark.parametrize("name", ["p-1.tar.gz", "p-1-py3-none-any.whl", "p_1_all.deb"])
def test_a_broken_archive_is_one_line(tmp_path, name):
    if name.endswith(".deb") and not shutil.which("dpkg-deb"):
        pytest.skip("this system has no dpkg-deb")
    (tmp_path / name).write_bytes(b"not an archive at all" * 100)
    with pytest.raises(UserError, match=rf"{name} can't be unpacked"):
        read_member(tmp_path / name, "x")


def test_files_are_not_unpacked_among_others(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(ValueError, match="must be new or empty"):
        unpack_archive(make_tar(tmp_path / "p-1.tar.gz"), tmp_path / "out")
