"""An imitation of the Hugging Face hub on this machine: what the real client asks for when it uploads a folder."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_writes"
LARGE = (".safetensors", ".onnx")  # what .gitattributes sends to large file storage there, whatever its size


@dataclass
class Hub:
    """Its repositories: name -> branch -> path -> content; private: those of their owner only; large: oid -> content
    of its large file storage; full: whether that takes no more."""

    address: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)
    full: bool = False

    def answer(self, path: str, asked: bytes) -> tuple[int, Any]:
        """Status and JSON for a POST of the hub's API, or of git's large file storage."""
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._place(one) for one in json.loads(asked)["objects"]]}
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
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
            return 200, {"files": [{"path": n, "uploadMode": mode, "shouldIgnore": False} for n, mode in modes.items()]}
        assert what == "commit", path
        for line in map(json.loads, asked.splitlines()):
            if line["key"] == "file":
                there[branch][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                there[branch][line["value"]["path"]] = self.large[line["value"]["oid"]]
        return 200, {"commitOid": "0" * 40, "commitUrl": f"{self.address}/{owner}/{name}/commit/{'0' * 40}"}

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where a large file goes; nowhere where it is there already."""
        where = {} if asked["oid"] in self.large else {"upload": {"href": f"{self.address}/large/{asked['oid']}"}}
        return asked | ({"actions": where} if where else {})

    def keep(self, path: str, content: bytes) -> int:
        """Status for a PUT of a large file."""
        oid = path.rpartition("/")[2]
        if self.full or hashlib.sha256(content).hexdigest() != oid:
            return 403
        self.large[oid] = content
        return 200

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
            self._send(status, json.dumps(value).encode())

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self._send(hub.keep(self.path, content), b"{}")

        def _send(self, status: int, content: bytes) -> None:
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
