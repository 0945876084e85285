"""A small Hugging Face hub on the loopback address: repositories, commits, files."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Repositories as lists of commits; a commit is its id and its files."""

    def __init__(self):
        self.repos = {}
        self.requests = []

    def commit(self, repo, files):
        commits = self.repos.setdefault(repo, [])
        files = {**(commits[-1][1] if commits else {}), **files}
        content = json.dumps([len(commits), sorted(files)]) + repo
        commits.append((hashlib.sha1(content.encode()).hexdigest(), files))
        return commits[-1][0]

    def find(self, repo, revision):
        """(commit, files) of a revision, None if there is no such; a missing repo is a KeyError."""
        commits = self.repos[repo]
        if revision == "main":
            return commits[-1] if commits else ("0" * 40, {})
        return next((commit for commit in commits if commit[0] == revision), None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        hub, path = self.server.hub, self.path.partition("?")[0]
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hub.requests.append(("POST", path))
        if self.headers.get("Authorization") != "Bearer hf_good":
            return self.answer(401, {"error": "who are you?"})
        if path == "/api/repos/create":
            wanted = json.loads(data)
            repo = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
            if repo in hub.repos:
                return self.answer(409, {"url": self.url(repo)})
            hub.repos[repo] = []
            return self.answer(200, {"url": self.url(repo)})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        repo, action = re.fullmatch(r"/api/models/(.+?/.+?)/(preupload|commit)/main", path).groups()
        if action == "preupload":
            files = [f["path"] for f in json.loads(data)["files"]]
            modes = [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in files]
            return self.answer(200, {"files": modes})
        values = [json.loads(line)["value"] for line in data.splitlines() if b'"file"' in line]
        oid = hub.commit(repo, {v["path"]: base64.b64decode(v["content"]) for v in values})
        return self.answer(200, {"commitOid": oid, "commitUrl": f"{self.url(repo)}/commit/{oid}"})

    def do_GET(self):
        hub, path = self.server.hub, self.path.partition("?")[0]
        hub.requests.append((self.command, path))
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": "owner", "type": "user"})
        match = re.fullmatch(r"/(?:api/models/)?([^/]+/[^/]+)(/.*)?", path)
        repo, rest = match[1], match[2] or ""
        if repo not in hub.repos:
            return self.answer(404, {}, X_Error_Code="RepoNotFound", X_Error_Message="no such repo")
        resolve = re.fullmatch(r"/(?:resolve|revision|tree)/([^/]+)(?:/(.*))?", rest)
        revision, file = (resolve[1], resolve[2]) if resolve else ("main", None)
        found = hub.find(repo, revision)
        if found is None:
            return self.answer(404, {}, X_Error_Code="RevisionNotFound", X_Error_Message="none")
        commit, files = found
        if rest.startswith("/tree"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": "0"}
                for name, data in files.items()
            ]
            return self.answer(200, entries)
        if not rest.startswith("/resolve"):
            siblings = [{"rfilename": name} for name in files]
            info = {"id": repo, "sha": commit, "siblings": siblings, "tags": [], "private": False}
            return self.answer(200, info)
        if file not in files:
            return self.answer(
                404, {}, X_Error_Code="EntryNotFound", X_Error_Message="none", X_Repo_Commit=commit
            )
        etag = f'"{hashlib.sha1(files[file]).hexdigest()}"'
        return self.answer(200, files[file], X_Repo_Commit=commit, ETag=etag)

    do_HEAD = do_GET

    def url(self, repo):
        return f"http://{self.headers['Host']}/{repo}"


@contextmanager
def serve():
    """Gives a `Hub` and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
