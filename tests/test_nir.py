"""NIR: candidate sets, the recordings' own prompts and hit rule, reading answers, yardsticks, fetching."""

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.movielm import model as movielm
from dualrec_utils.studies.nir import (
    candidates as nir_candidates,
    experiment as nir_experiment,
    protocol as nir,
    recordings as nir_data,
)

TITLES = ["Alpha", "Bravo", "Charlie", "Delta, The", "Echo"]
ITEMS = pd.DataFrame(
    {
        "item_id": [11, 12, 13, 14, 15],
        "title": TITLES,
        "year": pd.array([1990, 1991, 1992, 1993, 1994], dtype="Int64"),
        "genres": [["Drama"]] * 5,
    }
)
# As published: oldest first, the target apart. Rows 0 and 1 are MovieLens' users 2 and 1.
ROWS = [["Alpha | Bravo", "Delta, The"], ["Bravo | Charlie", "Echo"]]
RATINGS = pd.DataFrame({"user_id": [1, 1, 1, 2, 2, 2], "item_id": [12, 13, 15, 11, 12, 14]})
PROMPT = "\nCandidate Set: {candidates}.\nWatched: {watched}.\nStep 1?\n"


def recording(row, candidates, watched, target, answer, hit, first="I like it", second="1. Bravo"):
    one = PROMPT.format(candidates=", ".join(candidates), watched=", ".join(watched))
    two = f"{one}{first}.\nStep 2?\n"
    return {
        "PID": row, "Input_1": one, "Input_2": two, "Input_3": f"{two}{second}.\nStep 3?\n", "GT": target,
        "Predictions_1": first, "Predictions_2": second, "Predictions": answer, "Hit": int(hit),
    }  # fmt: skip


RECORDED = [
    recording(
        0, ["Charlie", "Delta, The"], ["Alpha", "Bravo"], "Delta, The", "1. Alpha - The Delta", False
    ),
    recording(
        1, ["Echo", "Alpha"], ["Bravo", "Charlie"], "Echo", "1. Bravo - Alpha\n2. Echo - Alpha", True, "War"
    ),
]


@pytest.fixture
def published_files(tmp_path, monkeypatch):
    """A folder for DUALREC_DATA with tiny files in the authors' format."""
    folder = tmp_path / "published" / nir_data.DATASET
    folder.mkdir(parents=True)
    for name, content in ((nir_data.HISTORIES, ROWS), (nir_data.ANSWERS, RECORDED)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
        monkeypatch.setitem(nir_data.SHA256, name, files.sha256(folder / name))
    monkeypatch.delenv("DUALREC_DATA", raising=False)
    return folder


@pytest.fixture
def published(published_files):
    return nir_data.load(published_files, ITEMS, RATINGS)


def test_rows_become_cases_of_the_movielens_users_they_are(published):
    assert published.items["title"].tolist() == ["Alpha", "Bravo", "Charlie", "Delta, The", "Echo"]
    assert published.items["movielens_id"].tolist() == [11, 12, 13, 14, 15]
    assert [history.tolist() for history in published.cases["history"]] == [[0, 1], [1, 2]]
    assert published.cases["user_id"].tolist() == [2, 1]
    assert published.targets.tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("items", "ratings", "message"),
    [
        (ITEMS[ITEMS["title"] != "Echo"], RATINGS, "names 'Echo', which is no movie"),
        (ITEMS, RATINGS[RATINGS["user_id"] == 1], "has 2 users, the ratings have 1$"),
    ],
)
def test_movies_and_users_that_are_not_movielens_are_named(published_files, items, ratings, message):
    with pytest.raises(StudyError, match=message):
        nir_data.load(published_files, items, ratings)


