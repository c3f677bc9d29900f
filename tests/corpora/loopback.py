"""An http server on the loopback interface that serves files, whole or cut."""

import contextlib
import gc
import http.server
import re
import threading


class Loopback:
    """What a server serves, and what was asked of it.

    `cut`: bytes that one connection brings of a path before it is closed. `left`: connections that
    a path still answers; afterwards it is 503. Both may be changed while it serves.
    """

    def __init__(self, files):
        self.files, self.cut, self.left, self.has_ranges = files, {}, {}, True
        self.asked = []  # (path, Range or None)
        self.url = ""

    def answer(self, handler):
        path, wanted = handler.path, handler.headers["Range"]
        self.asked.append((path, wanted))
        self.left[path] = self.left.get(path, -1) - 1
        if path not in self.files or self.left[path] == -1:
            handler.send_error(404 if path not in self.files else 503)
            return
        data, start = self.files[path], 0
        if wanted and self.has_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(data):
                handler.send_error(416)
                return
        handler.send_response(206 if wanted and self.has_ranges else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:][: self.cut.get(path)])


@contextlib.contextmanager
def loopback(files):
    """A server of files by path, with its address in `url`."""
    served = Loopback(files)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # the name that http.server calls
            served.answer(self)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as http_server:
        served.url = f"http://127.0.0.1:{http_server.server_port}"
        thread = threading.Thread(target=http_server.serve_forever, args=(0.02,))
        thread.start()
        yield served
        http_server.shutdown()
        thread.join()
    gc.collect()  # a connection that was left open is told of here, not in another test
