"""Saved tables, figures and facts of the stages, as the report page shows them."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from dualrec_utils.core import config, files
from dualrec_utils.models import systems
from dualrec_utils.report import words as page_words
from dualrec_utils.show import tables

# Studies that are no stage of the pipeline, by their folder under reports/studies: their notebooks.
STUDIES = {
    "questions": "09_questions.ipynb",
    "knowledge/ml-100k": "10_knowledge.ipynb",
    "domains": "13_domains.ipynb",
}
# Those whose tables the page holds; those of others are many and lie in their folders, but for the few that
# their answers name.
_WITH_TABLES = ("questions",)
# Rows and columns that a reader still takes in; the saved table has all of them.
LONGEST_TABLE = 40
# NDCG@1 equals HR@1 and stands in the saved table only.
FIGURE_4_METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")
_ESTIMATES = ("value", "difference", "gain", "estimate")


def _with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """An estimate and its bounds `low` and `high` as one column of text."""
    name = next((column for column in _ESTIMATES if column in frame), None)
    if name is None or not {"low", "high"} <= set(frame.columns):
        return frame
    bounds = frame[[name, "low", "high"]]
    if any(not pd.api.types.is_numeric_dtype(kind) for kind in bounds.dtypes):
        return frame
    cells = [
        "" if pd.isna(value) else f"{value:.3f}" if pd.isna(low) else tables.with_interval(value, low, high)
        for value, low, high in bounds.itertuples(index=False)
    ]
    return frame.assign(**{name: cells}).drop(columns=["low", "high"])


def _text(value: Any, *, column: str) -> str:
    """A cell for readers: four significant digits, systems in words, yes and no."""
    if pd.isna(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return systems.label(str(value)) if column in ("system", "other", "model") else str(value)


def _read_table(path: Path) -> dict[str, Any]:
    """A saved table for the page: `title`, `columns`, `rows` (text), `numeric`, `n_left_out`."""
    frame = _with_intervals(pd.read_csv(path))
    shown = frame.head(LONGEST_TABLE)
    columns = [[_text(value, column=name) for value in shown[name].tolist()] for name in shown]
    return {
        # Some tables are named after the system they are about.
        "title": label if (label := systems.label(path.stem)) != path.stem else page_words.words(path.stem),
        "columns": [page_words.heading(str(name)) for name in frame.columns],
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "numeric": [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes],
        "n_left_out": max(0, len(frame) - LONGEST_TABLE),
    }


def _is_empty(path: Path) -> bool:
    """Whether a run had nothing to put into a table: the file has neither columns nor rows."""
    return not path.read_text(encoding="utf-8").strip()


def read_tables(folder: Path, *, without: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every saved table of a folder, by name; `without` are stems of those shown elsewhere."""
    # A name that begins with a dot is what a killed write left.
    paths = [path for path in sorted(folder.glob("[!.]*.csv")) if path.stem not in without]
    return [_read_table(path) for path in paths if not _is_empty(path)]


def read_figure(path: Path) -> dict[str, Any]:
    """A saved picture for the page: `name`, `title`, `source` (a data URL), `width`, `height`.

    The page's copy has 256 colours, a third of the bytes: a chart has few, and maximum coverage keeps those
    of few pixels, such as markers, within a few steps of 255.
    """
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    content = io.BytesIO()
    reduced.save(content, "PNG")
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    # A study's figures lie in a folder of their data set.
    keys = [f"{folder.name}/{path.stem}" for folder in path.parents[:2]]
    captions = [page_words.CAPTIONS[key] for key in keys if key in page_words.CAPTIONS]
    return {
        "name": path.stem,
        "title": [*captions, page_words.words(path.stem)][0],
        "source": f"data:image/png;base64,{encoded}",
        "width": reduced.width,
        "height": reduced.height,
    }


def read_figures(folder: Path) -> list[dict[str, Any]]:
    """Every saved picture of a folder, by name."""
    return [read_figure(path) for path in sorted(folder.glob("[!.]*.png"))]


def read_figure_4(protocol: str) -> list[dict[str, Any]]:
    """Rows of the saved Figure 4 table: `system`, `source`, `remark`, and (paper, ours) of each metric.

    Empty where notebook 07 has not run.
    """
    path = config.TABLES / "results" / f"figure_4_{protocol}.csv"
    if not path.is_file():
        return []
    rows = []
    for row in pd.read_csv(path).to_dict("records"):
        printed = [row[f"paper {metric}"] for metric in FIGURE_4_METRICS]
        values = ["" if pd.isna(value) else f"{value:.4f}" for value in printed]
        ours = [row[f"ours {metric}"] for metric in FIGURE_4_METRICS]
        source = row["paper's values from"]
        rows.append(
            {
                "system": row["system"],
                "source": "" if pd.isna(source) else source,
                "remark": row["remark"],
                "pairs": list(zip(values, ours, strict=True)),
            }
        )
    return rows


def read_claims(folder: Path) -> list[tuple[str, str]]:
    """The audit's judgement on each claim of the paper: (claim and judgement, what it rests on).

    Args:
        folder: of the audit's tables.
    """
    path = folder / "conclusions.csv"
    said = pd.read_csv(path, keep_default_na=False)["sentence"].astype(str) if path.is_file() else []
    # The audit writes for a notebook: the judgement stands in front, between two pairs of asterisks.
    parted = (re.fullmatch(r"(?:\*\*(.*?)\*\* ?)?(.*)", line, re.S) for line in said)
    return [(both[1] or "", both[2]) for both in parted if both]


