"""`dualrec serve`: what it refuses, and two workers on one log."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from dualrec_utils.__main__ import main
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.web import security


def refused(capsys, *words):
    """The one message of a command that exits with 2."""
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_before_a_run_it_says_what_to_do(root, capsys):
    assert "make repro" in refused(capsys, "--port", "0")


def test_a_port_that_is_taken_is_named(root, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused(capsys, "--port", port)


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "65536"],
        ["--port", "-1"],
        ["--workers", "0"],
        ["--workers", "17"],
        ["--workers", "2", "--learn"],
        ["--dataset", "../../etc"],
        ["--host", "0.0.0.0"],
        ["--host", "no.such.name.invalid", "--tokens", "/nowhere"],
    ],
)
def test_what_cannot_be_served_is_refused(root, capsys, monkeypatch, words):
    monkeypatch.delenv(security.VARIABLE, raising=False)
    assert words[-1].lstrip("-") in refused(capsys, *words)


class Server:
    """A server of its own process group, on the run that DUALREC_ROOT names."""

    def __init__(self, *words):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dualrec_utils", "serve", "--port", "0", *words],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said = self._process.stdout.readline()
        self.address = next(word for word in said.split() if word.startswith("http")).rstrip("/")

    def ask(self, path, body=None):
        headers = {"content-type": "application/json"} if body else {}
        request = urllib.request.Request(
            self.address + path, data=body and json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read().decode()

    def end(self):
        os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(60)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.stdout.close()


def test_two_workers_share_one_log(toy_copy):
    server = Server("--workers", "2")
    try:
        path = "/api/v1/recommendations/1?model=lstm"
        seen = json.loads(server.ask(path))["profile"]["n_items"]
        unseen = json.loads(server.ask(path + "&limit=6"))["recommendations"]
        for number, item in enumerate(unseen, start=1):
            event = {"event_id": f"e{number}", "user_id": 1, "item_id": item["item_id"], "kind": "saw"}
            made = json.loads(server.ask("/api/v1/events", event))
            assert made["sequence"] == number
            # Whichever worker answers: it knows of the event, and so does its list.
            for _ in range(4):
                now = json.loads(server.ask(path))
                assert now["profile"]["n_items"] == seen + number
                assert item["item_id"] not in [row["item_id"] for row in now["recommendations"]]
        assert "dualrec_log_events 6.0" in server.ask("/metrics")
    finally:
        server.end()
    log = EventLog(toy_copy / "data" / "ml-100k" / "service" / "events.db")
    assert [event.event_id for event in log.of_user(1)] == [f"e{number}" for number in range(1, 7)]
    log.close()
