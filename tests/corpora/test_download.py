import gc
import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from lmexp.corpora.download import Remote, fetch
from lmexp.corpora.locate import locate

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
    """The address of an http server on the loopback interface, and what was asked of it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # the name that http.server calls
            asked.append(self.path)
            if self.path == "/short.txt":
                self.send_response(200)
                self.send_header("Content-Length", str(len(TEXT)))
                self.end_headers()
                self.wfile.write(TEXT[:5000])
            elif self.path in FILES:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(FILES[self.path])
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_port}", asked
        http_server.shutdown()
        thread.join()
    gc.collect()  # a connection that was left open is told of here, not in another test


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.delenv("LMEXP_DATA", raising=False)
    monkeypatch.setenv("LMEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def test_a_set_is_downloaded_once(server, tmp_path):
    url, asked = server
    remote = Remote("a.txt", f"{url}/a.txt", sha(TEXT))

    first = locate({"train": ["a.txt"]}, None, "set", [remote])
    second = locate({"train": ["a.txt"]}, None, "set", [remote])

    assert first.paths["train"][0].read_bytes() == TEXT
    assert first.source.startswith("downloaded to")
    assert second.paths == first.paths
    assert second.source.startswith("cache")
    assert asked == ["/a.txt"]
    assert [path.name for path in (tmp_path / "cache/data/set").iterdir()] == ["a.txt"]


def test_members_of_an_archive_are_files(server, tmp_path):
    url, asked = server
    data = sha(FILES["/set.zip"])
    remotes = [
        Remote(f"{name}.txt", f"{url}/set.zip", data, member=f"set/{name}.tokens")
        for name in ("train", "valid")
    ]

    fetch(remotes, tmp_path)

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "train.txt": "train",
        "valid.txt": "valid",
    }
    assert asked == ["/set.zip"]


@pytest.mark.parametrize("name", ["a.txt", "short.txt"])
def test_a_wrong_checksum_leaves_nothing(name, server, tmp_path):
    url, _ = server

    with pytest.raises(ValueError, match=rf"{name} gave .* bytes with sha256 .* instead of 0000"):
        fetch([Remote("a.txt", f"{url}/{name}", "0000")], tmp_path / "set")

    assert not list((tmp_path / "set").iterdir())


def test_what_cannot_be_downloaded_says_what_was_tried_and_what_to_put_where(server, tmp_path):
    url, _ = server
    remote = Remote("b.txt", f"{url}/b.txt", "0000")

    with pytest.raises(FileNotFoundError) as error:
        locate({"train": ["b.txt"]}, str(tmp_path / "root"), "set", [remote])

    for part in (f"{url}/b.txt", "404", str(tmp_path / "root"), "cache/data/set", "put b.txt"):
        assert part in str(error.value)


def test_without_a_network_the_error_is_one_line(tmp_path):
    remote = Remote("b.txt", "http://127.0.0.1:9/b.txt", "0000")  # nobody listens there

    with pytest.raises(FileNotFoundError, match=r"set is not in cache .*refused") as error:
        locate({"train": ["b.txt"]}, None, "set", [remote])

    assert "\n" not in str(error.value)


def test_only_http_is_downloaded(tmp_path):
    with pytest.raises(ValueError, match="only http and https"):
        fetch([Remote("a.txt", f"file://{tmp_path}/b.txt", "0000")], tmp_path)
