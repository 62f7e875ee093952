"""Tests of models.finetuning.examples."""

import numpy as np
import pandas as pd
import pytest
import tiny_models
from hypothesis import given, strategies as st
from tokenizers import Tokenizer, models, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import handoff
from dualrec_utils.models.finetuning import examples as instructions
from dualrec_utils.models.language import chat, prompts
from dualrec_utils.models.movielm import documents as movielm_data

WORDS = ("Heat", "Fargo", "Alien", "Babe", "Speed", "Seven", "Crumb", "Clue", "Big", "Ran")
ITEMS = pd.DataFrame(
    {
        "item_id": range(1, 41),
        "title": [f"{WORDS[i % 10]} {WORDS[i // 10]}" for i in range(40)],
        "year": pd.array([1960 + i for i in range(40)], dtype="Int64"),
        "genres": [["Drama"] if i % 2 else ["Comedy", "Crime"] for i in range(40)],
    }
)
CATALOG = Catalog.of(ITEMS)
HISTORIES = {
    user: np.random.default_rng(user).permutation(ITEMS["item_id"].to_numpy())[:12] for user in range(1, 13)
}
HINTS = pd.Series({user: int(history[-1] % 40) + 1 for user, history in HISTORIES.items()})
SPLITS = pd.DataFrame({"user_id": range(1, 15), "split": ["train"] * 12 + ["validation", "test"]})


def examples(**changed) -> pd.DataFrame:
    return made(HISTORIES, **{"hints": HINTS, **changed})


def made(histories, *, earlier=None, **changed):
    """Examples where no two movies share a second, unless `earlier` says otherwise."""
    before = {user: history[:-5] for user, history in histories.items()} if earlier is None else earlier
    return instructions.instruction_data(histories, before, CATALOG, SPLITS, **{"seed": 5, **changed})


@pytest.fixture(scope="module")
def tokenizer():
    return movielm_data.train_tokenizer(CATALOG, vocabulary=400)


def test_answers_are_three_of_the_last_five_in_the_order_watched():
    for row in examples().itertuples():
        window = [int(item) for item in HISTORIES[row.user_id][-5:]]
        places = [window.index(item) for item in row.answer_items]
        assert len(places) == 3 and places == sorted(places)
        names = CATALOG.names
        assert row.answer == "".join(f"- {names[item]}\n" for item in row.answer_items)
        assert row.answer_of_user == row.user_id


def test_prompts_show_the_five_movies_before_the_window_and_the_hint():
    lines, names = prompts.lines_of(CATALOG), CATALOG.names
    for row in examples().itertuples():
        listed = [line for line in row.prompt.splitlines() if line.startswith("- ")]
        assert listed == [lines[item] for item in HISTORIES[row.user_id][-10:-5]]
        assert f"recommends: {names[HINTS[row.user_id]]}." in row.prompt
    assert "LSTM" not in "".join(examples(hints=None)["prompt"])


def test_the_draw_hangs_on_seed_and_user_alone():
    few = {user: HISTORIES[user] for user in (3, 7)}
    alone = made(few, hints=HINTS)
    among = examples().set_index("user_id").loc[[3, 7]].reset_index()
    pd.testing.assert_frame_equal(alone, among)
    window = HISTORIES[3][-5:].tolist()
    drawn = {tuple(window.index(i) for i in examples(seed=s)["answer_items"].iloc[2]) for s in range(120)}
    assert len(drawn) == 10  # every choice of three out of five


def test_a_planted_leak_is_found():
    for stranger in (13, 14):
        leaking = HISTORIES | {stranger: HISTORIES[1]}
        with pytest.raises(StudyError, match=f"leak: user {stranger}"):
            made(leaking, hints=None)
    with pytest.raises(StudyError, match="'test'"):
        made({14: HISTORIES[1]}, hints=None, split="test")
    with pytest.raises(StudyError, match="has no hint"):
        examples(hints=HINTS.drop(4))
    with pytest.raises(StudyError, match=r"user 2: the prompt's history must hold .* it holds 8 of 12"):
        made(HISTORIES, earlier={2: HISTORIES[2][:8]}, hints=None)


def test_a_user_of_one_second_gives_no_example():
    assert made(HISTORIES, earlier={3: HISTORIES[3][:4]}, hints=HINTS)["user_id"].tolist() == [3]


@given(n=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_permuted_answers_go_round_and_nobody_keeps_their_own(n, seed):
    rows = examples().head(n)
    before = rows.copy(deep=True)
    permuted = instructions.permute_answers(rows, seed=seed)
    pd.testing.assert_frame_equal(rows, before)
    assert permuted["prompt"].tolist() == rows["prompt"].tolist()
    assert (permuted["answer_of_user"] != rows["user_id"]).all()
    assert sorted(permuted["answer_of_user"]) == rows["user_id"].tolist()
    answer = rows.set_index("user_id")["answer"]
    assert permuted["answer"].tolist() == answer.loc[permuted["answer_of_user"]].tolist()


def test_missing_hints_name_the_stage_that_writes_them():
    with pytest.raises(StudyError, match="dvc repro lstm"):
        handoff.load_example_hints("no-such-data-set", "train")


def test_one_example_cannot_be_permuted():
    with pytest.raises(StudyError, match="at least 2"):
        instructions.permute_answers(examples().head(1), seed=1)


def test_loss_is_only_on_the_answer_after_the_first_bullet(tokenizer):
    data = examples()
    encoded = instructions.encode(data, tokenizer, max_tokens=512)
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


@pytest.mark.parametrize(
    ("write", "ends"),
    [
        (lambda folder: tiny_models.tiny_mistral(folder, chat=True), "[/INST]-"),
        (lambda folder: tiny_models.tiny_mistral(folder, chat=False), "enjoy next.\n\n-"),
        (lambda folder: tiny_models.tiny_qwen2(folder), "</think>\n\n-"),
        (lambda folder: tiny_models.tiny_qwen2(folder, reasoning=False), "enjoy next.\n\n-"),
    ],
    ids=["mistral instruct", "mistral", "qwen2 that reasons", "qwen2"],
)
def test_examples_stand_in_the_chat_template_as_in_generation(write, ends, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(write(tmp_path))
    data = examples().head(3)
    encoded = instructions.encode(data, tokenizer, max_tokens=1024)
    for example, prompt, answer in zip(encoded, data["prompt"], data["answer"], strict=True):
        ids, labels = example["input_ids"], example["labels"]
        n_silent = labels.count(-100)
        assert labels == [-100] * n_silent + ids[n_silent:]
        assert ids[:n_silent] == chat.prompt_ids(tokenizer, prompt)
        assert tokenizer.decode(ids[:n_silent]).endswith(ends)
        assert tokenizer.decode(ids[n_silent:]) == answer.removeprefix("-") + tokenizer.eos_token
        assert ids.count(tokenizer.bos_token_id) == 1


def test_examples_too_long_or_cut_differently_are_refused(tokenizer):
    with pytest.raises(StudyError, match="max_tokens is 30"):
        instructions.encode(examples(), tokenizer, max_tokens=30)
    # Without a pre-tokenizer "- " becomes one token, which the prompt's end alone can never be.
    joining = Tokenizer(models.BPE(unk_token="<unk>"))
    joining.train_from_iterator(
        examples()["answer"].tolist(), trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"])
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=joining, unk_token="<unk>", eos_token="</s>")
    with pytest.raises(StudyError, match="differently together and apart"):
        instructions.encode(examples(), wrapped, max_tokens=5000)
