"""What the study found, in sentences built from the metrics: one text for notebook, page and README."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dualrec_utils.analysis import claims, order
from dualrec_utils.core import evaluation
from dualrec_utils.models import systems

ORDER_CAVEAT = (
    "MovieLens records when a movie was rated, not when it was watched. So “order” here always means the"
    " order of ratings."
)
_MOVIELM_CAVEAT = (
    "The language model here, movielm, is small and was trained here on titles alone. It runs"
    " the same code as the paper's models but knows nothing of the world. Its rows test the method; they"
    " do not say how Mistral 7B or DeepSeek V3 would do."
)
PROTOCOL_CAVEAT = (
    "The paper uses MovieLens 1M and does not state its ground truth. Its baseline values were apparently"
    " copied from Xu et al. (2025), whom it names as the source of its choice of baselines. Very probably"
    " they were measured under another protocol. So the paper's values and ours should not be compared."
)

# What a claim says where it is answered yes, and where no; numbers as in :data:`analysis.claims.STATED`.
STATEMENTS = {
    "1": ("the order of a user's items helps", "a model that reads the order of items is worse"),
    "2": ("the LSTM's guess in the prompt helps", "the LSTM's guess in the prompt harms"),
    "3": (
        "fine-tuning on right answers is better than on shuffled ones",
        "fine-tuning on right answers is worse than on shuffled ones",
    ),
    "4": ("re-ranking helps", "re-ranking harms"),
    "5": (
        "the paper's three stages are better than their LSTM",
        "the paper's three stages are worse than their LSTM",
    ),
    "6": (
        "the language model adds more to the LSTM than another model does",
        "the language model adds less to the LSTM than another model does",
    ),
}
# What two of them say first: of the paper's method, and of a language model beside the LSTM.
_OPENING = {
    "5": {
        claims.YES: "the paper's three stages find the next movie more often than their own LSTM",
        claims.NO: "the paper's three stages find the next movie less often than their own LSTM",
        claims.UNCLEAR: "it is not settled whether the paper's three stages are better than their own LSTM",
    },
    "6": {
        claims.YES: "beside the LSTM, {model} adds more than {other} does",
        claims.NO: "beside the LSTM, {model} adds less than {other} does",
        claims.UNCLEAR: "beside the LSTM, {model} is not shown to add more than {other} does",
    },
}
# Of what notebook 08 measures: metric, ways of measuring, and a sentence with their values.
_MEASURED = {
    "interface": (
        "hit_rate@5",
        ("paper_prompt", "bare_history_catalog", "lstm_same_input"),
        "Asking: with the paper's prompt, {model}'s three titles hold the next movie in {} of cases. If it"
        " reads the history alone and must choose from the catalog, its first five hold it in {}. The"
        " LSTM's first five, from the same movies: {}.",
    ),
    "leak": (
        "hit_rate@1",
        ("with", "without", "lstm"),
        "The leak: the released code shows its re-ranker the right answers. With them, {model}'s first"
        " title is right for {} of test users, without them for {}, the LSTM's for {} (HR@1; right: any of"
        " the last five; as in that code, rated movies may be named).",
    ),
}
# The metrics by which the control of fine-tuning is judged.
_OF_CONTROL = ("hit_rate@1", "hit_rate@5")
# What a claim's answer says of its first system.
_COMPARED = {
    claims.YES: "{} is better",
    claims.NO: "{} is worse",
    claims.UNCLEAR: "It is not settled whether {} is better",
}
# What orders the ratings of one second, in a sentence.
_UNDER = {
    "by id": "by movie id",
    "file order": "as in the file",
    "drawn": "at random",
}
# The subject of what other orders of equal times do.
EQUAL_TIMES = "Equal times"
# What is said of a difference that neither side wins.
NOT_SHOWN = "no difference shown"
DATASETS = {"ml-100k": "MovieLens 100K", "ml-1m": "MovieLens 1M"}


def model_of(flat: Mapping[str, float]) -> str:
    """Name of the language model that the verdict speaks of."""
    return str(flat.get("language_model", systems.main_model([])))


def caveats(flat: Mapping[str, float]) -> list[str]:
    """What must be said beside any number.

    The language model's standing, what the control of fine-tuning is worth, and last what "order" means.
    """
    standing = _MOVIELM_CAVEAT if model_of(flat) == "movielm" else ""
    return [line for line in (standing, _control_caveat(flat), ORDER_CAVEAT) if line]


def _control_caveat(flat: Mapping[str, Any]) -> str:
    """What a lead over the control of fine-tuning does not show; empty where the control does no harm."""
    model = model_of(flat)
    pairs = (f"{model}_lora_permuted-{model}_zero_shot", f"{model}_lora-{model}_zero_shot")
    harm, gain = ([f"next_item/difference/{pair}/{name}" for name in _OF_CONTROL] for pair in pairs)
    if not flat.keys() >= {*harm, *gain} or all(reading(flat, key) != "lower" for key in harm):
        return ""
    of_harm, of_gain = (
        ", ".join(
            f"{points(flat, key)} of {short(name)}" for key, name in zip(keys, _OF_CONTROL, strict=True)
        )
        for keys in (harm, gain)
    )
    return (
        "Claim 3 compares fine-tuning with fine-tuning on shuffled answers. Here that control is worse"
        f" than no fine-tuning ({of_harm}; one seed). Some of the lead over it is harm that it"
        f" does. Fine-tuning compared with none: {of_gain}."
    )


def percent(flat: Mapping[str, float], key: str) -> str:
    """A share with its interval: `8.6% [7.0, 10.3]`."""
    return f"{flat[key]:.1%} [{100 * flat[f'{key}/low']:.1f}, {100 * flat[f'{key}/high']:.1f}]"


def points(flat: Mapping[str, float], key: str) -> str:
    """A difference of shares in percentage points, signed, with its interval: `+2.1 points [0.9, 3.4]`."""
    low, high = 100 * flat[f"{key}/low"], 100 * flat[f"{key}/high"]
    return f"{100 * flat[key]:+.1f} points [{low:+.1f}, {high:+.1f}]"


def reading(flat: Mapping[str, float], key: str) -> str:
    """What an interval of a difference says: `higher`, `lower` or :data:`NOT_SHOWN`."""
    side = evaluation.side_of_zero(flat[f"{key}/low"], flat[f"{key}/high"])
    return {1: "higher", -1: "lower", 0: NOT_SHOWN}[side]


def claim_rows(flat: Mapping[str, Any]) -> list[dict[str, str]]:
    """The claims of :mod:`analysis.claims` as a reader sees them.

    Args:
        flat: metrics of notebook 07.

    Returns:
        Rows of `question`, `answer` (`yes`, `no`, `unclear`, `not run`), `difference` (with interval),
        `compared` (system minus other, metric, users and seeds), and `settled` (for `unclear`: what would
        settle it); the last three are empty where not run.
    """
    rows = []
    for claim in claims.of_metrics(flat):
        ran = claim["answer"] != claims.NOT_RUN
        rows.append(
            {
                "question": claim["question"],
                "answer": claim["answer"],
                "difference": points(_interval(claim), "d") if ran else "",
                "compared": _compared(claim) if ran else "",
                "settled": settled_by(claim) if claim["answer"] == claims.UNCLEAR else "",
            }
        )
    return rows


def claims_table(flat: Mapping[str, Any]) -> pd.DataFrame:
    """The claims with answer, difference and what would settle them, one row each."""
    rows = [
        {
            "claim (next_item)": claim["question"],
            "answer": claim["answer"],
            "difference": f"{claim['difference']}: {claim['compared']}" if claim["difference"] else "",
            "what would settle it": claim["settled"],
        }
        for claim in claim_rows(flat)
    ]
    return pd.DataFrame(rows)


def _interval(claim: Mapping[str, Any]) -> dict[str, float]:
    return {"d": claim["difference"], "d/low": claim["low"], "d/high": claim["high"]}


def _compared(claim: Mapping[str, Any]) -> str:
    seeds = "one seed" if claim["n_seeds"] == 1 else f"{claim['n_seeds']} seeds"
    # Labels without their remarks in brackets, which the reader meets further down.
    sides = [re.sub(r" \(.*?\)", "", systems.label(claim[side])) for side in ("system", "other")]
    return f"{' minus '.join(sides)}, {short(claim['metric'])}; {claim['n_users']} users, {seeds}"


def settled_by(claim: Mapping[str, Any]) -> str:
    """What would settle an unclear claim: further seeds, a number of users, or nothing.

    Args:
        claim: a row of `claims.of_metrics`, answered `unclear`.
    """
    if not claim["smallest_difference"]:
        return "both are right for exactly the same users, so there is no difference to test"
    users, several = claim["n_users"], claim["n_seeds"] > 1
    needed = claim.get("users_needed", float("inf"))
    parts = [] if several else ["one seed settles nothing"]
    if needed == float("inf"):
        parts.append("it takes more seeds" if several else "the difference is zero: more users do not help")
    elif needed > users:
        parts.append(f"{needed:,.0f} users would show a difference of this size")
    elif several:
        parts.append("the seeds disagree on its sign")
    least = 100 * claim["smallest_difference"]
    parts.append(f"with {users} users, only {least:.1f} points or more would show")
    return "; ".join(parts)


def short(metric: str) -> str:
    """A metric as readers write it.

    >>> short("hit_rate@5"), short("ndcg@5")
    ('HR@5', 'NDCG@5')
    """
    return metric.replace("hit_rate", "HR").replace("ndcg", "NDCG")


def findings(flat: Mapping[str, Any], *, audit: Mapping[str, Any]) -> list[str]:
    """What order is worth, what the way of asking costs, what the leak does, and how the claims stand.

    Args:
        flat: metrics of notebook 07.
        audit: metrics of notebook 08, or none.

    Returns:
        Sentences, those on one subject together; none where nothing was run.
    """
    if "dataset" not in flat:
        return []
    dataset = DATASETS.get(flat["dataset"], flat["dataset"])
    model = model_of(flat)
    rows = claims.of_metrics(flat)
    # A claim on several language models speaks of the run's first one.
    first = {_number(row["claim"]): row for row in reversed(rows) if row["answer"] != claims.NOT_RUN}
    said = [opening(first[number]) for number in _OPENING if number in first]
    said = said or ["nothing is known yet of the paper's method"]
    small = ", a small one trained here on users' lists of titles"
    lines = [
        f"On {dataset}, {'. '.join([said[0], *(line[0].upper() + line[1:] for line in said[1:])])}."
        f" The language model is {model}{small if model == 'movielm' else ''}.",
        measured(audit, "interface", model),
        measured(audit, "leak", model),
        order_worth(flat),
        equal_times(flat),
        _how_sure(rows, dataset=dataset),
    ]
    return [line for line in lines if line]


def statement(claim: str, answer: str) -> str:
    """What a claim says, answered yes or no.

    Args:
        claim: its key, such as `2` or `2/movielm`.
        answer: `claims.YES` or `claims.NO`.
    """
    yes, no = STATEMENTS[_number(claim)]
    return yes if answer == claims.YES else no


def _number(claim: str) -> str:
    return claim.partition("/")[0]


def opening(row: Mapping[str, Any], *, model: str = "a language model") -> str:
    """What a claim says first, with its difference.

    Args:
        row: of `claims.of_metrics`, one of the two that :data:`_OPENING` has.
        model: the language model's name in the sentence.
    """
    # Of a fusion with the LSTM, what is fused with it.
    other = systems.label(row["other"]).removeprefix("LSTM and ").removesuffix(" fused")
    said = _OPENING[_number(row["claim"])][row["answer"]].format(model=model, other=other)
    return f"{said} ({_evidence(row)})"


def _evidence(row: Mapping[str, Any]) -> str:
    """A claim's difference and metric, and why it settles nothing where its interval alone would."""
    one_sided = evaluation.side_of_zero(row["low"], row["high"])
    why = ", but of one seed" if one_sided and row["n_seeds"] == 1 else ""
    return f"{points(_interval(row), 'd')} of {short(row['metric'])}{why}"


