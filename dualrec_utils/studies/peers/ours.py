"""`dualrec study peers ours gru4rec`: one baseline as RecBole's peer, once for each seed.

Every run is kept in `data/peers/ours/<model>/<seed>.json`; :mod:`studies.peers.recbole` joins them with
RecBole's.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from dualrec_utils.core import files
from dualrec_utils.core.config import SEED
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models import baselines
from dualrec_utils.models.baselines.base import Baseline
from dualrec_utils.studies.leave_one_out import track as leave_one_out
from dualrec_utils.studies.leave_one_out.track import Split
from dualrec_utils.studies.peers import settings as peers

# Early stopping, on both sides.
CHOSEN_BY = "ndcg@10"
# RecBole scores these two by the user's training items, which lack the validation item.
_ASKED_WITHOUT_VALIDATION = ("most_popular", "slim")


def run(name: str, hyperparameters: dict, *, seed: int, split: Split) -> dict:
    """Fit a baseline, early stopping on the validation items, and rank the test items.

    Args:
        name: a key of :data:`models.baselines.REGISTRY`.
        hyperparameters: exactly those of the model.
        seed: of everything random.
        split: of :func:`peers.split`.

    Returns:
        A row of :data:`peers.RUN_COLUMNS` with `validation_ndcg@10` (of each epoch) and `settings`.
        `seconds_per_epoch` is processor time without validation; where nothing is trained in epochs, that
        of the whole fit.
    """
    model = baselines.build(name, split.item_ids, seed=seed, **hyperparameters)
    validation = leave_one_out.Validation(split, metric=CHOSEN_BY, clock=time.process_time)
    start = time.process_time()
    model.fit(split.training, user_ids=split.user_ids, validate=validation)
    seconds = time.process_time() - start - validation.seconds
    users = leave_one_out.evaluate(_scorer(name, model, split), split.test, split.item_ids)
    values = validation.by_epoch
    epochs = max(len(values), 1)
    limit = hyperparameters.get("max_epochs")
    measured = users[list(peers.METRICS)].mean().to_dict() | {
        "seconds_per_epoch": seconds / epochs,
        "epochs": epochs,
        "best_epoch": int(np.argmax(values)) + 1 if values else 1,
        "stopped": "none" if not values else "epochs" if epochs == limit else "early",
    }
    return peers.row("ours", name, seed, measured) | {
        "validation_ndcg@10": values,
        "settings": hyperparameters,
    }


def _scorer(name: str, model: Baseline, split: Split) -> leave_one_out.Scorer:
    if name not in _ASKED_WITHOUT_VALIDATION:
        return model.score
    training = dict(zip(split.user_ids.tolist(), split.training, strict=True))

    def score(histories, *, user_ids):
        return model.score([training[int(user)] for user in user_ids], user_ids=user_ids)

    return score


def run_seeds(model: str) -> None:
    """Run one model with every seed of the study's `params.yaml`; keep and print each run.

    Raises:
        StudyError: for a model that the study does not have.
    """
    # Seconds of both sides are one thread's.
    torch.set_num_threads(1)
    settings = peers.read_settings()
    if model not in settings["models"]:
        raise StudyError(f"{peers.PARAMS} has no model {model!r}; it has {', '.join(settings['models'])}")
    split = peers.split(leave_one_out.load(peers.DATASET))
    for seed in settings["seeds"]:
        record = run(model, settings["models"][model]["ours"], seed=seed, split=split)
        files.write_json(record, peers.RUNS / "ours" / model / f"{seed}.json")
        print({k: record[k] for k in peers.RUN_COLUMNS if k != SEED} | {SEED: seed}, flush=True)
