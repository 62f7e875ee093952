"""What a reader is told can be traced, recomputed by other code, and is nothing where nothing is known."""

import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings, strategies as st
from ranx import Qrels, Run, evaluate
from toy_catalog import catalog_of

from dualrec_utils.analysis import chance, claims, counterparts, order, results, verdict
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.catalog import load_catalog
from dualrec_utils.core.config import CASE, GENRES, HISTORY, ITEM, RANK, USER
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import baselines, systems
from dualrec_utils.models.hybrids import diversity, fusion
from dualrec_utils.report import readme as readme_results, runs, text as results_text
from dualrec_utils.show import paper

ROOT = config.PACKAGE_ROOT
SOURCES = sorted(
    [
        *ROOT.glob("reports/metrics/*.json"),
        *ROOT.glob("profiles/*/reports/metrics/*.json"),
        *ROOT.glob("reports/studies/knowledge/*/metrics.json"),
    ],
    key=lambda path: path.as_posix(),
)
RESULTS = ROOT / "reports" / "metrics" / "results.json"
CHANCE_TABLES = sorted(
    [ROOT / "reports/tables/results/chance.csv", *ROOT.glob("profiles/*/reports/tables/results/chance.csv")]
)
PAGE = ROOT / "reports" / "index.html"

# Where the claims about ratings are answered: from several seeds, otherwise from one.
RATED = ("studies/ratings/ml-100k", "tables/rating_hybrids")

# A value with its interval: `13.9% [11.5, 16.5]`, `+1.4 points [+0.1, +2.7]`, `0.006 [0.002, 0.011]`.
NUMBER = r"[+-]?\d+\.\d+"
VALUE = re.compile(rf"({NUMBER})(%| points| stars|) \[({NUMBER}), ({NUMBER})\]")
# Any other number that stands by itself: not within a name (GRU4Rec, ml-100k, 7B) or a cutoff (HR@5).
ALONE = re.compile(r"(?<![\w@.-])[+-]?\d[\d,]*(?:\.\d+)?%?(?![\w@.-]*\w)")


# ------------------------------------------------------------------ tracing


def metrics():
    """Every metrics file of the repository, flat, what the order study found, and the rating claims."""
    effects = order.read("ml-100k", "effects")
    differences = [evaluation.with_interval("order/difference/", row) for row in effects.itertuples()]
    rated = [path for place in RATED if (path := ROOT / "reports" / place / "claims.csv").is_file()]
    answered = [
        {f"claims/{row['claim']}/{name}": row[name] for name in ("difference", "low", "high", "n_users")}
        for path in rated[:1]
        for row in pd.read_csv(path).to_dict("records")
    ]
    return [*(files.read_json(path) for path in SOURCES), *differences, *answered]


def rounded(value, text, scale):
    decimals = len(text.split(".")[1])
    return float(f"{scale * value:.{decimals}f}") == float(text)


def is_traced(match, sources):
    """Whether one key of one file gives this value and both its bounds, rounded as they are."""
    value, unit, low, high = match.groups()
    scale = 100 if unit in ("%", " points") else 1
    for flat in sources:
        for key, middle in flat.items():
            # Of a claim, the ends stand beside its difference.
            place = key.removesuffix("/difference") if key.startswith("claims/") else key
            bounds = (middle, flat.get(f"{place}/low"), flat.get(f"{place}/high"))
            if None in bounds or (unit in (" points", " stars") and "/difference" not in key):
                continue
            if all(rounded(v, text, scale) for v, text in zip(bounds, (value, low, high), strict=True)):
                return True
    return False


RMSE = re.compile(r"ratings/\w+/rmse(_u1)?")


