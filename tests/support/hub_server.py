"""A Hub on a loopback address: the part of the protocol that the real huggingface_hub client uses in the tests.

A repository has files by revision. The server can require a token, lack files, and cut a download off.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "t" * 34


@dataclass
class Repository:
    """revisions: contents of files by name, for each branch or tag; private: needs TOKEN."""

    revisions: dict[str, dict[str, bytes]]
    private: bool = False

    def files(self, revision: str) -> dict[str, bytes] | None:
        by_commit = {commit_id(files): files for files in self.revisions.values()}
        return {**by_commit, **self.revisions}.get(revision)


def commit_id(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


@dataclass
class Hub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    cut_off: set[str] = field(default_factory=set)  # names of files whose next download ends early
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    blobs: dict[str, bytes] = field(default_factory=dict)  # uploaded large files by sha256

    def __enter__(self) -> "Hub":
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = self._record_request()
        if path.startswith("/api/models/"):
            name, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            if "/tree/" in name:
                name, _, rest = name.partition("/tree/")
                return self._tree(name, rest.split("/")[0])
            return self._repository_info(name, rest or "main")
        if "/resolve/" in path:
            name, _, rest = path[1:].partition("/resolve/")
            revision, _, file = rest.partition("/")
            return self._file(name, revision, file)
        return self._respond(404, {"error": "Not found"})

    def _repository(self, name: str, revision: str) -> dict[str, bytes] | None:
        """The files of a revision, or None after sending an error."""
        repository = self.hub.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.private and not allowed):
            self._respond(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        files = repository.files(revision)
        if files is None:
            self._respond(404, {"error": f"No revision {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        return files

    def _repository_info(self, name: str, revision: str) -> None:
        files = self._repository(name, revision)
        if files is not None:
            siblings = [{"rfilename": file} for file in files]
            self._respond(
                200, {"id": name, "modelId": name, "sha": commit_id(files), "siblings": siblings, "tags": []}
            )

    def _tree(self, name: str, revision: str) -> None:
        files = self._repository(name, revision)
        if files is not None:
            entries = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in files.items()
            ]
            self._respond(200, entries)

    def _file(self, name: str, revision: str, file: str) -> None:
        files = self._repository(name, revision)
        if files is None:
            return
        if file not in files:
            self._respond(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        content = files[file]
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit_id(files),
            "Accept-Ranges": "bytes",
        }
        start = 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self.send_response(206 if start else 200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if file in self.hub.cut_off:
            self.hub.cut_off.discard(file)
            self.wfile.write(body[: 3 * len(body) // 4])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def do_POST(self) -> None:
        path = self._record_request()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._respond(401, {"error": "Invalid token"})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._respond(200, {"errors": [], "warnings": []})
        if "/preupload/" in path:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._respond(200, {"files": files})
        if path.endswith("/info/lfs/objects/batch"):
            return self._lfs_batch(json.loads(body))
        if "/commit/" in path:
            return self._commit(path, body)
        return self._respond(404, {"error": "Not found"})

    def _create(self, request: dict) -> None:
        name = f"{request['organization']}/{request['name']}" if request.get("organization") else request["name"]
        if name in self.hub.repositories:
            return self._respond(409, {"error": "You already created this model repo", "url": self._url(name)})
        self.hub.repositories[name] = Repository({"main": {}}, private=bool(request.get("private")))
        return self._respond(200, {"url": self._url(name), "name": name})

    def _lfs_batch(self, request: dict) -> None:
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{entry['oid']}", "header": {}}}}
            for entry in request["objects"]
        ]
        self._respond(200, {"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        path = self._record_request()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        assert hashlib.sha256(content).hexdigest() == path.removeprefix("/lfs/")
        self.hub.blobs[path.removeprefix("/lfs/")] = content
        self._respond(200, {})

    def _commit(self, path: str, body: bytes) -> None:
        name, _, revision = path.removeprefix("/api/models/").partition("/commit/")
        files = self.hub.repositories[name].revisions[revision]
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.blobs[entry["value"]["oid"]]
        commit = commit_id(files)
        self._respond(200, {"commitUrl": f"{self._url(name)}/commit/{commit}", "commitOid": commit, "success": True})

    def _url(self, name: str) -> str:
        return f"{self.hub.address}/{name}"

    def _record_request(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        return path

    def _respond(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
