"""Tells an API server who a token belongs to: users with any name and groups can be made while it runs.

The API server asks by TokenReview, as it would ask a company's login service; rights come from RBAC alone.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Users:
    """Answers token reviews from a thread of this process until it is closed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}
        users = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps(users.review(review)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet: tokens are nobody's business."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="users", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    def add(self, name: str, groups: tuple[str, ...]) -> str:
        """A new token for that user."""
        token = secrets.token_urlsafe(24)
        self._known[token] = (name, groups)
        return token

    def review(self, review: dict[str, Any]) -> dict[str, Any]:
        """The TokenReview with its status."""
        known = self._known.get(review["spec"].get("token", ""))
        status: dict[str, Any] = {"authenticated": known is not None}
        if known:
            status["user"] = {"username": known[0], "uid": known[0], "groups": list(known[1])}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)