def known_alone(sources):
    """What may stand without an interval: counts, shares, what the paper prints, how many baselines ran,
    what would settle a claim, what the order study found."""
    values = [v for flat in sources for v in flat.values() if isinstance(v, int | float)]
    known = {f"{v:,}" for v in values if isinstance(v, int)}
    levels = [flat["confidence"] for flat in sources if "confidence" in flat]
    known |= {f"{level:.0%}" for level in levels} | {f"{1 - level:.0%}" for level in levels}
    # How many claims have one answer.
    known |= {str(n) for n in range(1, claims.LARGEST_FAMILY + 1)}
    # Values of the stages before the results, whose own have intervals.
    before = [v for flat in sources if "language_model" not in flat for v in flat.values()]
    known |= {f"{v:.1%}" for v in before if isinstance(v, float)}
    losses = [v for flat in sources for key, v in flat.items() if key.endswith("validation/loss")]
    known |= {f"{v:.2f}" for v in [*losses, *paper.FIGURE_3["loss"].values()]}
    # What would settle a claim: users, and the least difference that this run's users show.
    settling = [(key, v) for flat in sources for key, v in flat.items() if key.startswith("claims/")]
    known |= {f"{v:,.0f}" for key, v in settling if key.endswith("/users_needed")}
    known |= {f"{100 * v:.1f}" for key, v in settling if key.endswith("/smallest_difference")}
    # Errors of the rating models, and the one that HybridRecModel's README prints.
    errors = {f"{v:.3f}" for flat in sources for key, v in flat.items() if RMSE.fullmatch(key)}
    known |= errors | {"0.923"}
    leads = order.read("ml-100k", "effects")
    if len(leads):
        known |= {str(leads["n_seeds"].max())}
    printed = paper.figure_4()
    figures = printed.select_dtypes("number").to_numpy().ravel().tolist()
    figures += [v for part in paper.FIGURE_3.values() for v in part.values()]
    known |= {f"{v:.4f}" for v in figures} | {f"{v:.1%}" for v in figures}
    run_systems = {key.split("/")[1] for flat in sources for key in flat if key.startswith("next_item/")}
    theirs = printed.loc[printed["family"] == "baseline", "system"].map(counterparts.COUNTERPARTS)
    ran = len(run_systems & set(theirs))
    return known | {str(len(theirs)), str(ran), str(len(run_systems & set(systems.rivals())) + 1 - ran)}


def untraced(text, sources):
    """The numbers of a text that no metrics file gives."""
    wrong = [match.group() for match in VALUE.finditer(text) if not is_traced(match, sources)]
    rest = VALUE.sub("", text)
    keys = [key.split("/") for flat in sources for key in flat]
    names = {systems.label(key[1]) for key in keys if key[0] in config.PROTOCOLS}
    for name in sorted(names, key=len, reverse=True):
        rest = rest.replace(name, "")
    # Names of parts, years of publications, sizes of models, sections of the paper.
    rest = re.sub(r"(?:Stage|notebook|Figure|section) \d+(?:\.\d+)?|\(\d{4}\)|[\d.]+ billion", "", rest)
    known = known_alone(sources)
    return wrong + [number for number in ALONE.findall(rest) if number.rstrip(",") not in known]


def readme_block():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split(readme_results.BEGIN)[1].split(readme_results.END)[0]


def results_page():
    return (ROOT / "reports" / readme_results.RESULTS).read_text(encoding="utf-8")


def page_verdict():
    section = BeautifulSoup(PAGE.read_text(encoding="utf-8"), "html.parser").find(id="verdict")
    assert section, "the page has no section `verdict`"
    return " ".join(section.get_text(" ").split())


@pytest.mark.parametrize(("text", "least"), [(readme_block, 21), (results_page, 51), (page_verdict, 1)])
def test_every_number_of_what_a_reader_meets_first_comes_from_a_metrics_file(text, least):
    assert len(VALUE.findall(text())) >= least
    assert untraced(text(), metrics()) == []


def tables_of_systems():
    """Of README and results page, each table of systems: its text, and the metrics it is of."""
    at_hand = runs.at_hand(files.read_json(RESULTS))
    first = runs.first(at_hand.flat)
    shown = [first, at_hand] if first.profile else [first]
    _, *parts = results_page().split("## The systems")
    return [(readme_block(), first, 5), *((*both, 10) for both in zip(parts, shown, strict=True))]