def _how_sure(rows: Sequence[Mapping[str, Any]], *, dataset: str) -> str:
    """How the claims stand on a data set, with what those say that are answered."""
    answered = [row for row in rows if row["answer"] in (claims.YES, claims.NO)]
    models = dict.fromkeys(model for row in rows if (model := _of(row)))
    several = len(models) > 1
    said = [
        statement(row["claim"], row["answer"]) + (f" ({model})" if several and (model := _of(row)) else "")
        for row in answered
    ]
    rest = [
        f"{count} {'is' if count == 1 else 'are'} {words}"
        for answer, words in ((claims.UNCLEAR, "unclear"), (claims.NOT_RUN, "not run"))
        if (count := sum(row["answer"] == answer for row in rows))
    ]
    seeds = [row["n_seeds"] for row in rows if row["answer"] != claims.NOT_RUN]
    # Most questions are about one language model, and are asked of each.
    asked_of = f" (some of them once for {' and once for '.join(models)})" if several else ""
    lines = [
        f"How sure: on {dataset}, of {len(rows)} questions on the next movie{asked_of},"
        f" {len(answered) or 'none'}"
        f" {'is' if len(answered) < 2 else 'are'} answered{': ' if said else ''}{'; '.join(said)}",
        " and ".join(rest),
        "One run (one seed) settles nothing" if seeds and max(seeds) == 1 else "",
    ]
    return ". ".join(line for line in lines if line) + "."


