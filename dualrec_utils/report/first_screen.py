"""What a newcomer should know within a minute: what was reproduced, what not and why, what to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dualrec_utils.analysis import breakdowns, claims, counterparts, verdict
from dualrec_utils.core import config, evaluation, files
from dualrec_utils.datasets.weights import MODELS
from dualrec_utils.models import systems
from dualrec_utils.report import parts as page_parts, runs
from dualrec_utils.report.runs import Run
from dualrec_utils.show import paper


def _ran(flat: Mapping[str, Any], system: str) -> bool:
    return f"next_item/{system}/hit_rate@5" in flat


def command() -> str:
    """The command that makes this run: `make repro`, inside a profile with its name."""
    return f"make repro PROFILE={config.ROOT.name}" if runs.is_profile() else "make repro"


def findings(run: Run) -> list[str]:
    """What a run found, those on one subject together; none where nothing was run."""
    lines = verdict.findings(run.flat, audit=run.metrics("audit"))
    return _with(lines, ratings_in_short(run))


def first_lines(flat: Mapping[str, Any], *, whole: bool) -> list[str]:
    """What README and page begin with: the findings of :func:`runs.first`, and what other runs add.

    Args:
        flat: metrics of notebook 07 of the run at hand.
        whole: whether to tell of ratings and other domains too: the page has chapters on them, and its
            first lines fit a phone.

    Returns:
        Sentences, those on one subject together; none where nothing was run. What a pretrained model adds
        belongs to the first paragraph of the README, and is an entry of its own on the page.
    """
    # The other runs and studies are of MovieLens: they say nothing of data of one's own.
    if runs.is_profile() or flat.get("dataset") not in verdict.DATASETS:
        return findings(runs.at_hand(flat))
    first = runs.first(flat)
    run = runs.others().get(runs.PRETRAINED)
    added = pretrained(run) if run else ""
    lines = verdict.findings(first.flat, audit=first.metrics("audit"))
    if len(lines) < 2:
        return lines
    # Whether pretraining helps comes right after what holds of the study's own language model.
    if added:
        # Kept short: what the claims say stands in the page's table and in the list of all results.
        if whole:
            lines = [f"{lines[0]} {added}", *lines[1:-1], _counted(first)]
        else:
            lines = [lines[0], added, *lines[1:-1]]
    elif knowledge := knowledge_in_short():
        lines.insert(1, knowledge)
    return _with(lines, ratings_in_short(runs.at_hand(flat)), domains_in_short()) if whole else lines


def _counted(run: Run) -> str:
    """How many of a run's claims are answered."""
    answers = [row["answer"] for row in claims.of_metrics(run.flat)]
    others = sorted({answer for answer in answers if answer not in (claims.YES, claims.NO)})
    settled = sum(answer not in others for answer in answers)
    rest = f"; the others are {' or '.join(others)}" if others else ""
    return (
        f"How sure: on {run.dataset}, {settled} of {len(answers)} questions on the next movie are answered"
        f"{rest}."
    )


def _with(lines: Sequence[str], *more: str) -> list[str]:
    """Lines with others put in before the last, the count of answers; none where there are none."""
    added = [line for line in more if line] if len(lines) > 1 else []
    return [*lines[:-1], *added, *lines[-1:]]


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


