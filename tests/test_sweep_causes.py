"""Why a job of a sweep ended as it did."""

import pytest

from lmexp.sweep import causes
from lmexp.sweep.causes import judge

NAN = "lmexp: the loss of step 3 is not finite: no checkpoint was overwritten\nlmexp: the batch is"


LOADER = "RuntimeError: DataLoader worker (pid 31) is killed by signal: Killed."


@pytest.mark.parametrize(
    ("return_code", "said", "oom_kills", "cause"),
    [
        (1, NAN, 0, causes.NOT_FINITE),
        (2, NAN, 0, causes.ERROR),  # a remark of a run that left the step out, and failed later
        (2, "lmexp: out of memory in step 3: try data.batch_size=4", 0, causes.OUT_OF_MEMORY),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried", 0, causes.OUT_OF_MEMORY),
        (1, "OSError: [Errno 12] Cannot allocate memory", 0, causes.OUT_OF_MEMORY),
        (-9, "", 1, causes.OUT_OF_MEMORY),
        (137, "lmexp: rank 1 of 2 ended first, killed by SIGKILL", 1, causes.OUT_OF_MEMORY),
        (1, LOADER, 1, causes.OUT_OF_MEMORY),
        (1, LOADER, 0, causes.ERROR),
        (-9, "", 0, causes.KILLED),
        (137, "lmexp: rank 1 of 2 ended first, killed by SIGKILL", 0, causes.KILLED),
        (-11, "", 1, causes.KILLED),
        (2, "lmexp: missing.txt: No such file", 0, causes.ERROR),
        (1, "Traceback\nKeyError: 'a'", 0, causes.ERROR),
    ],
)
def test_an_end_is_judged_by_status_words_and_kills(return_code, said, oom_kills, cause):
    ended = judge(return_code, said, oom_kills)

    assert (ended.status, ended.cause) == ("failed", cause)
    assert cause in causes.CAUSES


def test_a_good_end_has_no_cause():
    assert judge(0, NAN, 3) == ("finished", None, None)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"own": "0::/a/b\n", "cgroups/a/b/memory.events": "oom 2\noom_kill 2\n"}, 2),
        ({"own": "0::/a/b\n", "cgroups/memory.events": "oom_kill 3\n"}, 3),  # a container's root
        ({"own": "4:memory:/a\n0::/\n", "machine": "pgfault 9\noom_kill 4\n"}, 4),
        ({"own": "0::/\n", "cgroups/memory.events": "low 1\n", "machine": "pgfault 9\n"}, 0),
        ({}, 0),
    ],
)
def test_kills_for_memory_are_counted_in_the_narrowest_group_that_counts(
    files, expected, tmp_path, monkeypatch
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(causes, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(causes, "_CGROUPS", tmp_path / "cgroups")
    monkeypatch.setattr(causes, "_MACHINE", tmp_path / "machine")

    assert causes.oom_kills() == expected
