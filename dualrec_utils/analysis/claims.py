"""The claims of this study: six, stated before the test users were scored, and one correction for all.

`reports/claims.md` is the statement; this module is the same list for the code. Nothing else is called
"yes" or "no" in the study: other differences are shown with intervals, as descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dualrec_utils.analysis import sample_size, seeds, significance
from dualrec_utils.core import config, evaluation, files, predictions
from dualrec_utils.core.config import SYSTEM
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import systems

YES, NO, UNCLEAR, NOT_RUN = "yes", "no", "unclear", "not run"
# The language models that claims are made of: the run's own, and the main pretrained one where it ran.
LANGUAGE_MODELS = ("movielm", "qwen")
# Number, question, system, other, metric, all under `next_item`. In angle brackets: the language model;
# the fusion of LSTM and that model; what is chosen on validation users.
STATED = (
    (1, "Does the order of a user's movies help to find the next one?",
     "<order-aware>", "ease", "ndcg@5"),
    (2, "Does the LSTM's line in the prompt help <model>?",
     "<model>_zero_shot", "<model>_zero_shot_no_hint", "hit_rate@1"),
    (3, "Does fine-tuning teach <model> more than the form of an answer?",
     "<model>_lora", "<model>_lora_permuted", "hit_rate@1"),
    (4, "Does re-ranking help, with <model>?",
     "<model>_lora_reranked", "<model>_lora", "hit_rate@1"),
    (5, "Are the paper's three stages better than their LSTM, with <model>?",
     "<model>_lora_reranked", "lstm", "hit_rate@1"),
    (6, "Does <model> add more to the LSTM than another model does?",
     "<fusion>", "<control>", "ndcg@5"),
)  # fmt: skip
# The most claims that are corrected together.
LARGEST_FAMILY = 1 + (len(STATED) - 1) * len(LANGUAGE_MODELS)
_FUSION = "dualrec_fusion"


@dataclass(frozen=True)
class Claim:
    """One claim: `system` minus `other` on `metric`, under `next_item`.

    Attributes:
        key: `1`, or `2/movielm` where it is about a language model.
        question: in plain English, the language model named.
        system, other: names of systems; empty where nothing was there to choose from.
    """

    key: str
    question: str
    system: str
    other: str
    metric: str


def family(names: Iterable[str], *, order_aware: str, control: str, main: str | None = None) -> list[Claim]:
    """All claims, the first once and the others for each language model.

    Args:
        names: systems that were run.
        order_aware: from :func:`best_order_aware`, or empty.
        control: from :func:`best_control`, or empty.
        main: the language model of the run, which its fusion is made with; None takes
            `systems.main_model`.
    """
    names = list(names)
    main = main or systems.main_model(names)
    ran = {systems.split(name)[0] for name in names}
    models = dict.fromkeys([main, *(model for model in LANGUAGE_MODELS if model in ran)])
    claims = []
    for model in models:
        chosen = {"model": model, "order-aware": order_aware, "control": control}
        chosen["fusion"] = _FUSION if model == main else f"{_FUSION}_{model}"
        for number, *texts, metric in STATED:
            whole = [re.sub(r"<(.*?)>", lambda match: chosen[match[1]], text) for text in texts]  # noqa: B023
            about = any("<model>" in text for text in texts)
            claims.append(Claim(f"{number}/{model}" if about else str(number), *whole, metric))
    # The claims about no language model come once, the others number by number.
    return sorted(dict.fromkeys(claims), key=lambda claim: claim.key.partition("/")[0])


def best_order_aware(dataset: str) -> str:
    """The order-aware model with the highest NDCG@5 on validation users, the LSTM among them.

    Chosen there and compared on test users: the best on the test users themselves would owe some of its
    place to luck. Of equal ones the first in the study's order; empty where none was run.
    """
    return best_on_validation(systems.ORDER_AWARE, dataset)


def best_on_validation(names: Iterable[str], dataset: str) -> str:
    """Of some baselines, or the LSTM, the one with the highest NDCG@5 on validation users; or empty."""
    values = {}
    for stage in ("baselines", "lstm"):
        scope = Scope(dataset, stage, "next_item", "validation")
        for name in set(predictions.systems(scope)) & set(names):
            values[name] = evaluation.chosen_by(name, scope)
    return max(systems.in_order(values), key=values.get, default="")


def best_control() -> str:
    """The LSTM fused with another model: the best on validation users, by notebook 06; or empty."""
    ablation = files.read_json(config.METRICS / "rerank_ablation.json", missing={})
    return str(ablation.get("best_fusion_control", ""))


def table(
    claims: Sequence[Claim],
    cases: seeds.Cases,
    *,
    seed: int,
    n_bootstrap: int,
    n_permutations: int,
    confidence: float,
    power: float,
) -> pd.DataFrame:
    """Every claim answered.

    A system is paired with the other on the seeds that both have. The answer is `yes` or `no` where the
    interval over users and seeds excludes zero, the p-value is below 1 - confidence after Holm's
    correction over the claims that ran, the difference has the same sign under every seed, and there are
    several; else `unclear`, or `not run`.

    Args:
        claims: from :func:`family`.
        cases: (protocol, system) -> frame of `evaluation.per_case`.
        seed, n_bootstrap, confidence: of the intervals, as `seeds.interval`.
        n_permutations: draws of signs, as `significance.paired_tests`.
        power: chance of seeing a difference that is there.

    Returns:
        A row a claim: `claim`, `question`, `system`, `other`, `metric`, `answer`, `difference`, `low`,
        `high`, `n_users`, `n_seeds`, `n_better` and `n_worse` (users), `effect_size`, `p`, `p_holm`,
        `same_sign`;
        `users_needed`, the test users that would show a difference of this size (infinite where no number
        would, because it is zero or seeds differ too much), and `smallest_difference`, the least that this
        run's users would show; both with that power at the level that Holm's correction asks of the
        smallest p-value. Missing where not run.

    Raises:
        StudyError: as `seeds.further` and `significance.check_draws`.
        ValueError: when systems answer for different users.
    """
    # Seeds and users of each claim that ran, a column a seed.
    gains = {}
    for claim in claims:
        one, other = (seeds.user_means(cases, name) for name in (claim.system, claim.other))
        both = [number for number in one if number in other]
        if both:
            gains[claim] = pd.DataFrame({n: one[n][claim.metric] - other[n][claim.metric] for n in both})
    if not gains:
        return _not_run(claims)
    alpha = 1 - confidence
    mean = pd.DataFrame({claim.key: gain.mean(axis=1) for claim, gain in gains.items()})
    if mean.isna().any(axis=None):
        raise ValueError("the systems answer for different users")
    tests = significance.paired_tests(mean, seed=seed, n_permutations=n_permutations, alpha=alpha)
    answered = {}
    for claim, gain in gains.items():
        row = seeds.interval(gain, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)
        row["difference"], over_seeds = row.pop("value"), row.pop("over_seeds")
        of_seeds = np.sign(gain.mean().where(lambda mean: mean.abs() > evaluation.LAST_BIT, 0.0))
        row["same_sign"] = bool((of_seeds == of_seeds.iloc[0]).all() and of_seeds.iloc[0] != 0)
        row |= tests.loc[claim.key].to_dict()
        options = {"variance": mean[claim.key].var(), "alpha": alpha / len(gains), "power": power}
        # What is left of the difference once the seeds' part of the interval is taken off.
        left = row["difference"] ** 2 - over_seeds**2
        row["users_needed"] = sample_size.users_needed(np.sqrt(left), **options) if left > 1e-15 else np.inf
        least = sample_size.smallest_difference(row["n_users"], **options)
        row["smallest_difference"] = float(np.hypot(least, over_seeds))
        row["answer"] = answer(row, alpha=alpha)
        answered[claim.key] = row
    columns = ["answer", "difference", "low", "high", "n_users", "n_seeds", "n_better", "n_worse"]
    columns += ["effect_size", "p", "p_holm", "same_sign", "users_needed", "smallest_difference"]
    table = pd.DataFrame.from_dict(answered, orient="index")[columns]
    whole = _not_run(claims).drop(columns="answer").join(table, on="claim")
    return whole.fillna({"answer": NOT_RUN}).astype(
        dict.fromkeys(("n_users", "n_seeds", "n_better", "n_worse"), "Int64")
    )


def _not_run(claims: Sequence[Claim]) -> pd.DataFrame:
    rows = [
        (claim.key, claim.question, claim.system, claim.other, claim.metric, NOT_RUN) for claim in claims
    ]
    return pd.DataFrame(rows, columns=["claim", "question", SYSTEM, "other", "metric", "answer"])


def answer(row: Mapping[str, Any], *, alpha: float) -> str:
    """`yes`, `no` or `unclear`.

    Args:
        row: `difference`, `low`, `high`, `p_holm`, `same_sign`, `n_seeds` of a claim.
        alpha: level of the corrected test.
    """
    excludes = evaluation.side_of_zero(row["low"], row["high"])
    if not (excludes and row["p_holm"] < alpha and row["same_sign"] and row["n_seeds"] > 1):
        return UNCLEAR
    return YES if row["difference"] > 0 else NO


def flatten(answered: pd.DataFrame) -> dict[str, Any]:
    """Flat keys: `claims/2/movielm/answer`, and so for each column of :func:`table` that has a value."""
    flat = {}
    for row in answered.to_dict("records"):
        for name, value in row.items():
            # No number of users has no key either: JSON knows no infinity.
            if name != "claim" and not pd.isna(value) and value != np.inf:
                plain = value.item() if isinstance(value, np.generic) else value
                flat[f"claims/{row['claim']}/{name}"] = plain
    return flat


def of_metrics(flat: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of :func:`table` out of :func:`flatten`; the claims as `not run` where the run has none."""
    rows: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        if key.startswith("claims/"):
            claim, name = key.removeprefix("claims/").rsplit("/", 1)
            rows.setdefault(claim, {"claim": claim})[name] = value
    if rows:
        return [rows[claim] for claim in sorted(rows)]
    main = str(flat.get("language_model", systems.main_model([])))
    return _not_run(family([], order_aware="", control="", main=main)).to_dict("records")
