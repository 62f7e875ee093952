"""Tests of dualrec_utils.lora, on a tiny Mistral model with random weights."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers
from transformers import PreTrainedTokenizerFast

from dualrec_utils import generation, lora, movielm, prompts
from dualrec_utils.errors import StudyError

WORDS = ("Heat", "Fargo", "Alien", "Babe", "Speed", "Seven", "Crumb", "Clue", "Big", "Ran")
ITEMS = pd.DataFrame(
    {
        "item_id": range(1, 41),
        "title": [f"{WORDS[i % 10]} {WORDS[i // 10]}" for i in range(40)],
        "year": pd.array([1960 + i for i in range(40)], dtype="Int64"),
        "genres": [["Drama"] if i % 2 else ["Comedy", "Crime"] for i in range(40)],
    }
)
HISTORIES = {
    user: np.random.default_rng(user).permutation(ITEMS["item_id"].to_numpy())[:12] for user in range(1, 13)
}
HINTS = pd.Series({user: int(history[-1] % 40) + 1 for user, history in HISTORIES.items()})
SPLITS = pd.DataFrame({"user_id": range(1, 15), "split": ["train"] * 12 + ["validation", "test"]})
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "seed": 3}
TRAINING = {"n_epochs": 2, "batch_size": 2, "accumulation": 2, "learning_rate": 0.02, "label": "test"}


def examples(**changed) -> pd.DataFrame:
    return lora.instruction_data(HISTORIES, ITEMS, SPLITS, **{"hints": HINTS, "seed": 5, **changed})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    tokenizer = movielm.train_tokenizer(ITEMS, vocabulary=400)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = movielm.new_model(tokenizer, hidden_size=32, n_layers=2, n_heads=2, dropout=0.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_answers_are_three_of_the_last_five_in_the_order_watched():
    for row in examples().itertuples():
        window = [int(item) for item in HISTORIES[row.user_id][-5:]]
        places = [window.index(item) for item in row.answer_items]
        assert len(places) == 3 and places == sorted(places)
        names = prompts.names_of(ITEMS)
        assert row.answer == "".join(f"- {names[item]}\n" for item in row.answer_items)
        assert row.answer_of_user == row.user_id


def test_prompts_show_the_five_movies_before_the_window_and_the_hint():
    lines, names = prompts.lines_of(ITEMS), prompts.names_of(ITEMS)
    for row in examples().itertuples():
        listed = [line for line in row.prompt.splitlines() if line.startswith("- ")]
        assert listed == [lines[item] for item in HISTORIES[row.user_id][-10:-5]]
        assert f"recommends: {names[HINTS[row.user_id]]}." in row.prompt
    assert "LSTM" not in "".join(examples(hints=None)["prompt"])


def test_the_draw_hangs_on_seed_and_user_alone():
    few = {user: HISTORIES[user] for user in (3, 7)}
    alone = lora.instruction_data(few, ITEMS, SPLITS, hints=HINTS, seed=5)
    among = examples().set_index("user_id").loc[[3, 7]].reset_index()
    pd.testing.assert_frame_equal(alone, among)
    window = HISTORIES[3][-5:].tolist()
    drawn = {tuple(window.index(i) for i in examples(seed=s)["answer_items"].iloc[2]) for s in range(120)}
    assert len(drawn) == 10  # every choice of three out of five


def test_a_planted_leak_is_found():
    for stranger in (13, 14):
        leaking = HISTORIES | {stranger: HISTORIES[1]}
        with pytest.raises(StudyError, match=f"leak: user {stranger}"):
            lora.instruction_data(leaking, ITEMS, SPLITS, hints=None, seed=5)
    with pytest.raises(StudyError, match="'test'"):
        lora.instruction_data({14: HISTORIES[1]}, ITEMS, SPLITS, hints=None, seed=5, split="test")
    with pytest.raises(StudyError, match="has no hint"):
        examples(hints=HINTS.drop(4))
    with pytest.raises(StudyError, match="user 2 has no movie before"):
        lora.instruction_data({2: HISTORIES[2][:5]}, ITEMS, SPLITS, hints=None, seed=5)


@given(n=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_permuted_answers_go_round_and_nobody_keeps_their_own(n, seed):
    own = examples().head(n)
    before = own.copy(deep=True)
    permuted = lora.permute_answers(own, seed=seed)
    pd.testing.assert_frame_equal(own, before)
    assert permuted["prompt"].tolist() == own["prompt"].tolist()
    assert (permuted["answer_of_user"] != own["user_id"]).all()
    assert sorted(permuted["answer_of_user"]) == own["user_id"].tolist()
    answer = own.set_index("user_id")["answer"]
    assert permuted["answer"].tolist() == answer.loc[permuted["answer_of_user"]].tolist()


def test_one_example_cannot_be_permuted():
    with pytest.raises(StudyError, match="at least 2"):
        lora.permute_answers(examples().head(1), seed=1)


def test_loss_is_only_on_the_answer_after_the_first_bullet(base):
    _, tokenizer = generation.load_model(base)
    data = examples()
    encoded = lora.encode(data, tokenizer, max_tokens=512)
    for example, prompt, answer in zip(encoded, data["prompt"], data["answer"], strict=True):
        carrying = [label for label in example["labels"] if label != -100]
        assert tokenizer.decode(carrying) == answer.removeprefix("-") + tokenizer.eos_token
        silent = [
            i for i, label in zip(example["input_ids"], example["labels"], strict=True) if label == -100
        ]
        # Exactly what generation gives the model.
        assert silent == tokenizer(prompt + "-")["input_ids"]
        assert example["input_ids"] == silent + carrying
        assert len(example["attention_mask"]) == len(example["input_ids"])


def test_examples_too_long_or_cut_differently_are_refused(base):
    _, tokenizer = generation.load_model(base)
    with pytest.raises(StudyError, match="max_tokens is 30"):
        lora.encode(examples(), tokenizer, max_tokens=30)
    # Without a pre-tokenizer "- " becomes one token, which the prompt's end alone can never be.
    joining = Tokenizer(models.BPE(unk_token="<unk>"))
    joining.train_from_iterator(
        examples()["answer"].tolist(), trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"])
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=joining, unk_token="<unk>", eos_token="</s>")
    with pytest.raises(StudyError, match="differently together and apart"):
        lora.encode(examples(), wrapped, max_tokens=5000)


def test_answer_loss_equals_log_likelihoods_one_example_at_a_time(base):
    model, tokenizer = generation.load_model(base)
    encoded = lora.encode(examples(), tokenizer, max_tokens=512)
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
    model, tokenizer = generation.load_model(base)
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
    model, tokenizer = generation.load_model(base)
    encoded = lora.encode(examples(), tokenizer, max_tokens=512)
    adapted = lora.attach(model, **LORA)
    curve = lora.train(adapted, tokenizer, encoded, encoded[:4], seed=9, **TRAINING)
    return adapted, tokenizer, curve


def test_training_learns_repeats_itself_and_leaves_the_base_alone(base):
    torch.manual_seed(77)
    state = torch.random.get_rng_state()
    first, tokenizer, curve = trained(base)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert curve["epoch"].tolist() == [0, 1, 2]
    assert np.isnan(curve["train_loss"][0]) and curve["train_loss"][1:].notna().all()
    assert curve["validation_loss"].iloc[-1] < curve["validation_loss"].iloc[0]
    untouched, _ = generation.load_model(base)
    encoded = lora.encode(examples(), tokenizer, max_tokens=512)[:4]
    assert curve["validation_loss"][0] == lora.answer_loss(untouched, encoded, tokenizer)
    with first.disable_adapter():
        assert lora.answer_loss(first, encoded, tokenizer) == curve["validation_loss"][0]
    torch.manual_seed(1)  # what happened before must not matter
    second, _, again = trained(base)
    pd.testing.assert_frame_equal(curve, again)
    both = zip(first.state_dict().items(), second.state_dict().values(), strict=True)
    for (name, weight), other in both:
        assert torch.equal(weight, other), name


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
    loaded, _ = generation.load_model(base, adapter=folder)
    batch = tokenizer(examples()["prompt"].tolist()[0], return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(loaded(**batch).logits, adapted(**batch).logits)
