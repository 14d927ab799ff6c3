"""Directories that are full, read-only or bounded: known before training, or nothing is lost."""

import errno
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError
from small_trainers import SHAPE, pretrainer, run, same_bits, state_of, steady, write_shards

from openqwen.core.errors import UserError
from openqwen.model.decoder import new_decoder
from openqwen.model.formats import weights
from openqwen.model.formats.export import write_export
from openqwen.train.checkpoint import sealed
from openqwen.train.disk import directory_bytes, state_bytes, telling_full_disk
from openqwen.train.loop import checkpoints_of
from openqwen.train.pretrain import PretrainTrainer


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def small_disk(tmp_path):
    """Mount file systems of a given size; skip where that is not allowed."""
    mounted = []

    def mount(size, *options):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "t", folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=False)


def test_too_little_room_is_said_before_the_first_step(shards, small_disk):
    disk = small_disk("1m")
    trainer = pretrainer(shards)
    with pytest.raises(UserError) as caught:
        run(trainer, disk)
    size = state_bytes(trainer.state())
    masters = sum(m.numel() * 4 for m in trainer.optimiser.masters)
    assert (
        f"base: 3 checkpoints of {size:,} bytes and the export need {3 * size + masters:,} bytes, "
        "1,0"
    ) in str(caught.value)
    assert "free in" in str(caught.value)
    assert "lower base.keep_checkpoints" in str(caught.value)
    assert not (disk / "metrics.jsonl").exists()


def test_the_state_that_is_reckoned_with_is_the_one_that_is_written(shards, tmp_path):
    trainer = pretrainer(shards)
    before = state_bytes(trainer.state())
    run(trainer, tmp_path)
    assert state_bytes(trainer.state()) == pytest.approx(before, rel=0.01)
    newest = next(sealed(checkpoints_of(tmp_path)))
    assert directory_bytes(newest.path) == pytest.approx(before, rel=0.15)  # small tensors' names


def test_a_read_only_directory_is_said_before_the_first_step(shards, small_disk):
    disk = small_disk("8m", "ro")
    with pytest.raises(UserError, match=r"checkpoints can't be written: Read-only file system"):
        run(pretrainer(shards), disk)


class Filling(PretrainTrainer):
    """Something else fills the disk while it takes its sixth step."""

    disk = Path()

    def step(self, step):
        if step == 5:
            free = os.statvfs(self.disk)
            room = free.f_bavail * free.f_frsize
            (self.disk / "filler").write_bytes(bytes(room - 100_000))
        return super().step(step)


def test_a_disk_that_fills_loses_nothing(shards, small_disk, tmp_path):
    disk = small_disk("8m")
    Filling.disk = disk
    with pytest.raises(UserError) as caught:
        run(pretrainer(shards, kind=Filling), disk / "base")
    line = str(caught.value)
    assert line.startswith(
        "base: the checkpoint of step 6 was not written: No space left on device, "
    )
    assert line.endswith(
        " bytes are free; that of step 4 stays: make room and run the same command again"
    )
    assert [saved.step for saved in sealed(checkpoints_of(disk / "base"))] == [4, 2]
    assert sorted(p.name for p in checkpoints_of(disk / "base").iterdir()) == [
        "step-00000002",
        "step-00000004",
    ]
    (disk / "filler").unlink()
    resumed, whole = pretrainer(shards), pretrainer(shards)
    run(resumed, disk / "base")
    run(whole, tmp_path / "whole")
    assert same_bits(state_of(resumed), state_of(whole))
    assert steady(disk / "base") == steady(tmp_path / "whole")


class Limited(PretrainTrainer):
    """From its sixth step on no file may have more than 100 kB; what came before is on disk."""

    out: Path

    def step(self, step):
        if step == 5:
            deadline = time.monotonic() + 60  # a thread may still be writing step 4
            while [s.step for s in sealed(checkpoints_of(self.out))] != [4, 2]:
                assert time.monotonic() < deadline, "the checkpoint of step 4 never came"
                time.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        return super().step(step)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_limit_of_the_file_size_is_a_full_disk(shards, tmp_path, asynchronous):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if before[1] != resource.RLIM_INFINITY:
        pytest.skip("this process has a limit already")
    Limited.out = tmp_path
    trainer = pretrainer(shards, kind=Limited, checkpoints={"asynchronous": asynchronous})
    try:
        with pytest.raises(UserError) as caught:
            run(trainer, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"base: the checkpoint of step 6 was not written: {os.strerror(errno.EFBIG)}; that of step "
        "4 stays: make room and run the same command again"
    )
    assert [saved.step for saved in sealed(checkpoints_of(tmp_path))] == [4, 2]
    resumed, whole = pretrainer(shards), pretrainer(shards)
    run(resumed, tmp_path)
    with whole.workers:
        for step in range(8):
            whole.step(step)
    assert same_bits(state_of(resumed), state_of(whole))


def test_a_limit_of_the_file_size_is_known_before_training(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100_000, 100_000))
    with pytest.raises(UserError, match=r"this process may write 100,000 \(ulimit -f\)"):
        run(pretrainer(shards), tmp_path)


def test_an_export_that_finds_no_room_is_one_line(small_disk):
    disk = small_disk("64k")
    with (
        pytest.raises(UserError, match=r"^the export was not written: No space left on device, "),
        telling_full_disk("the export was not written", disk),
    ):
        write_export(disk, new_decoder(SHAPE, seed=0), stop_ids=[1])
    assert [p.name for p in disk.iterdir() if p.stat().st_size] == []


def test_what_a_kill_leaves_of_an_export_is_gone_after_the_next(tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def die(tensors, path, metadata):
        (path.parent / ".tmpAbCdEf").write_bytes(b"half")  # the library's own way
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save_file", die)
        patch.setattr(weights.shutil, "rmtree", lambda *rest, **more: None)  # nothing is cleared
        with pytest.raises(KilledError):
            write_export(tmp_path, new_decoder(SHAPE, seed=0), stop_ids=[1])
    assert list(tmp_path.rglob(".tmpAbCdEf"))
    write_export(tmp_path, new_decoder(SHAPE, seed=0), stop_ids=[1])
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), telling_full_disk("it", tmp_path):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(SafetensorError), telling_full_disk("it", tmp_path):
        raise SafetensorError("a header that is none")
