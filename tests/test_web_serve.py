"""`dualrec serve`: what it refuses, two workers on one log, and two runs side by side."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from dualrec_utils.__main__ import main
from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.web import runs, security, serve


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


@pytest.fixture
def finished(toy_copy, tmp_path):
    """The run at hand is finished; the fixture is a folder with a `params.yaml` and nothing else."""
    folder = tmp_path / "unfinished"
    folder.mkdir()
    shutil.copy(config.PACKAGE_ROOT / "params.yaml", folder)
    return folder


def test_runs_that_cannot_be_served_beside_are_refused(finished, tmp_path, capsys):
    def also(*folders):
        said = refused(capsys, "--port", "0", *(word for one in folders for word in ("--also", str(one))))
        assert str(folders[-1]) in said or str(len(folders)) in said
        return said

    assert "params.yaml" in also(tmp_path / "nowhere")
    assert "make repro" in also(finished)
    assert "once" in also(finished, tmp_path / "elsewhere" / ".." / "unfinished")
    assert "once" in also(config.ROOT)
    (finished / "params.yaml").write_text("dataset: [")
    assert "YAML" in also(finished)
    assert str(runs.MOST_RUNS - 1) in also(*[tmp_path / str(number) for number in range(runs.MOST_RUNS)])


def test_the_next_port_that_is_free_is_taken():
    with serve._listening("127.0.0.1", 0) as first:
        port = serve._port(first)
        with serve._next_free("127.0.0.1", port - 1) as second:
            assert serve._port(second) > port
    with pytest.raises(StudyError):
        serve._next_free("127.0.0.1", 65535)


def test_a_further_server_that_ends_is_said_and_stops_nothing(finished, capfd):
    task = {"dataset": "ml-100k", "host": "127.0.0.1"}
    with serve._further([finished], [serve._listening("127.0.0.1", 0)], [task]):
        said = ""
        for _ in range(1200):
            said += capfd.readouterr().err
            if "has ended" in said:
                break
            time.sleep(0.1)
    # First its own words, without a traceback.
    assert len(said.splitlines()) == 2
    assert said.count(str(finished)) == 2


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
        said = [self._process.stdout.readline() for _ in range(1 + words.count("--also"))]
        # In the order of their ports, which is that of the command.
        self.addresses = sorted(re.search(r"http://\S+(?=/)", line)[0] for line in said)
        self.address = self.addresses[0]

    def ask(self, path, body=None, *, at=0):
        headers = {"content-type": "application/json"} if body else {}
        request = urllib.request.Request(
            self.addresses[at] + path, data=body and json.dumps(body).encode(), headers=headers
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read().decode()

    def end(self, number=signal.SIGINT):
        os.kill(self._process.pid, number)
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


def test_a_reader_s_own_data_are_served_by_their_name(toy_copy):
    (toy_copy / "data" / "ml-100k").rename(toy_copy / "data" / "shop")
    server = Server("--dataset", "shop")
    try:
        assert [run["dataset"] for run in json.loads(server.ask("/api/v1/models"))["runs"]] == ["shop"]
        assert json.loads(server.ask("/api/v1/recommendations/1?model=lstm"))["recommendations"]
    finally:
        server.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_two_runs_know_of_each_other_and_end_together(toy_copy, tmp_path, number):
    shutil.copytree(toy_copy, tmp_path / "second")
    server = Server("--also", str(tmp_path / "second"))
    try:
        ports = [int(address.rpartition(":")[2]) for address in server.addresses]
        for here in range(2):
            listed = json.loads(server.ask("/api/v1/models", at=here))["runs"]
            assert [(run["profile"], run["port"]) for run in listed] == [
                ("root", ports[0]), ("second", ports[1]),
            ]  # fmt: skip
            assert [run["here"] for run in listed] == [place == here for place in range(2)]
            event = {"event_id": f"e{here}", "user_id": 1, "item_id": 8, "kind": "saw"}
            # Each has a log of its own.
            assert json.loads(server.ask("/api/v1/events", event, at=here))["sequence"] == 1
    finally:
        server.end(number)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            server.ask("/health", at=1)
        # Refused, or cut off while it ends.
        except OSError:
            break
        time.sleep(0.1)
    for at in range(2):
        with pytest.raises(urllib.error.URLError, match="refused"):
            server.ask("/health", at=at)
