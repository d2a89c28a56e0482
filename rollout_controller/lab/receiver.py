"""Takes what would go to Slack, a webhook, Alertmanager and Grafana, on this machine: to be looked at, and by tests."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rollout_controller.lab import processes
from rollout_controller.lab.processes import Server

FILE = "messages.jsonl"
HOOK = "/services/T000/B000/of-the-lab"
"""Where an incoming webhook would be."""
HELD_S = 120.0
"""A request that nobody lets go ends after this long."""


@dataclass(frozen=True)
class Received:
    """One request. `json` None: the body was none."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: Any


@dataclass
class Answer:
    """What a request is answered with, in place of what the real place answers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Receiver:
    """Answers as the real places do when all is well; `answers` are given first, one a request, while there are some.

    While `hold` is set a request gets no answer. `heard` is called with each request before it is answered.
    """

    def __init__(self, port: int = 0, heard: Callable[[Received], None] = lambda _received: None) -> None:
        self.received: list[Received] = []
        self.answers: list[Answer] = []
        self.hold, self.released = threading.Event(), threading.Event()
        self._heard, self._changed, self._count = heard, threading.Condition(), 0
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Let go what is held, and end."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int, within_s: float = 20.0) -> list[Received]:
        """All requests, once there are `count` of them, or after the time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.received) >= count, within_s)
            return list(self.received)

    def _take(self, received: Received) -> Answer:
        with self._changed:
            self._count += 1
            number = self._count
            self.received.append(received)
            self._changed.notify_all()
            answer = self.answers.pop(0) if self.answers else None
        self._heard(received)
        if self.hold.is_set():
            self.released.wait(HELD_S)
        return answer or _usual(received, number)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    parsed = json.loads(body)
                except ValueError:
                    parsed = None
                reply = outer._take(Received(self.command, self.path, dict(self.headers.items()), body, parsed))
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)
                except OSError:  # the client has gone
                    self.close_connection = True

            do_GET = do_POST = answer  # noqa: N815 - the base class looks for these names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """What is received is shown by `heard`."""

        return Handler


def _usual(received: Received, number: int) -> Answer:
    """What the real place answers."""
    path = received.path.partition("?")[0]
    if path.endswith("/chat.postMessage"):
        said = {"ok": True, "channel": "C0123456789", "ts": f"{int(time.time())}.{number:06d}"}
        return Answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})
    if path.endswith("/api/annotations"):
        said_there: Any = [] if received.method == "GET" else {"message": "Annotation added", "id": number}
        return Answer(200, json.dumps(said_there).encode(), {"Content-Type": "application/json"})
    return Answer(200, b"ok", {"Content-Type": "text/plain"})


# --- as a server of a lab --------------------------------------------------------------------------------------


def receiver_server(home: Path, port: int) -> Server:
    """It writes down what it gets in `home`/messages.jsonl."""
    arguments = ["--port", str(port), "--out", str(home / FILE)]
    return processes.python_server("receiver", __name__, arguments, home / "receiver.log", grace_s=1.0)


def wire_up(home: Path, url: str) -> dict[str, Any]:
    """`notifications` of a local.yaml that sends all that there is to say to a receiver, as if it were Slack."""
    path = home / "slack-webhook"
    path.write_text(f"{url}{HOOK}\n")
    return {"slack": {"webhookFile": str(path)}}


def messages(home: Path) -> list[str]:
    """What Slack would have shown so far of the controller's messages, oldest first."""
    return [str(line["text"]) for line in _lines(home) if "text" in line]


def alerts(home: Path) -> list[str]:
    """What Slack would have shown so far of Alertmanager's messages, oldest first."""
    return [_attached(line) for line in _lines(home) if "attachments" in line and "text" not in line]


def shown(home: Path) -> list[str]:
    """All of it, oldest first."""
    return [
        str(line["text"]) if "text" in line else _attached(line) for line in _lines(home) if {"text", "attachments"} & set(line)
    ]


def _attached(line: dict[str, Any]) -> str:
    return "\n".join(f"{one.get('title', '')}\n{one.get('text', '')}".strip() for one in line["attachments"])


def _lines(home: Path) -> list[dict[str, Any]]:
    try:
        text = (home / FILE).read_text()
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()  # the last line may be being written
    return [line for line in map(json.loads, whole) if isinstance(line, dict)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.lab.receiver", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    lock, ended = threading.Lock(), threading.Event()

    def write(received: Received) -> None:
        if received.json is not None:
            with lock, chosen.out.open("a") as out:
                out.write(json.dumps(received.json, ensure_ascii=False) + "\n")
            sys.stdout.write(f"{received.method} {received.path}\n")

    receiver = Receiver(chosen.port, write)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ended.set())
    ended.wait()
    receiver.close()


if __name__ == "__main__":
    main()