def _of(row: Mapping[str, Any]) -> str:
    """The language model that a claim is about; empty where it is about none."""
    return row["claim"].partition("/")[2]


def order_worth(flat: Mapping[str, Any]) -> str:
    """What order is worth: the first claim.

    Args:
        flat: metrics of notebook 07.
    """
    claim = _of_order(flat)
    if claim["answer"] == claims.NOT_RUN:
        return "What order is worth was not measured."
    reads, does_not = (systems.label(claim[side]) for side in ("system", "other"))
    return (
        f"Order: {reads} reads a user's movies in order, {does_not} does not."
        f" {_COMPARED[claim['answer']].format(reads)}: {_evidence(claim)}."
    )


def equal_times(flat: Mapping[str, Any]) -> str:
    """What the first claim's lead is under other orders of ratings of one second; empty where not measured.

    Args:
        flat: metrics of notebook 07.
    """
    leads = order.leads(flat["dataset"], _of_order(flat).get("system", ""))
    if leads.empty:
        return ""
    # By place in the file or by id, and drawn: what else was tried stands in the audit.
    shown = leads[leads["asked"].isin(_UNDER)].rename(columns={"value": "difference"})
    worth = [f"{points(_interval(row), 'd')} {_UNDER[row['asked']]}" for row in shown.to_dict("records")]
    return (
        f"{EQUAL_TIMES}: many ratings have the same second. How these are ordered decides how far ahead of"
        f" EASE-R {systems.label(leads['model'].iloc[0])} seems to be: {', '.join(worth)}."
    )