@pytest.mark.parametrize(("text", "run", "least"), tables_of_systems())
def test_every_cell_of_a_table_of_systems_is_the_value_of_its_row_and_column(text, run, least):
    flat = run.flat
    by_label = {systems.label(name): name for name in results_text.all_systems(flat)}
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    tables = [row for row in rows if row[0] in by_label]
    header = next(row for row in rows if row[0] == "system")
    assert len(tables) >= least
    for row in tables:
        for column, cell in zip(header[1:], row[1:], strict=True):
            if column == "seeds":
                ran = f"next_item/{by_label[row[0]]}/n_cases" in flat
                n_seeds = flat.get(f"next_item/{by_label[row[0]]}/n_seeds", 1)
                assert cell == (str(n_seeds) if ran else "not run")
                continue
            # The README's table is of one protocol.
            protocol, short = column.split(" ") if " " in column else ("next_item", column)
            metric = short.replace("HR", "hit_rate").replace("NDCG", "ndcg")
            key = f"{protocol}/{by_label[row[0]]}/{metric}"
            if key not in flat:
                assert cell == "not run", (row[0], column)
                continue
            value, percent, low, high = VALUE.fullmatch(cell).groups()
            for text, name in ((value, key), (low, f"{key}/low"), (high, f"{key}/high")):
                assert rounded(flat[name], text, 100 if percent else 1), (name, text)


def test_a_planted_number_is_noticed():
    sources, block = metrics(), results_page()
    for match in list(VALUE.finditer(block))[::7]:
        value, _, _, high = match.groups()
        decimals = len(value.split(".")[1])
        # Above its own interval, where no other key's value can be either.
        above = f"{float(high) + 10.0**-decimals:.{decimals}f}"
        wrong = match.group().replace(value, above, 1)
        assert untraced(wrong, sources) == [wrong]
    assert untraced("of 1,137 cases", sources) == ["1,137"]
    assert untraced("a gain of 12.34 points", sources) == ["12.34"]
    assert (
        untraced("GRU4Rec on ml-100k with HR@5 and a 7B model, Stage 3 of Xu et al. (2025)", sources) == []
    )


# ------------------------------------------------------------------ recomputing


def in_ranx(lists, targets):
    """Hit rate and NDCG of ranx for lists and targets by case: a row a case, a column a metric."""
    rows, truth = [], []
    for case, wanted in targets.items():
        # ranx wants an entry for every case, and each entry once: what repeats or names nothing is a
        # stranger at its place.
        listed, seen = list(lists.get(case, [])) or [None], set()
        for rank, item in enumerate(listed):
            name = f"s{rank}" if item is None or item in seen else f"i{item}"
            seen.add(item)
            rows.append((case, name, float(-rank)))
        truth += [(case, f"i{item}", 1) for item in wanted]
    columns = ["q_id", "doc_id", "score"]
    kinds = {"q_id": object, "doc_id": object}
    run = Run.from_df(pd.DataFrame(rows, columns=columns).astype(kinds))
    qrels = Qrels.from_df(pd.DataFrame(truth, columns=columns).astype(kinds))
    evaluate(qrels, run, [f"{name}@{k}" for name in ("hit_rate", "ndcg") for k in evaluation.CUTOFFS])
    return pd.DataFrame(run.scores)


CATALOG = catalog_of(range(12))
entries = st.one_of(st.none(), st.integers(0, 11))
one_case = st.tuples(
    st.lists(entries, max_size=11), st.lists(st.integers(0, 11), min_size=5, max_size=5, unique=True)
)


def as_predictions(lists):
    rows = [(case, r, item) for case, items in lists.items() for r, item in enumerate(items, start=1)]
    frame = pd.DataFrame(rows, columns=[CASE, RANK, ITEM]).assign(score=1.0, text=None, seed=1)
    return frame.astype(predictions.COLUMNS)