@pytest.fixture
def out_of_reach(published_files, monkeypatch):
    """The published files lie in DUALREC_DATA, and nothing can be downloaded."""
    monkeypatch.setattr(nir_data, "URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("DUALREC_DATA", str(published_files.parent))


def test_files_come_from_a_folder_first_and_are_kept(root, published_files, out_of_reach):
    folder = nir_data.fetch()
    assert folder == config.raw_dir(nir_data.DATASET)
    (published_files / nir_data.ANSWERS).unlink()
    assert nir_data.fetch() == folder
    (folder / nir_data.HISTORIES).write_text("cut", encoding="utf-8")
    assert files.sha256(nir_data.fetch() / nir_data.HISTORIES) == nir_data.SHA256[nir_data.HISTORIES]


def test_files_are_downloaded_and_verified(root, published_files, monkeypatch):
    handler = partial(SimpleHTTPRequestHandler, directory=str(published_files))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(nir_data, "URL", f"http://127.0.0.1:{server.server_port}/")
        folder = nir_data.fetch()
        assert {path.name for path in folder.iterdir()} == set(nir_data.SHA256)
        (folder / nir_data.ANSWERS).unlink()
        monkeypatch.setitem(nir_data.SHA256, nir_data.ANSWERS, "0" * 64)
        with pytest.raises(StudyError, match=r"0{64}.*DUALREC_DATA=SOME_FOLDER"):
            nir_data.fetch()
        server.shutdown()
    assert not (folder / nir_data.ANSWERS).exists()


def test_out_of_reach_names_address_checksum_and_folder(root, published_files, out_of_reach):
    (published_files / nir_data.HISTORIES).write_text("another file", encoding="utf-8")
    with pytest.raises(StudyError) as error:
        nir_data.fetch()
    for part in ("http://127.0.0.1:9/ml_100k.json", nir_data.SHA256[nir_data.HISTORIES], "is another file"):
        assert part in str(error.value)


HISTORIES = [np.array([0, 1, 2]), np.array([0, 1, 3]), np.array([0, 4, 4]), np.array([5])]


def test_user_filtering_by_hand():
    # User 0 shares 3 movies with itself, 2 with user 1, 1 with user 2 and none with user 3; movie 3 has
    # weight 2/6, movie 4, which stands twice in user 2's history, 2/6 too and comes later.
    lists = nir_candidates.by_users(HISTORIES, n_items=6, n_candidates=3)
    assert lists[0] == [3, 4, 5]
    assert nir_candidates.by_users(HISTORIES, n_items=6, n_candidates=3, n_users=2)[0] == [3]


def test_item_filtering_by_hand():
    # Watched together with 0: 1 twice, 4 twice by its repetition, 2 and 3 once; with 1: 0 twice, 2, 3 once.
    lists = nir_candidates.by_items(HISTORIES, n_items=6, n_candidates=5, n_neighbours=6)
    # 4 from movie 0, twice; 3 from movies 0 and 1, once each: equal, and 4 is met first.
    assert lists[0] == [4, 3]
    assert lists[3] == []


@given(
    st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_candidates_are_new_and_different(histories, n_candidates):
    arrays = [np.array(history) for history in histories]
    for lists in (
        nir_candidates.by_users(arrays, n_items=7, n_candidates=n_candidates),
        nir_candidates.by_items(arrays, n_items=7, n_candidates=n_candidates, n_neighbours=3),
    ):
        for history, items in zip(histories, lists, strict=True):
            assert len(items) == len(set(items)) <= n_candidates
            assert not set(items) & set(history)


def test_the_wording_is_what_the_recorded_prompts_share(published, published_files):
    words = nir.wording(nir_data.recordings(published_files), published)
    start = "\nCandidate Set: {candidates}.\nWatched: {watched}.\nStep 1?\n"
    assert words[0] == start
    assert words[2] == start + "{answer_1}.\nStep 2?\n{answer_2}.\nStep 3?\n"


def test_prompts_of_several_wordings_are_refused(published, published_files):
    recorded = nir_data.recordings(published_files)
    recorded.loc[1, "prompt_3"] = recorded.loc[1, "prompt_3"].replace("Step 3?", "Step three?")
    with pytest.raises(StudyError, match="2 wordings"):
        nir.wording(recorded, published)


def test_each_step_is_asked_with_the_answers_before_it():
    all_prompts = []

    def answer(prompts, step):
        all_prompts.append(prompts)
        return [f" says {{watched}} {step}. "] * len(prompts)

    words = ("C {candidates} W {watched}", "W {watched} A {answer_1}.", "{answer_1}/{answer_2}")
    replies = nir.ask([["a", "b"]], [["x"]], words, answer=answer)
    # What a model writes is never read as a mark.
    assert all_prompts == [
        ["C x W a, b"],
        ["W a, b A says {watched} 1."],
        ["says {watched} 1/says {watched} 2"],
    ]
    assert replies["answer_3"].tolist() == [" says {watched} 3. "]


def test_the_order_in_the_prompt_is_shuffled_by_row_and_seed():
    rows = [list(range(19))] * 2
    first = nir.shuffled(rows, seed=1)
    assert first == nir.shuffled(rows, seed=1) != nir.shuffled(rows, seed=2)
    assert sorted(first[0]) == sorted(first[1]) == rows[0]
    assert first[0] != first[1]


CANDIDATES = pd.DataFrame(
    {"item_id": [3, 4, 7], "title": ["Time to Kill, A", "Boot, Das", "Scream"], "year": [pd.NA] * 3}
).astype({"year": "Int64"})


@pytest.mark.parametrize(
    ("answer", "items"),
    [
        ("1. Speed - A Time to Kill\n2. Heat - Das Boot ", [3, 4]),
        ("[1. Speed - Scream], [2. Das Boot].", [7, 4]),
        ("- Scream (1996)\n- Scream (1996)\n- Boot, Das (1981)\n", [7, None, 4]),
        # A candidate on the watched side is not what is recommended.
        ("1. Scream - Heat", [None]),
        ("1. Speed - Screams", [None]),
        ("", []),
        ("No idea", [None]),
    ],
)
def test_answers_are_read_by_the_recommended_side(answer, items):
    assert nir.read_answer(answer, CANDIDATES) == items


def test_lists_stop_at_ten():
    assert len(nir.read_answer("\n".join(["1. A - B"] * 13), CANDIDATES)) == 10


@given(st.text(max_size=200))
def test_any_answer_can_be_read(answer):
    assert set(nir.read_answer(answer, CANDIDATES)) <= {3, 4, 7, None}


def test_the_released_rule_and_the_strict_one_differ_as_the_texts_say(published, published_files):
    recorded = nir_data.recordings(published_files)
    ranks = nir.released_rule(recorded)
    # "The Delta" is not "Delta, The" to the letter; "Echo" stands on the watched side of line 2.
    assert ranks.tolist() == [np.inf, 2.0]
    assert (np.isfinite(ranks).to_numpy() == recorded["hit"].to_numpy()).all()
    released, strict = nir_experiment.recorded_results(recorded, [[2, 3], [4, 0]], published)
    assert released.scored["hit_rate@10"].tolist() == [0.0, 1.0]
    assert released.scored["ndcg@10"].tolist() == pytest.approx([0.0, 1 / np.log2(3)])
    assert strict.scored["hit_rate@10"].tolist() == [1.0, 0.0]
    assert list(strict.reached) == [True, True]


def test_measures_yardsticks_and_the_row_of_the_table_by_hand(published):
    # The target of row 0 is 3 (second of two), that of row 1 is 4 (not a candidate).
    candidates = [[2, 3], [0, 3]]
    assert nir.reachable(candidates, published) == [True, False]
    scored = nir.measure(candidates, published)
    assert scored["hit_rate@10"].tolist() == [1.0, 0.0]
    assert scored["ndcg@10"].tolist() == pytest.approx([1 / np.log2(3), 0.0])
    random = nir.expected_of_random(candidates, published)
    assert random["ndcg@10"].tolist() == pytest.approx([(1 + 1 / np.log2(3)) / 2, 0.0])
    many = nir.expected_of_random([[3, *range(100, 118)], []], published)
    assert many["hit_rate@10"].tolist() == pytest.approx([10 / 19, 0.0])
    scores = np.array([[1.0, 0.0, 5.0, 1.0]])
    assert nir.by_score([[2, 0]], scores, ["a"]) == [[2, 0]]
    firsts = {nir.by_score([[0, 2, 3]], scores, [name])[0][1] for name in "abcdefgh"}
    assert firsts == {0, 3}, "equal scores are drawn"
    result = nir.Result("s", "user filtering", scored, [True, False], "why")
    row = nir.summary_row(result, seed=1)
    assert (row["users"], row["target_among_candidates"], row["hits"]) == (2, 1, 1.0)
    assert row["hit_rate@10"] == 0.5 and row["low"] <= 0.5 <= row["high"]
    only = nir_experiment.only_users(result, {2})
    assert len(only.scored) == 1 and list(only.reached) == [True]


def test_the_committed_table_holds_the_published_figure_and_its_ceiling():
    table = pd.read_csv(config.study_dir("nir") / "results.csv")
    rows = table.set_index(["system", "candidates_by"])
    released = rows.loc[("gpt3_recorded_released_rule", "user filtering")]
    assert (released["hits"], released["users"], released["target_among_candidates"]) == (114, 943, 170)
    assert (table["hits"] <= table["target_among_candidates"]).all()
    assert np.allclose(table["hit_rate@10"] * table["users"], table["hits"], atol=0.05)


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("sede: 1", "seed: 2025", "sede, seed; the keys of the file"),
        ("  size: 3", "  query_length: 3", "query_length, size; the keys of item_knn"),
        ("  dtyp: float32", "  dtype: float32", "dtyp, dtype; the keys of local_model"),
    ],
)
def test_settings_are_complete_and_known(tmp_path, wrong, right, message):
    text = nir_experiment.PARAMS.read_text(encoding="utf-8")
    assert nir_experiment.read_settings(nir_experiment.PARAMS)["local_model"]["model"] == "movielm"
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        nir_experiment.read_settings(path)


