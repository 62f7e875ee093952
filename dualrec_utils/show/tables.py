"""Tables as a reader sees them, in Markdown, and saved as CSV under `reports/tables/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.show.markdown import as_text


def with_interval(value: float, low: float, high: float) -> str:
    """A value with its interval: `0.086 [0.070, 0.103]`."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def by_system(table: pd.DataFrame, *, protocol: str, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a system, one column a metric, each cell a value with its interval.

    Args:
        table: long table from :func:`core.evaluation.evaluate_systems`.
        protocol: the rows wanted, of test users.
        metrics: the columns wanted, in order.

    Returns:
        Frame indexed by system, in the order of `table`, with `n_users` and `n_cases` last.
    """
    rows = table[(table["protocol"] == protocol) & (table["split"] == "test")]
    order = list(dict.fromkeys(rows["system"]))
    cells = rows.assign(
        cell=[with_interval(*v) for v in zip(rows["value"], rows["low"], rows["high"], strict=True)]
    )
    wide = cells.pivot(index="system", columns="metric", values="cell").loc[order, list(metrics)]
    sizes = rows.groupby("system")[["n_users", "n_cases"]].first()
    wide.columns.name = None
    return wide.join(sizes)


def save_by_protocol(
    table: pd.DataFrame,
    *,
    metrics: Sequence[str],
    stage: str,
    systems: Sequence[str] | None = None,
) -> dict[str, pd.DataFrame]:
    """:func:`by_system` of each protocol, saved under its name and returned by it.

    Args:
        table, metrics: as :func:`by_system`.
        stage: whose folder they are saved in.
        systems: the rows wanted, in order; None takes all.
    """
    wide = {protocol: by_system(table, protocol=protocol, metrics=metrics) for protocol in config.PROTOCOLS}
    if systems is not None:
        wide = {protocol: rows.loc[list(systems)] for protocol, rows in wide.items()}
    for protocol, rows in wide.items():
        save_table(rows, protocol, stage=stage, index=True)
    return wide


def differences_in_words(differences: pd.DataFrame) -> pd.Series:
    """Each difference for a sentence: `+0.005 (-0.004 to +0.015, includes zero)`.

    Args:
        differences: `difference`, `low`, `high`.
    """
    return pd.Series(
        [
            f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f},"
            f" {'excludes' if row.low > 0 or row.high < 0 else 'includes'} zero)"
            for row in differences.itertuples()
        ],
        index=differences.index,
    )


def to_markdown(table: pd.DataFrame, *, digits: int = 3) -> str:
    """A frame as a GitHub table, its index left out.

    Args:
        table: any frame; column names become the header. Numbers are set flush right.
        digits: decimals of floats; other values are written as they are, missing ones as a dash.

    Returns:
        Lines joined by newlines, without one at the end. A cell's text is shown as it is: it may be a
        title or a language model's.
    """

    def cell(value: object) -> str:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return "–"
        return as_text(f"{value:.{digits}f}" if isinstance(value, float) else value)

    rules = ["---:" if pd.api.types.is_numeric_dtype(kind) else "---" for kind in table.dtypes]
    rows = [[cell(name) for name in table.columns], rules]
    rows += [[cell(value) for value in row] for row in table.itertuples(index=False, name=None)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def each_to_markdown(tables: Mapping[str, pd.DataFrame], *, caption: str, digits: int = 3) -> str:
    """Tables of one kind below each other, such as one a protocol.

    Args:
        tables: name -> frame.
        caption: above each of them, `{}` standing for its name.
        digits: as :func:`to_markdown`.
    """
    parts = [
        f"{caption.format(name)}\n\n{to_markdown(table, digits=digits)}" for name, table in tables.items()
    ]
    return "\n\n".join(parts)


def save_each(tables: Mapping[str, pd.DataFrame], name: str, *, stage: str) -> None:
    """Save tables of one kind as `reports/tables/<stage>/<name>_<its own name>.csv`."""
    for ending, table in tables.items():
        save_table(table, f"{name}_{ending}", stage=stage)


def save_table(table: pd.DataFrame, name: str, *, stage: str, index: bool = False) -> None:
    """Save `reports/tables/<stage>/<name>.csv`; a path returned would stand on the page of a notebook."""
    files.write_csv(table, config.tables_dir(stage) / f"{name}.csv", index=index)
