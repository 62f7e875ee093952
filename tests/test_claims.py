"""The claims: stated once, answered by the rules of reports/claims.md, recomputed without the package."""

import ast
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recompute
from ruamel.yaml import YAML
from scipy import stats

from dualrec_utils.analysis import claims, results, sample_size, seeds, verdict
from dualrec_utils.core import config, files, predictions
from dualrec_utils.core.config import CASE, ITEM, RANK, SCORE, SEED, TEXT, USER
from dualrec_utils.core.domain import MOVIES
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines, systems
from dualrec_utils.pipeline import params
from dualrec_utils.show import tables

ROOT = config.PACKAGE_ROOT
SETTINGS = {"seed": 3, "n_bootstrap": 400, "n_permutations": 4_000, "confidence": 0.95, "power": 0.8}
INTERVALS = {name: SETTINGS[name] for name in ("seed", "n_bootstrap", "confidence")}
FAMILY = claims.family(
    ["movielm_lora_reranked", "lstm"], order_aware="gru4rec", control="fusion_lstm_ease", main="movielm"
)
NUMBERS = ("difference", "low", "high", "p", "p_holm", "users_needed", "smallest_difference")
ITEMS = range(1, 13)
# System -> stage, chance that its first movie is the right one, that its second is.
PLANTED = {
    "gru4rec": ("baselines", 0.5, 0.3),
    "ease": ("baselines", 0.2, 0.2),
    "lstm": ("lstm", 0.4, 0.2),
    "movielm_zero_shot": ("zero_shot_llm", 0.3, 0.2),
    "movielm_zero_shot_no_hint": ("zero_shot_llm", 0.25, 0.2),
    "movielm_lora": ("lora_finetuning", 0.5, 0.2),
    "movielm_lora_permuted": ("lora_finetuning", 0.1, 0.1),
    "movielm_lora_reranked": ("rerank_ablation", 0.1, 0.6),
    "dualrec_fusion": ("rerank_ablation", 0.45, 0.2),
    "fusion_lstm_ease": ("rerank_ablation", 0.45, 0.2),
}


def scored(hits):
    """A frame of `evaluation.per_case`, one case a user, reduced to what is read: user -> hit."""
    frame = pd.DataFrame({CASE: [f"c{user}" for user in hits], USER: list(hits)})
    return frame.assign(**{metric: [float(hit) for hit in hits.values()] for metric in seeds.METRICS})


def say_what_made_them(settings=None):
    about = {"settings": settings or seeds.settings_digest()}
    files.write_json(about, config.TABLES / seeds.FOLDER / seeds.MADE_FROM)


def write_seeds(system, by_seed):
    """Further seeds of a system: seed -> users' values, users 1, 2, ..."""
    rows = [
        {SEED: seed, USER: user} | dict.fromkeys(seeds.METRICS, value)
        for seed, values in by_seed.items()
        for user, value in enumerate(values, start=1)
    ]
    files.write_csv(pd.DataFrame(rows), config.TABLES / seeds.FOLDER / f"{system}.csv")
    say_what_made_them()


# ------------------------------------------------------------------ stated