def read_ladder(folder: Path, *, name: str = "ladder", metric: str = "hit_rate@1") -> list[dict[str, str]]:
    """Both ends of a ladder of the audit: `system`, `first`, `last` (values), `from`, `to` (rungs).

    Args:
        folder: of the audit's tables.
        name: of the table: `ladder`, or `stage_1`, the LSTM from the count of Figure 3 to that of Figure 4.
        metric: whose values.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        return []
    table = pd.read_csv(path)
    ends = []
    for system, rungs in table[table["metric"] == metric].groupby("system", sort=False):
        first, last = rungs.iloc[0], rungs.iloc[-1]
        values = [tables.with_interval(row["value"], row["low"], row["high"]) for row in (first, last)]
        ends.append(dict(system=systems.label(system), first=values[0], last=values[1]))
        ends[-1] |= {"from": first["rung"], "to": last["rung"]}
    return ends


def read_study(name: str) -> dict[str, Any]:
    """What a study of :data:`STUDIES` left: `answers`, `figures`, `tables`, and `notebook`, its links.

    An answer has `question`, `answer`, and `table`: what it explains, None where it stands alone.
    """
    folder = config.study_dir(name)
    path = folder / "answers.csv"
    said = pd.read_csv(path, keep_default_na=False).to_dict("records") if path.is_file() else []
    for row in said:
        shown = folder / f"{row.get('table')}.csv"
        row["table"] = _read_table(shown) if shown.is_file() else None
    executed = config.PACKAGE_ROOT / "reports" / "notebooks"
    return {
        "answers": said,
        "figures": read_figures(folder),
        "tables": read_tables(folder, without=("answers",)) if name in _WITH_TABLES else [],
        "notebook": notebook_links(STUDIES[name], executed=executed),
    }


def facts(stage: str) -> list[tuple[str, Any]]:
    """Numbers of a stage without a notebook, from its metrics file."""
    path = config.METRICS / f"{stage}.json"
    flat: Mapping[str, Any] = files.read_json(path, missing={})
    numbers = {key: value for key, value in flat.items() if isinstance(value, (int, float))}
    return [(page_words.heading(key), value) for key, value in numbers.items()]


def notebook_links(name: str, *, executed: Path) -> dict[str, str]:
    """Links from the page to a notebook.

    Args:
        name: its file name.
        executed: folder of the notebooks with outputs, which are not committed.

    Returns:
        `number`; `source`, the notebook without outputs; `page`, with them, empty where no run left it.
    """
    page = executed / f"{Path(name).stem}.html"
    return {
        "number": name[:2],
        "source": _link(config.NOTEBOOKS / name),
        "page": _link(page) if page.is_file() else "",
    }


def _link(path: Path) -> str:
    """A file as the page names it; a profile's page lies two folders deeper than the default one."""
    return Path(os.path.relpath(path, config.REPORTS)).as_posix()


def room(stage: str) -> dict[str, Any]:
    """What one stage shows: its title, the links to its notebook, figures, tables, and facts."""
    notebook = next((path.name for path in config.NOTEBOOKS.glob(f"[0-9][0-9]_{stage}.ipynb")), None)
    return {
        "name": stage,
        "title": page_words.TITLES[stage],
        "notebook": notebook_links(notebook, executed=config.REPORTS / "notebooks") if notebook else None,
        "facts": [] if notebook else facts(stage),
        "figures": read_figures(config.FIGURES / stage),
        # :func:`read_claims` shows the audit's conclusions.
        "tables": read_tables(config.TABLES / stage, without=("conclusions",)),
    }


def training_seconds() -> float | None:
    """Seconds that the training of the run's LSTM took, without its measurements and folds; None before."""
    path = config.TIMINGS / "lstm_training.json"
    return files.read_json(path, files.Fit).fit_seconds if path.is_file() else None


def timings(names: Sequence[str]) -> list[dict[str, Any]]:
    """Budget, time taken (seconds) and peak memory (GiB) of stages, `None` where not measured."""
    rows = []
    for stage in names:
        path = config.TIMINGS / f"{stage}.json"
        taken = files.read_json(path, files.Timing, missing=files.Timing())
        memory = taken.peak_memory_mb
        rows.append(
            {
                "stage": stage,
                "budget": taken.budget_seconds,
                "seconds": taken.seconds,
                "memory": None if memory is None else memory / 1024,
                "processor": taken.machine.get("cpu", ""),
            }
        )
    return rows


def rating_claims_table(dataset: str) -> pd.DataFrame:
    """Claims 7 and 8, as `make ratings` answered them from several seeds, or notebook 11 from one.

    Returns:
        A row a claim, columns as `analysis.ratings` has them; none where notebook 11 has not run.
    """
    paths = (config.study_dir("ratings") / dataset, config.TABLES / "rating_hybrids")
    path = next((one for folder in paths if (one := folder / "claims.csv").is_file()), None)
    return pd.DataFrame() if path is None or _is_empty(path) else pd.read_csv(path)


def rating_claims(dataset: str) -> list[dict[str, str]]:
    """:func:`rating_claims_table` for readers: rows as those of :func:`analysis.verdict.claim_rows`."""
    rows = []
    for row in rating_claims_table(dataset).to_dict("records"):
        names = " minus ".join(
            page_words.RATING_SYSTEMS.get(row[side], row[side]) for side in ("other", "system")
        )
        seeds = "one seed" if row["n_seeds"] == 1 else f"{row['n_seeds']} seeds"
        rows.append(
            {
                "question": row["question"],
                "answer": row["answer"],
                "difference": f"{row['difference']:+.4f} stars [{row['low']:+.4f}, {row['high']:+.4f}]",
                "compared": f"{names}, {row['metric'].upper()}; {row['n_users']} users, {seeds}",
                "settled": "one seed settles nothing" if row["n_seeds"] == 1 else "",
            }
        )
    return rows
