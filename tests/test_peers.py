"""RecBole gets our data unchanged, its scores are ranked as ours, and the table says who is ahead."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from test_leave_one_out import track

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.studies.leave_one_out import track as leave_one_out
from dualrec_utils.studies.peers import ours as peer_baselines, recbole, settings as peers

FOLDER = peers.PARAMS.parent


TRACK = track([[5, 3, 9, 4], [9, 5, 3], [4, 9, 5, 3]])
HISTORIES = st.lists(
    st.lists(st.integers(1, 40), min_size=3, max_size=12, unique=True), min_size=1, max_size=6
)


def read_back(path):
    """User id -> items by position of an exported file, as RecBole reads it."""
    frame = pd.read_csv(path, sep="\t").rename(columns=lambda name: name.split(":")[0])
    ordered = frame.sort_values(["user_id", "position"], kind="stable")
    assert (ordered["position"] == ordered.groupby("user_id").cumcount()).all()
    return {user: items.tolist() for user, items in ordered.groupby("user_id")["item_id"]}


@given(HISTORIES)
def test_what_is_exported_is_read_back_in_order(tmp_path_factory, histories):
    whole = track(histories)
    path = recbole.export(whole, tmp_path_factory.mktemp("export") / "track.inter")
    assert read_back(path) == dict(zip(whole.user_ids.tolist(), histories, strict=True))


def test_an_exported_line_is_a_user_a_movie_and_its_position(tmp_path):
    path = recbole.export(TRACK, tmp_path / "track.inter")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert header == "user_id:token\titem_id:token\tposition:float"
    assert lines[:4] == ["1\t5\t0", "1\t3\t1", "1\t9\t2", "1\t4\t3"]


@given(HISTORIES)
def test_no_target_is_in_training(histories):
    split = peers.split(track(histories))
    for part, history in zip(split.training, histories, strict=True):
        assert part.tolist() == history[:-2]
    assert split.validation.targets.tolist() == [history[-2] for history in histories]
    assert split.test.targets.tolist() == [history[-1] for history in histories]
    assert [h.tolist() for h in split.test.histories] == [history[:-1] for history in histories]


def write_run(folder, *, scores, users=TRACK.user_ids, items=TRACK.item_ids):
    """What `run_recbole.py` leaves of one run with seed 1."""
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "1.npz", users=users, items=items, scores=np.array(scores, "float32"))
    record = {"seconds_per_epoch": 2.5, "epochs": 7, "best_epoch": 3, "stopped": "early", "versions": {}}
    files.write_json(record, folder / "1.json")


def test_scores_of_recbole_are_ranked_as_ours(tmp_path):
    test = peers.split(TRACK).test
    # Catalog 3, 4, 5, 9. Targets 4, 3, 3: the first is behind seen movies alone, the second behind 4,
    # the third is the only movie left.
    write_run(tmp_path, scores=[[9, 1, 8, 7], [1, 2, 0, 0], [0, 5, 5, 5]])
    row = recbole.from_recbole(tmp_path, "gru4rec", 1, test, TRACK.item_ids)
    assert list(row) == list(peers.RUN_COLUMNS)
    assert row["hit_rate@10"] == 1.0
    assert row["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3) + 1) / 3)
    assert (row["side"], row["epochs"], row["stopped"]) == ("recbole", 7, "early")


def test_scores_of_others_are_refused(tmp_path):
    test = peers.split(TRACK).test
    write_run(tmp_path, scores=np.zeros((3, 4)), users=TRACK.user_ids[::-1])
    with pytest.raises(StudyError, match="other users or items"):
        recbole.from_recbole(tmp_path, "gru4rec", 1, test, TRACK.item_ids)
    write_run(tmp_path, scores=np.zeros((3, 4)), items=TRACK.item_ids + 1)
    with pytest.raises(StudyError, match="other users or items"):
        recbole.from_recbole(tmp_path, "gru4rec", 1, test, TRACK.item_ids)


@pytest.mark.parametrize(
    ("difference", "spread", "capped", "expected"),
    [
        (0.03, 0.02, False, "better"),
        (0.02, 0.02, False, "within spread"),
        (-0.02, 0.02, False, "within spread"),
        (-0.021, 0.02, False, "worse"),
        (0.03, 0.02, True, "capped"),
        (-0.01, 0.02, True, "capped"),
        # Behind a peer that was cut short is behind all the more.
        (-0.03, 0.02, True, "worse"),
        (0.0, 0.0, False, "within spread"),
        (-1e-17, 0.0, False, "within spread"),
    ],
)
def test_the_verdict(difference, spread, capped, expected):
    assert recbole.verdict(difference, spread, capped=capped) == expected


def run_of(model, side, seed, hit_rate, ndcg, *, seconds=1.0, epochs=5, stopped="early"):
    """A row as both sides write it."""
    values = (model, side, seed, hit_rate, ndcg, seconds, epochs, 3, stopped)
    return dict(zip(peers.RUN_COLUMNS, values, strict=True))


RUNS = pd.DataFrame(
    [
        run_of("slim", "ours", 1, 0.2, 0.1, stopped="none"),
        run_of("slim", "recbole", 1, 0.2, 0.1, seconds=4.0, stopped="none"),
        run_of("gru4rec", "ours", 1, 0.20, 0.10, seconds=2.0, epochs=8),
        run_of("gru4rec", "ours", 2, 0.24, 0.11, seconds=4.0, epochs=9),
        run_of("gru4rec", "recbole", 1, 0.23, 0.12, seconds=12.0),
        run_of("sasrec", "ours", 1, 0.3, 0.2),
        run_of("sasrec", "recbole", 1, 0.2, 0.1, seconds=0.5, stopped="time"),
        run_of("narm", "ours", 1, 0.3, 0.2),
    ]
)


def test_the_table_joins_both_sides():
    table = recbole.compare(RUNS, ["gru4rec", "narm", "sasrec", "slim"], n_users=200).set_index("model")
    # NARM has no peer yet.
    assert list(table.index) == ["gru4rec", "sasrec", "slim"]
    gru = table.loc["gru4rec"]
    assert gru["hit_rate@10/ours"] == pytest.approx(0.22)
    assert gru["hit_rate@10/spread"] == pytest.approx(0.04)
    assert gru["hit_rate@10/difference"] == pytest.approx(-0.01)
    assert gru["hit_rate@10/verdict"] == "within spread"
    # Means 0.105 and 0.12, spread 0.01.
    assert gru["ndcg@10/verdict"] == "worse"
    assert gru["seconds_per_epoch/ratio"] == pytest.approx(3 / 12)
    assert (gru["epochs/ours"], gru["seeds"], gru["recbole_seeds"]) == (8.5, 2, 1)
    assert table.loc["sasrec", "ndcg@10/verdict"] == "capped"
    assert table.loc["sasrec", "recbole_stopped"] == "time"
    assert table.loc["slim", "ndcg@10/verdict"] == "within spread"
    # Of 50 users, one is 0.02: more than the gap of 0.015.
    few = recbole.compare(RUNS, ["gru4rec"], n_users=50)
    assert few["ndcg@10/verdict"].tolist() == ["within spread"]


def test_the_page_names_who_is_behind_slower_or_cut_short():
    table, settings = (
        recbole.compare(RUNS, ["gru4rec", "sasrec", "slim"], n_users=200),
        peers.read_settings(),
    )
    page = recbole.page(table, settings, TRACK)
    assert "ours is worse for gru4rec." in page
    assert "Capped: sasrec. Not run yet: most_popular, fpmc, stamp, narm, bert4rec." in page
    assert "Slower an epoch: sasrec." in page
    assert "| gru4rec | 0.2200 (0.0400) | 0.2300 | -0.0100 | within spread |" in page
    calm = recbole.page(table[table["model"] == "slim"], settings, TRACK)
    assert "ours is worse for none." in calm and "Slower an epoch: none." in calm
    assert "Capped: sasrec" not in calm


def test_only_what_both_sides_have_finished_is_collected(tmp_path):
    settings = {"seeds": [1, 2], "models": {"gru4rec": {"seeds": [1]}, "sasrec": {"seeds": [1]}}}
    with pytest.raises(StudyError, match="has no model"):
        recbole.collect(settings, TRACK, tmp_path)
    for model, seeds in {"gru4rec": (1, 2), "sasrec": (1,)}.items():
        for seed in seeds:
            row = run_of(model, "ours", seed, 0.2, 0.1)
            files.write_json(row | {"settings": {}}, tmp_path / "ours" / model / f"{seed}.json")
        (tmp_path / "recbole").mkdir(exist_ok=True)
        write_run(tmp_path / "recbole" / model, scores=np.ones((3, 4)))
    table = recbole.collect(settings, TRACK, tmp_path)
    # The second seed of SASRec is missing.
    assert list(table["model"]) == ["gru4rec"] * 3
    assert list(table["side"]) == ["ours", "ours", "recbole"]
    assert list(table) == list(peers.RUN_COLUMNS)


def test_slim_is_asked_as_recbole_asks_it():
    """By the training items, which lack the validation item; other models get all that came before."""
    histories = [[5, 3, 9, 4], [5, 3, 4, 9], [9, 5, 3, 4], [3, 9, 4, 5]]
    split = peers.split(track(histories))
    hyperparameters = {"query_length": 100, "alpha": 0.001, "l1_share": 0.1}
    model = baselines.build("slim", split.item_ids, seed=1, **hyperparameters).fit(split.training)
    queries = []

    class Watched:
        def score(self, given, *, user_ids):
            queries.append([history.tolist() for history in given])
            return model.score(given)

    for name in ("slim", "gru4rec"):
        score = peer_baselines._scorer(name, Watched(), split)
        leave_one_out.evaluate(score, split.test, split.item_ids)
    assert queries == [[h[:-2] for h in histories], [h[:-1] for h in histories]]


@pytest.mark.usefixtures("one_thread")
def test_a_run_of_ours_is_a_row(tmp_path):
    rng = np.random.default_rng(0)
    split = peers.split(track([rng.permutation(12)[:9] + 1 for _ in range(30)]))
    settings = peers.read_settings()["models"]["gru4rec"]["ours"] | {"max_epochs": 2, "embedding_size": 4}
    row = peer_baselines.run("gru4rec", settings, seed=1, split=split)
    assert set(peers.RUN_COLUMNS) <= set(row)
    assert row["epochs"] == len(row["validation_ndcg@10"]) == 2
    assert row["stopped"] == "epochs" and row["seconds_per_epoch"] > 0
    assert row["validation_ndcg@10"][row["best_epoch"] - 1] == max(row["validation_ndcg@10"])
    counted = peer_baselines.run("most_popular", {}, seed=1, split=split)
    assert (counted["epochs"], counted["stopped"]) == (1, "none")


def test_both_sides_have_the_same_settings():
    """What both call by a name of their own has one value."""
    same = {
        "embedding_size": ("embedding_size", "hidden_size"), "max_length": ("MAX_ITEM_LIST_LENGTH",),
        "learning_rate": ("learning_rate",), "max_epochs": ("epochs",), "n_heads": ("n_heads",),
        "alpha": ("alpha",), "l1_share": ("l1_ratio",), "mask_share": ("mask_ratio",),
    }  # fmt: skip
    for model, sides in peers.read_settings()["models"].items():
        baselines.build(model, np.array([1]), seed=0, **sides["ours"])
        for name, value in sides["ours"].items():
            theirs = [sides["recbole"][key] for key in same.get(name, ()) if key in sides["recbole"]]
            assert set(theirs) <= {value}, (model, name)
            assert theirs or name not in same, (model, name)
        if "patience" in sides["ours"]:
            assert sides["recbole"]["stopping_step"] == sides["ours"]["patience"] - 1, model
        if "max_length" in sides["ours"]:
            assert (
                sides["recbole"]["train_batch_size"]
                == sides["ours"]["batch_size"] * sides["ours"]["max_length"]
            )


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("seeds: [2025, 2026", "seed: [2025, 2026", "the file must have"),
        ("    ours: {}", "", "most_popular"),
        ("models:\n", "models: [slim]\nmodel:\n", "models must be a mapping"),
        ("  slim:\n", "  ease: 5\n  slim:\n", "model ease must have"),
    ],
)
def test_settings_without_what_is_needed_are_named(tmp_path, right, wrong, message):
    path = tmp_path / "params.yaml"
    text = peers.PARAMS.read_text(encoding="utf-8")
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(StudyError, match=message):
        peers.read_settings(path)


def test_the_environment_is_pinned_and_recbole_comes_without_its_dependencies():
    for name in ("requirements.txt", "requirements-recbole.txt", "requirements-surprise.txt"):
        lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert pins and all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", pin) for pin in pins), pins
        assert ("recbole==1.2.1" in pins) == (name == "requirements-recbole.txt")
    makefile = (config.PACKAGE_ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--no-deps -r dualrec_utils/studies/peers/requirements-recbole.txt" in makefile
