"""`reports/costs.md`: what each system and each stage takes, from timings and measured speeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dualrec_utils.core import config, files
from dualrec_utils.datasets.weights import MODELS
from dualrec_utils.models import systems
from dualrec_utils.report import parts as page_parts
from dualrec_utils.show import tables

NAME = "costs.md"
# What the table of pretrained models says of each, in the order of reading.
PRETRAINED = (
    "answers a minute, one by one",
    "answers a minute, batched",
    "times as fast",
    "rankings a minute, beam",
    "rankings a minute, exact",
    "overlap with float32",
    "LoRA tokens a second",
    "share of the processor's product",
)
_GPU = {
    "scale": "size",
    "quantization": "quantization",
    "prompts_per_second": "answers a second",
    "generation_peak_gib": "memory, GiB",
    "training_tokens_per_second": "LoRA, tokens a second",
    "training_peak_gib": "memory of LoRA, GiB",
    "rankings_per_minute": "rankings of the catalog a minute",
}


def costs_page(stages: Sequence[str]) -> str:
    """The page as Markdown, from `reports/timings` and `reports/studies/bench`.

    Args:
        stages: in the order of the table.
    """
    parts = [
        "# Time, memory, money",
        f"Written by stage `report` from `timings/` and `studies/bench/` in this folder. {_money()}",
        "## Each system",
        "The time of one training, the peak memory of its process, and the time for the lists of a thousand"
        " cases, as measured when the system was fitted; other fits may have run beside it.",
        tables.to_markdown(_of_systems(), digits=2),
        "## Each stage",
        "The last run of each stage, with its notebook. One that takes up finished fits needs little time.",
        tables.to_markdown(_of_stages(stages), digits=1),
    ]
    on_cores, of_pretrained = _on_cores(), _of_pretrained()
    if len(on_cores) or len(of_pretrained):
        parts.append("## Language models, measured apart")
    if len(on_cores):
        parts += [
            "movielm on two processor cores (`dualrec bench`):",
            tables.to_markdown(on_cores, digits=0),
        ]
    if len(of_pretrained):
        parts += [
            "Small pretrained models in bfloat16 on two processor cores (`dualrec bench"
            " pretrained`), on MovieLens 100K. Answers are to the paper's prompt, in batches of 32."
            " The whole catalog is ranked after five movies: by a beam of twenty, 32 users at once,"
            " or by exact search, four at once. Overlap: the share of ten items that lists in"
            " bfloat16 and in float32 have in common, of four users. The last column is LoRA's"
            " arithmetic as a share of what a bare product of matrices reaches.",
            tables.to_markdown(of_pretrained, digits=2),
        ]
    for device, table in _on_gpus():
        parts += [
            f"Random weights in the shapes of Mistral 7B and of two Qwen2.5, on one {device} (`dualrec"
            " bench-gpu`):",
            tables.to_markdown(table, digits=1),
        ]
    return "\n\n".join(parts) + "\n"


def _money() -> str:
    path = config.TABLES / "zero_shot_llm" / "models.csv"
    models = pd.read_csv(path) if path.is_file() else pd.DataFrame({"backend": [], "here": []})
    if ((models["backend"] == "hosted") & (models["here"] == "runs")).any():
        return "Hosted models answered: notebook 04 says what that took and cost."
    return "No hosted model was asked, so no answer was paid for."


def _of_systems() -> pd.DataFrame:
    """Seconds and GiB of the systems that are trained one by one, those with a file of their own."""
    measured = files.read_json(config.TIMINGS / "baselines_models.json", missing={})
    rows = [
        {
            "system": systems.label(name),
            "training, s": measured[name]["fit_seconds"],
            "peak memory, GiB": measured[name]["peak_memory_mb"] / 1024,
            "1,000 lists, s": 1000 * measured[name]["score_seconds"] / measured[name]["n_scored"],
        }
        for name in systems.in_order(measured)
    ]
    stages = {row["stage"]: row for row in page_parts.timings(("lstm", "movielm"))}
    alone = {
        f"{systems.label('lstm')}; memory of its stage": ("lstm", page_parts.training_seconds()),
        "movielm; its whole stage": ("movielm", stages["movielm"]["seconds"]),
    }
    rows += [
        {"system": name, "training, s": seconds, "peak memory, GiB": stages[stage]["memory"]}
        for name, (stage, seconds) in alone.items()
        if seconds is not None
    ]
    return pd.DataFrame(rows, columns=["system", "training, s", "peak memory, GiB", "1,000 lists, s"])


def _of_stages(names: Sequence[str]) -> pd.DataFrame:
    rows = [row for row in page_parts.timings(names) if row["seconds"] is not None]
    columns = {
        "stage": "stage",
        "budget, s": "budget",
        "taken, s": "seconds",
        "peak memory, GiB": "memory",
        "processor": "processor",
    }
    return pd.DataFrame({heading: [row[key] for row in rows] for heading, key in columns.items()})


def _on_cores() -> pd.DataFrame:
    """movielm's answers and rankings; no row where they were not measured."""
    folder = config.study_dir("bench")
    answers = files.read_json(folder / "generation.json", missing={})
    rankings = files.read_json(folder / "constrained.json", missing={})
    rows: list[dict[str, Any]] = [
        {"what": f"answers, {way}", "a minute": 60 * speed}
        for way, speed in answers.get("prompts_per_second", {}).items()
    ]
    rows += [
        {
            "what": f"rankings of the catalog, {row['way']}, {row['prompt']}",
            "a minute": row["users_per_minute"],
        }
        for row in rankings.get("rows", ())
    ]
    return pd.DataFrame(rows)


def _of_pretrained() -> pd.DataFrame:
    """Speeds of the pretrained models that were measured, one row each; no row where none was."""
    measured = files.read_json(config.study_dir("bench") / "pretrained.json", missing={})
    rows = pd.DataFrame(measured.get("in_short", ()), columns=["model", *PRETRAINED])
    return rows.replace({"model": {name: one.label for name, one in MODELS.items()}})


def _on_gpus() -> list[tuple[str, pd.DataFrame]]:
    """(device, measurements) of each GPU; settings that were not run there are left out."""
    machines = []
    for path in sorted(config.study_dir("bench").glob("gpu_*.json")):
        measured = files.read_json(path)
        rows = pd.DataFrame(measured["rows"]).dropna(subset="prompts_per_second")
        machines.append((measured["device"], rows[list(_GPU)].rename(columns=_GPU)))
    return machines