def stated_table():
    text = (ROOT / "reports" / "claims.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if re.match(r"\| \d \|", line)]
    return [tuple(cell.strip().replace("`", "") for cell in row) for row in rows]


def test_the_document_lists_the_claims_that_the_module_has():
    assert stated_table() == [tuple(map(str, claim)) for claim in claims.STATED]
    assert all(metric in seeds.METRICS for *_, metric in claims.STATED)


def test_the_document_names_the_models_without_order():
    text = (ROOT / "reports" / "claims.md").read_text(encoding="utf-8")
    said = " ".join(text.split()).split("every baseline but ")[1].split(", and the LSTM)")[0]
    assert re.split(", | and ", said) == [systems.label(name) for name in systems.ORDER_FREE]


def test_the_family_has_each_language_model_that_ran_and_the_first_claim_once():
    names = ["movielm_lora_reranked", "movielm_lora_permuted", "qwen_zero_shot", "lstm"]
    by_key = {claim.key: claim for claim in claims.family(names, order_aware="lstm", control="")}
    models = ("movielm", "qwen")
    assert list(by_key) == ["1", *(f"{number}/{model}" for number in range(2, 7) for model in models)]
    assert len(by_key) == claims.LARGEST_FAMILY
    assert "qwen" in by_key["4/qwen"].question and by_key["2/qwen"].system == "qwen_zero_shot"
    # The run's fusion is its main model's.
    assert by_key["6/movielm"].system == "dualrec_fusion" != by_key["6/qwen"].system
    assert [claim.key[2:] for claim in claims.family([], order_aware="", control="", main="big")[1:]] == (
        ["big"] * 5
    )


@pytest.mark.parametrize("name", [name for name in systems.ORDER_FREE if name != "random"] + ["markov"])
def test_a_model_without_order_answers_alike_whatever_the_order(name):
    """Another order of the very movies that it reads; the Markov chain shows that the test can fail."""
    rng = np.random.default_rng(0)
    histories = [rng.permutation(12)[:8] + 1 for _ in range(30)]
    given = params.section("baselines", ROOT / "params.yaml")["models"][name]
    if "query_length" in given:
        given = given | {"query_length": 5}
    model = baselines.build(name, np.array(ITEMS), seed=1, **given)
    model.fit(histories)
    read = np.array([1, 2, 3, 4, 5])
    one, other = model.score([read, read[::-1]])
    assert np.allclose(one, other) == (name in systems.ORDER_FREE)


# ------------------------------------------------------------------ seeds


def test_an_interval_over_users_and_seeds_by_hand():
    rng = np.random.default_rng(1)
    values = pd.DataFrame(rng.random((30, 3)) + np.array([0.0, 0.3, 0.6]), columns=[0, 1, 2])
    alone = seeds.interval(values.mean(axis=1).to_frame(), **INTERVALS)
    row = seeds.interval(values, **INTERVALS)
    # Quantile of t with two degrees of freedom: 4.302653.
    over = 4.302653 * values.mean().std() / np.sqrt(3)
    half = np.hypot((alone["high"] - alone["low"]) / 2, over)
    assert row["value"] == pytest.approx(values.to_numpy().mean())
    assert [row["low"], row["high"]] == pytest.approx([row["value"] - half, row["value"] + half])
    assert (row["n_seeds"], row["n_users"], alone["n_seeds"], alone["over_seeds"]) == (3, 30, 1, 0)
    assert alone["low"] < row["value"] < alone["high"]
    assert stats.t.ppf(0.975, 2) == pytest.approx(4.302653)


def test_headline_rows_are_means_over_seeds_and_others_stay(root):
    rows = scored({1: 1, 2: 0})
    cases = {("next_item", name): rows for name in ("lstm", "ease")} | {("window_of_five", "lstm"): rows}
    table = pd.DataFrame(
        [
            (protocol, name, metric, 0.5, 0.0, 1.0)
            for protocol, name in cases
            for metric in ("hit_rate@1", "ndcg@1", "mrr@5")
        ],
        columns=["protocol", "system", "metric", "value", "low", "high"],
    )
    write_seeds("lstm", {1: [1, 1], 2: [1, 0.6]})
    averaged = seeds.with_seeds(table, cases, **INTERVALS).set_index(["protocol", "system", "metric"])
    # Means of the seeds: 0.5, 1 and 0.8; NDCG@1 is HR@1.
    for metric in ("hit_rate@1", "ndcg@1"):
        assert averaged.loc[("next_item", "lstm", metric), "value"] == pytest.approx(2.3 / 3)
        assert averaged.loc[("next_item", "lstm", metric), "n_seeds"] == 3
    for key in (("next_item", "lstm", "mrr@5"), ("next_item", "ease", "hit_rate@1"),
                ("window_of_five", "lstm", "hit_rate@1")):  # fmt: skip
        assert averaged.loc[key, ["value", "n_seeds"]].tolist() == [0.5, 1]
    spread = results.over_seeds(cases, ["lstm", "ease", "sasrec"], metric="hit_rate@5").set_index("system")
    assert spread.index.tolist() == ["lstm", "ease"] and spread["n_seeds"].tolist() == [3, 1]
    assert spread.loc["lstm", ["run", "lowest", "highest"]].tolist() == pytest.approx([0.5, 0.5, 1])
    assert spread.loc["lstm", "sd"] == pytest.approx(np.std([0.5, 1, 0.8], ddof=1))


@pytest.mark.parametrize(
    "broken",
    [
        {0: [1, 1]},  # the run's own seed
        {1: [1, 1, 1]},  # a user more
        {1: [1]},  # one fewer
        {1: [1, None]},
    ],
)
def test_seeds_of_other_users_or_of_the_run_itself_are_refused(root, broken):
    write_seeds("lstm", broken)
    with pytest.raises(StudyError, match=r"lstm\.csv, seed \d: .*2 test users.*make seeds"):
        seeds.user_means({("next_item", "lstm"): scored({1: 1, 2: 0})}, "lstm")


def test_seeds_of_other_settings_are_refused(root):
    write_seeds("lstm", {1: [1, 0]})
    say_what_made_them("another")
    with pytest.raises(StudyError, match=r"of other settings than params\.yaml has now.*make seeds"):
        seeds.user_means({("next_item", "lstm"): scored({1: 1, 2: 0})}, "lstm")
    (config.TABLES / seeds.FOLDER / seeds.MADE_FROM).unlink()
    with pytest.raises(StudyError, match="of other settings"):
        seeds.user_means({("next_item", "lstm"): scored({1: 1, 2: 0})}, "lstm")


def test_a_table_of_seeds_without_a_column_is_refused(root):
    files.write_csv(
        pd.DataFrame({SEED: [1], "hit_rate@5": [0.1]}), config.TABLES / seeds.FOLDER / "lstm.csv"
    )
    say_what_made_them()
    with pytest.raises(StudyError, match=r"lacks the columns \['user_id', 'hit_rate@1', 'ndcg@5'\]"):
        seeds.user_means({("next_item", "lstm"): scored({1: 1})}, "lstm")


# ------------------------------------------------------------------ answered


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, "yes"),
        ({"difference": -0.2, "low": -0.3, "high": -0.1}, "no"),
        ({"low": -0.01}, "unclear"),
        ({"low": 0}, "unclear"),
        ({"p_holm": 0.05}, "unclear"),
        ({"same_sign": False}, "unclear"),
        ({"n_seeds": 1}, "unclear"),
    ],
)
def test_an_answer_needs_interval_test_sign_and_seeds(changes, answer):
    row = {"difference": 0.2, "low": 0.1, "high": 0.3, "p_holm": 0.04, "same_sign": True, "n_seeds": 2}
    assert claims.answer(row | changes, alpha=0.05) == answer


