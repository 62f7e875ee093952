"""The page a reader opens first, and the README's results: both written from the metrics files.

`build_stage` writes `reports/index.html` (one file, no script, nothing fetched) and renews the block
between two markers of `README.md`. `python -m dualrec_utils.report --print` prints the results table.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dualrec_utils import config, files, paper, stages, systems, tables, verdict
from dualrec_utils.errors import StudyError

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NOT_RUN = "not run"
COLUMNS = (
    ("next_item", "hit_rate@1", "HR@1"),
    ("next_item", "hit_rate@5", "HR@5"),
    ("next_item", "ndcg@5", "NDCG@5"),
    ("window_of_five", "hit_rate@1", "HR@1"),
    ("window_of_five", "hit_rate@5", "HR@5"),
)
TITLES = {
    "data": "Data: fetched, merged, split",
    "eda": "The data",
    "lstm": "Stage 1: the LSTM",
    "baselines": "Baselines",
    "movielm": "The small language model",
    "zero_shot_llm": "Stage 2: prompting",
    "lora_finetuning": "Stage 3: fine-tuning with LoRA",
    "rerank_ablation": "Stage 3: re-ranking; fusion and diversity",
    "results": "Results",
}
# Stages shown one after the other below the results, each with its figures and tables.
ROOMS = ("eda", "lstm", "baselines", "movielm", "zero_shot_llm", "lora_finetuning", "rerank_ablation")
# What a figure shows, where its file name does not say it.
CAPTIONS = {
    "eda/genres": "Genres of the catalog and of what users rate",
    "eda/history_lengths": "Movies a user rated",
    "eda/order": "What order means: time between ratings, and the span of a user's last ones",
    "eda/parts": "How training, validation and test users compare",
    "eda/popularity": "Popularity of the movies, and what the catalog keeps",
    "eda/rating_values": "Rating values",
    "eda/weeks": "Ratings over time",
    "baselines/hit_rate_at_5": "The baselines on HR@5",
    "baselines/learning_curves": "Training of the baselines that are trained in epochs",
    "zero_shot_llm/answers": "What becomes of the titles that the language model writes",
    "zero_shot_llm/matcher": "Matching titles to movies: precision and recall by threshold",
    "zero_shot_llm/movielm_loss": "Training the small language model",
    "lora_finetuning/losses": "Training and validation loss of the adapters",
    "lora_finetuning/answers": "What becomes of the titles that the adapters write",
    "lora_finetuning/differences": "What fine-tuning changes",
    "rerank_ablation/differences": "What re-ranking changes",
    "rerank_ablation/right_by_similarity": "Similarity to the LSTM's title, and being right",
    "rerank_ablation/fusion_weights": "Fusing LSTM and language model: the weight, on validation users",
    "rerank_ablation/fusion_differences": "What fusion and diversity change, on test users",
    "rerank_ablation/diversity": "What diversity costs, on validation users",
    "lstm/figure_3": "The paper's Figure 3: loss, accuracy and top-5 accuracy by epoch",
}
LONGEST_TABLE = 40
# NDCG@1 equals HR@1 and stands in the saved table only.
FIGURE_4_METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@5")


def read_metrics() -> dict[str, Any]:
    """Flat metrics of notebook 07; empty where it has not run."""
    path = config.METRICS / "results.json"
    return files.read_json(path) if path.is_file() else {}


def cell(flat: Mapping[str, Any], key: str) -> str:
    """A metric as `value [low, high]`, or `not run`."""
    if key not in flat:
        return NOT_RUN
    return tables.with_interval(flat[key], flat[f"{key}/low"], flat[f"{key}/high"])


def results_table(flat: Mapping[str, Any], *, names: Sequence[str] | None = None) -> pd.DataFrame:
    """One row a system, one column a (protocol, metric) of :data:`COLUMNS`; cells are text.

    Args:
        flat: metrics of notebook 07.
        names: the systems; None for those a reader meets first.
    """
    rows = []
    for name in systems.headline(verdict.model_of(flat)) if names is None else names:
        cells = {f"{protocol} {short}": cell(flat, f"{protocol}/{name}/{metric}")
                 for protocol, metric, short in COLUMNS}  # fmt: skip
        rows.append({"system": systems.label(name)} | cells)
    return pd.DataFrame(rows)


def all_systems(flat: Mapping[str, Any]) -> tuple[str, ...]:
    """Every system with a headline value, and those a reader expects, in the study's order."""
    found = {key.split("/")[1] for key in flat if key.startswith("next_item/") and key.endswith("/n_cases")}
    expected = systems.expected(verdict.model_of(flat))
    return tuple(systems.in_order({n for n in found if not n.endswith("_seen_kept")} | set(expected)))


