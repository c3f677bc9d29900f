"""A W&B server on this machine: answers what wandb.Api asks, of runs as mirrors send them."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lmexp.mirrors import WandB
from lmexp.record_files import read_metrics, read_summary
from lmexp.run_folder import read_recipe

KEY = "0123456789" * 4


class Server:
    """Runs by project, such as {"team/cells": [sent, …]}; `asked` has (operation, variables)."""

    def __init__(self, projects, page=50):
        self.projects = projects
        self.page = page
        self.asked = []
        self.status = 200
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def operations(self):
        return [name for name, _ in self.asked]

    def answer(self, name, variables):
        if name in ("Viewer", "GetDefaultEntity"):
            fields = {"id": "1", "entity": "team", "username": "somebody", "email": None}
            return {"viewer": {**fields, "flags": "{}", "teams": {"edges": []}}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        runs = self.projects.get(f"{variables['entity']}/{variables['project']}")
        if runs is None:
            return {"project": None}
        if name == "Runs":
            return {"project": self._listed(runs, variables)}
        assert name == "RunSampledHistory", name
        (run,) = [run for run in runs if run["id"] == variables["name"]]
        [spec] = [json.loads(text) for text in variables["specs"]]
        rows = [row for row in run["history"] if all(key in row for key in spec["keys"])]
        rows = [{key: row[key] for key in spec["keys"]} for row in rows[: spec["samples"]]]
        return {"project": {"run": {"sampledHistory": [rows]}}}

    def _listed(self, runs, variables):
        wanted = json.loads(variables["filters"])
        runs = [run for run in runs if wanted.items() <= {"group": run["group"]}.items()]
        start = int(variables["cursor"] or 0)
        own = runs[start : start + min(self.page, variables["perPage"])]
        edges = [
            {"node": _node(run), "cursor": str(place)}
            for place, run in enumerate(own, start=start + 1)
        ]
        has_more = start + len(own) < len(runs)
        info = {"endCursor": str(start + len(own)), "hasNextPage": has_more}
        return {
            "internalId": "1",
            "runCount": len(runs),
            "readOnly": False,
            "runs": {"edges": edges, "pageInfo": info},
        }


class _Handler(BaseHTTPRequestHandler):
    server_of: Server

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path != "/graphql":  # telemetry of the client's own
            self._reply(404, b"")
            return
        told = json.loads(sent)
        name = re.search(r"(?:query|mutation)\s+(\w+)", told["query"])[1]
        variables = told.get("variables") or {}
        self.server_of.asked.append((name, variables))
        if self.server_of.status == 200:
            content = {"data": self.server_of.answer(name, variables)}
        else:
            content = {"errors": [{"message": "user is not logged in"}]}
        self._reply(self.server_of.status, json.dumps(content).encode())

    def _reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # so that no thread waits for another question
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def _node(run):
    fields = ("displayName", "commit", "createdAt", "heartbeatAt", "description", "notes")
    return {
        **dict.fromkeys(fields, ""),
        "id": run["id"],
        "name": run["id"],
        "projectId": "1",
        "tags": [],
        "readOnly": False,
        "state": run["state"],
        "group": run["group"],
        "jobType": run["job_type"],
        "sweepName": run.get("sweep"),
        "historyKeys": None,
        "systemMetrics": "{}",
        "historyLineCount": len(run["history"]),
        "user": {"name": "s", "username": "s"},
        "config": json.dumps({key: {"value": value} for key, value in run["config"].items()}),
        "summaryMetrics": json.dumps(run["summary"]),
    }


def mirrored(folders, group):
    """What the mirror sends of run folders: written offline, and read back by W&B's own reader."""
    for folder in folders:
        mirror = WandB("cells", "team", group, (), "train", "offline", 5.0)
        mirror.start(folder, read_recipe(folder), -1)
        for line in read_metrics(folder):
            mirror.log(line.pop("step"), line)
        summary = read_summary(folder)
        mirror.finish(summary, summary["status"])
    return [read for folder in folders for read in offline_runs(folder)]


def offline_runs(folder):
    """Runs that W&B wrote below a folder, as a server would have them after `wandb sync`."""
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
    for file in files:
        done = subprocess.run([*command, str(file)], check=True, capture_output=True, text=True)
        yield _merged([json.loads(line) for line in done.stdout.splitlines()])


def _merged(records):
    found = {"config": {}, "summary": {}, "history": []}
    for record in records:
        kind = record["type"]
        own = record[kind]
        if kind == "run":
            names = {"id": "run_id", "group": "run_group", "job_type": "job_type"}
            found |= {name: own.get(key) for name, key in names.items()}
            found |= {"project": own["project"], "entity": own.get("entity")}
            found["config"] |= own["config"]["update"]
        elif kind in ("config", "summary"):
            found[kind] |= own.get("update", {})
        elif kind == "history":
            found["history"].append(own["item"])
        elif kind == "environment":
            found.setdefault(kind, []).append(own)
        elif kind == "exit":
            found["state"] = "failed" if own.get("exit_code") else "finished"
    return found
