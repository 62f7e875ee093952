"""What of the paper's claims holds here: the claims of this study that bear on each, and the wording."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dualrec_utils.analysis import claims as stated, verdict
from dualrec_utils.audit import references, steps
from dualrec_utils.audit.material import Material
from dualrec_utils.audit.steps import Key, Measured
from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.hybrids import diversity

# The paper's claims, and the number of this study's claim that asks it; the fifth is described only.
CLAIMS = {
    "i": ("The LSTM helps the language model", 2),
    "ii": ("Fine-tuning helps, beyond the form of the answer", 3),
    "iii": ("Re-ranking helps", 4),
    "iv": ("The hybrid is better than what it is made of", 5),
    "v": ("HR@1 is close to HR@5 because lists lack diversity", None),
}


def answered() -> dict[str, dict[str, str]]:
    """This study's claims as notebook 07 answered them: claim -> row of `verdict.claim_rows`.

    Raises:
        StudyError: before notebook 07 has run.
    """
    path = config.METRICS / "results.json"
    try:
        flat = files.read_json(path)
    except FileNotFoundError:
        raise StudyError(f"{path} is not there: run `dvc repro results` first") from None
    keys = [row["claim"] for row in stated.of_metrics(flat)]
    return dict(zip(keys, verdict.claim_rows(flat), strict=True))


def shares_first(
    data: Material, leak: Measured, lengths: Measured, embeddings: pd.DataFrame, **stats: float
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """HR@1 as a share of HR@5 under `window_of_five`, for the fifth claim.

    Args:
        leak, lengths: from :func:`audit.references.reference` and :func:`audit.measure.list_length`.
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
        "without answers": leak[Key("reference", data.lora, references.HONEST, protocol)],
        "with answers": leak[Key("reference", data.lora, references.LEAKING, protocol)],
        "short": lengths[Key("list_length", data.catalog_only, short, protocol)],
        "long": long,
        "alike": long[long[diversity.SIMILARITY] > middle],
        "varied": long[long[diversity.SIMILARITY] <= middle],
    }
    pairs = {
        "leak": ("with answers", "without answers"),
        "length": ("short", "long"),
        "diversity": ("alike", "varied"),
    }
    shares = {name: steps.share_first(frame, **stats) for name, frame in frames.items()}
    gains = {
        name: steps.share_first(frames[one], frames[other], **stats) for name, (one, other) in pairs.items()
    }
    return shares, gains


def conclusions(
    answers: Mapping[str, Mapping[str, str]],
    shares: Mapping[str, Mapping[str, float]],
    gains: Mapping[str, Mapping[str, float]],
    *,
    argument: str,
) -> pd.DataFrame:
    """The paper's five claims in sentences: four with this study's answers, the fifth as a description.

    Args:
        answers: from :func:`answered`.
        shares, gains: from :func:`shares_first`.
        argument: what is said of the paper's own argument for its first claim.

    Returns:
        `claim`, `sentence`.
    """
    said = {}
    for claim, (words, number) in CLAIMS.items():
        for key, row in answers.items():
            of_number, _, model = key.partition("/")
            if of_number == str(number):
                seen = f"{row['difference']}, {row['compared']}" if row["difference"] else ""
                ends = [seen, f"to settle it: {row['settled']}" if row["settled"] else ""]
                head = f"**({claim}) {words}, with {model}: {row['answer']}.**"
                tail = "; ".join(end for end in ends if end)
                said[claim, model] = f"{head} {tail}." if tail else head
        if claim == "i":
            said[claim, "argument"] = argument
    said["v", ""] = sentence_v(shares, gains)
    return pd.DataFrame({"claim": [claim for claim, _ in said], "sentence": list(said.values())})


def flatten(
    shares: Mapping[str, Mapping[str, float]], gains: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Flat metric keys: `audit/share_first/<lists>`.

    Args:
        shares, gains: from :func:`shares_first`.
    """
    both = {**shares, **gains}
    return {f"audit/share_first/{name}": share["value"] for name, share in both.items()}


def sentence_v(shares: Mapping[str, Mapping[str, float]], gains: Mapping[str, Mapping[str, float]]) -> str:
    """The fifth claim: HR@1 over HR@5 of one set of lists under settings that change other things than
    diversity, and of the more and the less diverse half of longer lists.

    Args:
        shares: `without answers` and `with answers` (free answers, re-ranked), `long` (ten titles of the
            catalog), `short` (the first three of these), `alike` and `varied` (halves of `long`), each with
            `value`, `low`, `high`.
        gains: `leak` (with minus without answers), `length` (short minus long, which cannot be below zero)
            and `diversity` (alike minus varied), each with `value`, `low`, `high`.
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
    ends = [f"shown here, {' and '.join(shown)}"] if shown else []
    ends += [f"not shown here, {' and '.join(open_)}"] if open_ else []
    return (
        f"**(v) {CLAIMS['v'][0]}: described, not tested.** HR@1 is {share('without answers')} of HR@5 if"
        f" the re-ranker does not see the answers, and {share('with answers')} if it does (difference"
        f" {reading('leak')}). The titles, and so their diversity, are the same. In lists of ten titles of"
        f" the catalog HR@1 is {share('long')} of HR@5; cut to three titles, {share('short')}, and a cut"
        f" can only raise it (difference {reading('length')}). Of the lists of ten, the less diverse half"
        f" has {share('alike')} and the more diverse half {share('varied')} ({reading('diversity')})."
        f" Reasons for HR@1 near HR@5: {'; '.join(ends)}."
    )
