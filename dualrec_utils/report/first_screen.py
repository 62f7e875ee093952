"""What a newcomer should know within a minute: what was reproduced, what not and why, what to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dualrec_utils.analysis import counterparts, verdict
from dualrec_utils.core import config, evaluation, files
from dualrec_utils.datasets.weights import MODELS
from dualrec_utils.models import systems
from dualrec_utils.report import parts as page_parts
from dualrec_utils.show import paper


def _ran(flat: Mapping[str, Any], system: str) -> bool:
    return f"next_item/{system}/hit_rate@5" in flat


def other_runs() -> dict[str, dict[str, Any]]:
    """Results of the profiles that have committed any: name -> flat metrics.

    Those of MovieLens: what other domains give stands in a chapter of its own. Empty inside a profile.
    """
    if config.ROOT != config.PACKAGE_ROOT:
        return {}
    paths = sorted((config.ROOT / "profiles").glob("*/reports/metrics/results.json"))
    runs = {path.parents[2].name: files.read_json(path) for path in paths}
    return {name: flat for name, flat in runs.items() if flat["dataset"] in verdict.DATASETS}


def command() -> str:
    """The command that makes this run: `make repro`, inside a profile with its name."""
    return "make repro" if config.ROOT == config.PACKAGE_ROOT else f"make repro PROFILE={config.ROOT.name}"


def reports_of(profile: str) -> Path:
    """Where a profile of :func:`other_runs` keeps its reports."""
    return config.ROOT / "profiles" / profile / "reports"


def findings(flat: Mapping[str, Any], *, metrics: Path | None = None) -> list[str]:
    """What the study found, those on one subject together; none where nothing was run.

    Args:
        flat: metrics of notebook 07.
        metrics: folder of that run's metrics files; None takes this run's.
    """
    folder = config.METRICS if metrics is None else metrics
    lines = verdict.findings(flat, audit=_metrics_of("audit", folder))
    more = [ratings_in_short(folder)]
    # On the page they stand in chapters of their own: its first lines fit a phone.
    if metrics is None and config.ROOT == config.PACKAGE_ROOT:
        more += [knowledge_in_short(), domains_in_short()]
    more = [line for line in more if line]
    # The count of answers comes last.
    return [*lines[:-1], *more, *lines[-1:]] if more and len(lines) > 1 else lines


def order_caveat(flat: Mapping[str, Any]) -> str:
    """What the times of MovieLens are, with a space behind; empty for other data."""
    return f"{verdict.ORDER_CAVEAT} " if str(flat.get("dataset", "ml-")).startswith("ml-") else ""


def caveats(flat: Mapping[str, Any]) -> list[str]:
    """What to know before quoting a number, what is of MovieLens only where it is meant."""
    return [
        line
        for line in reversed(verdict.caveats(flat))
        if order_caveat(flat) or line != verdict.ORDER_CAVEAT
    ]


def summary(flat: Mapping[str, Any], *, metrics: Path | None = None) -> str:
    """The report's first paragraph, arguments as :func:`findings`; empty where nothing was run."""
    return " ".join(findings(flat, metrics=metrics))