@settings(max_examples=25)
@given(st.lists(one_case, min_size=1, max_size=12))
def test_the_studys_values_are_ranxs_whatever_the_lists(drawn):
    names = [f"case{i}" for i in range(len(drawn))]
    lists = {name: items for name, (items, _) in zip(names, drawn, strict=True)}
    cases = pd.DataFrame({CASE: names, USER: range(len(names))})
    # One target, as under next_item, and five of which any counts, as under window_of_five.
    for n_targets in (1, 5):
        targets = pd.Series({name: five[:n_targets] for name, (_, five) in zip(names, drawn, strict=True)})
        ours = evaluation.score_lists(as_predictions(lists), cases, targets, CATALOG)
        theirs = in_ranx(lists, targets).mean()
        compared = ["hit_rate"] if n_targets == 5 else ["hit_rate", "ndcg"]
        for metric in (f"{name}@{k}" for name in compared for k in evaluation.CUTOFFS):
            assert ours[metric].mean() == pytest.approx(theirs[metric], abs=1e-9), metric


def real_runs():
    """(protocol, system, stage) of every system where the predictions behind the metrics are at hand.

    With `DUALREC_ROOT=profiles/ml-1m` those of that profile.
    """
    path = config.METRICS / "results.json"
    flat = files.read_json(path) if path.is_file() else {"dataset": "none", "order_sha256": ""}
    summary = config.processed_dir(flat["dataset"]) / "summary.json"
    if not summary.is_file() or files.read_json(summary)["order_sha256"] != flat["order_sha256"]:
        return []
    try:
        table = results.discover(flat["dataset"])
    except StudyError:
        return []
    return list(table.itertuples(index=False, name=None))


@pytest.mark.parametrize(("protocol", "system", "stage"), real_runs())
def test_the_committed_values_are_ranxs(protocol, system, stage):
    flat = files.read_json(config.METRICS / "results.json")
    scope = Scope(flat["dataset"], stage, protocol, "test")
    written = predictions.read(system, scope)
    top = written[written[RANK] <= 10].sort_values([CASE, RANK])
    named = top[ITEM].astype(object).where(top[ITEM].notna(), None)
    lists = named.groupby(top[CASE].to_numpy()).agg(list).to_dict()
    targets = evaluation.load_targets(flat["dataset"], protocol)
    cases = predictions.load_cases(scope)
    users = cases.set_index(CASE)[USER]
    # A mean over each user's cases, and over users: short histories give fewer cases.
    by_user = in_ranx(lists, targets[cases[CASE]]).groupby(users).mean()
    table = config.TABLES / "seeds" / f"{system}.csv"
    further = pd.read_csv(table) if table.is_file() and protocol == "next_item" else pd.DataFrame()
    for metric, value in by_user.mean().items():
        # With one target a hit in the first place is all there is to both.
        column = "hit_rate@1" if metric == "ndcg@1" else metric
        if column in further:
            # The run is seed 0, and the value the mean over all seeds.
            value = np.mean([value, *further.groupby("seed")[column].mean()])
        # With five targets NDCG is that of the first hit here, which ranx does not have.
        if protocol == "next_item" or metric.startswith("hit_rate"):
            key = f"{protocol}/{system}/{metric}"
            assert flat[key] == pytest.approx(value, abs=1e-9), f"{key}: run `dvc repro results`"


# ------------------------------------------------------------------ chance

N_ITEMS, N_CASES = 80, 1_500
# False alarms of one bound: about 6 in 100,000. The draws are the same in every run.
WIDTH = 4


def world():
    """Histories with favourites, and cases whose targets are drawn uniformly from the movies not seen."""
    rng = np.random.default_rng(11)
    taste = 1 / np.arange(1, N_ITEMS + 1)

    def histories(n):
        lengths = rng.integers(4, 20, n)
        return [rng.choice(N_ITEMS, size=m, replace=False, p=taste / taste.sum()) for m in lengths]

    catalog = catalog_of(range(N_ITEMS), genres=[[GENRES[i % 18]] for i in range(N_ITEMS)])
    train, held_out = histories(150), histories(N_CASES)
    cases = pd.DataFrame(
        {CASE: [f"c{i:04d}" for i in range(N_CASES)], USER: range(N_CASES), HISTORY: held_out}
    )
    return train, cases, catalog, chance.drawn_targets(cases, catalog.ids, seed=12)


