"""A stage runs alone, is timed, and does not outlive the pipeline that started it."""

import json
import os
import subprocess
import sys
import textwrap
import time

import nbformat
import psutil
import pytest

from dualrec_utils import __main__ as command
from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import running, stages


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A scratch folder in place of the repository's data and reports."""
    monkeypatch.setattr(config, "STATE", tmp_path / "data" / ".state")
    monkeypatch.setattr(config, "TIMINGS", tmp_path / "reports" / "timings")
    return tmp_path


def carry_out(name, work=lambda: None):
    with running.supervised(name):
        work()


def refused(name, match):
    """The stage is refused before its work begins."""
    with pytest.raises(StudyError, match=match):
        carry_out(name, lambda: pytest.fail("began"))


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stage_is_timed_and_its_lock_let_go(root, capfd):
    carry_out("eda", lambda: time.sleep(0.1))
    timing = json.loads((root / "reports/timings/eda.json").read_text())
    assert 0.1 <= timing["seconds"] < 5
    assert timing["budget_seconds"] == stages.budget(stages.find("eda"))
    assert timing["peak_memory_mb"] > 10
    assert timing["machine"] == stages.machine()
    out = capfd.readouterr().out
    assert out.startswith(f"[2/{len(stages.STAGES)}] eda: budget 60 s, not run here before; at most about ")
    assert "eda: 0 s of 60 s, peak memory" in out
    carry_out("eda")


@pytest.mark.parametrize(("driver", "usable"), [(False, True), (True, False), (True, True)])
def test_a_gpu_belongs_to_the_machine(driver, usable, monkeypatch):
    monkeypatch.setattr(stages.shutil, "which", lambda name: f"/usr/bin/{name}" if driver else None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: usable)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"Test GPU {device}")
    assert stages.machine().get("gpu") == ("Test GPU 0" if driver and usable else None)