def basis(flat: Mapping[str, Any]) -> str:
    """What the numbers stand on: dataset, users, cases, interval."""
    users, cases = flat.get("next_item/lstm/n_users"), flat.get("next_item/lstm/n_cases")
    windows = flat.get("window_of_five/lstm/n_cases")
    if None in (users, cases, windows):
        return "The results are not there yet: run `make repro`."
    return (
        f"{flat['dataset']}, {users} test users, {cases:,} cases (next_item) and {windows}"
        f" (window_of_five), seen movies excluded, {flat['confidence']:.0%} intervals over users."
    )


def readme_block(flat: Mapping[str, Any]) -> str:
    """What stands between the README's markers, the markers left out."""
    note = (
        "Values are `value [low, high]`. `next_item`: the one next movie; `window_of_five`: any of the"
        " last five. A language model answers with three titles, so its HR@5 is HR@3; `catalog only` lists"
        " have ten."
    )
    found = f"**What the study found so far.** {' '.join(verdict.headline(flat))}"
    parts = [found, tables.to_markdown(results_table(flat)), f"{basis(flat)} {note}"]
    return "\n\n".join([*parts, " ".join(verdict.caveats(flat))])


def with_block(readme: str, block: str) -> str:
    """The README's text with its generated block replaced.

    Raises:
        StudyError: when the two markers are not there once each, in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise StudyError(f"README.md must have the lines {BEGIN!r} and {END!r} once each, in this order")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def update_readme(flat: Mapping[str, Any], path: Path | None = None) -> bool:
    """Renew the README's block; the file is written only where its text changes.

    Returns:
        Whether it changed.
    """
    path = path or config.ROOT / "README.md"
    if not path.is_file():
        raise StudyError(f"there is no {path}; restore it with `git checkout README.md`")
    old = path.read_text(encoding="utf-8")
    new = with_block(old, readme_block(flat))
    if new != old:
        files.write_text(new, path)
    return new != old


def read_table(path: Path) -> dict[str, Any]:
    """A saved table for the page: `title`, `columns`, `rows` (text), `n_left_out`."""
    frame = pd.read_csv(path)
    numbers = frame.select_dtypes("float").columns
    shown = frame.head(LONGEST_TABLE).astype(object)
    shown[numbers] = shown[numbers].map(lambda value: "" if pd.isna(value) else f"{value:.4g}")
    return {
        "title": words(path.stem),
        "columns": [str(name) for name in frame.columns],
        "rows": shown.where(shown.notna(), "").astype(str).to_numpy().tolist(),
        "numeric": [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes],
        "n_left_out": max(0, len(frame) - LONGEST_TABLE),
    }


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


def read_figure(path: Path) -> dict[str, str]:
    """A saved picture for the page: `name`, `title`, `source` (a data URL)."""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    title = CAPTIONS.get(f"{path.parent.name}/{path.stem}", words(path.stem))
    return {"name": path.stem, "title": title, "source": f"data:image/png;base64,{encoded}"}


def words(stem: str) -> str:
    """A file name as a title: `figure_5a` -> `Figure 5a`."""
    text = stem.replace("_", " ")
    return text[:1].upper() + text[1:]


def facts(stage: str) -> list[tuple[str, Any]]:
    """The numbers of a stage's metrics file as (key, value), where it comes from left out."""
    path = config.METRICS / f"{stage}.json"
    flat = files.read_json(path) if path.is_file() else {}
    return [(key, value) for key, value in flat.items() if isinstance(value, (int, float))]


