"""Every claim recomputed from predictions, targets and seed tables, with nothing of the package."""

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

# Baselines that do not read movies in order, by reports/claims.md.
ORDER_FREE = {"random", "most_popular", "item_knn", "sknn", "slim", "ease"}


def of_users(folder: Path, system: str, metric: str, split: str = "test") -> pd.Series:
    """A system's mean over each user's next_item cases; a case without a hit counts zero.

    Args:
        folder: `data/<dataset>`.
    """
    cases, targets = (
        pd.read_parquet(folder / "processed" / f"{name}_next_item.parquet") for name in ("cases", "targets")
    )
    (path,) = folder.glob(f"*/predictions/next_item/{split}/{system}.parquet")
    lists = pd.read_parquet(path).dropna(subset="item_id").astype({"item_id": "int64"})
    hits = lists.merge(targets[["case_id", "item_id"]], on=["case_id", "item_id"])
    cases = cases[cases["split"] == split]
    rank = cases["case_id"].map(hits.groupby("case_id")["rank"].min()).fillna(np.inf)
    name, cut = metric.split("@")
    values = (rank <= int(cut)) * (1.0 if name == "hit_rate" else 1 / np.log2(rank + 1))
    return values.groupby(cases["user_id"]).mean()


def of_seeds(root: Path, dataset: str, system: str, metric: str) -> dict[int, pd.Series]:
    """Seed -> users' means: 0 from the run's lists, further ones from the table of seeds."""
    means = {0: of_users(root / "data" / dataset, system, metric)}
    path = root / "reports" / "tables" / "seeds" / f"{system}.csv"
    if path.is_file():
        table = pd.read_csv(path)
        means |= {
            int(seed): rows.set_index("user_id")[metric].sort_index()
            for seed, rows in table.groupby("seed")
        }
    return means


def p_value(gains: np.ndarray, *, seed: int, n_permutations: int) -> float:
    """Share of random signs that put the sum as far from zero, two-sided, the observed ones among them."""
    generator, as_far = np.random.default_rng(seed), 0
    for size in itertools.repeat(1_000, n_permutations // 1_000):
        signs = 2.0 * generator.integers(0, 2, size=(size, len(gains))) - 1
        as_far += int((np.abs(signs @ gains) >= abs(gains.sum()) - 1e-9).sum())
    return (1 + as_far) / (1 + n_permutations)


def claims(root: Path, family: pd.DataFrame, settings: dict) -> pd.DataFrame:
    """The numbers of every claim that ran.

    Args:
        root: folder with `data` and `reports`.
        family: `claim`, `system`, `other`, `metric`.
        settings: `dataset`, `seed`, `n_bootstrap`, `n_permutations` (thousands), `confidence`, `power`.

    Returns:
        Indexed by claim: the numbers of the saved table.
    """
    seed, alpha, rows, pairs = settings["seed"], 1 - settings["confidence"], {}, {}
    for claim in family.itertuples():
        one, other = (
            of_seeds(root, settings["dataset"], name, claim.metric) for name in (claim.system, claim.other)
        )
        pairs[claim.claim] = pd.DataFrame({n: one[n] - other[n] for n in sorted(one.keys() & other.keys())})
    for key, gains in pairs.items():
        mean, k, n = gains.mean(axis=1).to_numpy(), gains.shape[1], len(gains)
        draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=settings["n_bootstrap"])
        low, high = np.quantile(draws @ mean / n, [alpha / 2, 1 - alpha / 2])
        difference, over_seeds, of_one = mean.mean(), 0.0, gains.mean()
        if k > 1:
            over_seeds = stats.t.ppf(1 - alpha / 2, k - 1) * of_one.std(ddof=1) / math.sqrt(k)
            half = math.sqrt(((high - low) / 2) ** 2 + over_seeds**2)
            low, high = difference - half, difference + half
        z = stats.norm.ppf(1 - alpha / len(pairs) / 2) + stats.norm.ppf(settings["power"])
        variance, left = mean.var(ddof=1), difference**2 - over_seeds**2
        rows[key] = {
            "difference": difference,
            "low": low,
            "high": high,
            "n_users": n,
            "n_seeds": k,
            "p": p_value(mean, seed=seed, n_permutations=settings["n_permutations"]),
            "same_sign": bool((of_one > 0).all() or (of_one < 0).all()),
            "users_needed": max(math.ceil(z**2 * variance / left), 1) if left > 1e-15 else math.inf,
            "smallest_difference": math.sqrt(z**2 * variance / n + over_seeds**2),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    ordered = table["p"].sort_values(kind="stable")
    stepped = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1)
    table["p_holm"] = stepped
    sure = ((table["low"] > 0) | (table["high"] < 0)) & (table["p_holm"] < alpha)
    sure &= table["same_sign"].astype(bool) & (table["n_seeds"] > 1)
    table["answer"] = np.where(sure, np.where(table["difference"] > 0, "yes", "no"), "unclear")
    return table


def best_order_aware(folder: Path) -> tuple[str, dict[str, float]]:
    """The order-aware model with the highest NDCG@5 on validation users, and the values of all."""
    names = {
        path.stem
        for stage in ("baselines", "lstm")
        for path in (folder / stage / "predictions" / "next_item" / "validation").glob("[!.]*.parquet")
        if not path.stem.endswith("_seen_kept")
    }
    values = {
        name: float(of_users(folder, name, "ndcg@5", "validation").mean()) for name in names - ORDER_FREE
    }
    return max(values, key=values.get), values