def test_memory_of_children_counts(root):
    command = [sys.executable, "-c", "import time; x = bytearray(300_000_000); time.sleep(1.5)"]
    carry_out("eda", lambda: subprocess.run(command, check=True))
    memory = psutil.Process().memory_info().rss / 2**20
    peak = json.loads((root / "reports/timings/eda.json").read_text())["peak_memory_mb"]
    assert peak > memory + 250


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (StudyError("there is no model 'x'; models: y"), 2),
        (PermissionError(13, "Permission denied", "x"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_a_user_can_act_on_is_one_message(raised, status, monkeypatch, capfd):
    def work():
        raise raised

    monkeypatch.setattr(command, "check_params", work)
    assert command.main(["params"]) == status
    streams = capfd.readouterr()
    assert streams.out == "" and streams.err.startswith("dualrec: params: ")
    assert len(streams.err.splitlines()) == 1


def test_any_other_error_keeps_its_traceback(root, monkeypatch):
    monkeypatch.setattr(command, "check_params", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        command.main(["params"])
    with pytest.raises(ZeroDivisionError), running.supervised("data"):
        _ = 1 / 0
    assert not (root / "reports/timings/data.json").exists()


def test_what_is_left_comes_from_last_times_else_budgets(root):
    (root / "reports/timings").mkdir(parents=True)
    (root / "reports/timings/results.json").write_text('{"seconds": 12.0}')
    place = stages.NAMES.index("results")
    left = (12 + sum(stages.budget(stage) for stage in stages.STAGES[place + 1 :])) / 60
    assert stages.headline(stages.find("results")) == (
        f"[9/{len(stages.STAGES)}] results: budget 90 s, last time 12 s;"
        f" at most about {left:.0f} min left of the whole run"
    )


def test_a_profiles_own_budgets_stand_in_its_folder(root, monkeypatch, capfd):
    monkeypatch.setattr(config, "ROOT", root)
    usual = stages.budget(stages.find("audit"))
    (root / "budgets.json").write_text('{"audit": 7000}')
    assert stages.budget(stages.find("audit")) == 7000 != usual
    assert stages.budget(stages.find("results")) < 7000
    carry_out("audit")
    assert "audit: budget 7000 s" in capfd.readouterr().out
    assert json.loads((root / "reports/timings/audit.json").read_text())["budget_seconds"] == 7000


def test_the_page_depends_on_the_times_and_leaves_none(root, capfd):
    carry_out("report")
    assert "report: " in capfd.readouterr().out
    assert not (root / "reports/timings/report.json").exists()


def test_a_budget_of_no_stage_is_refused(root, monkeypatch):
    monkeypatch.setattr(config, "ROOT", root)
    (root / "budgets.json").write_text('{"reprot": 70}')
    refused("report", "there is no stage 'reprot'; stages: data, eda")


def test_a_stage_held_by_a_live_process_is_refused_with_its_pid(root, monkeypatch):
    monkeypatch.setattr(running, "LOCK_SECONDS", 0.2)
    code = f"""
        from pathlib import Path
        from dualrec_utils.core import config
        from dualrec_utils.pipeline import running
        import time
        config.STATE = Path({str(config.STATE)!r})
        with running.supervised("lstm"):
            time.sleep(60)
    """
    other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        refused("lstm", rf"another process \(pid {other.pid}\) is running this stage")
        carry_out("eda")  # another stage has another lock
        # SIGTERM is a clean end; after it the stage is free.
        other.terminate()
        assert other.wait(timeout=10) == 128 + 15
        carry_out("lstm")
    finally:
        other.kill()


def test_a_stage_whose_dvc_is_already_gone_does_not_begin(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "eda")
    # Nothing above the tests may pass for the pipeline (they may run under make).
    monkeypatch.setattr(running, "_is_pipeline", lambda process: False)
    refused("eda", "the dvc that started this stage is gone")


def test_an_unknown_stage_is_named(root):
    refused("lsmt", "stages: data, eda, lstm")


def test_no_orphan_works_on_after_dvc_is_killed(tmp_path):
    """The real dvc, the real runner, a real kernel: kill -9 on dvc ends them all, lock included."""
    sleeper = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "import os, time\nopen('kernel.pid', 'w').write(str(os.getpid()))\ntime.sleep(120)"
            ),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(sleeper, str(tmp_path / "01_sleeper.ipynb"))
    (tmp_path / "stage.py").write_text(
        textwrap.dedent("""
            import os
            from pathlib import Path
            from dualrec_utils.pipeline import notebooks, running

            Path("stage.pid").write_text(str(os.getpid()))
            with running.supervised("eda"):
                notebooks.run(Path("01_sleeper.ipynb"), page=Path("page.html"), cwd=Path.cwd())
        """)
    )
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  eda:\n    cmd: {sys.executable} stage.py\n")
    environment = os.environ | {"DUALREC_ROOT": str(tmp_path), "DVC_NO_ANALYTICS": "true"}
    dvc = [sys.executable, "-m", "dvc"]
    settings = {"cwd": tmp_path, "env": environment}
    subprocess.run([*dvc, "init", "--no-scm", "--quiet"], check=True, **settings)
    with open(tmp_path / "log.txt", "w") as log:
        run = subprocess.Popen([*dvc, "repro"], stdout=log, stderr=log, **settings)
    pids = [tmp_path / "stage.pid", tmp_path / "kernel.pid"]
    try:
        started = wait_for(lambda: all(p.is_file() and p.read_text() for p in pids), 40)
        assert started, (tmp_path / "log.txt").read_text()
        stage, kernel = (int(p.read_text()) for p in pids)
        assert alive(stage) and alive(kernel)
        run.kill()
        run.wait()
        assert wait_for(lambda: not alive(stage) and not alive(kernel), 5)
        again = textwrap.dedent("""
            from dualrec_utils.pipeline import running
            running.LOCK_SECONDS = 0.5
            with running.supervised("eda"):
                pass
        """)
        done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, **settings)
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "page.html").exists()
    finally:
        run.kill()
        for path in pids:
            if path.is_file() and alive(int(path.read_text())):
                os.kill(int(path.read_text()), 9)
