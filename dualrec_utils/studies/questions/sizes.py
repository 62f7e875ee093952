"""How small may the language model be? The study's own model at smaller sizes, as far as a CPU allows.

`dualrec study questions sizes <size>` trains `movielm` with another width and depth on the same
documents for as many passes, and measures it as notebook 04 does: loss on validation users, lists of real
items after a bare history, and free answers to the paper's prompt. The size of the default run is not
trained again: its weights are those of stage `movielm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dualrec_utils.core import config, evaluation, files, predictions, splits
from dualrec_utils.core.catalog import Catalog, load_catalog
from dualrec_utils.core.errors import StudyError
from dualrec_utils.core.predictions import Scope
from dualrec_utils.models import handoff
from dualrec_utils.models.language import constrained, generation, loading, prompts
from dualrec_utils.models.language.answers import answers_to_predictions
from dualrec_utils.models.language.matching import TitleMatcher
from dualrec_utils.models.movielm import model as movielm
from dualrec_utils.pipeline import params
from dualrec_utils.studies.questions.settings import STAGE, last_cases, pieces_dir, read_settings

SECTION = "sizes"
CHANGEABLE = ("hidden_size", "n_layers")


def complete(changes: Mapping, base: Mapping) -> dict:
    """Section `movielm` of `params.yaml` with another width or depth.

    Raises:
        StudyError: for any other change.
    """
    unknown = sorted(set(changes) - set(CHANGEABLE))
    if unknown:
        raise StudyError(f"a size cannot change {', '.join(unknown)}; it can {', '.join(CHANGEABLE)}")
    return {**base, **changes}


def trained(settings: Mapping, *, folder: Path) -> Path:
    """Where the model of one size lies: the default run's, or one trained now.

    Args:
        settings: from :func:`complete`, with `dataset` and `seed`.
        folder: of this size.
    """
    section = {key: value for key, value in settings.items() if key not in ("dataset", "seed")}
    dataset = settings["dataset"]
    at_hand = config.stage_dir(dataset, movielm.STAGE)
    if files.read_json(at_hand / "section.json") == section:
        return at_hand
    histories = splits.load_earlier(dataset, "train")
    validation = splits.load_histories(dataset, "validation")
    catalog = load_catalog(dataset)
    fitted = movielm.train(histories, validation, catalog, seed=settings["seed"], **section)
    return movielm.save(*fitted, folder / "model")


def measure(model_folder: Path, *, n_cases: int) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
    """What a model of any size does, with the prompts and decoding of notebook 04.

    Args:
        model_folder: model, tokenizer and `training_curve.csv`.
        n_cases: last cases of each test user under `next_item`.

    Returns:
        (numbers, frames): `n_parameters`, `train_loss_per_token`, `loss_per_token` and `loss_per_title` on
        validation users; per-case values of `history` (ten real items after the history alone) and
        `zero_shot` (the paper's prompt, free text), the latter with `valid`, the share of the titles asked
        for that are items of the catalog.
    """
    section = params.section("zero_shot_llm")
    dataset, seed = section["dataset"], section["seed"]
    catalog = load_catalog(dataset)
    cases = last_cases(dataset, n_cases=n_cases)
    targets = evaluation.load_targets(dataset, "next_item")
    model, tokenizer = loading.load_model(str(model_folder))
    frames = {
        "history": evaluation.score_lists(
            _history_lists(model, tokenizer, cases, catalog, section=section), cases, targets, catalog
        )
    }
    lists, counts = _answers(model, tokenizer, cases, catalog, section=section)
    free = evaluation.score_lists(predictions.drop_seen(lists, cases), cases, targets, catalog)
    valid = 1 - (counts[["n_cut", "n_unparsable", "n_unmatched"]].sum(axis=1)) / section["n_titles"]
    frames["zero_shot"] = free.assign(valid=valid.to_numpy())
    last = pd.read_csv(model_folder / "training_curve.csv").iloc[-1]
    numbers = {"n_parameters": model.num_parameters(), "train_loss_per_token": float(last["train_loss"])}
    numbers |= {name: float(last[name]) for name in ("loss_per_token", "loss_per_title")}
    return numbers | {"seed": seed}, frames


def _history_lists(model, tokenizer, cases: pd.DataFrame, catalog: Catalog, *, section: Mapping):
    texts = prompts.build_history_prompts(cases, catalog, n_recent=section["n_history"], genres=False)
    scores = constrained.rank_titles(
        model,
        tokenizer,
        texts,
        catalog,
        excluded=constrained.seen_items(cases),
        k=section["n_ranked"],
        label="history",
    )
    return constrained.ranked_lists(
        scores, cases, catalog, seed=section["seed"], length=section["n_ranked"]
    )


def _answers(model, tokenizer, cases: pd.DataFrame, catalog: Catalog, *, section: Mapping):
    hints = handoff.load_hints(Scope(section["dataset"], STAGE, "next_item", "test"))
    shape = {"n_recent": section["n_recent"], "n_titles": section["n_titles"]}
    answers = generation.generate(
        model,
        tokenizer,
        prompts.build_prompts(cases, catalog, hints=hints, **shape),
        max_new_tokens=section["max_new_tokens"],
        batch_size=section["batch_size"],
        n_lines=section["n_titles"],
        label="paper's prompt",
    )
    matcher = TitleMatcher(catalog.items)
    return answers_to_predictions(answers, cases, matcher, seed=section["seed"], limit=section["n_titles"])


def run_size(size: str) -> None:
    """Train and measure one size of the study's `params.yaml`, and print its loss.

    Raises:
        StudyError: for a size that the study does not have, and as :func:`complete`.
    """
    settings = read_settings(SECTION)
    if size not in settings["models"]:
        raise StudyError(f"there is no size {size!r}; sizes: {', '.join(settings['models'])}")
    folder = pieces_dir(SECTION) / size
    section = complete(settings["models"][size], params.section(movielm.STAGE))
    numbers, frames = measure(trained(section, folder=folder), n_cases=settings["n_cases"])
    for kind, frame in frames.items():
        files.write_parquet(frame, folder / f"{kind}.parquet")
    numbers |= {key: section[key] for key in CHANGEABLE}
    files.write_json(numbers, folder / "measured.json")
    print(f"{size}: {numbers['loss_per_title']:.3f} nats a title on validation users", flush=True)