def reproduced(flat: Mapping[str, Any], *, others: Mapping[str, Run]) -> list[str]:
    """What ran, in sentences.

    Args:
        flat: metrics of notebook 07 of the run at hand.
        others: from :func:`runs.others`.
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
    at_hand, first = runs.at_hand(flat), runs.first(flat)
    if line := stage_1(at_hand):
        lines.append(line)
    lines += ratings(at_hand)
    for run in (at_hand, *others.values()):
        if run.profile and (line := stage_1(run)):
            lines.append(line)
        # What the first run found stands above.
        if run.profile != first.profile:
            whose = f"Profile {run.profile}" if run.profile else "The default run"
            lines.append(f"{' '.join(findings(run))} ({whose}.)")
        lines += _by_both_rules(run)
    return lines


def ratings(run: Run) -> list[str]:
    """What the two published rating hybrids reach, and what the best one here does; in sentences.

    Returns:
        A sentence for each that ran; none where notebook 11 did not run.
    """
    flat = run.metrics("rating_hybrids")

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
            " 0.923 for five folds, not for u1; notebook 11 shows both."
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


def ratings_in_short(run: Run) -> str:
    """How the rating hybrids fare, in two sentences; empty where notebook 11 did not run."""
    flat = run.metrics("rating_hybrids")
    on_u1 = ("hybrid_cosine", "cross_attention", "biases")
    on_all = ("bayesian_text", "svdpp")
    keys = [f"ratings/{name}/rmse_u1" for name in on_u1] + [f"ratings/{name}/rmse" for name in on_all]
    texts = "ratings/bayesian_text/rmse/over_bayesian"
    if not {*keys, f"{texts}/low", f"{texts}/high"} <= flat.keys():
        return ""
    values = [f"{flat[key]:.3f}" for key in keys]
    # Of errors: below zero is better.
    side = evaluation.side_of_zero(flat[f"{texts}/low"], flat[f"{texts}/high"])
    effect = {-1: "help", 0: "are not shown to help", 1: "harm"}[side]
    return (
        "Ratings: on {}, two published text hybrids err by {} and {} stars (RMSE, fold u1), user and"
        " movie averages by {}. Over five folds the best hybrid here errs by {} (its texts {}), SVD++ by"
        " {}."
    ).format(run.dataset, *values[:4], effect, *values[4:])


def pretrained(run: Run) -> str:
    """What a pretrained language model adds, for whom, and what a larger one would have to show.

    Args:
        run: whose language model is pretrained.

    Returns:
        Sentences; empty where one of the two claims they rest on has not run.
    """
    model = verdict.model_of(run.flat)
    rows = {row["claim"]: row for row in claims.of_metrics(run.flat) if row["answer"] != claims.NOT_RUN}
    stages, beside = rows.get(f"5/{model}"), rows.get(f"6/{model}")
    if stages is None or beside is None:
        return ""
    keys = [f"next_item/{stages[side]}/hit_rate@1" for side in ("system", "other")]
    shares = [verdict.percent(run.flat, key) for key in keys]
    known = MODELS[model].label if model in MODELS else model
    said = verdict.opening(beside, model="it")
    gains = run.reports / "tables" / "results" / "gains_by_group.csv"
    lines = [
        f"With {known}, which has read the web, the three stages name the next movie of {run.dataset} first"
        f" in {shares[0]} of cases, the LSTM in {shares[1]} (HR@1, {stages['n_users']} users).",
        f"{said[0].upper()}{said[1:]}.",
        breakdowns.helped(pd.read_csv(gains), beside["system"]) if gains.is_file() else "",
        _to_show(stages),
    ]
    return " ".join(line for line in lines if line)


def _to_show(stages: Mapping[str, Any]) -> str:
    """What a larger model would have to show; empty where this one shows it, or where it is not known."""
    least = stages.get("smallest_difference")
    if not least or stages["answer"] == claims.YES:
        return ""
    seeds = "With more seeds, a" if stages["n_seeds"] == 1 else "A"
    return (
        f"{seeds} larger model's lead over the LSTM would show here from about {100 * least:.1f} points on."
    )


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
    beside = ", not tuned" if not last["share"] else ""
    if len(rival):
        beside = (
            f", those of an LSTM in {_percent(rival.iloc[-1])}; both learned from the same part of the"
            " training users"
        )
    return (
        f"Knowledge: {MODELS[last['system']].label} has read the web. On MovieLens 100K its first ten hold"
        f" the next movie in {_percent(last)} of cases{beside}."
    )


def _percent(row: pd.Series) -> str:
    return verdict.percent(evaluation.with_interval("share", row), "share")


def domains_in_short() -> str:
    """Which conclusions on films other domains confirm; empty where `make domains` has not been run."""
    path = config.study_dir("domains") / "answers.csv"
    return f"Other domains: {pd.read_csv(path)['answer'].iloc[0]}" if path.is_file() else ""


def _by_both_rules(run: Run) -> list[str]:
    """What the released code's rules of counting make of the results, and this study's.

    Returns:
        Sentences, on the paper's dataset; none where there is no audit of it.
    """
    audit = run.reports / "tables" / "audit"
    rows = page_parts.read_ladder(audit) if run.flat["dataset"] == runs.PAPERS else []
    if not rows:
        return []
    best = _best_of_paper()
    ends = [", ".join(f"{row['system']} {row[end]}" for row in rows) for end in ("first", "last")]
    lines = [
        f"HR@1 on {run.where} by the released code's rules: {ends[0]}. The paper prints"
        f" {best['hit_rate@1']:.4f}. By this study's rules: {ends[1]}. (All of one seed.)"
    ]
    for row in page_parts.read_ladder(audit, name="stage_1", metric="hit_rate@5"):
        lines.append(
            f"On {run.where} the LSTM alone, without a language model, has {row['first']} if counted as in"
            f" the paper's Figure 3 (top-5 accuracy on windows) and {row['last']} if counted as in its"
            " Figure 4 (HR@5). The paper compares"
            f" {paper.FIGURE_3['top5_accuracy']['validation']:.4f} in the first count with"
            f" {best['hit_rate@5']:.4f} in the second, to show what its language model adds"
            " (section 6.2)."
        )
    return lines


def _best_of_paper() -> pd.Series:
    """The paper's best system, a row of its Figure 4."""
    return paper.figure_4().query("family == 'dualrec'").nlargest(1, "hit_rate@1").iloc[0]


