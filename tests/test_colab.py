"""A rented machine: what is checked before a run, what is kept of a lost one, how long models may take."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import diskcache
import huggingface_hub.constants
import pytest

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import weights
from dualrec_utils.models.language import loading
from dualrec_utils.pipeline import colab, gpu_time, keeping, params

T4 = colab.Machine(
    gpu="Tesla T4",
    gpu_bytes=15 * 2**30,
    capability=(7, 5),
    memory_bytes=13 * 10**9,
    disk_bytes=70 * 10**9,
    bitsandbytes=True,
    secrets=frozenset(colab.SECRETS),
)
SMALL, FULL = (params.load(config.PROFILES / name / "params.yaml") for name in ("colab-small", "colab"))
BILLIONS = {"0.5B": 5e8, "1.5B": 1.8e9, "3B": 3.1e9, "7B": 7.6e9}


def on_hub(model, revision):
    """Sizes by name; every model can be had."""
    return colab.OnHub(n_weights=int(next(n for size, n in BILLIONS.items() if size in model)))


def states(values, machine, hub=on_hub):
    return {check.name: check for check in colab.checks(values, machine, hub)}


def changed(**facts):
    return colab.Machine(**{**vars(T4), **facts})


def test_a_t4_can_run_the_small_profile():
    checks = states(SMALL, T4)
    assert {check.state for check in checks.values()} == {colab.OK}
    assert "float16" in checks["qwen_0_5b"].text and "bitsandbytes" not in checks


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((7, 5), "float16"),
        ((7, 0), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        (None, "float32"),
    ],
)
def test_half_precision_goes_by_the_card(capability, dtype):
    assert colab.half_precision(capability) == dtype


def test_a_stage_is_given_what_auto_means_here():
    wanted = colab.dtype_here()
    for section in ("zero_shot_llm", "lora_finetuning"):
        models = params.settings(SMALL, section)["models"]
        assert models["qwen_0_5b"]["dtype"] == wanted and "auto" not in str(models)
        assert getattr(SMALL, section).models["qwen_0_5b"].dtype == "auto"


@pytest.mark.parametrize(
    ("values", "machine", "stopped"),
    [
        (SMALL, changed(gpu="", gpu_bytes=0, capability=(0, 0)), {"GPU"}),
        (SMALL, changed(memory_bytes=10**9), {"memory"}),
        (SMALL, changed(disk_bytes=10**9), {"disk"}),
        # In 4 bits all models of the full profile fit a T4.
        (FULL, T4, set()),
        (FULL, changed(bitsandbytes=False), {"bitsandbytes"}),
        (FULL, changed(gpu="A100", gpu_bytes=39 * 2**30, capability=(8, 0)), set()),
    ],
)
def test_each_lack_stops_and_only_it(values, machine, stopped):
    checks = states(values, machine)
    assert {name for name, check in checks.items() if check.state == colab.STOP} == stopped


def test_weights_that_take_most_of_the_card_stop():
    values = SimpleNamespace(
        zero_shot_llm=SMALL.zero_shot_llm, lora_finetuning=SMALL.lora_finetuning, dataset="ml-100k"
    )
    heavy = states(values, T4, lambda *_: colab.OnHub(n_weights=7 * 10**9))["qwen_0_5b"]
    light = states(values, T4, lambda *_: colab.OnHub(n_weights=6 * 10**9))["qwen_0_5b"]
    assert heavy.state == colab.STOP and "nf4" in heavy.text and light.state == colab.OK


def test_bfloat16_by_name_stops_on_a_card_that_imitates_it():
    path, model = config.PROFILES / "colab-small/params.yaml", {"qwen_0_5b": {"dtype": "bfloat16"}}
    values = params.load(path, section="lora_finetuning", overrides={"models": model})
    check = states(values, T4)["qwen_0_5b"]
    assert check.state == colab.STOP and "set dtype to auto" in check.text


def test_a_missing_key_is_a_note_that_names_the_models():
    check = states(FULL, changed(gpu_bytes=79 * 2**30, capability=(9, 0), secrets=frozenset()))
    assert check["OPENROUTER_API_KEY"].state == colab.NOTE
    assert "deepseek_v3, ministral_8b" in check["OPENROUTER_API_KEY"].text


def test_the_studys_own_copy_needs_a_gpu_and_no_hub():
    path, model = config.PROFILES / "colab-small/params.yaml", {"qwen_0_5b": {"model": "qwen"}}
    values = params.load(path, section="lora_finetuning", overrides={"models": model})
    checks = states(values, changed(gpu="", gpu_bytes=0), hub=None)
    assert {name for name, check in checks.items() if check.state == colab.STOP} == {"GPU"}


def test_small_means_the_same_as_where_models_are_loaded():
    assert colab.SMALL_GPU == loading._SMALL_GPU


def test_the_studys_copies_of_sisters_are_there():
    assert set(colab.SISTERS.values()) <= set(weights.MODELS)


class Hub(BaseHTTPRequestHandler):
    """Answers about `a/open`, `a/gated`; knows no other model."""

    def do_GET(self):
        code, error = 404, "RepoNotFound"
        if "a/open" in self.path or ("a/gated" in self.path and "auth-check" not in self.path):
            code, error = 200, ""
        elif "a/gated" in self.path:
            code, error = 403, "GatedRepo"
        self.send_response(code)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        self.wfile.write(b'{"id": "a/open", "safetensors": {"parameters": {"BF16": 7}, "total": 7}}')

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("model", "n_weights", "word"),
    [("a/open", 7, ""), ("a/gated", 0, "huggingface.co/a/gated"), ("a/none", 0, "no such model")],
)
def test_the_hub_is_asked_for_access_and_size(hub, model, n_weights, word):
    answer = colab.ask_hub(model, "main")
    assert answer.n_weights == n_weights and (word in answer.problem if word else answer.problem == "")


@pytest.mark.parametrize(
    "model", ["./qwen", "~/qwen", "my models/qwen", "~nosuchuser/qwen", "/models/qwen", "../models/a/qwen"]
)
def test_a_folder_that_is_not_there_is_no_id_of_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path, models = config.PROFILES / "colab-small/params.yaml", {"qwen_0_5b": {"model": model}}
    values = params.load(path, section="lora_finetuning", overrides={"models": models})
    check = states(values, T4, colab.ask_hub)["qwen_0_5b"]
    assert check.state == colab.STOP
    assert f"{model}: no such folder, and no id of the Hub" in check.text


def test_a_hub_out_of_reach_is_said_with_the_way_without_it(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    check = states(SMALL, T4, colab.ask_hub)["qwen_0_5b"]
    assert check.state == colab.STOP and "`model: qwen`" in check.text


def test_secrets_reach_the_environment_and_no_line(monkeypatch):
    missing, refused = type("Missing", (Exception,), {}), type("Refused", (Exception,), {})

    def get(name):
        if name == "HF_TOKEN":
            return " hf_secret\n"
        raise refused

    userdata = SimpleNamespace(get=get, SecretNotFoundError=missing, NotebookAccessError=refused)
    for name in colab.SECRETS:
        monkeypatch.setenv(name, "")
    lines = list(colab.read_secrets(userdata))
    assert os.environ["HF_TOKEN"] == "hf_secret" and os.environ["OPENROUTER_API_KEY"] == ""
    assert len(lines) == 2 and "hf_secret" not in "".join(lines)


def test_the_work_of_a_profile_by_hand():
    # 943 users, 302 held out, 236 of them to test on; two protocols of one case; two prompts.
    untuned = 302 * 2 * 2
    tuned = 302 * 2 + 2 * (236 * 2)
    ranked = (236 + 302) * 2 + 236 * 2 + 3 * 236
    examples = 641 * 3 * 3
    assert gpu_time.work(SMALL, "qwen_0_5b") == gpu_time.Work(untuned + tuned, ranked, examples * 245)


def test_a_data_set_without_an_estimate_is_named():
    values = SimpleNamespace(dataset="amazon-games")
    (line,) = gpu_time.estimate(values, {"qwen_0_5b": 5 * 10**8})
    assert "no estimate for amazon-games" in line
    assert next(gpu_time.estimate(SMALL, {"qwen_0_5b": 5 * 10**8})).startswith("qwen_0_5b: ")


def test_larger_batches_save_steps_up_to_what_was_measured():
    measured = {
        "prompts_per_second": 2.0,
        "rankings_per_minute": 60.0,
        "training_tokens_per_second": 100.0,
    }
    todo = gpu_time.Work(answers=240, rankings=60, training_tokens=6_000)
    assert gpu_time.minutes(todo, measured) == pytest.approx(2 + 1 + 1)
    batches = {"answers_at_once": 64, "rankings_at_once": 16, "examples_at_once": 8}
    assert gpu_time.minutes(todo, measured, heaviest=14, **batches) == pytest.approx(0.5 + 1 + 0.25)
    assert gpu_time.minutes(todo, measured, heaviest=2, **batches) == pytest.approx(1 + 1 + 0.5)


def test_the_address_is_one_and_make_changes_all_of_it(tmp_path):
    places = ("README.md", "notebooks/colab.ipynb", "pyproject.toml", "Makefile")
    for name in places:
        write(tmp_path / name, (config.PACKAGE_ROOT / name).read_text(encoding="utf-8"))
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    address = urls["Repository"].removeprefix("https://github.com/")
    assert all(address in (tmp_path / name).read_text() for name in places[:3])
    done = subprocess.run(["make", "address", "TO=me/a.fork"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in places[:3]:
        text = (tmp_path / name).read_text()
        assert address not in text and "/me/a.fork" in text
    refused = subprocess.run(["make", "address"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2 and "TO=you/name" in refused.stderr


# What a lost machine leaves on the shelf.


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def places(tmp_path):
    return tmp_path / "one", tmp_path / "drive" / "study", tmp_path / "two"


CHECKPOINT = "profiles/p/data/toy/checkpoints/lora_finetuning/m_lora/checkpoint-5"


def test_another_machine_goes_on_from_the_shelf(places):
    one, shelf, two = places
    lasting = [
        "data/raw/ml-100k/u.data",
        f"{CHECKPOINT}/weights",
        "profiles/p/.dvc/cache/files/md5/ab/cd",
        "profiles/p/reports/timings/lstm.json",
        "profiles/p/dvc.lock",
    ]
    others = [
        "profiles/p/data/toy/lstm/scores",
        "profiles/p/.dvc/cache/files/md5/ab/.cd.tmp",
        "profiles/q/reports/timings/lstm.json",
        f"{CHECKPOINT.replace('checkpoint-5', '.77.checkpoint-6')}/weights",
    ]
    for name in (*lasting, *others):
        write(one / name, name)
    keeper = keeping.Keeper(one, shelf, profile="p")
    assert keeper.save() == len(lasting) and keeper.save() == 0
    assert keeping.Keeper(two, shelf, profile="p").restore() == len(lasting)
    there = sorted(str(path.relative_to(two)) for path in two.rglob("*") if path.is_file())
    assert there == sorted(lasting)
    assert all((two / name).read_text() == name for name in lasting)


PIPELINE = """\
stages:
  first:
    cmd: mkdir -p data/set/first reports/tables && echo 1 > data/set/first/x && echo 2 > reports/tables/x
    params: [a]
    outs: [data/set/first, reports/tables: {cache: false}]
  second:
    cmd: test -f go
    deps: [data/set/first]