def claim(system, other):
    return claims.Claim(f"{system}-{other}", "?", system, other, "hit_rate@1")


def test_systems_are_paired_on_the_seeds_that_both_have(root):
    users = range(1, 41)
    cases = {
        ("next_item", "a"): scored({user: user % 2 for user in users}),
        ("next_item", "b"): scored(dict.fromkeys(users, 0)),
        ("next_item", "c"): scored(dict.fromkeys(users, 0)),
    }
    write_seeds("a", {1: [1] * 40, 2: [0.9] * 40})
    write_seeds("b", {1: [0] * 40, 3: [1] * 40})
    family = [claim("a", "b"), claim("a", "c"), claim("a", "missing")]
    answers = claims.table(family, cases, **SETTINGS).set_index(["system", "other"])
    # Seeds 0 and 1: users gain 1/2 or 1, and seeds 0.5 and 1 on average.
    both = answers.loc[("a", "b")]
    assert (both["difference"], both["n_seeds"], both["n_users"]) == (0.75, 2, 40)
    assert both["same_sign"] and both["n_better"] == 40 and both["n_worse"] == 0
    # Quantile of t with one degree 12.7: two seeds so far apart leave everything open, for any users.
    assert both["answer"] == "unclear" and both["users_needed"] == np.inf
    alone = answers.loc[("a", "c")]
    assert (alone["difference"], alone["n_seeds"], alone["answer"]) == (0.5, 1, "unclear")
    assert alone["low"] > 0 and alone["p_holm"] < 0.05
    variance = pd.Series([user % 2 for user in users]).var()
    needed = sample_size.users_needed(0.5, variance=variance, alpha=0.05 / 2, power=0.8)
    assert alone["users_needed"] == needed
    assert answers.loc[("a", "missing"), "answer"] == "not run"
    assert np.isnan(answers.loc[("a", "missing"), "difference"])


def test_one_correction_covers_all_claims_that_ran(root):
    users = range(1, 41)
    hits = {"a": lambda user: user <= 12, "b": lambda user: user <= 6, "c": lambda user: user <= 7}
    cases = {("next_item", name): scored({user: hit(user) for user in users}) for name, hit in hits.items()}
    alone = claims.table([claim("a", "b")], cases, **SETTINGS)
    family = [claim("a", "b"), claim("a", "c"), claim("c", "missing")]
    both = claims.table(family, cases, **SETTINGS)
    # Six users differ, all one way: two in 64 draws of signs are as far from zero.
    assert alone["p_holm"][0] == alone["p"][0] == pytest.approx(2 / 64, abs=0.01)
    assert both["p"][0] == alone["p"][0] and both["p_holm"][0] == 2 * alone["p"][0]


