"""One model of RecBole 1.2.1 on the leave_one_out track: fit, choose the epoch, score every user.

Runs in an environment of its own (requirements.txt beside this file), so it knows nothing of the package:
in goes the exported file, out come test scores and a record of the run. `make peers` calls it.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed

# What is the same for every model. Positions stand for timestamps: RecBole keeps times as 32-bit floats,
# in which neighbouring seconds of 1997 are equal.
COMMON = {
    "USER_ID_FIELD": "user_id",
    "ITEM_ID_FIELD": "item_id",
    "TIME_FIELD": "position",
    "load_col": {"inter": ["user_id", "item_id", "position"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
    "train_neg_sample_args": None,
    "clip_grad_norm": {"max_norm": 5.0},
    "eval_batch_size": 256,
    "show_progress": False,
    "use_gpu": False,
    "reproducibility": True,
}
# Asked of the best ten.
CUTOFF = 10


class OutOfTime(Exception):
    """The time given to a model is over."""


class TimedTrainer(Trainer):
    """RecBole's trainer, with epochs timed, this study's validation, and the best epoch kept in memory.

    RecBole ranks items already seen for its sequential models, and cannot load its own checkpoints with
    torch 2.6 and later; the loop, the loss and early stopping are its own.
    """

    def __init__(self, config, model, *, validate, max_seconds: float) -> None:
        super().__init__(config, model)
        self.validate, self.max_seconds = validate, max_seconds
        self.epoch_seconds, self.values, self.best = [], [], None

    def _train_epoch(self, *args, **keywords):
        start = time.process_time()
        loss = super()._train_epoch(*args, **keywords)
        self.epoch_seconds.append(time.process_time() - start)
        return loss

    def _valid_epoch(self, valid_data, show_progress=False):
        value = self.validate(valid_data)
        if not self.values or value > max(self.values):
            self.best = copy.deepcopy(self.model.state_dict())
        self.values.append(value)
        print(f"epoch {len(self.values)}: ndcg@10 {value:.4f}, {self.epoch_seconds[-1]:.1f} s", flush=True)
        return value, {}

    def out_of_time(self, *_) -> None:
        """Called after each epoch: leave when the next would end too late, unless there is none."""
        last = self.cur_step > self.stopping_step or len(self.values) == self.epochs
        if not last and sum(self.epoch_seconds) + self.epoch_seconds[-1] > self.max_seconds:
            raise OutOfTime


def read_histories(path: Path) -> dict[str, list[str]]:
    """User -> items in order, as tokens, of an exported file."""
    histories: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        user, item, _ = line.split("\t")
        histories.setdefault(user, []).append(item)
    return histories


def check_same_data(dataset, parts, histories: dict[str, list[str]]) -> None:
    """Refuse to go on unless RecBole trains on, validates with and tests with exactly these items."""
    ends = {"train": slice(None, -2), "valid": slice(-2, -1), "test": slice(-1, None)}
    for (name, part), loader in zip(ends.items(), parts, strict=True):
        feat = loader.dataset.inter_feat
        users = dataset.id2token("user_id", feat["user_id"].numpy())
        items = dataset.id2token("item_id", feat["item_id"].numpy())
        loaded: dict[str, list] = {}
        for user, item, position in zip(users, items, feat["position"].tolist(), strict=True):
            loaded.setdefault(user, []).append((position, item))
        # A sequence has no target at its first item.
        first = 1 if name == "train" and "item_length" in feat.interaction else 0
        for user, history in histories.items():
            wanted = history[part][first:]
            if [item for _, item in sorted(loaded.get(user, []))] != wanted:
                raise SystemExit(f"RecBole's {name} part differs from the exported one for user {user}")


def scores_of(model, loader, shape: tuple[int, int]) -> np.ndarray:
    """Scores (n_users, n_items) in RecBole's numbering, padding included, NaN for absent users."""
    model.eval()
    scores = np.full(shape, np.nan, dtype=np.float32)
    with torch.no_grad():
        for interaction, *_ in loader:
            answer = model.full_sort_predict(interaction).view(-1, shape[1])
            scores[interaction["user_id"].numpy()] = answer.numpy()
    return scores