def reproduced(flat: Mapping[str, Any], *, others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What ran, in sentences.

    Args:
        flat: metrics of notebook 07.
        others: from :func:`other_runs`.
    """
    model = verdict.model_of(flat)
    stages = {
        "the LSTM": "lstm",
        "prompting": f"{model}_zero_shot",
        "fine-tuning with LoRA": f"{model}_lora",
        "re-ranking": f"{model}_lora_reranked",
    }
    there = [words for words, system in stages.items() if _ran(flat, system)]
    if not there:
        return ["Nothing yet: run make repro."]
    whole = "every stage of the method" if len(there) == len(stages) else "a part of the method"
    dataset = verdict.DATASETS.get(flat["dataset"], flat["dataset"])
    lines = [f"On {dataset}, {whole}: {', '.join(there)}. The language model is {_described(model)}."]
    of_paper = [name for name, system in counterparts.COUNTERPARTS.items() if system in systems.rivals()]
    of_paper.append("MostPop")
    ran = [name for name in of_paper if _ran(flat, counterparts.COUNTERPARTS[name])]
    total = (paper.figure_4()["family"] == "baseline").sum()
    theirs = counterparts.COUNTERPARTS.values()
    more = [name for name in systems.rivals() if name not in theirs and _ran(flat, name)]
    lines.append(
        f"{len(ran)} of the paper's {total} baselines, trained here and not copied, and {len(more)} more,"
        " on the same cases as every other system."
    )
    if line := stage_1(config.METRICS, dataset):
        lines.append(line)
    lines += ratings(config.METRICS)
    lines += _by_both_rules(config.TABLES / "audit", flat["dataset"])
    for name, other in others.items():
        audit = reports_of(name) / "tables" / "audit"
        in_short = summary(other, metrics=reports_of(name) / "metrics")
        lines += [f"{in_short} (Profile {name}.)", *_by_both_rules(audit, other["dataset"])]
    return lines


def ratings(metrics: Path) -> list[str]:
    """What the two published rating hybrids reach, and what the best one here does; in sentences.

    Args:
        metrics: folder of the run's metrics files.

    Returns:
        A sentence for each that ran; none where notebook 11 did not run.
    """
    flat = _metrics_of("rating_hybrids", metrics)

    def rmse(system: str, key: str = "rmse_u1") -> str:
        return f"{flat[f'ratings/{system}/{key}']:.3f}"

    def there(*names: str) -> bool:
        return all(f"ratings/{name}/rmse_u1" in flat for name in names)

    lines = []
    if there("hybrid_cosine", "hybrid_cosine_leak", "biases"):
        lines.append(
            f"HybridRecModel (ratings from text embeddings): RMSE {rmse('hybrid_cosine')} on fold u1. If"
            " users' texts also hold the ratings to be predicted, as in its code, RMSE is"
            f" {rmse('hybrid_cosine_leak')}. Biases alone have {rmse('biases')} on u1. Its README prints"
            " 0.923 for five folds."
        )
    if there("cross_attention", "cross_attention_mse", "biases"):
        lines.append(
            f"The cross-attention hybrid: RMSE {rmse('cross_attention')} on u1 with its diversity terms,"
            f" {rmse('cross_attention_mse')} without them. Its authors print no RMSE."
        )
    if there("bayesian_text", "bayesian", "svdpp"):
        values = [rmse(name, "rmse") for name in ("bayesian_text", "bayesian", "svdpp")]
        lines.append(
            f"The best rating hybrid here, Bayesian factors with features: RMSE {values[0]} over five"
            f" folds, {values[1]} without its texts. SVD++ has {values[2]}."
        )
    return lines


def ratings_in_short(metrics: Path) -> str:
    """How the rating hybrids fare, in one sentence; empty where notebook 11 did not run.

    Args:
        metrics: folder of the run's metrics files.
    """
    flat = _metrics_of("rating_hybrids", metrics)
    on_u1 = ("hybrid_cosine", "cross_attention", "biases")
    on_all = ("bayesian_text", "bayesian", "svdpp")
    keys = [f"ratings/{name}/rmse_u1" for name in on_u1] + [f"ratings/{name}/rmse" for name in on_all]
    if not set(keys) <= flat.keys():
        return ""
    values = [f"{flat[key]:.3f}" for key in keys]
    return (
        "Ratings: two published text hybrids err by {} and {} stars (RMSE, fold u1), user and movie"
        " averages (biases) by {}. Over five folds the best hybrid here errs by {}, without texts by {},"
        " SVD++ by {}."
    ).format(*values)


def knowledge_in_short() -> str:
    """What the largest pretrained model adds on MovieLens 100K; empty where none was asked."""
    path = config.study_dir("knowledge") / "ml-100k" / "little_data.csv"
    if not path.is_file():
        return ""
    lists = pd.read_csv(path).query("metric == 'hit_rate@10' and value.notna()")
    asked_last = lists[lists["system"].isin(MODELS)].tail(1)
    if asked_last.empty:
        return ""
    last = asked_last.iloc[0]
    rival = lists[(lists["system"] == "lstm") & (lists["share"] == last["share"])]
    taught = "Tuned on part of the training users" if last["share"] else "Not tuned"
    beside = f", an LSTM trained on the same users in {_percent(rival.iloc[-1])}" if len(rival) else ""
    return (
        f"Knowledge: {MODELS[last['system']].label} has read the web. {taught}, it has the next movie"
        f" among its first ten in {_percent(last)} of cases{beside}."
    )


def _percent(row: pd.Series) -> str:
    return verdict.percent(evaluation.with_interval("share", row), "share")


def domains_in_short() -> str:
    """Which conclusions on films other domains confirm; empty where `make domains` has not been run."""
    path = config.study_dir("domains") / "answers.csv"
    return f"Other domains: {pd.read_csv(path)['answer'].iloc[0]}" if path.is_file() else ""


def _by_both_rules(audit: Path, dataset: str) -> list[str]:
    """What the released code's rules of counting make of the results, and this study's.

    Args:
        audit: folder of the run's audit tables.
        dataset: name of its data set.

    Returns:
        Sentences, on the paper's dataset; none where there is no audit of it.
    """
    rows = page_parts.read_ladder(audit) if dataset == "ml-1m" else []
    if not rows:
        return []
    best = _best_of_paper()
    ends = [", ".join(f"{row['system']} {row[end]}" for row in rows) for end in ("first", "last")]
    lines = [
        f"HR@1 on {verdict.DATASETS[dataset]} by the released code's rules: {ends[0]}. The paper prints"
        f" {best['hit_rate@1']:.4f}. By this study's rules: {ends[1]}."
    ]
    for row in page_parts.read_ladder(audit, name="stage_1", metric="hit_rate@5"):
        lines.append(
            f"There the LSTM alone, without a language model, has {row['first']} if counted as in the"
            f" paper's Figure 3 (top-5 accuracy on windows) and {row['last']} if counted as in its Figure 4"
            f" (HR@5). The paper compares {paper.FIGURE_3['top5_accuracy']['validation']:.4f} in the first"
            f" count with {best['hit_rate@5']:.4f} in the second, to show what its language model adds"
            " (section 6.2)."
        )
    return lines


def _best_of_paper() -> pd.Series:
    """The paper's best system, a row of its Figure 4."""
    return paper.figure_4().query("family == 'dualrec'").nlargest(1, "hit_rate@1").iloc[0]


def _described(model: str) -> str:
    small = "movielm, which is small, was trained here on titles alone and knows nothing of the world"
    return small if model == "movielm" else model


def _metrics_of(stage: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{stage}.json"
    return files.read_json(path, missing={})


def stage_1(metrics: Path, dataset: str) -> str:
    """The LSTM's validation beside the paper's Figure 3; empty where notebook 02 has not run.

    Args:
        metrics: folder of the run's metrics files.
        dataset: its name for readers.
    """
    flat = _metrics_of("lstm", metrics)
    if "windows/validation/loss" not in flat:
        return ""
    loss, top5 = (flat[f"windows/validation/{name}"] for name in ("loss", "top5_accuracy"))
    printed = {name: parts["validation"] for name, parts in paper.FIGURE_3.items()}
    return (
        f"The training of Stage 1 (Figure 3), on windows of validation users of {dataset}: loss {loss:.2f},"
        f" top-5 accuracy {top5:.1%}. The paper prints {printed['loss']:.2f} and"
        f" {printed['top5_accuracy']:.1%} on MovieLens 1M."
    )


def lacking(metrics: Path) -> str:
    """What the ratings at hand lack, and what that leaves out; empty where they are whole or unknown.

    Args:
        metrics: folder of the run's metrics files.
    """
    flat = _metrics_of("eda", metrics)
    shares = {part: flat.get(f"share_of_ratings_without_{part}", 0) for part in ("value", "time")}
    if not any(shares.values()):
        return ""
    dataset = verdict.DATASETS.get(flat["dataset"], flat["dataset"])
    return (
        f"{dataset}: of the ratings at hand {shares['value']:.1%} have no value and {shares['time']:.1%} no"
        " time. All have their place in the user's order. What needs values or times is left out there:"
        " some figures, day sessions, other orders of ratings in one second."
    )


def not_reproduced(
    flat: Mapping[str, Any], *, rows: Sequence[Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What did not run and why, and what cannot be checked at all.

    Args:
        flat: metrics of notebook 07.
        rows: of the saved Figure 4 table, with `system` and `remark`.
        others: from :func:`other_runs`.
    """
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["remark"].startswith("not run: "):
            reasons.setdefault(row["remark"].removeprefix("not run: "), []).append(row["system"])
    lines = [f"{', '.join(names)}: {reason}." for reason, names in reasons.items()]
    datasets = {flat.get("dataset"), *(other["dataset"] for other in others.values())}
    folders = [config.METRICS, *(reports_of(name) / "metrics" for name in others)]
    lines += [line for folder in folders if (line := lacking(folder))]
    # A profile does not know of the others.
    if "ml-1m" not in datasets and config.ROOT == config.PACKAGE_ROOT:
        lines.append("MovieLens 1M, the paper's dataset: no results yet (make repro PROFILE=ml-1m).")
    best = _best_of_paper()
    lines.append(
        f"The paper's best value, HR@1 {best['hit_rate@1']:.4f}, cannot be checked directly. Its ground"
        " truth is not stated, and its baseline values apparently come from a paper with another protocol."
    )
    return lines


def trust(flat: Mapping[str, Any]) -> list[str]:
    """Which numbers to trust, and which not to compare."""
    cases, users = flat.get("next_item/lstm/n_cases"), flat.get("next_item/lstm/n_users")
    windows = flat.get("window_of_five/lstm/n_cases")
    if cases is None or users is None or windows is None:
        return ["None yet: nothing was run."]
    wide = f" It has {windows:,} cases and wide intervals." if windows < cases else ""
    return [
        f"Trust the claims answered yes or no. Both systems answered the same {cases:,} cases of {users}"
        " users and could name any movie of the catalog. The interval over users and seeds excludes zero,"
        " every seed has the same sign, and the corrected test agrees.",
        "Be careful with window_of_five, the released code's count: any of a user's last five movies is a"
        f" hit.{wide} Be careful with one seed, too: such an interval covers other users only.",
        "Do not compare our columns with the paper's, next_item with window_of_five, or a list of three"
        " titles with a full ranking on HR@5.",
    ]


def kept_minutes(folder: Path) -> int:
    """Minutes of one core that the baselines of the last run once took, where it took them up ready-made.

    0 where it trained them itself. Kept pieces leave the stage next to no work.

    Args:
        folder: of the run's timings.
    """
    stage = files.read_json(folder / "baselines.json", files.Timing, missing=files.Timing())
    models = files.read_json(folder / "baselines_models.json", dict[str, files.Fit], missing={})
    fitted = sum(one.fit_seconds for one in models.values())
    taken = (stage.seconds or 0) * stage.machine.get("cores", 1)
    return round(fitted / 60) if 0 < taken < fitted / 2 else 0


def minutes(timings: Sequence[Mapping[str, Any]]) -> int | None:
    """Minutes that all stages took the last time, rounded up; None where one was never run."""
    seconds = [row["seconds"] for row in timings]
    return None if None in seconds else -int(-sum(seconds) // 60)
