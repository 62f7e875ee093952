"""What the study found, in sentences built from the metrics: one text for notebook, page and README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dualrec_utils.analysis import plan
from dualrec_utils.models import systems

ORDER_CAVEAT = (
    "MovieLens records when a movie was rated, not when it was watched: rating order stands in for"
    " viewing order throughout."
)
_MOVIELM_CAVEAT = (
    "The language model of this profile, movielm, is a small one trained here on titles alone. It runs"
    " the code that the paper's models run, but it has no world knowledge: its rows say how the method"
    " works on it, not how Mistral 7B or DeepSeek V3 would do."
)
PROTOCOL_CAVEAT = (
    "The paper uses MovieLens 1M and does not state its ground truth. Its baselines' values are apparently"
    " those of Xu et al. (2025), whom it names as the source of its choice of baselines, very probably"
    " measured under another protocol: values of paper and study stand side by side for orientation, not"
    " for a contest."
)

FUSION = "dualrec_fusion"
# What is said of a difference that neither side wins.
NOT_SHOWN = "no difference shown"
_TOLD = {"higher": "better than", "lower": "worse than", NOT_SHOWN: "not shown to differ from"}
_MODELS = {"movielm": "a small model trained here (movielm)"}
DATASETS = {"ml-100k": "MovieLens 100K", "ml-1m": "MovieLens 1M"}


def model_of(flat: Mapping[str, float]) -> str:
    """Name of the language model that the verdict speaks of."""
    return str(flat.get("language_model", systems.main_model([])))


def caveats(flat: Mapping[str, float]) -> list[str]:
    """What must be said beside any number: the language model's standing, and what "order" means."""
    return [*([_MOVIELM_CAVEAT] if model_of(flat) == "movielm" else []), ORDER_CAVEAT]


def percent(flat: Mapping[str, float], key: str) -> str:
    """A share with its interval: `8.6% [7.0, 10.3]`."""
    return f"{flat[key]:.1%} [{100 * flat[f'{key}/low']:.1f}, {100 * flat[f'{key}/high']:.1f}]"


def points(flat: Mapping[str, float], key: str) -> str:
    """A difference of shares in percentage points, signed, with its interval: `+2.1 points [0.9, 3.4]`."""
    low, high = 100 * flat[f"{key}/low"], 100 * flat[f"{key}/high"]
    return f"{100 * flat[key]:+.1f} points [{low:+.1f}, {high:+.1f}]"


def reading(flat: Mapping[str, float], key: str) -> str:
    """What an interval of a difference says: `higher`, `lower` or :data:`NOT_SHOWN`."""
    if flat[f"{key}/low"] > 0:
        return "higher"
    if flat[f"{key}/high"] < 0:
        return "lower"
    return NOT_SHOWN


def claims(flat: Mapping[str, float]) -> list[dict[str, str]]:
    """The questions a reader comes with, each answered by one paired difference.

    HR@1 where a side is a list of three titles, HR@5 and NDCG@5 between full rankings.

    Returns:
        Rows of `question`, `answer` (`yes`, `no: worse`, `unclear`, `not run`; with `, not when
        corrected` where Holm's correction undoes it), `compared` (system minus system, metric),
        `difference` (points with interval, empty where not run).
    """
    model = model_of(flat)
    rows = [
        ("Does the order of a user's movies predict the next one?", "lstm", "most_popular", "hit_rate@5"),
        (
            "Does the LSTM's suggestion help the language model?",
            f"{model}_zero_shot", f"{model}_zero_shot_no_hint", "hit_rate@1",
        ),
        ("Does fine-tuning help?", f"{model}_lora", f"{model}_zero_shot", "hit_rate@1"),
        (
            "Does fine-tuning on shuffled answers, the format alone, help?",
            f"{model}_lora_permuted", f"{model}_zero_shot", "hit_rate@1",
        ),
        (
            "Do true answers teach more than shuffled ones?",
            f"{model}_lora", f"{model}_lora_permuted", "hit_rate@1",
        ),
        ("Does re-ranking help?", f"{model}_lora_reranked", f"{model}_lora", "hit_rate@1"),
        ("Do the paper's three stages beat their LSTM?", f"{model}_lora_reranked", "lstm", "hit_rate@1"),
        ("Does fusing both models' scores (ours) find more than the LSTM?", FUSION, "lstm", "hit_rate@5"),
        ("Does the fusion rank better than the LSTM?", FUSION, "lstm", "ndcg@5"),
    ]  # fmt: skip
    if best := best_rival(flat):
        rows += [
            ("Does the fusion find more than the best baseline?", FUSION, best, "hit_rate@5"),
            ("Does the fusion rank better than the best baseline?", FUSION, best, "ndcg@5"),
        ]
    answers = {"higher": "yes", "lower": "no: worse", NOT_SHOWN: "unclear"}
    found = []
    for question, system, other, metric in rows:
        key = f"next_item/difference/{system}-{other}/{metric}"
        # Labels without their remarks in brackets, which the reader meets further down.
        names = [re.sub(r" \(.*?\)", "", systems.label(name)) for name in (system, other)]
        answer = answers[reading(flat, key)] if key in flat else "not run"
        found.append(
            {
                "question": question,
                "answer": answer + remark(flat, key),
                "compared": f"{' minus '.join(names)}, {short(metric)}",
                "difference": points(flat, key) if key in flat else "",
            }
        )
    return found