def test_metrics_give_the_claims_back(root):
    users = range(1, 41)
    cases = {("next_item", name): scored(dict.fromkeys(users, 0)) for name in ("ease", "lstm")}
    cases["next_item", "gru4rec"] = scored({user: user % 3 == 0 for user in users})
    answered = claims.table(FAMILY, cases, **SETTINGS)
    flat = claims.flatten(answered)
    files.write_json(flat, config.METRICS / "results.json")
    rows = claims.of_metrics(files.read_json(config.METRICS / "results.json"))
    assert [row["claim"] for row in rows] == [one.key for one in FAMILY]
    first = answered.iloc[0].to_dict()
    assert {name: rows[0][name] for name in rows[0]} == {name: first[name] for name in rows[0]}
    from_metrics = verdict.claim_rows(flat)
    assert [row["answer"] for row in from_metrics] == ["unclear"] + ["not run"] * 5
    assert "one seed settles nothing" in from_metrics[0]["settled"] and from_metrics[1]["settled"] == ""
    # Before any run the claims of the main model stand there, none answered.
    assert {row["answer"] for row in claims.of_metrics({})} == {"not run"}
    assert "movielm" in claims.of_metrics({})[2]["question"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"n_seeds": 3, "users_needed": 4321.0}, "4,321 users would show a difference of this size"),
        ({"n_seeds": 3}, "it takes more seeds"),
        ({"n_seeds": 1}, "the difference is zero: more users do not help"),
        ({"n_seeds": 3, "users_needed": 90.0}, "the seeds disagree"),
        ({"n_seeds": 3, "smallest_difference": 0.0}, "exactly the same users"),
        ({"n_seeds": 1, "users_needed": 90.0}, "one seed settles nothing; with 142 users, only 2.0 points"),
    ],
)
def test_beside_unclear_stands_what_would_settle_it(row, said):
    assert said in verdict.settled_by({"n_users": 142, "smallest_difference": 0.02} | row)


# ------------------------------------------------------------------ recomputed


def planted_lists(cases, first, second, *, rng):
    """Two movies a case, the right one first or second with these chances; every seventh case has none."""
    rows = []
    for number, (case, target) in enumerate(cases):
        if number % 7 == 6:
            continue
        wrong = [item for item in ITEMS if item != target][:2]
        draw = rng.random()
        items = (
            [target, wrong[0]] if draw < first else [wrong[0], target] if draw < first + second else wrong
        )
        rows += [(case, rank, item, 1 / rank, None, 0) for rank, item in enumerate(items, start=1)]
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM, SCORE, TEXT, SEED])
    return frame.astype(predictions.COLUMNS)


@pytest.fixture
def run(root):
    """A run with planted lists and further seeds, answered; returns where it lies and its settings."""
    rng, folder = np.random.default_rng(5), config.processed_dir("ml-100k")
    items = {ITEM: list(ITEMS), "title": [f"Film {i}" for i in ITEMS], "year": 1990}
    items["genres"] = [["Drama"]] * len(ITEMS)
    files.write_parquet(pd.DataFrame(items), folder / "items.parquet")
    files.write_json(asdict(MOVIES), folder / "domain.json")
    users = {"test": range(1, 31), "validation": range(101, 121)}
    # One to three cases a user.
    cases = pd.DataFrame(
        [
            (f"{user}-{n}", user, split, [1])
            for split, members in users.items()
            for user in members
            for n in range(1 + user % 3)
        ],
        columns=[CASE, USER, "split", "history"],
    )
    targets = pd.DataFrame({CASE: cases[CASE], "target_order": 0, ITEM: rng.integers(2, 13, len(cases))})
    for protocol in config.PROTOCOLS:
        files.write_parquet(cases, folder / f"cases_{protocol}.parquet")
        files.write_parquet(targets, folder / f"targets_{protocol}.parquet")
    for system, (stage, *chances) in PLANTED.items():
        for split in users:
            in_split = cases["split"] == split
            pairs = list(zip(cases.loc[in_split, CASE], targets.loc[in_split, ITEM], strict=True))
            scope = Scope("ml-100k", stage, "next_item", split)
            predictions.write(planted_lists(pairs, *chances, rng=rng), system, scope)
    # Further seeds: the first two claims have three, the fourth two, the others one.
    for system, more in {"gru4rec": 2, "ease": 2, "movielm_lora": 1, "movielm_lora_reranked": 3}.items():
        chance = PLANTED[system][1]
        write_seeds(system, {seed: rng.binomial(4, chance, 30) / 4 for seed in range(1, more + 1)})
    files.write_json({"best_fusion_control": "fusion_lstm_ease"}, config.METRICS / "rerank_ablation.json")
    runs = results.discover("ml-100k")
    cases = results.per_case(runs, dataset="ml-100k")
    chosen = {"order_aware": claims.best_order_aware("ml-100k"), "control": claims.best_control()}
    answered = claims.table(claims.family(runs["system"], **chosen), cases, **SETTINGS)
    tables.save_table(answered, "claims", stage="results")
    return root, SETTINGS | {"dataset": "ml-100k"}


