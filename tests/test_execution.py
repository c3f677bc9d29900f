import gzip
import itertools
import json
import threading
import time
from pathlib import Path

import pytest

from lmexp.execution import check_execution, passed, passes

SUM = "def add(a, b):\n    return a + b"
TESTS = ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]


def records(path, count):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    return found[:: len(found) // count]


def test_a_right_program_passes_and_a_wrong_one_does_not():
    assert passes(SUM, TESTS)
    assert not passes(SUM.replace("+", "-"), TESTS)


@pytest.mark.parametrize("wrong", range(2))
def test_every_test_counts(wrong):
    tests = list(TESTS)
    tests[wrong] = "assert add(2, 2) == 5"
    assert not passes(SUM, tests)


def test_programs_are_told_apart_by_whether_they_pass():
    assert passed([SUM, "def add(a, b): return 3", SUM, "def add("], [TESTS] * 4) == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos._exit(0)",
        "import sys\nsys.exit(0)",
        "raise SystemExit",
        "import os, sys\nsys.exit = exit = os._exit\ndef add(a, b): os._exit(0)",
        f'{SUM.replace("+", "-")}\nignored = """',  # would swallow tests that follow in one text
        "def add(a, b): raise KeyboardInterrupt",
        "def add(a, b): return add(a, b)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b): return add(a, b)",
        "def add(",
        "\0",
        "\ud800",
    ],
)
def test_a_program_that_ends_before_its_tests_do_fails(program):
    assert not passes(program, TESTS, seconds=1.0)


@pytest.mark.parametrize(
    "program",
    ["while True: pass", "import time\ntime.sleep(60)", "10 ** 10 ** 10", "while True: print('x')"],
)
def test_a_program_that_does_not_end_is_ended(program):
    started = time.monotonic()
    assert not passes(f"{SUM}\n{program}", TESTS, seconds=0.4)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(10 << 30)",
        "x = [0]\nwhile True: x += x",
        "input()",
        "open('a', 'w')",
        "open('/dev/null', 'wb')",
        "import os\nos.open('a', os.O_CREAT)",
        "import os\nos.mkdir('a')",
        "import shutil\nshutil.rmtree('a', ignore_errors=False)",
        "import os\nos.fork()",
        "import os\nos.system('true')",
        "import subprocess\nsubprocess.run(['true'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import os, signal\nos.kill(os.getppid(), 0)",
        "import socket\nsocket.create_connection(('127.0.0.1', 9))",
        "import ctypes",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "files = [open('/dev/null') for _ in range(100)]",
        "import torch",
        "import os\nassert os.environ.get('HOME')",
    ],
)
def test_what_a_program_may_not_do_is_an_error(program):
    assert not passes(f"{SUM}\n{program}", TESTS, seconds=1.0, memory_bytes=1 << 28)
    caught = "\n".join(f"    {line}" for line in program.split("\n"))
    assert passes(f"{SUM}\ntry:\n{caught}\nexcept BaseException:\n    x = 0", TESTS)


def test_files_stay_as_they_were_even_where_no_audit_event_is_raised(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("a")
    remove = f"import os\ntry:\n    os.remove({str(kept)!r})\nexcept OSError:\n    pass"
    database = (
        f"import sqlite3\ndb = sqlite3.connect({str(tmp_path / 'db')!r})\ndb.execute('create t')"
    )

    passes(remove, [])
    passes(database, [])

    assert kept.read_text() == "a"
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 1


def test_what_a_program_prints_is_no_answer():
    program = "import os, sys\nfor fd in (0, 1, 2): os.write(fd, b'x' * (1 << 20))\nprint('y' * 99)"
    assert passes(f"{SUM}\n{program}", TESTS)
    guess = "import os\nfor fd in range(20):\n  try: os.write(fd, b'0' * 32)\n  except OSError: 0"
    assert not passes(f"{guess}\nos._exit(0)", TESTS)


def test_the_body_of_a_script_is_not_run_and_classes_find_their_module():
    program = (
        "from dataclasses import dataclass\nimport sys\n"
        "@dataclass\nclass Point:\n    x: 'int' = 0\n"
        "if __name__ == '__main__':\n    raise ValueError"
    )
    assert passes(program, ["assert Point(1) == Point(1)", "assert sys.modules[Point.__module__]"])


def test_the_order_of_a_set_is_the_same_every_time():
    program = "order = ''.join(set('abc'))"
    orders = ["".join(letters) for letters in itertools.permutations("abc")]

    found = [[passes(program, [f"assert order == '{o}'"]) for o in orders] for _ in range(2)]

    assert found[0] == found[1]
    assert sum(found[0]) == 1


def test_a_thread_that_goes_on_is_not_waited_for():
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=[60]).start()"
    assert passes(f"{SUM}\n{thread}", TESTS)


def children():
    """Numbers of the processes that this thread has begun and not waited for."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


def test_no_process_is_left_behind():
    before = children()

    for program in ("while True: pass", "import os\nos._exit(0)", SUM):
        passes(program, TESTS, seconds=0.3)

    assert children() == before


def test_solutions_of_mbpp_pass(data_folder):
    path = data_folder("mbpp") / "mbpp.jsonl.gz"
    found = [r for r in records(path, 974) if r["test_setup_code"]] + records(path, 20)

    tests = [[record["test_setup_code"], *record["test_list"]] for record in found]

    assert all(passed([record["code"] for record in found], tests))


def test_solutions_of_humaneval_pass_and_its_prompts_alone_do_not(data_folder):
    found = records(data_folder("humaneval") / "HumanEval.jsonl.gz", 20)
    tests = [[record["test"], f"check({record['entry_point']})"] for record in found]

    solved = [record["prompt"] + record["canonical_solution"] for record in found]

    assert all(passed(solved, tests))
    assert not any(passed([record["prompt"] for record in found], tests))


def test_programs_and_tests_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 programs and tests of 1: give tests for every"):
        passed([SUM, SUM], [TESTS])


def test_pairs_without_tests_are_refused_early():
    check_execution({"val": [TESTS], "test": [TESTS, ["", *TESTS]]})
    with pytest.raises(ValueError, match=r"and 1 of 2 in test have none: name .* in data\.tests"):
        check_execution({"val": [TESTS], "test": [TESTS, []]})
    with pytest.raises(ValueError, match="and 1 of 2 in test have none"):
        check_execution({"val": [TESTS], "test": [TESTS, ["", " "]]})  # nothing to fail


def test_a_machine_on_which_nothing_passes_is_refused_early(monkeypatch):
    monkeypatch.setattr("lmexp.execution.MEMORY_BYTES", 1 << 20)
    monkeypatch.setattr("lmexp.execution.passes", lambda program, tests: False)
    with pytest.raises(ValueError, match=r"not even an empty program passes here: .* 1 MB"):
        check_execution({})