@pytest.mark.usefixtures("one_thread")
def test_a_local_model_is_asked_in_three_ways(root, published, published_files):
    from dualrec_utils.studies.nir import local as nir_local

    histories = {user: np.array([11 + (user + step) % 5 for step in range(12)]) for user in range(4)}
    model, tokenizer, curve = movielm.train(
        histories, histories, Catalog.of(ITEMS), seed=1, vocabulary=350, hidden_size=32, n_layers=1,
        n_heads=2, max_tokens=120, genre_share=0.0, noise_share=0.0, n_epochs=1, batch_size=4,
        learning_rate=0.01, weight_decay=0.1, dropout=0.0,
    )  # fmt: skip
    movielm.save(model, tokenizer, curve, config.stage_dir("ml-100k", "movielm"))
    words = nir.wording(nir_data.recordings(published_files), published)
    sets = {"user filtering": [[2, 3, 4], [0, 3]]}
    results = nir_local.results(
        published, sets, words, ITEMS, seed=1, model="movielm", movies_of="ml-100k",
        revision=None, dtype="float32", max_new_tokens=12, batch_size=4,
    )  # fmt: skip
    by_name = {result.system: result for result in results}
    # Row 1 cannot be a hit and is not asked; with all candidates listed row 0 must be one.
    for system in ("movielm_three_steps_constrained", "movielm_history_constrained"):
        assert by_name[system].scored["hit_rate@10"].tolist() == [1.0, 0.0]
    assert by_name["movielm_three_steps"].scored["hit_rate@10"].iloc[1] == 0.0
    folder = config.generations_dir(nir_data.DATASET, "nir")
    (row,) = files.read_jsonl(folder / "movielm_user_filtering.jsonl")
    assert row["case_id"] == "row0000" and row["answer_1"].strip().removesuffix(".") in row["prompt_2"]