def room(stage: str) -> dict[str, Any]:
    """One stage's figures, tables and notebook, for the page; its metrics where it has no notebook."""
    notebook = stages.find(stage).notebook
    page = f"notebooks/{Path(notebook).stem}.html" if notebook else ""
    return {
        "name": stage,
        "title": TITLES[stage],
        "notebook": page if page and (config.REPORTS / page).is_file() else "",
        "facts": [] if notebook else facts(stage),
        "figures": [read_figure(path) for path in sorted((config.FIGURES / stage).glob("*.png"))],
        "tables": [read_table(path) for path in sorted((config.TABLES / stage).glob("*.csv"))],
    }


def timings() -> list[dict[str, Any]]:
    """Budget, time taken (seconds) and peak memory (GiB) of every stage, `None` where not measured."""
    rows = []
    for stage in stages.STAGES:
        path = config.TIMINGS / f"{stage.name}.json"
        taken = files.read_json(path) if path.is_file() else {}
        memory = taken.get("peak_memory_mb")
        rows.append(
            {
                "stage": stage.name,
                "budget": stage.budget_seconds,
                "seconds": taken.get("seconds"),
                "memory": None if memory is None else memory / 1024,
                "processor": taken.get("cpu", ""),
            }
        )
    return rows


def page_context(flat: Mapping[str, Any], *, dataset: str, seed: int) -> dict[str, Any]:
    """Everything the template shows."""
    rooms = {stage: room(stage) for stage in (*ROOMS, "results")}
    figures = {figure["name"]: figure for figure in rooms["results"]["figures"]}
    saved = {table["title"]: table for table in rooms["results"]["tables"]}
    names = [*all_systems(flat)]
    return {
        "dataset": dataset,
        "seed": seed,
        "source": flat.get("source", "not fetched yet"),
        "basis": basis(flat),
        "verdicts": verdict.headline(flat),
        "caveats": [*reversed(verdict.caveats(flat)), verdict.PROTOCOL_CAVEAT],
        "comparisons": verdict.comparisons(flat),
        "results": results_table(flat, names=tuple(names)).to_dict("split"),
        "lengths": [flat.get(f"next_item/{name}/list_length_max", "") for name in names],
        "genre": [cell(flat, f"next_item/{name}/genre_jaccard") for name in names],
        "figures": figures,
        "figure_4": {protocol: read_figure_4(protocol) for protocol in config.PROTOCOLS},
        "deviations": saved.get("Deviations"),
        "rooms": [rooms[stage] for stage in ROOMS],
        "results_room": rooms["results"],
        "timings": timings(),
        "figure_3": paper.FIGURE_3,
    }


def render(context: Mapping[str, Any]) -> str:
    """The page as HTML. All text is escaped: some of it was written by a language model."""
    loader = jinja2.PackageLoader("dualrec_utils")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(context)


def build_stage(*, dataset: str, seed: int) -> Path:
    """Stage `report`: write `reports/index.html` and renew the README's block.

    Args:
        dataset, seed: shown on the page.

    Returns:
        Where the page lies.

    Raises:
        StudyError: when the metrics are of another dataset, or the README lacks its markers.
    """
    flat = read_metrics()
    if flat and flat["dataset"] != dataset:
        raise StudyError(
            f"reports/metrics/results.json is of {flat['dataset']!r}, params.yaml says {dataset!r}:"
            " run `dvc repro results` first"
        )
    path = files.write_text(
        render(page_context(flat, dataset=dataset, seed=seed)), config.REPORTS / "index.html"
    )
    update_readme(flat)
    return path


def as_text(flat: Mapping[str, Any]) -> str:
    """The results table for a terminal."""
    table = results_table(flat, names=all_systems(flat)).set_index("system")
    blocks = []
    for protocol in config.PROTOCOLS:
        own = table[[column for column in table if column.startswith(f"{protocol} ")]]
        short = own.set_axis([column.split()[1] for column in own], axis=1).rename_axis(None)
        blocks.append(f"{protocol}\n{short.to_string()}")
    return "\n\n".join([*blocks, basis(flat), *verdict.headline(flat)])


def main() -> None:
    """Print the results and where the page lies."""
    parser = argparse.ArgumentParser(description="The study's results.")
    parser.add_argument("--print", action="store_true", required=True, help="print the results table")
    parser.parse_args()
    page = config.REPORTS / "index.html"
    place = page if page.is_file() else f"not built yet ({page}): run `make repro`"
    print(f"{as_text(read_metrics())}\n\nReport: {place}")


if __name__ == "__main__":
    main()
