"""The paper's Figure 4 as a table: beside each row what this study has of it, or why it has nothing."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dualrec_utils.core import config, evaluation, files
from dualrec_utils.core.config import PROTOCOL, SYSTEM
from dualrec_utils.models import systems
from dualrec_utils.show import paper, tables

# The paper's rows, and the system of this study that answers each where it was run.
COUNTERPARTS = {
    "MostPop": "most_popular",
    "SLIM": "slim",
    "FPMC": "fpmc",
    "NARM": "narm",
    "STAMP": "stamp",
    "GCE-GNN": "gce_gnn",
    "MCPRN": "mcprn",
    "HIDE": "hide",
    "Atten-Mixer": "atten_mixer",
    "UniSRec": "unisrec",
    "DUALRec – DS V3": "deepseek_v3_zero_shot_reranked",
    "DUALRec – Mistral 8B": "ministral_8b_zero_shot_reranked",
    "DUALRec – DS Qwen Finetuned": "deepseek_qwen_1_5b_lora_reranked",
    "DUALRec – Mistral 7B Finetuned": "mistral_7b_lora_reranked",
}
NOT_RUN = {
    "baseline": "not run: no entry under baselines.models of params.yaml",
    "NIR": "not run: a study of its own, on other users and candidates (notebook 04)",
    "DUALRec – DS V3": "not run: hosted model, needs a network and a key",
    "DUALRec – Mistral 8B": "not run: hosted model, needs a network and a key",
    "DUALRec – DS Qwen Finetuned": "not run: 1.5 billion parameters, needs a GPU and the Hub",
    "DUALRec – Mistral 7B Finetuned": "not run: 7 billion parameters, needs a GPU and the Hub",
}
SOURCES = {"baseline": "probably Xu et al. (2025), another protocol", "dualrec": "its own experiments"}
# Rows of ours below the paper's, and what each stands for.
STAND_INS = {
    "lstm": "Stage 1 alone; not in the paper's table",
    "movielm_zero_shot": "stand-in for Stage 2: a tiny model without world knowledge",
    "movielm_lora": "stand-in for Stage 3 without re-ranking: a tiny model",
    "movielm_lora_reranked": "stand-in for Stage 3: a tiny model without world knowledge",
    "dualrec_fusion": "this study's own proposal; not in the paper",
}


def reasons_not_run() -> dict[str, str]:
    """Language models of this profile that the machine could not run: name -> reason.

    Read from the metrics of the notebooks that tried.
    """
    reasons = {}
    for stage in ("zero_shot_llm", "lora_finetuning"):
        path = config.METRICS / f"{stage}.json"
        flat = files.read_json(path, missing={})
        reasons |= {
            key.removeprefix("not_run/"): value for key, value in flat.items() if key.startswith("not_run/")
        }
    return reasons


def beside_paper(table: pd.DataFrame, *, protocol: str, reasons: Mapping[str, str]) -> pd.DataFrame:
    """The paper's Figure 4 as a table, our values under one protocol beside the paper's.

    Every system of the paper has its row; what was not run says why. The rows of ours come last and
    stand for themselves: they are not the paper's language models.

    Args:
        table: from :func:`analysis.results.summarise`.
        reasons: from :func:`reasons_not_run`.

    Returns:
        Frame with `system`, `paper <metric>` (float, empty for our own rows), `paper's values from`,
        `ours <metric>` (value with interval, or `not run`), and `remark`.
    """
    rows = []
    for row in paper.figure_4().to_dict("records"):
        name = row[SYSTEM]
        ours = COUNTERPARTS.get(name, "")
        cells = _cells(table, protocol=protocol, system=ours)
        reason = NOT_RUN.get(name, NOT_RUN["baseline"])
        model, _ = systems.split(ours)
        if model in reasons:
            reason = f"not run: {reasons[model]}"
        remark = f"our {ours}" if cells else reason
        source = SOURCES[row["family"]]
        rows.append(_figure_4_row(name, paper_values=row, source=source, cells=cells, remark=remark))
    for system, remark in STAND_INS.items():
        cells = _cells(table, protocol=protocol, system=system)
        label = f"ours: {systems.label(system)}"
        rows.append(_figure_4_row(label, paper_values={}, source="", cells=cells, remark=remark))
    return pd.DataFrame(rows)


def figure_4(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """:func:`beside_paper` under every protocol, with this machine's reasons for what was not run."""
    reasons = reasons_not_run()
    return {
        protocol: beside_paper(table, protocol=protocol, reasons=reasons) for protocol in config.PROTOCOLS
    }


def hit_rates(figures: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """:func:`figure_4` without its columns of NDCG, which would make it too wide to read."""
    return {name: frame[[c for c in frame if "ndcg" not in c]] for name, frame in figures.items()}


def most_popular_in_words(table: pd.DataFrame) -> str:
    """HR@5 of MostPop in the paper and of popularity here, the plainest row that both have.

    Args:
        table: from :func:`analysis.results.summarise`.
    """
    theirs = paper.figure_4().set_index("system").loc["MostPop", "hit_rate@5"]
    rows = table[(table[SYSTEM] == "most_popular") & (table["metric"] == "hit_rate@5")]
    ours = rows.set_index(PROTOCOL)["value"]
    values = " and ".join(f"{ours[protocol]:.4f} ({protocol})" for protocol in config.PROTOCOLS)
    return f"MostPop has HR@5 = {theirs:.4f} in the paper, and here {values}."


def _cells(table: pd.DataFrame, *, protocol: str, system: str) -> dict[str, str]:
    """metric -> value with interval; empty where the system has no predictions."""
    rows = table[(table[PROTOCOL] == protocol) & (table[SYSTEM] == system)]
    cells = zip(rows["metric"], rows["value"], rows["low"], rows["high"], strict=True)
    return {metric: tables.with_interval(*values) for metric, *values in cells}


def _figure_4_row(
    name: str, *, paper_values: dict, source: str, cells: dict[str, str], remark: str
) -> dict:
    metrics = evaluation.PAPER_METRICS
    return {
        SYSTEM: name,
        **{f"paper {metric}": paper_values.get(metric) for metric in metrics},
        "paper's values from": source,
        **{f"ours {metric}": cells.get(metric, "not run") for metric in metrics},
        "remark": remark,
    }