def agree(root, settings):
    """Refuse a saved table of claims that the recomputation does not give; returns the table."""
    saved = pd.read_csv(root / "reports" / "tables" / "results" / "claims.csv").set_index("claim")
    ran = saved[saved["answer"] != "not run"]
    again = recompute.claims(root, ran.reset_index(), settings)
    for column in NUMBERS:
        np.testing.assert_allclose(ran[column].astype(float), again[column], atol=1e-9, rtol=1e-9)
    for column in ("answer", "n_users", "n_seeds", "same_sign"):
        assert ran[column].tolist() == again[column].tolist(), column
    folder = root / "data" / settings["dataset"]
    if "1" in ran.index:
        _, values = recompute.best_order_aware(folder)
        assert values[ran.loc["1", "system"]] == pytest.approx(max(values.values()), abs=1e-9)
    return saved


def test_the_claims_are_what_predictions_and_targets_give(run):
    saved = agree(*run)
    assert len(saved) == 6 and (saved["answer"] != "not run").all()
    assert saved["n_seeds"].tolist() == [3, 1, 1, 2, 1, 1]
    assert saved.loc["1", "system"] == "gru4rec" and {"yes", "unclear"} <= set(saved["answer"])


@pytest.mark.parametrize("column", NUMBERS)
def test_a_number_that_is_off_shows(run, column):
    root, settings = run
    path = root / "reports" / "tables" / "results" / "claims.csv"
    saved = pd.read_csv(path)
    saved.loc[0, column] += 1e-6
    saved.to_csv(path, index=False)
    with pytest.raises(AssertionError):
        agree(root, settings)


def test_the_recomputation_takes_nothing_of_the_package():
    tree = ast.parse(Path(recompute.__file__).read_text(encoding="utf-8"))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
    assert {name.split(".")[0] for name in names} == {
        "itertools",
        "math",
        "numpy",
        "pandas",
        "pathlib",
        "scipy",
    }


def test_the_claims_of_the_default_run_are_what_its_files_give():
    values = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    lists = ROOT / "data" / values["dataset"] / "rerank_ablation" / "predictions"
    if not lists.is_dir() or not (ROOT / "reports" / "tables" / "results" / "claims.csv").is_file():
        pytest.skip("the default run has left no lists here")
    settings = {**values["intervals"], "seed": values["seed"], "dataset": values["dataset"]}
    agree(ROOT, settings | {"power": values["results"]["power"]})


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("  epochs: 10 ", True),
        ("    ease: {query_length: 7, l2: 190}", True),
        ("    slim: {query_length: 10, alpha: 0.01, l1_share: 0.01}", False),
        ("  n_permutations: 20000 ", False),
    ],
)
def test_further_seeds_count_while_what_they_are_made_from_stays(monkeypatch, tmp_path, line, counts):
    text = config.PARAMS_FILE.read_text(encoding="utf-8")
    assert line in text
    monkeypatch.setattr(config, "PARAMS_FILE", tmp_path / "params.yaml")
    monkeypatch.setattr(config, "TABLES", tmp_path / "tables")
    files.write_text(text, config.PARAMS_FILE)
    write_seeds("ease", {1: [0.5]})
    before = seeds.settings_digest()
    files.write_text(text.replace(line, line.replace("0", "1", 1)), config.PARAMS_FILE)
    assert (seeds.settings_digest() != before) == counts


def test_a_lead_over_a_control_that_does_harm_is_not_left_uncommented():
    pairs = {
        "m_lora_permuted-m_zero_shot": (-0.01, -0.02, -0.005),
        "m_lora-m_zero_shot": (0.03, 0.01, 0.05),
    }
    flat = {"language_model": "m"}
    for pair, ends in pairs.items():
        for metric in ("hit_rate@1", "hit_rate@5"):
            key = f"next_item/difference/{pair}/{metric}"
            flat |= dict(zip((key, f"{key}/low", f"{key}/high"), ends, strict=True))
    (said,) = set(verdict.caveats(flat)) - {verdict.ORDER_CAVEAT}
    assert "-1.0 points [-2.0, -0.5] of HR@1" in said and "+3.0 points [+1.0, +5.0] of HR@5" in said
    harmless = {key: 0.001 if "permuted" in key and key.endswith("high") else flat[key] for key in flat}
    assert verdict.caveats(harmless) == [verdict.ORDER_CAVEAT]
