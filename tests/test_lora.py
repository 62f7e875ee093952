"""Tests of models.finetuning.lora, on a tiny Mistral model with random weights."""

import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch
from test_instructions import CATALOG, examples
from transformers import GPT2Config, GPT2LMHeadModel

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import examples as instructions, lora, training as lora_training
from dualrec_utils.models.language import generation, loading
from dualrec_utils.models.movielm import documents as movielm_data, model as movielm

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "seed": 3}
TRAINING = {"n_epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 0.02, "label": "test"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base") / "movielm")


def write_base(folder):
    tokenizer = movielm_data.train_tokenizer(CATALOG, vocabulary=400)
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


def test_an_adapter_adds_two_thin_matrices_times_alpha_over_rank(base):
    model, _ = loading.load_model(base)
    adapted = lora.attach(model, **LORA).eval()
    layer = next(module for name, module in adapted.named_modules() if name.endswith("q_proj"))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (LORA["rank"], layer.in_features) and b.shape == (layer.out_features, LORA["rank"])
    with torch.no_grad():
        b.copy_(torch.arange(b.numel()).reshape(b.shape) / b.numel())
        x = torch.linspace(-1, 1, layer.in_features)[None]
        by_hand = layer.base_layer(x) + LORA["alpha"] / LORA["rank"] * x @ a.T @ b.T
        assert layer(x).numpy() == pytest.approx(by_hand.numpy(), abs=1e-6)
        assert not torch.equal(layer(x), layer.base_layer(x))


@pytest.mark.parametrize("write", [partial(tiny_models.tiny_mistral, chat=True), tiny_models.tiny_qwen2])
def test_a_users_model_is_taught_and_asked_with_its_adapter(write, tmp_path):
    base = write(tmp_path / "base")
    model, tokenizer = loading.load_model(base)
    encoded = instructions.encode(examples(), tokenizer, max_tokens=1024)
    adapted = lora.attach(model, **LORA)
    assert lora.check_fresh(adapted, encoded[:3], tokenizer) > 0
    checkpoints = tmp_path / "checkpoints"
    settings = TRAINING | {"seed": 9, "checkpoints": checkpoints, "checkpoint_steps": 2}
    curve = lora_training.train(adapted, tokenizer, encoded, encoded[:4], **settings)
    assert curve["validation_loss"].iloc[-1] < curve["validation_loss"].iloc[0]
    with pytest.raises(StudyError, match="trained already"):
        lora.check_fresh(adapted, encoded[:3], tokenizer)
    # A later run of the stage goes on from the checkpoint and comes to the same adapter.
    for kept in sorted(checkpoints.glob("checkpoint-*"))[1:]:
        shutil.rmtree(kept)
    resumed = lora.attach(loading.load_model(base)[0], **LORA)
    again = lora_training.train(resumed, tokenizer, encoded, encoded[:4], **settings)
    pd.testing.assert_frame_equal(curve, again)
    folder = lora.save(resumed, tmp_path / "lora", base=base.name)
    prompts = examples()["prompt"].tolist()[:4]
    speaking = {"max_new_tokens": 12, "batch_size": 4, "label": "test"}
    loaded, _ = loading.load_model(base, adapter=folder)
    answers = generation.generate(adapted, tokenizer, prompts, **speaking)
    assert generation.generate(loaded, tokenizer, prompts, **speaking) == answers
    assert generation.generate(loading.load_model(base)[0], tokenizer, prompts, **speaking) != answers
    ids = torch.tensor([encoded[0]["input_ids"]])
    with torch.inference_mode():
        assert torch.equal(loaded(ids).logits, adapted(ids).logits)


def test_a_model_without_the_projections_is_refused_by_name():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(StudyError, match=r"no modules k_proj, o_proj, q_proj, v_proj .* has c_attn, c_fc"):
        lora.attach(model, **LORA)


def test_a_planted_change_of_a_fresh_adapter_is_found(base):
    model, tokenizer = loading.load_model(base)
    encoded = instructions.encode(examples(), tokenizer, max_tokens=512)[:3]
    adapted = lora.attach(model, **LORA)
    assert lora.check_fresh(adapted, encoded, tokenizer) == lora.answer_loss(adapted, encoded, tokenizer)
    with torch.no_grad():
        next(w for name, w in adapted.named_parameters() if "lora_B" in name)[0, 0] = 0.5
    with pytest.raises(StudyError, match="fresh adapter moves the loss"):
        lora.check_fresh(adapted, encoded, tokenizer)