def _of_order(flat: Mapping[str, Any]) -> dict[str, Any]:
    return next(row for row in claims.of_metrics(flat) if row["claim"] == "1")


def measured(audit: Mapping[str, Any], about: str, model: str) -> str:
    """What the interface costs, or what the leak does, in a sentence.

    Args:
        audit: metrics of notebook 08.
        about: `interface` or `leak`.
        model: the language model's name.
    """
    metric, ways, sentence = _MEASURED[about]
    keys = [f"audit/{about}/{way}/{metric}" for way in ways]
    if not set(keys) <= audit.keys():
        return f"What the {about} does was not measured."
    return sentence.format(*(_share(audit, key) for key in keys), model=model)


def _share(flat: Mapping[str, Any], key: str) -> str:
    return percent(flat, key) if f"{key}/low" in flat else f"{flat[key]:.1%}"


def headline(flat: Mapping[str, Any]) -> list[str]:
    """The claims in sentences, one each."""
    lines = []
    for row in claim_rows(flat):
        seen = f"{row['difference']} ({row['compared']})" if row["difference"] else ""
        parts = [row["answer"], seen, f"To settle it: {row['settled']}" if row["settled"] else ""]
        lines.append(f"{row['question']} {'. '.join(part for part in parts if part)}.")
    return lines


def users_needed(flat: Mapping[str, float]) -> str:
    """One sentence: how many users tell two values of HR@1 apart; empty where that was not asked."""
    keys = [f"power/next_item/hit_rate@1/users_{design}" for design in ("paired", "independent")]
    if not flat.keys() >= set(keys):
        return ""
    medians = [f"{flat[key]:,.0f}" for key in keys]
    return (
        f"How many users show that an HR@1 of {flat['power/higher']:g} is higher than one of"
        f" {flat['power/lower']:g}, with a chance of {flat['power/chance']:.0%}? If both systems answer the"
        f" same users, {medians[0]}; if each has its own users, {medians[1]} for each (medians over the"
        f" pairs shown). This run has {flat['next_item/lstm/n_users']}."
    )
