"""A chat API on this machine that misbehaves in every way a provider can, one step a request."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

KEY = "sk-test-0123456789abcdefSECRET"


def completion(answer: str | None, **fields) -> dict:
    """A chat completion as OpenRouter sends it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    about = {"id": "x", "object": "chat.completion", "created": 1, "model": "some/model-2025-03-24"}
    return about | {"choices": [choice], "usage": usage, "system_fingerprint": "fp_1"} | fields


def says(answer: str | None, **fields) -> Callable:
    """Answer properly."""
    return lambda handler: handler.reply(200, json.dumps(completion(answer, **fields)))


def fails(code: int | str, *, status: int | None = None, **headers: str) -> Callable:
    """Answer with an error, its code also the status; the text repeats the key, as careless servers do."""
    text = json.dumps({"error": {"code": code, "message": f"no, not with {KEY}"}, "choices": None})
    return sends(text, status=status or code, **headers)


def sends(text: str, *, status: int = 200, **headers: str) -> Callable:
    """Answer with any text."""
    return lambda handler: handler.reply(status, text, **headers)


def hangs(handler) -> None:
    """Say nothing until the test is over."""
    handler.server.over.wait(10)


def trickles(handler, status: int = 200) -> None:
    """Send a byte now and then, without end."""
    handler.send_response(status)
    handler.end_headers()
    while not handler.server.over.wait(0.05):
        handler.wfile.write(b" ")


def cut(handler) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def reset(handler) -> None:
    """Break the connection off with a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


class Handler(BaseHTTPRequestHandler):
    """Does what the server's script says for the prompt it is sent."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        with server.lock:
            nth = server.n_requests[prompt]
            server.n_requests[prompt] += 1
            server.seen.append({"body": body, "headers": self.headers, "time": time.monotonic()})
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            steps = server.script.get(prompt, server.script.get("*", [says(f"- answer to {prompt}\n")]))
            steps[min(nth, len(steps) - 1)](self)
        except OSError:
            self.close_connection = True
        finally:
            with server.lock:
                server.under_way -= 1

    def reply(self, status: int, text: str, **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args) -> None:
        """Silent."""
