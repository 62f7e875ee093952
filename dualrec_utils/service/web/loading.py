"""What a finished run left, loaded once; a source that it lacks is left out, with the reason."""

from __future__ import annotations

import logging
from typing import Any

from dualrec_utils.core import config, files
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.service.online.states import LstmStates, load_lstm
from dualrec_utils.service.web import runs
from dualrec_utils.service.web.engines import (
    FUSION,
    LANGUAGE,
    LSTM,
    PATIENCE,
    RATINGS,
    About,
    Engines,
    Fusion,
)
from dualrec_utils.service.web.language import TitleScorer
from dualrec_utils.service.web.stars import Stars, service_dir

_log = logging.getLogger("dualrec")


def load(dataset: str | None = None, *, patience: float = PATIENCE) -> Engines:
    """Load what a finished run left.

    Args:
        dataset: default: that of `params.yaml`.
        patience: as :class:`Engines`.

    Raises:
        StudyError: where the run has no data or no LSTM, or they cannot be read.
    """
    from dualrec_utils.pipeline import params

    settings = params.load()
    dataset = dataset or settings.dataset
    runs.check_finished(dataset, config.ROOT)
    catalog = load_catalog(dataset)
    path = config.processed_dir(dataset) / "interactions.parquet"
    interactions = files.read_parquet_of("data", path)
    lstm = LstmStates(load_lstm(dataset), catalog)
    weights = config.stage_dir(dataset, LSTM) / "lstm.weights.h5"
    about = {LSTM: About("lstm", files.sha256(weights)[:12], "Reads the whole history in order.")}
    missing: dict[str, str] = {}
    language, fused = None, None
    name = settings.rerank_ablation.model
    try:
        language, version = _language_model(name, settings, dataset, catalog)
        about[LANGUAGE] = About(name, version, "Writes the title that comes next, of the catalog's alone.")
        fused = _fusion(settings)
        words = f"LSTM and {name} together ({fused.method}, weight {fused.weight:g})."
        about[FUSION] = About(f"lstm + {name}", f"{about[LSTM].version}+{version}", words)
    except StudyError as error:
        _log.warning("left out: %s", first_line(error))
        missing |= dict.fromkeys({LANGUAGE, FUSION} - about.keys(), "the run has none that works here")
    stars = None
    try:
        stars = Stars(service_dir(dataset) / "ratings", service_dir(dataset) / "data")
        about[RATINGS] = About(stars.name, stars.version, "Predicts stars from ratings.")
    except StudyError as error:
        _log.warning("left out: %s", first_line(error))
        missing[RATINGS] = "no rating model was trained for the service"
    return Engines(
        dataset=dataset,
        catalog=catalog,
        interactions=interactions,
        lstm=lstm,
        language=language,
        fused=fused,
        stars=stars,
        about=about,
        missing=missing,
        seed=settings.model_seed,
        n_diversified=settings.rerank_ablation.n_diversified,
        patience=patience,
    )


def _language_model(name: str, settings: Any, dataset: str, catalog: Catalog) -> tuple[TitleScorer, str]:
    """The language model of the run's fusion and its version.

    Raises:
        StudyError: where it is no local one, or cannot be loaded.
    """
    from dualrec_utils.models.language import loading

    section = settings.zero_shot_llm
    spec = section.models[name].model_dump()
    if spec["backend"] != "local":
        raise StudyError(f"{name} is no local model: titles of the catalog cannot be scored")
    if reason := loading.why_not(spec, key_variable=""):
        raise StudyError(f"{name}: {reason}")
    place = loading.locate(spec["model"], dataset=dataset)
    wanted = {key: spec[key] for key in ("revision", "dtype", "quantization")}
    scorer = TitleScorer(
        *loading.load_model(place, **wanted),
        catalog,
        n_recent=section.n_history,
        width=section.beam_width,
    )
    weights = config.stage_dir(dataset, "movielm") / "model.safetensors"
    version = files.sha256(weights)[:12] if spec["model"] == "movielm" else spec["revision"] or "local"
    return scorer, version


def _fusion(settings: Any) -> Fusion:
    """What notebook 06 chose on validation users.

    Raises:
        StudyError: before stage `rerank_ablation`.
    """
    path = config.metrics_file("rerank_ablation")
    chosen = files.read_json(path, missing={})
    if "chosen/fusion_method" not in chosen or "chosen/fusion_weight" not in chosen:
        raise StudyError(f"{path} says of no fusion: run `dvc repro rerank_ablation`")
    most = settings.rerank_ablation.n_candidates
    return Fusion(chosen["chosen/fusion_method"], float(chosen["chosen/fusion_weight"]), most)
