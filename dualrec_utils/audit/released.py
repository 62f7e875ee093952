"""What the paper's released code does, each fact with its file and lines: read, not copied.

Lines are those of one commit of the authors' repository, :data:`SOURCE`. The audit's ladder begins with
these rules (:mod:`audit.ladder`).
"""

from __future__ import annotations

import pandas as pd

SOURCE = "github.com/SatoSakula/DUALRec, commit 02b4cceb85cc921a464ab7000aa92f61efafab58"
# code/evaluation.py: items in the prompt (line 66), titles of an answer that are read at most (37), and
# the longest answer in tokens (14).
N_RECENT, LONGEST, MAX_NEW_TOKENS = 3, 10, 256

_MODELS, _SCRIPT, _LORA = (
    f"code/{name}.py" for name in ("evaluation", "thesis_duip_final_code", "finetune_lora")
)
# Subject, what the code does, where.
FACTS = (
    ("right answers", "a user's last five movies; a hit on any of them counts", f"{_MODELS}:83-86, 51-57"),
    ("NDCG", "1 / log2(rank + 1) of the first hit", f"{_MODELS}:51-57"),
    ("who is asked", "users with ten interactions or more", f"{_MODELS}:79-81"),
    ("who is left out", "only users whose evaluation raises an exception", f"{_MODELS}:138-140"),
    (
        "an answer without a readable title",
        "an empty list goes to the hit function: a miss",
        f"{_MODELS}:101-105, 114-117",
    ),
    ("a readable title", "the part of a line up to a year in brackets", f"{_MODELS}:29-36"),
    ("length of a list", "as the model writes it, ten titles at most", f"{_MODELS}:37"),
    ("titles outside the catalog", "stay in the list", f"{_MODELS}:31-37"),
    (
        "movies already rated",
        "stay in the lists and in the LSTM's choice",
        f"{_MODELS}:89-105, {_SCRIPT}:517-523",
    ),
    (
        "a hit, fine-tuned models",
        "difflib's ratio of titles in lower case, 0.8 or more",
        f"{_MODELS}:51-56",
    ),
    ("a hit, hosted models", "the same from 0.9", f"{_SCRIPT}:700-706"),
    (
        "reference of the re-ranker",
        "the LSTM's title and the five right titles; each candidate by its best cosine to any",
        f"{_MODELS}:104-105, 46; {_SCRIPT}:761-762, 713",
    ),
    ("prompt, fine-tuned models", "the last three movies, three titles asked for", f"{_MODELS}:66, 73"),
    ("prompt in their training", "the last five movies", f"{_LORA}:20-24"),
    ("decoding, fine-tuned models", "greedy, 256 new tokens", f"{_MODELS}:14-16"),
    ("prompt, hosted models", "the whole history, ten titles asked for", f"{_SCRIPT}:660-674, 757"),
    (
        "decoding, hosted models",
        "temperature 0.7, top-p 0.9, 300 tokens, a system message",
        f"{_SCRIPT}:640-645",
    ),
    ("answers to learn from", "the first three of the last five movies", f"{_LORA}:39-43"),
    ("LoRA's layers", "q_proj and v_proj", f"{_LORA}:87-94"),
    ("LoRA's loss", "on prompt, answer and padding to 512 tokens", f"{_LORA}:101-105"),
    ("LoRA's optimiser", "batch 2, accumulation 2, 3 epochs, no learning rate set", f"{_LORA}:109-120"),
    (
        "the LSTM's title embedding",
        "a new one for each of the 30 positions, made in the loop",
        f"{_SCRIPT}:373-377",
    ),
    (
        "the LSTM that is saved",
        "one built anew, untrained; the trained one recommends",
        f"{_SCRIPT}:486, 806",
    ),
    (
        "order inside one second",
        "what pandas' default sort (quicksort, not stable) leaves",
        f"{_MODELS}:79",
    ),
    ("split", "the merged table cut by row position, 70/15/15", f"{_SCRIPT}:20-26"),
    (
        "genre similarity",
        "best of the five right movies; only first titles like one of the catalog (ratio over 0.6)",
        f"{_MODELS}:119-136",
    ),
    ("sample of users", "150 by default; 928 in the script's calls", f"{_MODELS}:20, {_SCRIPT}:808, 1106"),
)


def facts() -> pd.DataFrame:
    """:data:`FACTS` as a table: `subject`, `the released code`, `where`."""
    return pd.DataFrame(FACTS, columns=["subject", "the released code", "where"])
