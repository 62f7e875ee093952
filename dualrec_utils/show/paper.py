"""The paper's own numbers (arXiv 2507.13957), to stand beside ours. None of them is a result of ours."""

from __future__ import annotations

import pandas as pd

# Section 6.1 and Figure 3: values at the end of 10 epochs on MovieLens 1M, windows of 30.
FIGURE_3 = {
    "loss": {"train": 4.80, "validation": 5.04},
    "accuracy": {"train": 0.0414, "validation": 0.0344},
    "top5_accuracy": {"train": 0.1664, "validation": 0.1420},
}

_FIGURE_4 = (
    # system, family, HR@1, HR@5, NDCG@1, NDCG@5
    ("MostPop", "baseline", 0.0004, 0.0070, 0.0004, 0.0053),
    ("SLIM", "baseline", 0.1270, 0.3600, 0.1270, 0.2530),
    ("FPMC", "baseline", 0.1132, 0.3748, 0.1132, 0.2464),
    ("NARM", "baseline", 0.1692, 0.5230, 0.1692, 0.3501),
    ("STAMP", "baseline", 0.1584, 0.5078, 0.1584, 0.3367),
    ("GCE-GNN", "baseline", 0.1312, 0.4748, 0.1312, 0.3044),
    ("MCPRN", "baseline", 0.1434, 0.4758, 0.1434, 0.3157),
    ("HIDE", "baseline", 0.1498, 0.4998, 0.1498, 0.3256),
    ("Atten-Mixer", "baseline", 0.1490, 0.4932, 0.1490, 0.3216),
    ("UniSRec", "baseline", 0.0508, 0.2508, 0.0508, 0.1459),
    ("NIR", "baseline", 0.0572, 0.2326, 0.0572, 0.1436),
    ("DUALRec – DS V3", "dualrec", 0.1371, 0.1425, 0.1371, 0.1406),
    ("DUALRec – Mistral 8B", "dualrec", 0.0810, 0.0907, 0.0810, 0.0871),
    ("DUALRec – DS Qwen Finetuned", "dualrec", 0.0583, 0.0605, 0.0583, 0.0597),
    ("DUALRec – Mistral 7B Finetuned", "dualrec", 0.1847, 0.2214, 0.1847, 0.2078),
)
# Figure 5(b): genre Jaccard similarity; the value of Mistral 8B is not in the text.
FIGURE_5B = {
    "DUALRec – DS V3": 0.6341,
    "DUALRec – Mistral 7B Finetuned": 0.6325,
    "DUALRec – DS Qwen Finetuned": 0.5489,
}


def figure_4() -> pd.DataFrame:
    """The paper's Figure 4: `system`, `family`, `hit_rate@1`, `hit_rate@5`, `ndcg@1`, `ndcg@5`.

    The baseline rows are apparently copied from Xu et al. (2025) and of another protocol (section 5.1).
    """
    columns = ["system", "family", "hit_rate@1", "hit_rate@5", "ndcg@1", "ndcg@5"]
    return pd.DataFrame(_FIGURE_4, columns=columns)