def _described(model: str) -> str:
    small = "movielm, which is small, was trained here on titles alone and knows nothing of the world"
    return small if model == "movielm" else model


def stage_1(run: Run) -> str:
    """The LSTM's validation beside the paper's Figure 3; empty where notebook 02 has not run."""
    flat = run.metrics("lstm")
    if "windows/validation/loss" not in flat:
        return ""
    loss, top5 = (flat[f"windows/validation/{name}"] for name in ("loss", "top5_accuracy"))
    printed = {name: parts["validation"] for name, parts in paper.FIGURE_3.items()}
    return (
        f"The training of Stage 1 (Figure 3), on windows of validation users of {run.where}: loss"
        f" {loss:.2f}, top-5 accuracy {top5:.1%}. The paper prints {printed['loss']:.2f} and"
        f" {printed['top5_accuracy']:.1%} on MovieLens 1M."
    )


def lacking(run: Run) -> str:
    """What the ratings at hand lack, and what that leaves out; empty where they are whole or unknown."""
    flat = run.metrics("eda")
    value, time = (flat.get(f"share_of_ratings_without_{part}", 0) for part in ("value", "time"))
    lines = []
    if value:
        lines.append(f"{value:.1%} of the ratings at hand have no value: what needs values is left out.")
    if time == 1:
        lines.append("No rating at hand has a time: what needs times is left out.")
    elif time:
        lines.append(
            f"{time:.1%} of the ratings at hand have no time, but all have their place in the user's order."
            " What needs times is made of the others."
        )
    return f"{run.where}: {' '.join(lines)}" if lines else ""


def not_reproduced(
    flat: Mapping[str, Any], *, rows: Sequence[Mapping[str, Any]], others: Mapping[str, Run]
) -> list[str]:
    """What did not run and why, and what cannot be checked at all.

    Args:
        flat: metrics of notebook 07.
        rows: of the saved Figure 4 table, with `system` and `remark`.
        others: from :func:`runs.others`.
    """
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["remark"].startswith("not run: "):
            reasons.setdefault(row["remark"].removeprefix("not run: "), []).append(row["system"])
    lines = [f"{', '.join(names)}: {reason}." for reason, names in reasons.items()]
    here = [runs.at_hand(flat), *others.values()]
    # Profiles may share a data set.
    lines += dict.fromkeys(line for run in here if (line := lacking(run)))
    if runs.PAPERS not in {run.flat.get("dataset") for run in here} and not runs.is_profile():
        lines.append("MovieLens 1M, the paper's dataset: no results yet (make repro PROFILE=ml-1m).")
    best = _best_of_paper()
    lines.append(
        f"The paper's best value, HR@1 {best['hit_rate@1']:.4f}, cannot be checked directly. Its ground"
        " truth is not stated, and its baseline values apparently come from a paper with another protocol."
    )
    return lines


def trust(flat: Mapping[str, Any]) -> list[str]:
    """Which numbers to trust, and which not to compare."""
    cases, windows = flat.get("next_item/lstm/n_cases"), flat.get("window_of_five/lstm/n_cases")
    if cases is None or windows is None:
        return ["None yet: nothing was run."]
    wide = f" It has {windows:,} cases and wide intervals." if windows < cases else ""
    return [
        "Trust the claims answered yes or no. Both systems of a claim answered the same cases and could"
        " name any movie of the catalog. The interval over users and seeds excludes zero, every seed has"
        " the same sign, and the corrected test agrees.",
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