@pytest.fixture(scope="module")
def uniform(one_thread):
    return world()


def distance(lists, uniform):
    _, cases, catalog, targets = uniform
    predictions.check(lists, cases, catalog.ids)
    return chance.distance(lists, cases, targets, catalog)["distance"]


def chances(lists, uniform):
    return chance.chances(lists, uniform[1], uniform[2].ids)


NETWORK = {
    "embedding_size": 8, "n_layers": 1, "dropout": 0.0, "max_length": 10, "learning_rate": 0.01,
    "weight_decay": 0.0, "batch_size": 32, "max_epochs": 1, "patience": 1,
}  # fmt: skip
RANKERS = {
    "random": {}, "most_popular": {}, "markov": {"smoothing": 1.0},
    "item_knn": {"query_length": 5, "n_neighbours": 10}, "ease": {"query_length": 5, "l2": 10.0},
    "vsknn": {"query_length": 5, "n_neighbours": 10, "idf_weight": 1}, "gru4rec": NETWORK,
}  # fmt: skip


def scores_of(name, uniform):
    train, cases, catalog, _ = uniform
    model = baselines.build(name, catalog.ids, seed=1, **RANKERS[name]).fit(train)
    return model.score(list(cases[HISTORY]))


def ranked(scores, uniform):
    _, cases, catalog, _ = uniform
    return predictions.from_scores(scores, cases, catalog.ids, seed=1, length=20)


@pytest.mark.parametrize("name", RANKERS)
def test_with_uniform_targets_a_baseline_is_at_chance(name, uniform):
    lists = ranked(scores_of(name, uniform), uniform)
    # Five places of the movies not seen, for every case.
    free = N_ITEMS - uniform[1][HISTORY].map(len)
    assert chances(lists, uniform) == pytest.approx(chance.K / free.to_numpy())
    assert abs(distance(lists, uniform)) < WIDTH


def test_with_uniform_targets_answers_fusions_and_diversified_lists_are_at_chance(uniform):
    _, cases, catalog, _ = uniform
    lists = ranked(scores_of("markov", uniform), uniform)
    # Three titles, the second of which matches no movie; every tenth case has no answer.
    answers = lists[(lists[RANK] <= 3) & (lists[CASE].str[-1] != "0")]
    answers = answers.assign(**{ITEM: answers[ITEM].mask(answers[RANK] == 2)})
    assert chances(answers, uniform).mean() < chances(lists, uniform).mean() / 2
    fused = fusion.fused_lists(
        scores_of("markov", uniform), scores_of("item_knn", uniform), cases, catalog, weight=0.5,
        method="reciprocal_rank", seed=1,
    )  # fmt: skip
    spread = diversity.diversify(
        lists, cases, catalog, reranker="genres", trade_off=0.5, similarity=np.eye(N_ITEMS), n_candidates=20
    )
    for frame in (answers, fused, spread):
        assert abs(distance(frame, uniform)) < WIDTH


def test_a_ranker_that_peeks_is_not_at_chance(uniform):
    targets = uniform[3]
    scores = np.random.default_rng(2).random((N_CASES, N_ITEMS))
    scores[np.arange(N_CASES), targets.str[0]] += 0.1
    assert distance(ranked(scores, uniform), uniform) > WIDTH


def test_lists_that_keep_seen_movies_have_fewer_chances(uniform):
    _, cases, catalog, _ = uniform
    scores = np.zeros((N_CASES, N_ITEMS))
    for row, history in enumerate(cases[HISTORY]):
        scores[row, history[:3]] = 1
    kept = predictions.from_scores(scores, cases, catalog.ids, seed=1, exclude_seen=False)
    free = N_ITEMS - cases[HISTORY].map(len)
    assert (chances(kept, uniform) <= (chance.K - 3) / free.to_numpy() + 1e-12).all()
    assert abs(distance(kept, uniform)) < WIDTH


