"""Tests of models.finetuning.adapters, on the tiny data set and a tiny Mistral of random weights."""

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch

from dualrec_utils.core import config, splits
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import adapters, checkpoints, examples
from dualrec_utils.models.language import loading

pytestmark = pytest.mark.usefixtures("one_thread")

WORDING = {"seed": 4, "n_recent": 3, "n_titles": 3, "n_users": None}


def test_lessons_differ_in_what_their_name_says(lora_section):
    taught = adapters.lessons("ml-100k", **WORDING)
    assert list(taught) == ["lora", "lora_permuted", "lora_no_hint"]
    lora, permuted, no_hint = taught.values()
    for split in ("train", "validation"):
        assert lora[split][USER].tolist() == sorted(splits.load_earlier("ml-100k", split))
        assert lora[split]["prompt"].str.contains("LSTM").all()
        assert not no_hint[split]["prompt"].str.contains("LSTM").any()
        assert no_hint[split]["answer"].tolist() == lora[split]["answer"].tolist()
    assert permuted["train"]["prompt"].tolist() == lora["train"]["prompt"].tolist()
    assert (permuted["train"][examples.TARGET_USER] != permuted["train"][USER]).all()
    pd.testing.assert_frame_equal(permuted["validation"], lora["validation"])


def test_a_sample_of_training_users_gives_the_same_examples_for_every_adapter(lora_section):
    all_of_them = adapters.lessons("ml-100k", **WORDING)
    some = adapters.lessons("ml-100k", **WORDING | {"n_users": 4})
    whole = all_of_them["lora"]["train"].set_index(USER)
    users = some["lora"]["train"][USER].tolist()
    assert len(users) == 4 < len(whole) and users == sorted(users) and users != whole.index[:4].tolist()
    for ending in ("lora", "lora_no_hint"):
        drawn = all_of_them[ending]["train"].set_index(USER).loc[users].reset_index()
        pd.testing.assert_frame_equal(some[ending]["train"], drawn)
    # Answers are exchanged among those who are drawn.
    assert set(some["lora_permuted"]["train"][examples.TARGET_USER]) == set(users)
    for ending, lesson in some.items():
        pd.testing.assert_frame_equal(lesson["validation"], all_of_them[ending]["validation"])
    other = adapters.lessons("ml-100k", **WORDING | {"n_users": 4, "seed": 5})
    assert other["lora"]["train"][USER].tolist() != users


def test_every_adapter_ends_in_a_checkpoint_that_the_notebook_takes_up(lora_section, capsys):
    adapters.train_all(lora_section, names=["small"])
    for ending, lesson in adapters.lessons("ml-100k", **WORDING).items():
        name = f"small_{ending}"
        folder = config.checkpoints_dir("ml-100k", adapters.STAGE) / name
        assert checkpoints.is_finished(checkpoints.last_complete(folder))
        before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
        base = lora_section["models"]["small"]
        model, _, curve = adapters.train_adapter(lesson, name=name, base=base, settings=lora_section)
        assert curve["epoch"].iloc[0] == 0 and curve["epoch"].iloc[-1] == 1
        assert any((w != 0).any() for key, w in model.state_dict().items() if "lora_B" in key)
        assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    with pytest.raises(StudyError, match="no 'large'; it has small"):
        adapters.train_all(lora_section, names=["large"])


def test_hints_are_right_where_they_name_one_of_the_last_five(lora_section):
    """The fixture's hints are one movie each: three hit rates that can be counted."""
    ids, rates = load_catalog("ml-100k").ids, adapters.right_hints("ml-100k")
    for share, split, item in zip(rates, ("train", "train", "validation"), ids[:3], strict=True):
        histories = splits.load_histories("ml-100k", split)
        earlier = splits.load_earlier("ml-100k", split)
        assert share == sum(item in histories[user][-5:] for user in earlier) / len(earlier)


def test_adapters_are_saved_by_name_and_answer_when_loaded(lora_section):
    lessons = adapters.lessons("ml-100k", **WORDING)
    jobs = {"small_lora": ("small", "lora"), "small_lora_no_hint": ("small", "lora_no_hint")}
    curves = adapters.train_and_save(jobs, lessons, models=lora_section["models"], settings=lora_section)
    assert list(dict.fromkeys(curves["adapter"])) == list(jobs)
    assert len(set(curves["adapter"].value_counts())) == 1
    decoding = {"max_new_tokens": 4, "batch_size": 8, "n_lines": 2}
    base = lora_section["models"]["small"]
    speakers = [
        adapters.load(base, dataset="ml-100k", decoding=decoding, adapter=name) for name in (None, *jobs)
    ]
    plain, *adapted = (speaker.model for speaker in speakers)
    assert not any("lora_" in name for name, _ in plain.named_parameters())
    assert all(
        any((w != 0).any() for name, w in model.named_parameters() if "lora_B" in name) for model in adapted
    )
    assert len(speakers[1].answer(["one", "two"], label="test")) == 2
    assert speakers[1].about == {"model": base["model"], "revision": None, "date": "2025-01-01", **decoding}


def test_an_adapter_of_weights_that_were_written_out_is_loaded_by_the_models_name(lora_section):
    """All of them lie in folders `model`. Another model's adapter is refused even if its shape fits."""
    base = lora_section["models"]["small"]
    for name in ("qwen", "smollm2"):
        shutil.copytree(base["model"], loading.written_folder(name))
    models = {name: base | {"model": name} for name in ("qwen", "smollm2")}
    lesson = {"lora": adapters.lessons("ml-100k", **WORDING)["lora"]}
    adapters.train_and_save({"qwen_lora": ("qwen", "lora")}, lesson, models=models, settings=lora_section)
    options = {"dataset": "ml-100k", "decoding": {"max_new_tokens": 4, "batch_size": 8, "n_lines": 2}}
    speaker = adapters.load(models["qwen"], adapter="qwen_lora", **options)
    assert any("lora_" in name for name, _ in speaker.model.named_parameters())
    with pytest.raises(StudyError, match="belongs to qwen, the model is smollm2"):
        adapters.load(models["smollm2"], adapter="qwen_lora", **options)


TWO = """
import json, os, sys
import pandas as pd
import torch
from dualrec_utils.models.finetuning import adapters
torch.set_num_threads(1)
settings = json.loads(sys.argv[1])
lesson = {split: pd.read_pickle(f"{sys.argv[2]}/{split}.pickle") for split in ("train", "validation")}
base = settings["models"]["small"]
model, _, curve = adapters.train_adapter(lesson, name="two", base=base, settings=settings)
weights = [w.double().sum().item() for key, w in model.named_parameters() if "lora_" in key]
# A file each: what two processes print can stand in one line.
with open(f"{sys.argv[2]}/result-{os.environ['RANK']}.json", "w") as stream:
    json.dump([weights, curve["validation_loss"].tolist()], stream)
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the two would share it")
def test_two_processes_reach_one_adapter(lora_section, tmp_path):
    lesson = adapters.lessons("ml-100k", **WORDING)["lora"]
    for split, frame in lesson.items():
        frame.to_pickle(tmp_path / f"{split}.pickle")
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), json.dumps(lora_section), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"DUALREC_ROOT": str(config.ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("result-*.json"))]
    assert len(said) == 2 and said[0] == said[1]
    checkpoint = checkpoints.last_complete(config.checkpoints_dir("ml-100k", adapters.STAGE) / "two")
    state = checkpoints.read_state(checkpoint)
    # Every process takes 2 x 4 examples of a step: half the steps that one process needs.
    n_steps = -(-len(lesson["train"]) // 16)
    assert state["global_step"] == state["max_steps"] == n_steps
