"""`dualrec study ratings`: rating models from several seeds, without each of their parts, with less data.

The pipeline fits what takes minutes a fold on fold 1 alone, and everything from one seed. Here the same
systems are fitted on all five folds from three seeds (HybridRecModel, the slowest, from one); the two
published models are taken apart, setting by setting, on fold 1 from one seed; and the claims' systems
learn from shares of the training ratings. Pieces are those of the pipeline
(:mod:`models.ratings.experiment`): a stopped run goes on where it stopped, and every table is written anew
after each system, in `reports/studies/ratings/<dataset>/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from dualrec_utils.analysis import rating_tables as tables
from dualrec_utils.core import config, files, ratings as rules
from dualrec_utils.core.config import SEED
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.ratings import experiment, material
from dualrec_utils.models.ratings.experiment import FOLDS, PROFILES
from dualrec_utils.pipeline import params

STUDY = "ratings"
SEEDS = (0, 1, 2)
# A fold of the slowest takes more than a minute.
_SEEDS_OF = {"hybrid_rec": (0,)}
SHARES = (0.1, 0.25, 0.5, 0.75)
_TEXTS = ("tfidf", "random", "permuted")
# The system that reads tags.
_TAGGED = "cross_attention"
# System of the pipeline -> what is taken out or put in -> settings other than its own.
ABLATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "hybrid_cosine": {
        "20 epochs": {"n_epochs": 20},
        "not shuffled": {"shuffled": False},
        "dot product": {"output": "dot"},
        "dot product, not shuffled": {"output": "dot", "shuffled": False},
        "linear in the cosine": {"output": "linear"},
        "one linear layer": {"networks": "linear"},
        **{f"texts: {kind}": {"features": kind} for kind in _TEXTS},
    },
    "cross_attention": {
        "profiles from all ratings": {PROFILES: "all"},
        "no ids": {"ids": False},
        "no text": {"text": "none"},
        "text trained": {"text": "trained"},
        "no biases": {"biases": "none"},
        "biases first": {"biases": "first"},
        "no batch normalisation": {"batch_norm": False},
        "no genres": {"genres": False},
        "no tags": {"tags": False},
        "no attention": {"attention": False},
        "no fusion network": {"fusion": False},
        "no spread term": {"spread_weight": 0.0},
        "no range term": {"range_weight": 0.0},
        "squared error alone": {"spread_weight": 0.0, "range_weight": 0.0},
        **{f"texts: {kind}": {"features": kind} for kind in _TEXTS},
    },
    "bayesian_text": {
        "no texts": {"features": "none"},
        "not who rated what": {"implicit": False},
        "no attributes": {"attributes": False},
        "noise alike": {"noise_degrees": 1e6},
        "ratings alone": {"features": "none", "implicit": False, "attributes": False},
        **{f"texts: {kind}": {"features": kind} for kind in _TEXTS},
    },
}


def run_all(parts: Sequence[str] = ()) -> None:
    """Fit and measure everything, or some of :data:`PARTS`.

    Raises:
        StudyError: on an unknown part, or in a profile that is a trial: its tables would take the place of
            results.
    """
    if (whole := params.load()).trial:
        raise StudyError("this profile is a trial: run the study from the repository's folder")
    if unknown := [name for name in parts if name not in PARTS]:
        raise StudyError(f"the study has no part {unknown[0]!r}; it has {', '.join(PARTS)}")
    for name in parts or PARTS:
        PARTS[name](whole)


def _seeds(whole: params.Params) -> None:
    """Every system on all folds from its seeds: `errors`, `by_seed`, `differences`, `claims`."""
    section = whole.rating_hybrids
    systems = {
        name: {key: value for key, value in settings.items() if key != FOLDS}
        for name, settings in section.models.items()
    }
    options = _intervals(whole)
    errors: dict[str, pd.DataFrame] = {}
    for name, of_system in _fitted(systems, whole):
        errors[name] = of_system
        _write(tables.overview(errors, **options).reset_index(), "errors", whole)
        by_seed = [rules.by_fold(frame).assign(system=one) for one, frame in errors.items()]
        _write(pd.concat(by_seed, ignore_index=True), "by_seed", whole)
        against = [("minus the rival", one, section.rival) for one in errors if one != section.rival]
        _write(tables.differences(errors, against, **options), "differences", whole)
    claims = tables.claims_of(
        errors,
        with_text=section.with_text,
        without_text=section.without_text,
        hybrid=section.hybrid,
        rival=section.rival,
        n_permutations=whole.intervals.n_permutations,
        **options,
    )
    if len(claims):
        _write(claims, "claims", whole)


def _ablations(whole: params.Params) -> None:
    """Each system of :data:`ABLATIONS` and its variants on fold 1: `ablations`."""
    options, rows = _intervals(whole), []
    for base, variants in ABLATIONS.items():
        if base not in whole.rating_hybrids.models:
            continue
        settings = {**whole.rating_hybrids.models[base], FOLDS: [experiment.LISTS_OF]}
        systems = {base: settings} | {
            f"{base}: {name}": {**settings, **changes} for name, changes in variants.items()
        }
        errors: dict[str, pd.DataFrame] = {}
        for name, of_system in _fitted(systems, whole, folder=base, seeds=SEEDS[:1]):
            errors[name] = of_system
            row = tables.overview({name: of_system}, **options).iloc[0]
            about = {"system": base, "variant": name.removeprefix(base).removeprefix(": ")}
            values = {key: row[key] for key in ("rmse", "rmse_low", "rmse_high", "mae")}
            compared = tables.differences(errors, [("", name, base)], **options)
            compared = compared[compared["metric"] == "rmse"].iloc[0]
            values |= {f"minus_whole_{key}": compared[key] for key in ("difference", "low", "high")}
            rows.append(about | values)
            _write(pd.DataFrame(rows), "ablations", whole)


def _shares(whole: params.Params) -> None:
    """The systems of the claims on fold 1, learning from less: `shares`."""
    section, rows = whole.rating_hybrids, []
    claimed = [section.hybrid, section.with_text, section.without_text, section.rival]
    chosen = dict.fromkeys([*claimed, "biases"])
    for base in (name for name in chosen if name in section.models):
        settings = {**section.models[base], FOLDS: [experiment.LISTS_OF]}
        systems = {f"{base} {share}": {**settings, experiment.SHARE: share} for share in (*SHARES, 1.0)}
        for (_, of_system), share in zip(_fitted(systems, whole, folder=base), (*SHARES, 1.0), strict=True):
            by_seed = rules.by_fold(of_system).groupby(SEED)["rmse"].mean()
            rows.append(
                {
                    "system": base,
                    "share": share,
                    "rmse": by_seed.mean(),
                    "lowest": by_seed.min(),
                    "highest": by_seed.max(),
                }
            )
            _write(pd.DataFrame(rows), "shares", whole)


def _tags(whole: params.Params) -> None:
    """The cross-attention hybrid with and without tags on all five folds from one seed: `tags`.

    Nothing where the data have none.
    """
    if material.known_of(whole.dataset).tags.empty:
        print(f"ratings: {whole.dataset} has no tags: nothing to take out", flush=True)
        return
    model = {key: value for key, value in whole.rating_hybrids.models[_TAGGED].items() if key != FOLDS}
    systems = {_TAGGED: model, f"{_TAGGED}: no tags": {**model, "tags": False}}
    options = _intervals(whole)
    errors = dict(_fitted(systems, whole, folder=_TAGGED, seeds=SEEDS[:1]))
    _write(tables.overview(errors, **options).reset_index(), "tags", whole)
    compared = tables.differences(errors, [("with tags, or without", *systems)], **options)
    _write(compared, "tags_difference", whole)


PARTS: dict[str, Callable[[params.Params], None]] = {
    "seeds": _seeds,
    "ablations": _ablations,
    "shares": _shares,
    "tags": _tags,
}


def _fitted(
    systems: Mapping[str, Mapping[str, Any]],
    whole: params.Params,
    *,
    folder: str = "",
    seeds: Sequence[int] | None = None,
) -> Iterable[tuple[str, pd.DataFrame]]:
    """Systems one by one with their errors.

    Args:
        folder: of the pieces; by default the system's name.
        seeds: None: :data:`SEEDS`, or fewer where the model is slow.
    """
    dataset = whole.dataset
    known, ratings = material.known_of(dataset), rules.load(dataset)
    for name, settings in systems.items():
        pieces = experiment.obtain_all(
            {folder or name: settings},
            dataset=dataset,
            known=known,
            seeds=_SEEDS_OF.get(settings["model"], SEEDS) if seeds is None else seeds,
            split_seed=whole.seed,
            list_length=whole.rating_hybrids.list_length,
        )
        predictions = pieces[folder or name].predictions
        yield name, tables.errors_of({name: predictions}, ratings)[name]


def _intervals(whole: params.Params) -> dict[str, Any]:
    statistics = whole.intervals
    return {
        "seed": whole.seed,
        "n_bootstrap": statistics.n_bootstrap,
        "confidence": statistics.confidence,
    }


def _write(table: pd.DataFrame, name: str, whole: params.Params) -> None:
    files.write_csv(table, config.study_dir(STUDY) / whole.dataset / f"{name}.csv")
