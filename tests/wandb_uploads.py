"""A server on the loopback interface that answers what `wandb sync` asks, and keeps what it sends.

Written from what the client of wandb 0.31 sends; W&B's own server may differ.
"""

import gzip
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = "me"


class Run:
    """What the server holds of one run."""

    def __init__(self):
        self.record = {}  # newest values of the client's UpsertBucket
        self.files = {}  # name -> lines, as the file stream lays them out
        self.uploads = {}  # name -> bytes

    def history(self):
        return [json.loads(line) for line in self.files.get("wandb-history.jsonl", [])]

    def summary(self):
        return json.loads(self.files["wandb-summary.json"][-1])


class Server:
    """Runs by id; `refuses` names the paths that are answered with 403."""

    def __init__(self):
        self.runs = {}
        self.refuses = ""
        self.url = ""

    def answer(self, query, given):
        name = given.get("name")
        if "RunResumeStatus" in query:
            found = self._bucket(name) if name in self.runs else None
            entity = {"id": "e", "name": ENTITY}
            return {
                "model": {"id": "m", "name": given["project"], "entity": entity, "bucket": found}
            }
        if "upsertBucket" in query:
            is_new = name not in self.runs
            run = self.runs.setdefault(name, Run())
            run.record |= {key: value for key, value in given.items() if value is not None}
            return {"upsertBucket": {"bucket": self._bucket(name), "inserted": is_new}}
        if "createArtifact(" in query:
            artifact = {"id": "a", "state": "COMMITTED"}
            latest = {"latestArtifact": {"id": "a"}}
            return {"createArtifact": {"artifact": {**artifact, "artifactSequence": latest}}}
        if "createRunFiles" in query:
            names = given["files"]
            files = [{"name": n, "uploadUrl": f"{self.url}/put/{given['run']}/{n}"} for n in names]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "serverInfo" in query:
            return {"serverInfo": {"features": []}}
        return {}

    def _bucket(self, name):
        run = self.runs[name]
        project = {"id": "p", "name": run.record.get("project")}
        count = {key: len(run.files.get(f"wandb-{key}.jsonl", [])) for key in ("history", "events")}
        return {
            "id": "b",
            "name": name,
            "displayName": run.record.get("displayName"),
            "description": "",
            "notes": None,
            "sweepName": None,
            "wandbConfig": '{"t": 1}',
            "config": run.record.get("config", "{}"),
            "tags": run.record.get("tags", []),
            "logLineCount": 0,
            "historyLineCount": count["history"],
            "eventsLineCount": count["events"],
            "historyTail": json.dumps(run.files.get("wandb-history.jsonl", [])[-1:]),
            "eventsTail": json.dumps(run.files.get("wandb-events.jsonl", [])[-1:]),
            "summaryMetrics": (run.files.get("wandb-summary.json") or ["{}"])[-1],
            "project": {**project, "entity": {"id": "e", "name": ENTITY}},
        }

    def stream(self, name, files):
        for file, chunk in files.items():
            lines = self.runs[name].files.setdefault(file, [])
            end = chunk["offset"] + len(chunk["content"])
            lines[chunk["offset"] : end] = chunk["content"]


@contextmanager
def serving():
    """The server, listening."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments):
            pass

        def reply(self, content, status=200):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply({})

        def do_PUT(self):
            _, _, run, name = self.path.split("/", 3)
            server.runs[run].uploads[name] = self._body()
            self.reply({})

        def do_POST(self):
            body = self._body()
            if server.refuses and server.refuses in self.path:
                self.reply({"errors": [{"message": "not for you"}]}, 403)
            elif self.path == "/graphql":
                asked = json.loads(body)
                given = asked.get("variables") or {}
                self.reply({"data": server.answer(asked["query"], given)})
            else:
                if self.path.endswith("/file_stream"):
                    server.stream(self.path.split("/")[4], json.loads(body).get("files") or {})
                self.reply({})

        def _body(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_packed = self.headers.get("Content-Encoding") == "gzip"
            return gzip.decompress(body) if is_packed else body

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            """The client closes its idle connections as it ends."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield server
        http.shutdown()
        thread.join()
