"""The small language model on a toy catalog whose next movie is always known."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from toy_catalog import catalog_of

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.movielm import documents, model as movielm

pytestmark = pytest.mark.usefixtures("one_thread")


SETTINGS = {
    "vocabulary": 400,
    "hidden_size": 32,
    "n_layers": 1,
    "n_heads": 2,
    "max_tokens": 160,
    "genre_share": 0.5,
    "noise_share": 0.3,
    "n_epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def catalog():
    return catalog_of(
        range(1, 7),
        titles=["Alpha", "Bravo", "Charlie Two", "Delta, The", "Echo", "Foxtrot"],
        years=[1990, 1991, 1992, 1993, 1994, None],
        genres=[["Drama"], ["Comedy", "Drama"], [], ["War"], ["Drama"], ["Crime"]],
    )


@pytest.fixture(scope="module")
def tokenizer(catalog):
    return documents.train_tokenizer(catalog, vocabulary=400)


def untrained(tokenizer):
    torch.manual_seed(0)
    return movielm.new_model(tokenizer, hidden_size=32, n_layers=1, n_heads=2, dropout=0.0).eval()


@pytest.fixture(scope="module")
def histories():
    # Always the next of six in a ring.
    return {user: np.array([(user + step) % 6 + 1 for step in range(25)]) for user in range(12)}


def test_tokens_give_the_text_back(tokenizer):
    text = "Below is a user's movie watching history:\n- Delta, The (1993) (War)\n\n- Ünknown (2050)"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    # Trap: pad id 0 counts as unset in beam search.
    assert tokenizer.pad_token_id not in (0, tokenizer.eos_token_id)


def test_prompt_and_answer_tokens_join_without_merging(tokenizer):
    prompt, answer = "would likely enjoy next.\n\n", "- Alpha (1990)\n- Delta, The (1993)\n"
    apart = tokenizer(prompt)["input_ids"] + tokenizer(answer, add_special_tokens=False)["input_ids"]
    assert tokenizer(prompt + answer)["input_ids"] == apart


def test_an_epoch_holds_every_movie_once_in_order(catalog, tokenizer, histories):
    written = documents.Documents(catalog, tokenizer, max_tokens=120)
    cut = written.epoch(histories, genre_share=0.5, noise_share=0.0, rng=np.random.default_rng(0))
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids, _ in cut]
    titles = [line[2:].split(" (")[0] for text in texts for line in text.splitlines()[1:]]
    wanted = dict(zip(catalog.ids, catalog.items["title"], strict=True))
    assert titles == [wanted[item] for user in sorted(histories) for item in histories[user]]
    assert max(len(ids) for ids, _ in cut) <= 120
    assert all(ids == labels for ids, labels in cut)
    plain = ["(Drama)" not in text and "(War)" not in text for text in texts]
    assert 0 < sum(plain) < len(texts)


def test_random_tokens_interrupt_between_lines_and_carry_no_loss(catalog, tokenizer, histories):
    written = documents.Documents(catalog, tokenizer, max_tokens=120)
    settings = {"genre_share": 0.0, "noise_share": 1.0}
    cut = written.epoch(histories, **settings, rng=np.random.default_rng(0))
    kept = [[token for token in labels if token != -100] for _, labels in cut]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in kept]
    titles = [line[2:].split(" (")[0] for text in texts for line in text.splitlines()[1:]]
    wanted = dict(zip(catalog.ids, catalog.items["title"], strict=True))
    # Without the noise, the documents are whole: cut between lines, every movie once.
    assert titles == [wanted[item] for user in sorted(histories) for item in histories[user]]
    for ids, labels in cut:
        silent = [place for place, label in enumerate(labels) if label == -100]
        assert len(silent) >= 8 + 3
        assert silent == list(range(silent[0], silent[-1] + 1))
        assert tokenizer.decode(ids[silent[0] - 1 : silent[0] + 1]) == "\n\n"
        assert tokenizer.decode(ids[silent[-1] - 1 : silent[-1] + 1]) == "\n\n"
        assert not set(ids[silent[0] : silent[-1] + 1]) & set(range(4))


def test_documents_refuse_a_length_that_holds_no_two_movies(catalog, tokenizer):
    with pytest.raises(StudyError, match="max_tokens is 20"):
        documents.Documents(catalog, tokenizer, max_tokens=20)


def test_batches_hold_every_document_once():
    some = [([1] * n, [1] * n) for n in range(1, 30)]
    made = documents.batches(some, batch_size=4, pad=0, rng=np.random.default_rng(0))
    assert sorted(int(row.sum()) for ids, _ in made for row in ids) == list(range(1, 30))
    assert sorted(int((row == 1).sum()) for _, labels in made for row in labels) == list(range(1, 30))
    assert max(len(ids) for ids, _ in made) == 4


def test_untrained_model_guesses_uniformly_and_padding_costs_nothing(tokenizer):
    model = untrained(tokenizer)
    ids = torch.tensor([[1, 10, 11, 12], [1, 10, 3, 3]])
    labels = torch.tensor([[1, 10, 11, 12], [1, 10, -100, -100]])
    losses = movielm.token_losses(model, ids, labels)
    assert losses.shape == (2, 3)
    assert float(losses[0].detach().mean()) == pytest.approx(math.log(len(tokenizer)), rel=0.02)
    assert losses[1, 1:].tolist() == [0.0, 0.0]
    # What stands after a token changes nothing before it.
    assert losses[0, 0].item() == pytest.approx(losses[1, 0].item(), abs=1e-5)


def test_losses_at_labelled_tokens_are_those_of_the_whole_document(tokenizer):
    model = untrained(tokenizer)
    ids = torch.tensor([[1, 10, 11, 12, 13], [1, 20, 21, 22, 3]])
    labels = torch.tensor([[1, 10, -100, 12, 13], [1, -100, 21, -100, -100]])
    losses = movielm.token_losses(model, ids, labels).detach()
    chances = torch.log_softmax(model(input_ids=ids).logits.detach(), dim=-1)
    for row in range(2):
        for place in range(4):
            wanted = labels[row, place + 1]
            loss = 0.0 if wanted == -100 else -chances[row, place, wanted].item()
            assert losses[row, place].item() == pytest.approx(loss, abs=1e-5)


def test_every_weight_is_optimized_once_and_norms_do_not_decay(tokenizer):
    model = untrained(tokenizer)
    groups = movielm._optimizer(model, weight_decay=0.1).param_groups
    owned = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(owned) == sorted(id(weight) for weight in model.parameters())
    for group in groups:
        for weight in group["params"]:
            assert group["weight_decay"] == (0.1 if weight.ndim == 2 else 0.0)


def test_training_learns_the_ring(catalog, histories):
    _, _, curve = movielm.train(
        histories, {99: histories[3]}, catalog, seed=7, **SETTINGS | {"n_epochs": 30}
    )
    assert curve["loss_per_title"].iloc[-1] < 0.5 * curve["loss_per_title"].iloc[0]
    # One movie of six chosen blindly costs ln 6 = 1.79 nats.
    assert curve["loss_per_title"].iloc[-1] < math.log(6)


def test_a_seed_gives_the_same_weights_again_and_another_seed_others(catalog, histories):
    few = {user: histories[user] for user in (0, 1)}
    one, again, other = (movielm.train(few, few, catalog, seed=seed, **SETTINGS) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one[2], again[2], check_exact=True)
    for first, second in zip(one[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(one[0].model.embed_tokens.weight, other[0].model.embed_tokens.weight)


@pytest.mark.usefixtures("free_algorithms")
def test_training_leaves_global_state_alone(catalog, histories):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    movielm.train({0: histories[0]}, {1: histories[1]}, catalog, seed=7, **SETTINGS)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.are_deterministic_algorithms_enabled()


def test_stage_never_reads_the_last_five_movies(catalog, histories, tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    (config.processed_dir("toy")).mkdir(parents=True)
    summary = {"source": "toy", "order_sha256": "0"}
    (config.processed_dir("toy") / "summary.json").write_text(json.dumps(summary))
    seen = {}

    def spy(histories, validation, catalog, *, seed, **section):
        seen.update(histories)
        return train(histories, validation, catalog, seed=seed, **section)

    train = movielm.train
    monkeypatch.setattr(movielm, "train", spy)
    monkeypatch.setattr(movielm, "load_catalog", lambda dataset: catalog)
    monkeypatch.setattr(movielm, "load_histories", lambda dataset, split: histories)
    earlier = {user: history[:-5] for user, history in histories.items()}
    monkeypatch.setattr(movielm, "load_earlier", lambda dataset, split: earlier)
    folder = movielm.train_stage("toy", 3, **SETTINGS)
    assert {user: len(history) for user, history in seen.items()} == dict.fromkeys(histories, 20)
    assert (folder / "model.safetensors").is_file()
    assert (folder / "tokenizer.json").is_file()
    metrics = json.loads(config.metrics_file("movielm").read_text())
    assert metrics["n_train_movies"] == 12 * 20
    assert metrics["validation/loss_per_title"] > 0
    assert not list(folder.parent.glob(".*"))