def test_hits_and_chances_by_hand():
    cases = pd.DataFrame({CASE: ["a", "b"], USER: [1, 2], HISTORY: [np.array([0, 1]), np.array([2])]})
    lists = as_predictions({"a": [1, 5, 5, None, 6], "b": [3]})
    targets = pd.Series([[6], [7]], index=["a", "b"])
    row = chance.distance(lists, cases, targets, CATALOG)
    # Of twelve movies, a's user has ten left and the list names two of them, b's eleven and one.
    p, q = 2 / 10, 1 / 11
    assert (row["hits"], row["expected"]) == (1, pytest.approx(p + q))
    assert row["distance"] == pytest.approx((1 - p - q) / np.sqrt(p * (1 - p) + q * (1 - q)))


def test_the_check_in_words_begins_with_how_many_hits_chance_gives():
    rows = [("lstm", 100, 3, 2.0, 0.7), ("ease", 100, 0, 4.0, -2.0)]
    table = pd.DataFrame(rows, columns=["system", "n_cases", "hits", "expected", "distance"])
    words = chance.in_words(table, label=str.upper)
    assert "between 2.0 and 4.0 hits" in words
    assert "EASE is farthest from chance: 0 hits where 4.0 are expected (-2.0 standard" in words


@pytest.mark.parametrize("path", CHANCE_TABLES, ids=lambda path: path.relative_to(ROOT).parts[0])
def test_in_every_run_every_system_is_at_chance_on_drawn_targets(path):
    table = pd.read_csv(path).set_index("system")
    flat = files.read_json(path.parents[2] / "metrics" / "results.json")
    ran = {name for name in results_text.all_systems(flat) if f"next_item/{name}/n_cases" in flat}
    assert set(table.index) == ran and len(ran) > 25
    assert table["distance"].abs().max() < WIDTH
    # Lists that name nothing of the catalog can hit nothing.
    silent = {name for name in ran if flat[f"next_item/{name}/hit_rate@5"] == 0}
    assert set(table.index[table["expected"] <= 0]) <= silent
    assert (table["n_cases"] == flat["next_item/lstm/n_cases"]).all()


# ------------------------------------------------------------------ refusing


def test_predictions_of_other_cases_are_refused_with_the_first_of_them(tiny):
    test = Scope("ml-100k", "lstm", "next_item", "test")
    validation = predictions.load_cases(test.replace(split="validation"))
    items = load_catalog("ml-100k").ids
    strangers = predictions.from_scores(np.zeros((len(validation), len(items))), validation, items, seed=1)
    files.write_parquet(strangers, predictions.path_of("lstm", test))
    table = results.discover("ml-100k")
    with pytest.raises(StudyError, match=f"answer case '{validation[CASE].iloc[0]}', which the split"):
        results.per_case(table, dataset="ml-100k")


# ------------------------------------------------------------------ not run


def test_a_system_without_metrics_is_not_run_and_borrows_nothing():
    flat = files.read_json(RESULTS)
    without = {
        key: value for key, value in flat.items() if "/item_knn/" not in key and "-item_knn/" not in key
    }
    assert len(without) < len(flat)
    before, after = (results_text.results_table(values).set_index("system") for values in (flat, without))
    assert (after.loc["Item kNN"] == "not run").all() and not (before.loc["Item kNN"] == "not run").any()
    pd.testing.assert_frame_equal(before.drop("Item kNN"), after.drop("Item kNN"))
    assert "Item kNN" not in " ".join(verdict.headline(without))
    assert "| Item kNN | not run | not run |" in readme_results.results_page(without)


def test_without_any_metrics_every_cell_is_not_run():
    table = results_text.results_table({}).set_index("system")
    assert len(table) >= 10 and (table == "not run").all(axis=None)
