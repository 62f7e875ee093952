"""What of the paper's claims holds here: five claims, what bears on each, and the wording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from dualrec_utils.analysis import significance, verdict
from dualrec_utils.audit import measure, steps
from dualrec_utils.audit.material import Material
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import evaluation
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.models.hybrids import diversity

CLAIMS = {
    "i": "The LSTM helps the language model",
    "ii": "Fine-tuning helps, beyond the form of the answer",
    "iii": "Re-ranking helps",
    "iv": "The hybrid beats the baselines",
    "v": "HR@5 is close to HR@1 because lists lack diversity",
}
_WORDS = {
    "holds": "yes",
    "partly": "in part",
    "not shown": "not shown",
    "fails": "no",
}


def comparisons(model: str, *, best_baseline: str) -> tuple[tuple[str, str, str, str], ...]:
    """(claim, system, other, metric) of the first four claims: the difference is system minus other.

    HR@5 between lists of three titles alone: against a full ranking it would measure their length.

    Args:
        model: name of the language model.
        best_baseline: the baseline best on validation users.
    """
    zero, lora = f"{model}_zero_shot", f"{model}_lora"
    top, both = ("hit_rate@1",), ("hit_rate@1", "hit_rate@5")
    rows = (
        ("i", zero, f"{zero}_no_hint", both),
        ("i", lora, f"{lora}_no_hint", both),
        ("ii", lora, zero, both),
        ("ii", lora, f"{lora}_permuted", both),
        ("ii", f"{lora}_permuted", zero, top),
        ("iii", f"{zero}_reranked", zero, top),
        ("iii", f"{lora}_reranked", lora, top),
        ("iii", f"{lora}_reranked", f"{lora}_random_order", top),
        ("iv", f"{lora}_reranked", best_baseline, top),
        ("iv", f"{lora}_reranked", "lstm", top),
    )
    return tuple((*names, metric) for *names, metrics in rows for metric in metrics)


def table(
    per_case: Callable[[str], pd.DataFrame],
    compared: Sequence[tuple[str, str, str, str]],
    *,
    n_permutations: int,
    **stats: float,
) -> pd.DataFrame:
    """The differences behind the first four claims, tested; a family of Holm's correction is a metric.

    Args:
        per_case: system -> per-case frame under `next_item`.
        compared: from :func:`comparisons`.

    Returns:
        `claim`, `system`, `other`, `metric`, `protocol`, `difference`, `low`, `high`, `n_users`, `p_holm`,
        and `reading`: `higher`, `lower`, either with `, not when corrected`, or `no difference shown`.
    """
    frames = {name: per_case(name) for name in sorted({name for _, *pair, _ in compared for name in pair})}
    cases = {("next_item", name): frame for name, frame in frames.items()}
    draws = {"seed": stats["seed"], "n_permutations": n_permutations, "alpha": 1 - stats["confidence"]}
    flat: dict[str, float] = {"confidence": stats["confidence"]}
    for family in {metric for *_, metric in compared}:
        pairs = [(claim, system, other) for claim, system, other, metric in compared if metric == family]
        flat |= significance.flatten(significance.planned(cases, pairs, metrics=(family,), **draws))
    rows = []
    for claim, system, other, metric in compared:
        gain = evaluation.paired_difference(frames[system], frames[other], metric=metric, **stats)
        key = f"next_item/difference/{system}-{other}/{metric}"
        flat |= evaluation.with_interval(key, pd.Series(gain), column="difference")
        reading = verdict.reading(flat, key) + verdict.remark(flat, key)
        names = {"claim": claim, SYSTEM: system, "other": other, "metric": metric, PROTOCOL: "next_item"}
        rows.append(names | gain | {"p_holm": flat[f"{key}/p_holm"], "reading": reading})
    return pd.DataFrame(rows)


def judgement(rows: pd.DataFrame) -> str:
    """`holds` (all differences above zero), `partly` (some above, none below), `not shown` (none above or
    below) or `fails` (some below zero), from the rows of one claim; only what the correction leaves counts.

    A difference below zero weighs more than one above: a claim of gain that costs elsewhere fails. That
    fine-tuning helps (ii) is asked against the model before it: an adapter that is better than one taught
    wrong answers may owe that to the harm these do.
    """
    control, against = (rows[side].str.endswith("_permuted") for side in (SYSTEM, "other"))
    readings = set(rows.loc[~control & ~against, "reading"])
    if "lower" in readings:
        return "fails"
    if "higher" not in readings:
        return "not shown"
    return "holds" if set(rows.loc[~control, "reading"]) == {"higher"} else "partly"


def sentence(claim: str, rows: pd.DataFrame) -> str:
    """A claim, what becomes of it, and the differences it rests on, in one sentence.

    Args:
        claim: a key of :data:`CLAIMS`, i to iv.
        rows: its rows of :func:`table`.
    """
    parts = []
    for _, row in rows.iterrows():
        flat = evaluation.with_interval("d", row, column="difference")
        names = f"{systems.label(row[SYSTEM])} minus {systems.label(row['other'])}"
        short = verdict.short(row["metric"])
        parts.append(f"{names}, {short} {verdict.points(flat, 'd')}, {row['reading']}")
    protocol = rows[PROTOCOL].iloc[0]
    head = f"**({claim}) {CLAIMS[claim]}: {_WORDS[judgement(rows)]}.**"
    return f"{head} Under {protocol}: " + "; ".join(parts) + "."


def shares_first(
    data: Material, leak: Measured, lengths: Measured, embeddings: pd.DataFrame, **stats: float
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """HR@1 as a share of HR@5 under `window_of_five`, for the fifth claim.

    Args:
        leak, lengths: from :func:`audit.measure.reference` and :func:`audit.measure.list_length`.
        embeddings: of the catalog's titles at least.

    Returns:
        (shares, gains), as :func:`sentence_v` takes them.
    """
    protocol = "window_of_five"
    titles = embeddings.loc[list(data.catalog.names.values())].to_numpy()
    long = diversity.measure(
        data.read(data.catalog_only, protocol),
        data.cases[protocol],
        data.catalog,
        targets=data.targets[protocol],
        similarity=titles @ titles.T,
    )
    middle = long[diversity.SIMILARITY].median()
    short = f"{data.tuning['n_titles']} titles"
    frames = {
        "honest": leak[Key("reference", data.lora, measure.HONEST, protocol)],
        "leaking": leak[Key("reference", data.lora, measure.LEAKING, protocol)],
        "short": lengths[Key("list_length", data.catalog_only, short, protocol)],
        "long": long,
        "alike": long[long[diversity.SIMILARITY] > middle],
        "varied": long[long[diversity.SIMILARITY] <= middle],
    }
    pairs = {"leak": ("leaking", "honest"), "length": ("short", "long"), "diversity": ("alike", "varied")}
    shares = {name: steps.share_first(frame, **stats) for name, frame in frames.items()}
    gains = {
        name: steps.share_first(frames[one], frames[other], **stats) for name, (one, other) in pairs.items()
    }
    return shares, gains


def conclusions(
    rows: pd.DataFrame,
    shares: Mapping[str, Mapping[str, float]],
    gains: Mapping[str, Mapping[str, float]],
    *,
    argument: str,
) -> pd.DataFrame:
    """The five claims in sentences.

    Args:
        rows: from :func:`table`.
        shares, gains: from :func:`shares_first`.
        argument: what is said of the paper's own argument for its first claim.

    Returns:
        `claim`, `sentence`.
    """
    said = {claim: sentence(claim, part) for claim, part in rows.groupby("claim", sort=False)}
    said["i"] += f" {argument}"
    said["v"] = sentence_v(shares, gains)
    return pd.DataFrame({"claim": list(said), "sentence": list(said.values())})


def flatten(
    rows: pd.DataFrame,
    shares: Mapping[str, Mapping[str, float]],
    gains: Mapping[str, Mapping[str, float]],
) -> dict[str, float | str]:
    """Flat metric keys: `audit/claims/<claim>/<system>-<other>/<metric>` with `/low`, `/high`, `/p_holm`
    beside it, `audit/claims/<claim>/judgement`, and `audit/share_first/<lists>`.

    Args:
        rows: from :func:`table`.
        shares, gains: from :func:`shares_first`.
    """
    flat: dict[str, float | str] = {
        f"audit/claims/{claim}/judgement": judgement(part) for claim, part in rows.groupby("claim")
    }
    for row in rows.itertuples():
        key = f"audit/claims/{row.claim}/{row.system}-{row.other}/{row.metric}"
        flat |= evaluation.with_interval(key, row, column="difference")
        flat[f"{key}/p_holm"] = float(row.p_holm)
    return flat | {
        f"audit/share_first/{name}": share["value"] for name, share in {**shares, **gains}.items()
    }


def sentence_v(shares: Mapping[str, Mapping[str, float]], gains: Mapping[str, Mapping[str, float]]) -> str:
    """The fifth claim: HR@1 over HR@5 of one set of lists under settings that change other things than
    diversity, and of the more and the less diverse half of longer lists.

    Args:
        shares: `honest` and `leaking` (free answers of three titles), `long` (ten titles of the catalog),
            `short` (the first three of these), `alike` and `varied` (halves of `long`), each with `value`,
            `low`, `high`.
        gains: `leak` (leaking minus honest), `length` (short minus long, which cannot be below zero) and
            `diversity` (alike minus varied), each with `value`, `low`, `high`.
    """

    def reading(name: str) -> str:
        return verdict.reading(evaluation.with_interval("d", pd.Series(gains[name])), "d")

    def share(name: str) -> str:
        part = shares[name]
        return f"{part['value']:.0%} [{100 * part['low']:.0f}, {100 * part['high']:.0f}]"

    causes = {
        "the ranking sees the answers": reading("leak"),
        "lists are three titles long": reading("length"),
        "lists lack diversity": reading("diversity"),
    }
    shown = [cause for cause, read in causes.items() if read == "higher"]
    open_ = [cause for cause, read in causes.items() if read != "higher"]
    ends = [f"shown here: {' and '.join(shown)}"] if shown else []
    ends += [f"not shown here: {' and '.join(open_)}"] if open_ else []
    word = "yes" if reading("diversity") == "higher" else "not shown"
    return (
        f"**(v) {CLAIMS['v']}: {word}.** HR@1 is {share('honest')} of HR@5 when lists of three are"
        f" re-ranked without the answers and {share('leaking')} when the answers stand in the reference"
        f" (difference {reading('leak')}), while titles, hence diversity, are the same; it is"
        f" {share('long')} in lists of ten titles of the catalog and {share('short')} when these are cut to"
        f" three, which can only raise it (difference {reading('length')}). Of those lists of ten, the less"
        f" diverse half has {share('alike')} and the more diverse half {share('varied')}"
        f" ({reading('diversity')}). Reasons for HR@1 near HR@5, {'; '.join(ends)}."
    )
