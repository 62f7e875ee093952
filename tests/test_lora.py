"""Tests of dualrec_utils.lora, on a tiny Mistral model with random weights."""

import json

import numpy as np
import pytest
import torch
from test_instructions import ITEMS, examples

from dualrec_utils import instructions, loading, lora, lora_training, movielm, movielm_data

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "seed": 3}
TRAINING = {"n_epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 0.02, "label": "test"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


def write_base(folder):
    tokenizer = movielm_data.train_tokenizer(ITEMS, vocabulary=400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = movielm.new_model(tokenizer, hidden_size=32, n_layers=2, n_heads=2, dropout=0.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_answer_loss_equals_log_likelihoods_one_example_at_a_time(base):
    model, tokenizer = loading.load_model(base)
    encoded = instructions.encode(examples(), tokenizer, max_tokens=512)
    losses = []
    for example in encoded:
        ids = torch.tensor([example["input_ids"]])
        with torch.inference_mode():
            logs = torch.log_softmax(model(input_ids=ids).logits[0, :-1], dim=-1)
        for place, label in enumerate(example["labels"][1:]):
            if label != -100:
                losses.append(-float(logs[place, label]))
    # Padding and the number of examples in a batch must not matter.
    for batch_size in (1, 5, 32):
        value = lora.answer_loss(model, encoded, tokenizer, batch_size=batch_size)
        assert value == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_fresh_adapter_changes_nothing_and_only_it_can_learn(base):
    model, tokenizer = loading.load_model(base)
    batch = tokenizer(examples()["prompt"].tolist()[0], return_tensors="pt")
    with torch.inference_mode():
        before = model(**batch).logits
        adapted = lora.attach(model, **LORA).eval()
        assert torch.equal(adapted(**batch).logits, before)
    trainable = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name for name in trainable)
    # A and B on four projections in each of two layers.
    assert len(trainable) == 2 * 4 * 2
    for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
        assert sum(projection in name for name in trainable) == 4


def trained(base):
    model, tokenizer = loading.load_model(base)
    encoded = instructions.encode(examples(), tokenizer, max_tokens=512)
    adapted = lora.attach(model, **LORA)
    curve = lora_training.train(adapted, tokenizer, encoded, encoded[:4], seed=9, **TRAINING)
    return adapted, tokenizer, curve


def test_a_saved_adapter_answers_alike_and_names_no_path(base, tmp_path):
    adapted, tokenizer, _ = trained(base)
    folder = tmp_path / "movielm_lora"
    folder.mkdir()
    (folder / "stale.txt").write_text("from an earlier run")
    lora.save(adapted, folder, base="movielm")
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "movielm"
    assert settings["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert str(base) not in (folder / "adapter_config.json").read_text()
    assert list(tmp_path.iterdir()) == [folder]
    loaded, _ = loading.load_model(base, adapter=folder)
    batch = tokenizer(examples()["prompt"].tolist()[0], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(loaded(**batch).logits, adapted(**batch).logits)
