"""A small chat server of the standard library: what `srlm judge --endpoint` is tested against without a model."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ChatServer:
    """`reply(prompt)` answers; `status(n)` is the HTTP status of request n, from 1; `delay` seconds come before."""

    reply: Callable[[str], str]
    status: Callable[[int], int] = lambda n: 200
    delay: float = 0.0
    prompts: list[str] = field(default_factory=list)  # of the requests that were answered with 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    most_at_once: int = 0
    _open: int = 0
    _lock: Any = field(default_factory=threading.Lock)
    url: str = ""
    port: int = 0

    def answer(self, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            self.bodies.append(body)
            self.keys.add(key)
            status = self.status(len(self.bodies))
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        time.sleep(self.delay)
        with self._lock:
            self._open -= 1
        if status != 200:
            return status, {"error": {"message": f"no, {key}"}}  # a rude server: it repeats the key
        prompt = body["messages"][-1]["content"]
        self.prompts.append(prompt)
        text = self.reply(prompt)
        choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i in range(body["n"])]
        return 200, {"choices": choices, "usage": {"completion_tokens": 3 * body["n"]}}


@contextmanager
def serve(server: ChatServer, port: int = 0) -> Iterator[ChatServer]:
    """The server on a port of its own on loopback, or on one that an ended server had."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path.endswith("/chat/completions")
            key = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, value = server.answer(body, key) if known else (404, {"error": {"message": "not found"}})
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("retry-after-ms", "10")  # the client waits longer of its own
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.port = http.server_port
    server.url = f"http://127.0.0.1:{server.port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
