"""Settings and fixtures of every test. Nothing here imports torch: half of the tests need none.

LMEXP_DATA names the folder with the real data sets (default: shared/data beside the checkout);
tests of them are skipped where it is not there.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
NAMED = os.environ.get("LMEXP_DATA") or os.environ.get("LMEXP_TESTED_DATA")
DATA = Path(NAMED or CHECKOUT.parent / "shared" / "data").resolve()
os.environ["LMEXP_TESTED_DATA"] = str(DATA)  # xdist's workers begin without LMEXP_DATA

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; processes under test inherit it
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("LMEXP_DATA", None)  # a test that reads real data says so by asking for data_folder


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One LMEXP_CACHE for all tests: each token store is built once, and not in ~/.cache."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' common folder; the cache locks
    folder = base / "lmexp-cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMEXP_CACHE", str(folder))
        yield folder


@pytest.fixture
def data_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Gives the folder of a real data set, with LMEXP_DATA set, or skips the test."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"there is no {folder}: set LMEXP_DATA to the folder with the data sets")
        monkeypatch.setenv("LMEXP_DATA", str(DATA))
        return folder

    return find
