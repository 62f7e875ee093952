"""What the search draws from: the ranges of every model's hyperparameters.

They decide which settings are tried, not what a setting comes to: trials made before a range changed keep
their worth, which is why the ranges have a file of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dualrec_utils.studies.fits import LSTM, MOVIELM


@dataclass(frozen=True)
class Between:
    """A range to draw from, uniformly or, with `log`, so that each decade is as likely.

    Attributes:
        low, high: ends, both of the same type; integers give integers, `high` included.
        log: draw the logarithm uniformly; `low` must be above 0.
    """

    low: float
    high: float
    log: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        """One value; other than integers are rounded to three significant digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if isinstance(self.low, int):
            # Half a step beyond either end, so that the ends are as likely as what lies between.
            low, high = (
                (math.log(self.low - 0.5), math.log(self.high + 0.5))
                if self.log
                else (low - 0.5, high + 0.5)
            )
        value = generator.uniform(low, high)
        value = math.exp(value) if self.log else value
        if isinstance(self.low, int):
            return int(min(max(round(value), self.low), self.high))
        return float(f"{value:.3g}")


# A list is drawn from uniformly.
Space = dict[str, Between | list]
_TRAINED: Space = {"learning_rate": Between(5e-4, 1e-2, log=True), "weight_decay": [0.0, 1e-6, 1e-5, 1e-4]}
_SEQUENCE: Space = _TRAINED | {
    "dropout": Between(0.0, 0.6),
    "embedding_size": [32, 64, 128],
    "batch_size": [16, 32, 64],
}
_PREFIX: Space = _SEQUENCE | {"batch_size": [64, 128]}
SPACES: dict[str, Space] = {
    "markov": {"smoothing": Between(1.0, 3_000.0, log=True)},
    "item_knn": {"query_length": Between(1, 30, log=True), "n_neighbours": Between(10, 1_000, log=True)},
    "sknn": {"query_length": Between(1, 50, log=True), "n_neighbours": Between(10, 500, log=True)},
    "vsknn": {
        "query_length": Between(1, 50, log=True),
        "n_neighbours": Between(10, 500, log=True),
        "idf_weight": [0, 1, 2, 5],
    },
    "slim": {
        "query_length": Between(1, 50, log=True),
        "alpha": Between(1e-3, 1e-1, log=True),
        "l1_share": Between(1e-3, 5e-1, log=True),
    },
    "ease": {"query_length": Between(1, 50, log=True), "l2": Between(10.0, 3_000.0, log=True)},
    "fpmc": _TRAINED | {"embedding_size": [32, 64, 128], "batch_size": [256, 512, 1_024]},
    "gru4rec": _SEQUENCE | {"n_layers": [1, 2], "max_length": [30, 50, 100]},
    "sasrec": _SEQUENCE | {"n_layers": [1, 2], "n_heads": [1, 2], "max_length": [30, 50, 100]},
    "bert4rec": _SEQUENCE
    | {
        "n_layers": [1, 2],
        "n_heads": [1, 2],
        "max_length": [30, 50, 100],
        "mask_share": Between(0.1, 0.6),
    },
    "narm": _SEQUENCE
    | {"hidden_size": [64, 128], "embedding_dropout": Between(0.0, 0.5), "max_length": [20, 30]},
    "stamp": _SEQUENCE | {"max_length": [10, 20, 30]},
    "mcprn": _SEQUENCE
    | {
        "n_channels": Between(1, 4),
        "temperature": Between(0.05, 1.0, log=True),
        "max_length": [20, 30],
    },
    "atten_mixer": _SEQUENCE | {"n_heads": [1, 2, 4], "n_levels": Between(1, 8), "max_length": [20, 30]},
    "gce_gnn": _PREFIX | {"n_neighbours": [6, 12, 20]},
    "hide": _PREFIX
    | {
        "learning_rate": Between(3e-3, 3e-2, log=True),
        "n_intents": [1, 2, 4],
        "longest_window": Between(2, 6),
    },
    "unisrec": _SEQUENCE
    | {
        "n_layers": [1, 2],
        "n_heads": [1, 2],
        "n_experts": [2, 4, 8],
        "temperature": Between(0.05, 0.3, log=True),
        "max_length": [30, 50],
    },
    "lstm_tuned": {key: value for key, value in _SEQUENCE.items() if key != "embedding_size"}
    | {"max_length": [20, 30, 50]},
    LSTM: {
        "learning_rate": Between(1e-3, 1e-2, log=True),
        "dropout": Between(0.1, 0.6),
        "batch_size": [8, 16, 32, 64],
        "epochs": Between(5, 20),
        "chunk_length": [20, 30, 50],
        "max_history": [20, 30, 50],
    },
    # No larger than what the default run trains within its half hour; every width is a multiple of twice
    # every number of heads.
    MOVIELM: {
        "learning_rate": Between(1e-3, 1e-2, log=True),
        "hidden_size": [64, 96, 128, 160],
        "n_layers": [1, 2],
        "n_heads": [2, 4, 8],
        "n_epochs": Between(3, 6),
        "genre_share": Between(0.0, 0.6),
        "noise_share": Between(0.1, 0.5),
        "batch_size": [4, 8, 16],
        "dropout": Between(0.0, 0.3),
        "weight_decay": Between(0.01, 0.4, log=True),
    },
}


def draw(candidates: Between | list, generator: np.random.Generator):
    """One value of a range or a list."""
    if isinstance(candidates, Between):
        return candidates.draw(generator)
    return candidates[generator.integers(len(candidates))]
