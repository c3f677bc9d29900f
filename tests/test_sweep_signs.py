"""What shows that a job lives."""

import pytest

from lmexp.sweep.watch import Sign


@pytest.mark.parametrize(
    ("cpu_seconds", "written", "lives"),
    [
        (4000.0, 1, False),  # nothing used, nothing written
        (4001.0, 1, False),  # what a process uses that only waits
        (4100.0, 1, True),
        (1900.0, 1, True),  # workers ended, whose time is no longer in the sum
        (4000.0, 2, True),
    ],
)
def test_a_job_lives_that_computes_writes_or_has_ended_a_worker(cpu_seconds, written, lives):
    before = Sign(at=0.0, written=1, cpu_seconds=4000.0)

    assert Sign(1800.0, written, cpu_seconds).is_alive_since(before) is lives
