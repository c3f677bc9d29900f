"""Checkpoints: whole or not at all, checked, plain."""

import os
import resource
import signal

import pytest
import torch

from lmexp import checkpoint as checkpoints

CONTENT = {
    "training": {"steps_done": 3},
    "data_hash": "0a1b",
    "state_dict": {"weight": torch.arange(6.0).view(2, 3)},
    "recipe": {"name": "a", "lr": 0.1, "list": [1, None]},
    "tokenizer": {"class": "Bytes"},
}


@pytest.fixture
def path(tmp_path):
    checkpoints.save(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_what_is_saved_is_read(path):
    read = checkpoints.read(path)
    assert torch.equal(read["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert read["recipe"] == CONTENT["recipe"]


def test_torch_reads_it_without_lmexp(path):
    assert torch.load(path, weights_only=True)["recipe"]["name"] == "a"


def test_every_flipped_bit_is_found(path):
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|no whole"):
            checkpoints.verify(path)


def test_a_truncated_file_is_named(path):
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"last\.ckpt is no whole lmexp checkpoint \(500 bytes"):
        checkpoints.read(path)


def test_a_file_of_another_program_is_refused(tmp_path):
    torch.save(CONTENT, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="written by another program"):
        checkpoints.read(tmp_path / "other.ckpt")


def test_a_full_disk_leaves_the_old_checkpoint_and_no_scrap(path):
    before = path.read_bytes()
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="free some space"):
            checkpoints.save({**CONTENT, "big": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_damaged_newest_falls_back_to_the_one_before_and_says_so(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for _ in range(2):
        checkpoints.save(CONTENT, folder / "newest.ckpt")
        checkpoints.rotate(folder)
    (folder / "last.ckpt").write_bytes(b"half a file")
    said = []

    found = checkpoints.newest_good(tmp_path, said.append)

    assert found == folder / "previous.ckpt"
    assert "last.ckpt" in said[0]
    assert "falling back" in said[0]


def test_older_ones_that_are_kept_for_their_step_are_fallen_back_to(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("step-8", "step-12"):
        checkpoints.save(CONTENT, folder / f"{name}.ckpt")
    os.utime(folder / "step-8.ckpt", (1, 1))
    (folder / "last.ckpt").write_bytes(b"half a file")

    assert checkpoints.newest_good(tmp_path, lambda text: None) == folder / "step-12.ckpt"


def test_names_of_steps_are_ordered_by_number_and_other_names_left_alone(tmp_path):
    for name in ("step-9", "step-10", "step-007", "step-best", "best-8"):
        (tmp_path / f"{name}.ckpt").touch()

    found = checkpoints.kept_by_step(tmp_path)

    assert list(found.items()) == [(10, tmp_path / "step-10.ckpt"), (9, tmp_path / "step-9.ckpt")]


def test_a_kill_between_two_renames_loses_nothing(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    checkpoints.save(CONTENT, folder / "newest.ckpt")
    checkpoints.save(CONTENT, folder / "previous.ckpt")  # last.ckpt has been renamed, newest not

    assert checkpoints.newest_good(tmp_path, pytest.fail) == folder / "newest.ckpt"


def test_when_all_are_damaged_nothing_starts_from_scratch(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="none of the 1 checkpoints"):
        checkpoints.newest_good(tmp_path, lambda text: None)