def short(metric: str) -> str:
    """A metric as readers write it.

    >>> short("hit_rate@5"), short("ndcg@5")
    ('HR@5', 'NDCG@5')
    """
    return metric.replace("hit_rate", "HR").replace("ndcg", "NDCG")


def _undone(flat: Mapping[str, float], key: str) -> bool:
    """Whether the correction for many comparisons undoes what a difference's interval says.

    The level of the tests is that of the intervals; an untested difference is not undone.
    """
    level = 1 - flat.get("confidence", 0.95)
    tested = key in flat and f"{key}/p_holm" in flat
    return tested and flat[f"{key}/p_holm"] >= level and reading(flat, key) != NOT_SHOWN


def remark(flat: Mapping[str, float], key: str) -> str:
    """What the correction for many comparisons adds to :func:`reading`; empty where it undoes nothing."""
    return ", not when corrected" if _undone(flat, key) else ""


def best_rival(flat: Mapping[str, float]) -> str:
    """The baseline that was best on validation users; empty where the fusion was not compared with it."""
    best = str(flat.get("best_on_validation", ""))
    return best if f"next_item/difference/{FUSION}-{best}/hit_rate@5" in flat else ""


def summary(flat: Mapping[str, float]) -> str:
    """The verdict in two sentences; empty where the LSTM was not run."""
    if "next_item/lstm/hit_rate@5" not in flat:
        return ""
    model = model_of(flat)
    ranked = ("hit_rate@5", "ndcg@5")
    fused = _held(flat, FUSION, "lstm", ranked, name="the LSTM")
    if best := best_rival(flat):
        name = f"the baseline best on validation users ({systems.label(best)})"
        fused += f"; it is {_held(flat, FUSION, best, ranked, name=name)}"
    popular = _held(flat, "lstm", "most_popular", ("hit_rate@5",), name="popularity")
    stages = _held(flat, f"{model}_lora_reranked", "lstm", ("hit_rate@1",), name="that LSTM")
    return (
        f"On {DATASETS.get(flat['dataset'], flat['dataset'])}, the LSTM alone is {popular}; the paper's"
        f" three stages, with {_MODELS.get(model, model)} as the language model, are {stages}. Fusing both"
        f" models' scores, this study's own proposal, is {fused}."
    )


def _held(flat: Mapping[str, float], system: str, other: str, metrics: Sequence[str], *, name: str) -> str:
    """What some metrics say of two systems: `better than popularity on HR@5 and NDCG@5`.

    Args:
        name: of the other system, where it is named first.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for metric in metrics:
        key = f"next_item/difference/{system}-{other}/{metric}"
        told = _TOLD[reading(flat, key)] if key in flat else "not compared with"
        correction = " (not when corrected for many comparisons)" if _undone(flat, key) else ""
        found.setdefault((told, correction), []).append(short(metric))
    names = [name, *["it"] * len(found)]
    return " and ".join(
        f"{told} {whom} on {' and '.join(own)}{correction}"
        for whom, ((told, correction), own) in zip(names, found.items(), strict=False)
    )


def stage_1(flat: Mapping[str, float]) -> str:
    """One sentence: the LSTM against the most popular movies on HR@5."""
    difference = "next_item/difference/lstm-most_popular/hit_rate@5"
    if difference not in flat:
        return "The LSTM and its popularity baseline were not both run."
    sides = {"higher": "above", "lower": "below", NOT_SHOWN: "on both sides of"}
    lstm, popular = "next_item/lstm/hit_rate@5", "next_item/most_popular/hit_rate@5"
    return (
        f"The LSTM has the next movie among its first five in {percent(flat, lstm)} of"
        f" {flat['next_item/lstm/n_cases']:,} cases, the most popular movies in"
        f" {percent(flat, popular)}: a difference of {points(flat, difference)}, an interval"
        f" {sides[reading(flat, difference)]} zero."
    )


def rivals(flat: Mapping[str, float]) -> str:
    """One sentence: the LSTM against the baseline best on validation users, on HR@5; empty without one."""
    best = str(flat.get("best_on_validation", ""))
    key = f"next_item/difference/lstm-{best}/hit_rate@5"
    if key not in flat:
        return ""
    told = {
        "higher": "the LSTM is better",
        "lower": "the LSTM is worse",
        NOT_SHOWN: "no difference between the two is shown",
    }
    return (
        f"The baseline best on validation users ({systems.label(best)}) reaches"
        f" {percent(flat, f'next_item/{best}/hit_rate@5')} on test users; LSTM minus that is"
        f" {points(flat, key)}: {told[reading(flat, key)]}{remark(flat, key)}."
    )


def headline(flat: Mapping[str, float]) -> list[str]:
    """The verdict in up to four sentences, under `next_item`."""
    return [line for line in (stage_1(flat), rivals(flat), hybrid(flat), fusion(flat)) if line]


def hybrid(flat: Mapping[str, float]) -> str:
    """One sentence: the paper's three stages against the LSTM alone, on HR@1."""
    model = model_of(flat)
    difference = f"next_item/difference/{model}_lora_reranked-lstm/hit_rate@1"
    if difference not in flat:
        return "The three stages together were not run."
    whole, alone = f"next_item/{model}_lora_reranked/hit_rate@1", "next_item/lstm/hit_rate@1"
    told = {
        "higher": "the language model adds to its LSTM",
        "lower": "the language model takes away from its LSTM",
        NOT_SHOWN: "whether the language model adds to its LSTM is unclear",
    }
    return (
        f"The paper's three stages on {model} put the next movie first in {percent(flat, whole)}, the"
        f" LSTM alone in {percent(flat, alone)} ({points(flat, difference)}):"
        f" {told[reading(flat, difference)]}{remark(flat, difference)}."
    )


