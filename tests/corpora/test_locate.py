import pytest

from lmexp.corpora.locate import locate, resolve
from lmexp.corpora.text import KEYS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.txt", "a.txt", "c.md", ".hidden.txt", "sub/d.txt.gz", ".git/e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    monkeypatch.delenv("LMEXP_DATA", raising=False)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["b.txt"], ["b.txt"]),
        (["*.txt"], ["a.txt", "b.txt"]),
        (["**/*.gz"], ["sub/d.txt.gz"]),
        (["sub/d.txt"], ["sub/d.txt.gz"]),
        (["."], ["a.txt", "b.txt", "c.md", "sub/d.txt.gz"]),
        (["b.txt", "*.txt"], ["b.txt", "a.txt"]),
        (["[ab].txt"], ["a.txt", "b.txt"]),
    ],
)
def test_names_globs_and_folders(patterns, names, folder):
    found = [path.relative_to(folder).as_posix() for path in resolve(patterns, folder)]

    assert [name for name in found if not name.startswith(".")] == names


def test_files_of_no_set_are_their_own_source(folder):
    found = locate({"train": ["*.txt"], "val": ["c.md"]}, str(folder), None, [], KEYS)

    assert found.source == f"{folder}/*.txt, {folder}/c.md"
    assert found.paths["val"] == [folder / "c.md"]


def test_an_absolute_pattern_needs_no_base(folder):
    assert resolve([f"{folder}/a*.txt"], folder / "sub") == [folder / "a.txt"]


def test_a_missing_file_is_named_with_what_is_near(folder):
    with pytest.raises(FileNotFoundError, match=r"^data\.val=c\.mb: .*did you mean .*c\.md\?"):
        resolve(["c.mb"], folder, "data.val=")


def test_an_empty_folder_is_named(folder):
    (folder / "empty").mkdir()

    with pytest.raises(FileNotFoundError, match="empty has no files"):
        resolve(["empty"], folder)


def test_a_named_set_is_looked_for_in_root_then_data_then_cache(folder, monkeypatch):
    for place in ("root", "data/set", "cache/data/set"):
        (folder / place).mkdir(parents=True)
        (folder / place / "x.txt.gz").write_text(place)
    monkeypatch.setenv("LMEXP_DATA", str(folder / "data"))
    sources = []

    for place in ("root", "data/set", "cache/data/set"):
        found = locate({"train": ["x.txt"]}, str(folder / "root"), "set", [], KEYS)
        assert found.paths["train"] == [folder / place / "x.txt.gz"]
        sources.append(found.source)
        (folder / place / "x.txt.gz").unlink()

    assert [source.split()[0] for source in sources] == ["data.root", "LMEXP_DATA", "cache"]


def test_a_set_that_is_nowhere_says_what_was_tried_and_what_to_put_where(folder, monkeypatch):
    monkeypatch.setenv("LMEXP_DATA", str(folder / "data"))

    with pytest.raises(FileNotFoundError) as error:
        locate({"train": ["x.txt"], "val": ["y.txt"]}, str(folder / "root"), "set", [], KEYS)

    for part in ("root", "data/set", "cache/data/set", "put x.txt, y.txt", "set LMEXP_DATA"):
        assert part in str(error.value)
