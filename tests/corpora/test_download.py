import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from loopback import loopback

from lmexp.corpora.download import Remote, fetch
from lmexp.corpora.locate import locate
from lmexp.corpora.text import KEYS

TEXT = b"some text\n" * 10_000


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("set/train.tokens", "train")
        archive.writestr("set/valid.tokens", "valid")
    return file.getvalue()


FILES = {"/a.txt": TEXT, "/set.zip": zipped()}


@pytest.fixture
def server():
    """The files above on the loopback interface."""
    with loopback(dict(FILES)) as served:
        yield served


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.delenv("LMEXP_DATA", raising=False)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_a_set_is_downloaded_once(server, tmp_path):
    remote = Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))

    first = locate({"train": ["a.txt"]}, None, "set", [remote], KEYS)
    second = locate({"train": ["a.txt"]}, None, "set", [remote], KEYS)

    assert first.paths["train"][0].read_bytes() == TEXT
    assert first.source.startswith("downloaded to")
    assert second.paths == first.paths
    assert second.source.startswith("cache")
    assert server.asked == [("/a.txt", None)]
    assert [path.name for path in (tmp_path / "cache/data/set").iterdir()] == ["a.txt"]


def test_members_of_an_archive_are_files(server, tmp_path):
    data = sha(FILES["/set.zip"])
    remotes = [
        Remote(f"{name}.txt", f"{server.url}/set.zip", data, member=f"set/{name}.tokens")
        for name in ("train", "valid")
    ]

    fetch(remotes, tmp_path)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "train.txt": "train",
        "valid.txt": "valid",
    }
    assert server.asked == [("/set.zip", None)]


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_leaves_nothing(algorithm, server, tmp_path):
    wrong = {"sha256": None, algorithm: "0000"}
    remote = Remote("a.txt", f"{server.url}/a.txt", **wrong)

    message = rf"a\.txt gave 100,000 bytes with {algorithm} .* instead of 0000"
    with pytest.raises(ValueError, match=message):
        fetch([remote], tmp_path / "set")

    assert not list((tmp_path / "set").iterdir())


def test_a_file_may_be_known_by_its_md5(server, tmp_path):
    md5 = hashlib.md5(TEXT).hexdigest()

    fetch([Remote("a.txt", f"{server.url}/a.txt", None, md5=md5)], tmp_path)

    assert (tmp_path / "a.txt").read_bytes() == TEXT


def test_a_connection_that_is_cut_is_followed_by_another_for_the_rest(server, tmp_path):
    server.cut["/a.txt"] = 40_000

    fetch([Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))], tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == TEXT
    ranges = [None, "bytes=40000-", "bytes=80000-"]
    assert server.asked == [("/a.txt", wanted) for wanted in ranges]


def test_a_download_that_failed_is_gone_on_with_by_the_next_try(server, tmp_path):
    remote = Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))
    server.cut["/a.txt"], server.left["/a.txt"] = 40_000, 1
    with pytest.raises(OSError, match="503"):
        fetch([remote], tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == TEXT[:40_000]
    server.cut.clear()
    server.left.clear()
    server.asked.clear()

    fetch([remote], tmp_path)

    assert server.asked == [("/a.txt", "bytes=40000-")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == TEXT


def partly(tmp_path, data):
    """The remainder of a download that a kill left behind."""
    (tmp_path / f".a.txt.{sha(TEXT)[:12]}.part").write_bytes(data)


def test_what_a_kill_left_may_be_the_whole(server, tmp_path):
    partly(tmp_path, TEXT)

    fetch([Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))], tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_server_that_knows_no_ranges_sends_the_whole_again(server, tmp_path):
    server.has_ranges = False
    partly(tmp_path, TEXT[:7])

    fetch([Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))], tmp_path)

    assert (tmp_path / "a.txt").read_bytes() == TEXT


def test_connections_that_bring_nothing_new_end_it_and_what_came_is_kept(server, tmp_path):
    server.has_ranges, server.cut["/a.txt"] = False, 5_000

    with pytest.raises(OSError, match=r"a\.txt: the connection was closed after 5,000 bytes; they"):
        fetch([Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))], tmp_path)

    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == TEXT[:5_000]


def test_a_damaged_remainder_is_thrown_away(server, tmp_path):
    partly(tmp_path, b"other bytes")
    remote = Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))

    with pytest.raises(ValueError, match="instead of"):
        fetch([remote], tmp_path)
    fetch([remote], tmp_path)

    assert (tmp_path / "a.txt").read_bytes() == TEXT


def test_two_that_want_a_file_download_it_once(server, tmp_path):
    remote = Remote("a.txt", f"{server.url}/a.txt", sha(TEXT))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch([remote], tmp_path), range(4)))

    assert server.asked == [("/a.txt", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_cannot_be_downloaded_says_what_was_tried_and_what_to_put_where(server, tmp_path):
    remote = Remote("b.txt", f"{server.url}/b.txt", "0000")

    with pytest.raises(FileNotFoundError) as error:
        locate({"train": ["b.txt"]}, str(tmp_path / "root"), "set", [remote], KEYS)

    for part in (
        f"{server.url}/b.txt",
        "404",
        str(tmp_path / "root"),
        "cache/data/set",
        "put b.txt",
    ):
        assert part in str(error.value)


def test_without_a_network_the_error_is_one_line(tmp_path):
    remote = Remote("b.txt", "http://127.0.0.1:9/b.txt", "0000")  # nobody listens there

    with pytest.raises(FileNotFoundError, match=r"set is not in cache .*refused") as error:
        locate({"train": ["b.txt"]}, None, "set", [remote], KEYS)

    assert "\n" not in str(error.value)


def test_only_http_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match="only http and https"):
        fetch([Remote("a.txt", f"file://{tmp_path}/b.txt", "0000")], tmp_path)
