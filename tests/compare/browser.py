"""A headless browser, driven over its DevTools protocol through two pipes (no port, no package)."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage"),
    "--remote-debugging-pipe",
)
# The browser reads commands from descriptor 3 and writes to 4.
START = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); "
START += "os.execv(a[3], a[3:])"


def found():
    """Path of a browser; None without one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one browser.

    Args:
        profile: an empty folder of its own.
    """

    def __init__(self, profile: Path):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Above the two that the browser uses: else one may be overwritten by the other.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]
        command = [sys.executable, "-c", START, *map(str, theirs), found(), *FLAGS]
        with (profile / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, f"--user-data-dir={profile / 'profile'}", "about:blank"],
                pass_fds=theirs,
                stdout=log,
                stderr=log,
                env=os.environ | {"HOME": str(profile)},
            )
        for end in (*theirs, to_browser, from_browser):
            os.close(end)
        self._buffer, self._count, self._session = b"", 0, None
        self.events: list[dict] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(own["targetId"] for own in targets if own["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, url, *, width=1280, height=900, scheme="light"):
        """Loads a page, and waits until it has loaded."""
        self.size(width, height)
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=media)
        self.events.clear()
        self.call("Page.navigate", url=url)
        self._until(lambda: any(own["method"] == "Page.loadEventFired" for own in self.events))

    def size(self, width, height=900):
        """Of the window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)

    def ask(self, expression):
        """Value of JavaScript in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def call(self, method, **parameters):
        """One command; what it returns."""
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        self._answer = None
        self._until(lambda: self._answer is not None and self._answer["id"] == number)
        assert "error" not in self._answer, (method, self._answer["error"])
        return self._answer["result"]

    def requests(self):
        """Addresses that the page has asked for since it was opened."""
        sent = [own for own in self.events if own["method"] == "Network.requestWillBeSent"]
        return [own["params"]["request"]["url"] for own in sent]

    def complaints(self):
        """Errors and messages of the console since the page was opened."""
        methods = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [own for own in self.events if own["method"] in methods]

    def close(self):
        """Ends the browser that this started."""
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _until(self, is_reached, seconds=60):
        deadline = time.monotonic() + seconds
        while not is_reached():
            assert time.monotonic() < deadline, "the browser does not answer"
            if select.select([self._read], [], [], 0.5)[0]:
                part = os.read(self._read, 1 << 20)
                assert part, "the browser has ended"
                *messages, self._buffer = (self._buffer + part).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answer = message
                    else:
                        self.events.append(message)
