"""Tests of models.finetuning.training and checkpoints, on a tiny Mistral of random weights."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, strategies as st
from test_instructions import examples
from test_lora import LORA, write_base
from transformers import BitsAndBytesConfig

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import checkpoints, lora, training
from dualrec_utils.models.finetuning.examples import encode
from dualrec_utils.models.language import loading

# 12 examples, 4 a step: 3 steps an epoch, each of 2 batches.
TRAINING = {"seed": 9, "n_epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 0.02}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("base"))


class Stopped(BaseException):
    """What a killed run looks like from inside."""


def prepared(base):
    model, tokenizer = loading.load_model(base)
    encoded = encode(examples(), tokenizer, max_tokens=512)
    return lora.attach(model, **LORA), tokenizer, encoded


def trained(base, *, faults=(), **changed):
    """The adapted model and its curve; `faults` are called with the model before training."""
    model, tokenizer, encoded = prepared(base)
    for fault in faults:
        fault(model)
    settings = {**TRAINING, "label": "test", **changed}
    return model, training.train(model, tokenizer, encoded, encoded[:4], **settings)


def at_batch(number, error):
    """A fault: the training batch of that number, from 1, raises `error`."""

    def plant(model):
        seen = []

        def before(module, arguments):
            seen.append(module.training)
            if sum(seen) == number:
                raise error

        model.register_forward_pre_hook(before)

    return plant


def assert_same_weights(one, other):
    for (name, weight), twin in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, twin), name


@pytest.fixture(scope="module")
def whole(base):
    return trained(base)


@pytest.mark.usefixtures("free_algorithms")
def test_training_learns_repeats_itself_and_leaves_the_base_alone(base, whole):
    torch.manual_seed(77)
    state = torch.random.get_rng_state()
    model, curve = trained(base)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert curve.loc[curve["validation_loss"].notna(), "epoch"].tolist() == [0, 1, 2]
    assert np.isnan(curve["train_loss"][0]) and curve["train_loss"][1:].notna().all()
    assert curve["validation_loss"].iloc[-1] < curve["validation_loss"].iloc[0]
    untouched, tokenizer = loading.load_model(base)
    encoded = encode(examples(), tokenizer, max_tokens=512)[:4]
    assert curve["validation_loss"][0] == lora.answer_loss(untouched, encoded, tokenizer)
    with model.disable_adapter():
        assert lora.answer_loss(model, encoded, tokenizer) == curve["validation_loss"][0]
    pd.testing.assert_frame_equal(curve, whole[1])
    assert_same_weights(model, whole[0])


@pytest.mark.parametrize("per_epoch, n_points", [(1, 3), (4, 12), (7, 21), (100, 21), (500, 21)])
def test_a_curve_has_twenty_points_where_there_are_as_many_steps(per_epoch, n_points):
    """Three epochs; the loss of step i is i."""
    log = [{"step": step, "loss": float(step)} for step in range(1, 3 * per_epoch + 1)]
    log += [{"epoch": epoch, "validation_loss": 2.0} for epoch in range(4)]
    curve = training._curve({"log_history": log, "max_steps": 3 * per_epoch, "num_train_epochs": 3})
    assert len(curve) == n_points + 1 and curve["epoch"].is_monotonic_increasing
    assert curve.loc[curve["validation_loss"].notna(), "epoch"].tolist() == [0, 1, 2, 3]
    # The pieces leave no step out, and each mean lies at the middle of its steps.
    ends = (curve["epoch"] * per_epoch).round()
    middles = (ends.shift() + ends + 1) / 2
    assert curve["train_loss"][1:].tolist() == pytest.approx(middles[1:].tolist())


def test_a_saved_adapter_answers_alike_and_names_no_path(base, whole, tmp_path):
    folder = tmp_path / "its_lora"
    folder.mkdir()
    (folder / "stale.txt").write_text("from an earlier run")
    lora.save(whole[0], folder, base=f"some/{base.name}")
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == f"some/{base.name}"
    assert settings["target_modules"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
    assert str(base) not in (folder / "adapter_config.json").read_text()
    assert list(tmp_path.iterdir()) == [folder]
    loaded, tokenizer = loading.load_model(base, adapter=folder)
    batch = tokenizer(examples()["prompt"].tolist()[0], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(loaded(**batch).logits, whole[0](**batch).logits)


# Batch 5 is in step 3, within the first epoch; batch 7 opens step 4, the second epoch.
@pytest.mark.parametrize(("batch", "step"), [(5, 2), (7, 3), (11, 4)])
def test_a_stopped_run_reaches_the_same_adapter(base, whole, tmp_path, capsys, batch, step):
    folder = tmp_path / "checkpoints"
    saving = {"checkpoints": folder, "checkpoint_steps": 2}
    with pytest.raises(Stopped):
        trained(base, faults=[at_batch(batch, Stopped())], **saving)
    assert not torch.are_deterministic_algorithms_enabled()
    # A kill may also leave a checkpoint without its last file, or half of that file.
    for number, text in ((90, None), (91, '{"global_step": 4')):
        broken = folder / f"checkpoint-{number}"
        broken.mkdir()
        if text:
            (broken / "trainer_state.json").write_text(text)
    torch.manual_seed(5)  # the new process knows nothing of the old one
    model, curve = trained(base, **saving)
    assert f"goes on from the checkpoint of step {step}" in capsys.readouterr().err
    pd.testing.assert_frame_equal(curve, whole[1])
    assert_same_weights(model, whole[0])


def test_a_finished_run_is_not_repeated(base, whole, tmp_path):
    folder = tmp_path / "checkpoints"
    trained(base, checkpoints=folder)
    settings = json.loads((folder / "settings.json").read_text())
    # It was trained by eight processes, say.
    (folder / "settings.json").write_text(json.dumps(settings | {"n_processes": 8}))
    model, curve = trained(base, faults=[at_batch(1, Stopped())], checkpoints=folder)
    pd.testing.assert_frame_equal(curve, whole[1])
    assert_same_weights(model, whole[0])


def test_checkpoints_made_otherwise_are_thrown_away(base, whole, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    trained(base, checkpoints=folder, learning_rate=0.01)
    model, curve = trained(base, checkpoints=folder)
    said = capsys.readouterr().err
    assert "learning_rate was 0.01, is 0.02" in said and "anew" in said and "goes on" not in said
    pd.testing.assert_frame_equal(curve, whole[1])
    assert_same_weights(model, whole[0])
    (folder / "settings.json").write_text('{"learning')
    with pytest.raises(StudyError, match=r"settings\.json is cut short"):
        trained(base, checkpoints=folder)


def test_settings_tell_models_and_examples_apart(base):
    model, _, encoded = prepared(base)
    first = checkpoints.settings_of(model, encoded, encoded[:4], seed=1)
    assert first == checkpoints.settings_of(model, encoded, encoded[:4], seed=1)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1e-3
    others = [
        checkpoints.settings_of(model, encoded, encoded[:4], seed=1),
        checkpoints.settings_of(model, encoded[::-1], encoded[:4], seed=1),
        checkpoints.settings_of(model, encoded, encoded[:3], seed=1),
    ]
    texts = {json.dumps(settings) for settings in (first, *others)}
    assert len(texts) == 4


def test_forget_deletes_the_checkpoints_of_one_data_set(root):
    mine, other = (config.checkpoints_dir(name, "lora_finetuning") / "a" for name in ("ml-100k", "ml-1m"))
    for folder in (mine, other):
        folder.mkdir(parents=True)
    checkpoints.forget("ml-100k")
    checkpoints.forget("ml-100k")
    assert not mine.exists() and other.exists()


def test_what_is_forgotten_by_hand_is_not_the_pipelines(root, monkeypatch):
    pipeline = config.checkpoints_dir("ml-100k", "lora_finetuning") / "a"
    pipeline.mkdir(parents=True)
    monkeypatch.setenv(config.BY_HAND, "lora_finetuning")
    by_hand = config.checkpoints_dir("ml-100k", "lora_finetuning") / "a"
    by_hand.mkdir(parents=True)
    checkpoints.forget("ml-100k")
    assert pipeline.exists() and not by_hand.exists()


def test_gradient_checkpointing_gives_the_same_adapter(base, whole):
    model, curve = trained(base, gradient_checkpointing=True)
    pd.testing.assert_frame_equal(curve, whole[1])
    assert_same_weights(model, whole[0])
    assert not model.base_model.model.is_activation_checkpointing


def test_half_precision_on_a_cpu(base, whole):
    model, curve = trained(base, precision="bfloat16")
    assert curve["validation_loss"].iloc[-1] < curve["validation_loss"].iloc[0]
    assert curve["validation_loss"].iloc[-1] == pytest.approx(
        whole[1]["validation_loss"].iloc[-1], rel=0.05
    )
    assert curve["validation_loss"].iloc[-1] != whole[1]["validation_loss"].iloc[-1]
    # Autocast is over: answers are computed as they are from the adapter on disk.
    with torch.inference_mode():
        assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.dtype == torch.float32
        inner = model.base_model.model.model.layers[0].self_attn.q_proj(torch.zeros(1, 32))
    assert inner.dtype == torch.float32
    with pytest.raises(StudyError, match="GPU only"):
        trained(base, precision="float16")
    with pytest.raises(StudyError, match="'half' is unknown; allowed: auto"):
        trained(base, precision="half")


def test_a_base_in_half_precision_is_trained_in_its_own(base):
    model, tokenizer = loading.load_model(base, dtype="bfloat16")
    encoded = encode(examples(), tokenizer, max_tokens=512)
    adapted = lora.attach(model, **LORA)
    assert training.precision_of(adapted, "auto") == "bfloat16"
    lora.check_fresh(adapted, encoded[:3], tokenizer)
    weights = {name: w.dtype for name, w in adapted.named_parameters() if w.requires_grad}
    assert set(weights.values()) == {torch.float32}
    curve = training.train(adapted, tokenizer, encoded, encoded[:4], **TRAINING, label="test")
    assert curve["validation_loss"].iloc[-1] < curve["validation_loss"].iloc[0]


def test_a_base_in_4_bits_is_trained_in_what_it_is_computed_in(base):
    model, _, _ = prepared(base)
    model.config.quantization_config = BitsAndBytesConfig(bnb_4bit_compute_dtype=torch.bfloat16)
    assert training.precision_of(model, "auto") == "bfloat16"


@pytest.mark.usefixtures("free_algorithms")
def test_too_little_memory_names_what_to_change(base):
    with pytest.raises(StudyError, match=r"batch_size.*gradient_checkpointing.*quantization"):
        trained(base, faults=[at_batch(2, torch.OutOfMemoryError("CUDA out of memory"))])
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_no_number_stops_the_run(base, tmp_path):
    def spoil(model):
        with torch.no_grad():
            model.get_input_embeddings().weight[:] = np.nan

    with pytest.raises(StudyError, match=r"loss is nan at step 0.*learning_rate"):
        trained(base, faults=[spoil])

    def explode(model):
        def after(module, arguments, output):
            if module.training:
                output.loss = output.loss * np.inf

        model.register_forward_hook(after)

    with pytest.raises(StudyError, match="loss is inf at step 1"):
        trained(base, faults=[explode], checkpoints=tmp_path / "none", checkpoint_steps=1)
    assert checkpoints.last_complete(tmp_path / "none") is None


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80), batch_size=st.integers(1, 9))
def test_every_epoch_has_every_example_once_with_its_like(lengths, batch_size):
    encoded = [{"input_ids": [0] * length, "number": place} for place, length in enumerate(lengths)]
    first, again = (training._Examples(encoded, batch_size=batch_size, seed=3) for _ in range(2))
    again.start_epoch(4)
    for data in (first, again):
        assert sorted(data[place]["number"] for place in range(len(data))) == list(range(len(lengths)))
    again.start_epoch(0)
    assert [first[i] for i in range(len(first))] == [again[i] for i in range(len(again))]


def test_examples_of_like_length_share_a_batch():
    lengths = np.random.default_rng(0).integers(100, 200, size=640).tolist()
    encoded = [{"input_ids": [0] * length} for length in lengths]

    def padding(places):
        batches = np.array([lengths[place] for place in places]).reshape(-1, 2)
        return np.sum(batches.max(axis=1, keepdims=True) - batches)

    data = training._Examples(encoded, batch_size=2, seed=3)
    orders = []
    for epoch in range(2):
        data.start_epoch(epoch)
        orders.append(data.order)
    assert orders[0] != orders[1]
    assert padding(orders[0]) < 0.1 * padding(range(640))
