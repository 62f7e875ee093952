"""What both sides of the comparison with RecBole share: settings, data, and the columns of a run."""

from __future__ import annotations

from pathlib import Path

from dualrec_utils.core import config
from dualrec_utils.core.config import SEED
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import params
from dualrec_utils.studies.leave_one_out import track as leave_one_out
from dualrec_utils.studies.leave_one_out.track import Split, Track

DATASET = "ml-100k"
PARAMS = Path(__file__).with_name("params.yaml")
RUNS = config.ROOT / "data" / "peers"
METRICS = ("hit_rate@10", "ndcg@10")
# What a run of either side is: one model, one seed.
RUN_COLUMNS = ("model", "side", SEED, *METRICS, "seconds_per_epoch", "epochs", "best_epoch", "stopped")


def read_settings(path: Path = PARAMS) -> dict:
    """`seeds` and `models` (name -> `ours`, `recbole`, `seeds`, `max_seconds`, `differs`).

    Raises:
        StudyError: naming the model and the key that is missing or unknown, and as
            :func:`params.read_yaml`.
    """
    settings = params.read_yaml(path)
    models = settings.get("models", {})
    if not isinstance(models, dict):
        raise StudyError(f"{path}: models must be a mapping (model -> its settings); it is {models!r}")
    sections = {"the file": (settings, {"seeds", "models"})}
    for model, section in models.items():
        sections[f"model {model}"] = (section, {"ours", "recbole", "seeds", "max_seconds", "differs"})
    for where, (values, keys) in sections.items():
        # What is no mapping lacks every key.
        wrong = sorted(keys.symmetric_difference(values if isinstance(values, dict) else ()), key=str)
        if wrong:
            raise StudyError(f"{path}: {where} must have {sorted(keys)}; missing or unknown: {wrong}")
    return settings


def split(track: Track) -> Split:
    """The track cut as RecBole's leave-one-out is: everyone has a validation item."""
    return leave_one_out.split(track, n_validation=len(track.user_ids), seed=0)


def row(side: str, model: str, seed: int, values: dict) -> dict:
    """A run with the columns of :data:`RUN_COLUMNS`, `side` being `ours` or `recbole`."""
    return {c: ({"model": model, "side": side, SEED: seed} | values)[c] for c in RUN_COLUMNS}
