"""A headless Chromium over WebDriver: JSON over HTTP to chromedriver, no more."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def missing() -> str:
    """Return what is not installed, or an empty string."""
    binaries = {"Chromium": browser(), "chromedriver": shutil.which("chromedriver")}
    return " and ".join(name for name, path in binaries.items() if path is None)


def browser() -> str | None:
    return shutil.which("chromium") or shutil.which("google-chrome")


class Chromium:
    """One window; a context manager.

    Parameters
    ----------
    profile : Path
        A fresh folder for the browser's own files.
    """

    def __init__(self, profile: Path) -> None:
        self.profile = profile

    def __enter__(self) -> Chromium:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._url = f"http://127.0.0.1:{port}"
        try:
            self._wait_until_ready()
            flags = [*FLAGS, f"--user-data-dir={self.profile}"]
            if hasattr(os, "getuid") and os.getuid() == 0:
                flags.append("--no-sandbox")
            options = {"args": flags, "binary": browser()}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
            answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._url += f"/session/{answer['sessionId']}"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", "")
        finally:
            self._stop()

    def _stop(self) -> None:
        self._driver.terminate()
        try:
            self._driver.wait(10)
        except subprocess.TimeoutExpired:
            self._driver.kill()
            self._driver.wait()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            if time.monotonic() > end or self._driver.poll() is not None:
                raise RuntimeError("chromedriver does not answer")
            time.sleep(0.05)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        # no proxy: it is this machine
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from None

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._call("POST", "/url", {"url": path.resolve().as_uri()})

    def run(self, script: str) -> Any:
        """Return what a script in the page returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def console(self) -> list[str]:
        """Return what the console said since the last call."""
        return [entry["message"] for entry in self._call("POST", "/se/log", {"type": "browser"})]

    def requests(self, page: Path) -> list[str]:
        """Return the addresses that a page asked for since the last call (the browser's own new tab asks, too)."""
        found = []
        for entry in self._call("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] != "Network.requestWillBeSent":
                continue
            if message["params"]["documentURL"] == page.resolve().as_uri():
                found.append(message["params"]["request"]["url"])
        return found

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def look(self, width: int, dark: bool = False, media: str = "") -> None:
        """Give the window a width in CSS pixels, and the page a colour scheme and a medium."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", media=media, features=[scheme])
