"""SLIM: a sparse, non-negative item-item matrix that rebuilds what users watched.

Ning and Karypis (2011), "SLIM: sparse linear methods for top-n recommender systems", ICDM.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet
from tqdm import tqdm

from dualrec_utils.models.baselines.base import Baseline, Validate, incidence, popularity

# As ItemKNN's: orders items whose sums are equal, most often 0.
_TIE = 1e-9
_MAX_SWEEPS = 100
_TOLERANCE = 1e-4


class SLIM(Baseline):
    """Sum of learnt weights from the last items of the history; their order plays no part.

    Column j of the weights w minimises, over w ≥ 0 and w_j = 0,

        1 / (2 n_users) ‖a_j - A w‖² + alpha l1_share ‖w‖₁ + ½ alpha (1 - l1_share) ‖w‖²

    with A the binary user-item matrix (scikit-learn's elastic net; the paper's λ and β are n_users
    times the two factors). Equal sums, every item after an empty history among them, are ordered by
    popularity; an item without training interactions has no weight and no popularity, and comes last.
    """

    ranges = {
        "query_length": (1, 100_000),  # items of the history that count, from the last
        "alpha": (1e-7, 10.0),  # strength of both penalties
        "l1_share": (1e-6, 1.0),  # share of the first one
    }

    def _fit(self, histories: list[np.ndarray], validate: Validate | None) -> None:
        self._popularity = popularity(histories, self.n_items)
        watched = incidence(histories, self.n_items).sign().tocsc()
        # scikit-learn takes sparse matrices with 32-bit indices only.
        watched.indices, watched.indptr = watched.indices.astype("int32"), watched.indptr.astype("int32")
        solver = ElasticNet(
            alpha=self.alpha,
            l1_ratio=self.l1_share,
            positive=True,
            fit_intercept=False,
            max_iter=_MAX_SWEEPS,
            tol=_TOLERANCE,
        )
        columns = []
        with warnings.catch_warnings():
            # A column that needs more sweeps keeps what it has reached.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for column in tqdm(range(self.n_items), desc="SLIM", unit="item"):
                entries = slice(watched.indptr[column], watched.indptr[column + 1])
                target = watched[:, [column]].toarray().ravel()
                # Left in, the item would explain itself.
                watched.data[entries] = 0.0
                columns.append(solver.fit(watched, target).sparse_coef_.T)
                watched.data[entries] = 1.0
        self._weights = sparse.csc_array(sparse.hstack(columns))

    def _score(self, histories: list[np.ndarray], users: np.ndarray) -> np.ndarray:
        queries = incidence([h[-self.query_length :] for h in histories], self.n_items).sign()
        return (queries @ self._weights).toarray() + _TIE * self._popularity