def fusion(flat: Mapping[str, float]) -> str:
    """One sentence: the study's fusion on HR@5 against its two parts and the trained baselines that ran.

    Empty where the fusion or a part was not run.
    """
    parts = {"the LSTM": "lstm", "its language model": f"{model_of(flat)}_history_constrained"}
    keys = {words: f"next_item/difference/{FUSION}-{part}/hit_rate@5" for words, part in parts.items()}
    if not set(keys.values()) <= flat.keys():
        return ""
    best = best_rival(flat)
    for name in dict.fromkeys([*plan.TRAINED_RIVALS, *([best] if best else [])]):
        if (key := f"next_item/difference/{FUSION}-{name}/hit_rate@5") in flat:
            keys[systems.label(name)] = key
    told = "; ".join(
        f"minus {words} {points(flat, key)}, {reading(flat, key)}{remark(flat, key)}"
        for words, key in keys.items()
    )
    return (
        "Fusing the scores of LSTM and language model, this study's own proposal, reaches"
        f" {percent(flat, f'next_item/{FUSION}/hit_rate@5')} on HR@5: {told}."
    )


def users_needed(flat: Mapping[str, float]) -> str:
    """One sentence: how many users tell two values of HR@1 apart; empty where that was not asked."""
    keys = [f"power/next_item/hit_rate@1/users_{design}" for design in ("paired", "independent")]
    if not flat.keys() >= set(keys):
        return ""
    medians = [f"{flat[key]:,.0f}" for key in keys]
    return (
        f"To tell an HR@1 of {flat['power/higher']:g} from one of {flat['power/lower']:g} with a chance of"
        f" {flat['power/chance']:.0%} takes {medians[0]} users whom both systems answer, or {medians[1]}"
        " for each system where both have their own (medians over the planned comparisons); this run has"
        f" {flat['next_item/lstm/n_users']}."
    )


def comparisons(flat: Mapping[str, float]) -> list[str]:
    """One sentence a comparison of :func:`analysis.plan.comparisons` that was run.

    HR@5 where the systems' lists differ, with their lengths where one is too short for it; HR@1 where
    re-ranking reorders one list of three, which cannot move HR@5.
    """
    lines = []
    for question, system, other in plan.comparisons(model_of(flat)):
        metric = "hit_rate@1" if system.endswith("_reranked") else "hit_rate@5"
        key = f"next_item/difference/{system}-{other}/{metric}"
        if key in flat:
            names = f"{systems.label(system)} minus {systems.label(other)}"
            told = f"{points(flat, key)}, {reading(flat, key)}{remark(flat, key)}"
            lengths = _uneven_lengths(flat, system, other) if metric == "hit_rate@5" else ""
            lines.append(f"{question} {names}, {short(metric)}{lengths}: {told}.")
    return lines


def _uneven_lengths(flat: Mapping[str, float], system: str, other: str) -> str:
    """` (lists of 3 titles against 100)` where HR@5 measures the length of lists too; empty elsewhere."""
    sides = [flat[f"next_item/{name}/list_length_max"] for name in (system, other)]
    return f" (lists of {sides[0]} titles against {sides[1]})" if min(sides) < min(5, max(sides)) else ""