def ndcg(scores: np.ndarray, seen: list[np.ndarray], targets: np.ndarray) -> float:
    """Mean of 1 / log2(rank + 1) in the best ten, items already seen and padding left out."""
    working = scores.copy()
    working[:, 0] = -np.inf
    for row, items in enumerate(seen):
        working[row, items] = -np.inf
    of_targets = working[np.arange(len(targets)), targets][:, None]
    ranks = 1 + (working > of_targets).sum(1)
    return float(np.where(ranks <= CUTOFF, 1 / np.log2(ranks + 1), 0).mean())


def run(model_name: str, settings: dict, *, seed: int, max_seconds: float, export: Path) -> tuple:
    """Fit one model; returns (record, users, items, scores) with scores (n_users, n_items)."""
    config = Config(
        model=model_name,
        dataset=export.stem,
        config_dict=COMMON | settings | {"seed": seed, "data_path": str(export.parents[1])},
    )
    init_seed(seed, True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    histories = read_histories(export)
    check_same_data(dataset, (train, valid, test), histories)

    users = list(histories)
    items = sorted({item for history in histories.values() for item in history}, key=int)
    rows = dataset.token2id("user_id", users)
    columns = [dataset.token2id("item_id", histories[user]) for user in users]
    shape = (dataset.user_num, dataset.item_num)

    def validate(loader) -> float:
        scores = scores_of(model, loader, shape)[rows]
        return ndcg(scores, [c[:-2] for c in columns], np.array([c[-2] for c in columns]))

    init_seed(seed, True)
    start = time.process_time()
    model = get_model(model_name)(config, train.dataset)
    built = time.process_time() - start
    trainer = TimedTrainer(config, model, validate=validate, max_seconds=max_seconds)
    # A model that is counted or solved learns no weights; RecBole gives it one for form's sake.
    learns = any(weights.numel() > 1 for weights in model.parameters())
    try:
        trainer.fit(train, valid, verbose=False, saved=False, callback_fn=trainer.out_of_time)
        ended = "early" if len(trainer.values) < config["epochs"] else "epochs"
        stopped = ended if learns else "none"
    except OutOfTime:
        stopped = "time"
    model.load_state_dict(trainer.best)
    scores = scores_of(model, test, shape)[rows][:, dataset.token2id("item_id", items)]
    record = {
        "recbole_model": model_name,
        "seed": seed,
        "settings": settings,
        "epochs": len(trainer.values),
        "best_epoch": int(np.argmax(trainer.values)) + 1,
        "stopped": stopped,
        "seconds_per_epoch": float(np.mean(trainer.epoch_seconds)) + (0.0 if learns else built),
        "validation_ndcg@10": trainer.values,
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    return record, users, items, scores


def main() -> None:
    """Run one model with each of its seeds; a run is two files, `<seed>.npz` and `<seed>.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a name in the parameters file")
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True, help="a folder")
    arguments = parser.parse_args()
    section = yaml.safe_load(arguments.params.read_text(encoding="utf-8"))["models"][arguments.model]
    settings = dict(section["recbole"])
    name, export, folder = settings.pop("model"), arguments.export.resolve(), arguments.to.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    # RecBole takes the command line for its own, and writes logs and folders wherever it is started.
    sys.argv = sys.argv[:1]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for seed in section["seeds"]:
            print(f"{name}, seed {seed}", flush=True)
            record, users, items, scores = run(
                name, settings, seed=seed, max_seconds=section["max_seconds"], export=export
            )
            ids = {"users": np.array(users, dtype=int), "items": np.array(items, dtype=int)}
            np.savez_compressed(folder / f"{seed}.npz", scores=scores, **ids)
            text = json.dumps(record, indent=1, sort_keys=True) + "\n"
            (folder / f"{seed}.json").write_text(text, encoding="utf-8")
        os.chdir(folder)


if __name__ == "__main__":
    main()
