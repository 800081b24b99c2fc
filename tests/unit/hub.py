"""An imitation of the Hugging Face hub on this machine: what the real client asks for when it uploads a folder."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_writes"


@dataclass
class Hub:
    """Its repositories: name -> branch -> path -> content; private: those of their owner only."""

    address: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)

    def answer(self, path: str, asked: bytes) -> tuple[int, Any]:
        """Status and JSON for a POST of the hub's API."""
        _, api, *parts = path.split("/")
        assert api == "api", path
        if parts == ["repos", "create"]:
            return self._create(json.loads(asked))
        if parts == ["validate-yaml"]:
            return 200, {"errors": [], "warnings": []}
        _, owner, name, what, branch = parts
        there = self.repositories[f"{owner}/{name}"]
        if what == "branch":
            return (409, {"error": "there"}) if branch in there else (200, there.update({branch: dict(there["main"])}))
        if what == "preupload":
            names = [file["path"] for file in json.loads(asked)["files"]]
            return 200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        assert what == "commit", path
        for line in map(json.loads, asked.splitlines()):
            if line["key"] == "file":
                there[branch][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return 200, {"commitOid": "0" * 40, "commitUrl": f"{self.address}/{owner}/{name}/commit/{'0' * 40}"}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "me":
            return 403, {"error": f"You don't have the rights to create a model under {asked['organization']}"}
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.address}/{name}"}
        self.repositories[name] = {"main": {}}
        if asked.get("private") or asked.get("visibility") == "private":
            self.private.add(name)
        return 200, {"url": f"{self.address}/{name}", "name": name}


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, value = hub.answer(self.path, asked) if known else (401, {"error": "Invalid username or password."})
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