"""


def machine(folder):
    """A fresh copy of a small study; returns a function that runs dvc in it."""
    write(folder / "dvc.yaml", PIPELINE)
    write(folder / "params.yaml", "a: 1\n")
    for place in (".dvc/config", ".dvc/.gitignore"):
        write(folder / place, (config.PACKAGE_ROOT / place).read_text())
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    command = [sys.executable, "-m", "dvc"]
    return lambda *words: subprocess.run([*command, *words], cwd=folder, capture_output=True, text=True)


def test_dvc_goes_on_from_the_shelf_after_the_stage_that_was_lost(places):
    one, shelf, two = places
    failed = machine(one)("repro")
    assert failed.returncode != 0 and "Running stage 'first'" in failed.stdout
    keeping.Keeper(one, shelf, profile="").save()
    dvc = machine(two)
    keeping.Keeper(two, shelf, profile="").restore()
    assert dvc("checkout", "--quiet", "--allow-missing").returncode == 0
    assert (two / "data/set/first/x").read_text() == "1\n"
    write(two / "go", "")
    done = dvc("repro")
    assert done.returncode == 0 and "'first' didn't change" in done.stdout
    assert "Running stage 'second'" in done.stdout


def test_what_changes_is_copied_again_and_what_is_gone_goes(places):
    one, shelf, _ = places
    state = write(one / f"{CHECKPOINT}/trainer_state.json", "old")
    keeper = keeping.Keeper(one, shelf, profile="p")
    keeper.save()
    state.write_text("new")
    os.utime(state, ns=(1, state.stat().st_mtime_ns + 10**7))
    assert keeper.save() == 1 and (shelf / f"{CHECKPOINT}/trainer_state.json").read_text() == "new"
    shutil.rmtree(state.parent)
    assert keeper.save() == 1 and not (shelf / f"{CHECKPOINT}/trainer_state.json").exists()


def test_a_new_keeper_takes_nothing_from_the_shelf_that_it_did_not_bring_back(places):
    one, shelf, two = places
    write(one / f"{CHECKPOINT}/weights", "w")
    keeping.Keeper(one, shelf, profile="p").save()
    keeping.Keeper(two, shelf, profile="p").save()
    assert (shelf / f"{CHECKPOINT}/weights").is_file()


def test_what_is_here_counts_and_a_copy_is_not_copied_again(places):
    one, shelf, _ = places
    here = write(one / "profiles/p/reports/timings/a.json", "mine")
    same = write(one / "profiles/p/reports/timings/b.json", "same")
    write(shelf / "profiles/p/reports/timings/a.json", "an older, longer one")
    write(shelf / "profiles/p/reports/timings/b.json", "same")
    keeper = keeping.Keeper(one, shelf, profile="p")
    assert keeper.restore() == 0 and keeper.save() == 1
    assert here.read_text() == "mine" == (shelf / "profiles/p/reports/timings/a.json").read_text()
    assert same.read_text() == "same"


def test_files_go_in_the_order_in_which_they_were_written(places, monkeypatch):
    """A shelf that is lost in the middle has no checkpoint that only looks complete."""
    one, shelf, _ = places
    for n, name in enumerate(["trainer_state.json", "a", "weights"]):
        path = write(one / CHECKPOINT / name, name)
        os.utime(path, (10, 10 + (n - 1) % 3))
    order, copy = [], shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda a, b: (order.append(Path(a).name), copy(a, b)))
    keeping.Keeper(one, shelf, profile="p").save()
    assert order == ["a", "weights", "trainer_state.json"]


def test_answers_that_are_being_written_are_kept_whole(places):
    one, shelf, two = places
    folder = "profiles/p/data/answers/host"
    with diskcache.Cache(one / folder, eviction_policy="none") as live:
        live["a"] = "1"
        keeper = keeping.Keeper(one, shelf, profile="p")
        keeper.save()
        live["b"] = "2"
        assert keeper.save() == 1
        keeping.Keeper(two, shelf, profile="p").restore()
        with diskcache.Cache(two / folder, eviction_policy="none") as brought:
            assert (brought["a"], brought["b"]) == ("1", "2")
    with sqlite3.connect(shelf / folder / "cache.db") as kept:
        assert kept.execute("pragma integrity_check").fetchone() == ("ok",)


def test_it_is_kept_while_the_run_goes_on_and_a_full_shelf_stops_nothing(places, capsys):
    one, shelf, _ = places
    with keeping.kept(one, shelf, profile="p", seconds=0.01):
        write(one / f"{CHECKPOINT}/a", "a")
        deadline = time.monotonic() + 10
        while not (shelf / f"{CHECKPOINT}/a").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (shelf / f"{CHECKPOINT}/a").read_text() == "a"
        shutil.rmtree(shelf / "profiles")
        write(shelf / "profiles", "a file in the way")
        write(one / f"{CHECKPOINT}/b", "b")
    assert "not saved" in capsys.readouterr().out


def test_a_shelf_that_cannot_be_written_is_refused(tmp_path):
    write(tmp_path / "file", "")
    with pytest.raises(StudyError, match="nothing can be kept"):
        keeping.Keeper(tmp_path, tmp_path / "file" / "shelf", profile="p")
