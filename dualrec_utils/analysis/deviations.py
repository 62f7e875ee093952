"""Where this study departs from the paper, or had to choose what the paper leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

# subject, paper section, what the paper says or leaves open, what the study does, parameter (or "");
# a name in braces is a value of params.yaml
_ROWS = (
    (
        "Dataset",
        "3",
        "MovieLens 1M.",
        "MovieLens 100K by default, which is quick on two cores; MovieLens 1M is the other value.",
        "dataset",
    ),
    (
        "Order",
        "4.2.1",
        "Viewing order, by timestamp; ties are not mentioned.",
        "Rating order: timestamp, then movie id. Many neighbours share a timestamp (notebook 01).",
        "",
    ),
    (
        "Catalog",
        "3",
        "The 1,000 most frequent movies; ties and duplicate entries are not mentioned.",
        "Movies with the same title and year are merged first; ties go to the lower id.",
        "data.n_items",
    ),
    (
        "Split",
        "3",
        "70/15/15; the released code cuts the merged table by row position.",
        "Users drawn by the seed, 70/15/15; assertions prove the parts disjoint before training.",
        "data.train_share",
    ),
    (
        "Ground truth of HR and NDCG",
        "5.2",
        "Not stated; in the released code a hit is any of the last five movies.",
        "Both: next_item (one target, exact) and window_of_five (any of the last five), never mixed.",
        "data.cases_per_user",
    ),
    (
        "Who is counted",
        "5.2",
        "Not stated; the released code leaves out users whose evaluation fails.",
        "Every case counts; one without a list is a miss. Averages go over users, with intervals.",
        "intervals.confidence",
    ),
    (
        "Movies already seen",
        "not stated",
        "The released code leaves them in the lists.",
        "Left out in headline tables for every system, kept in the column beside them.",
        "",
    ),
    (
        "LSTM's training targets",
        "4.2.1",
        "Sliding windows of 30 movies, the 31st is the target.",
        "A target at every position, each seen once an epoch; windows of 30 are the other value.",
        "lstm.training",
    ),
    (
        "LSTM's view at test time",
        "4.2.1",
        "The last 30 movies.",
        "As many as the parameter says; shorter histories are not dropped.",
        "lstm.max_history",
    ),
    (
        "LSTM's last layers and padding",
        "4.2.1",
        "LSTM 256, LSTM 128, softmax; the released code adds a dense layer; index 0 is also the padding.",
        "As the paper writes it; padding has its own index; titles are averaged over real tokens.",
        "",
    ),
    (
        "LSTM's optimiser",
        "4.2.1",
        "Not stated beyond 10 epochs and dropout 0.3.",
        "Epochs: {lstm.epochs}. Learning rate and batch chosen on validation users.",
        "lstm.learning_rate",
    ),
    (
        "Language models",
        "4.2.2",
        "DeepSeek V3 and Ministral 8B through an API; Mistral 7B and DeepSeek Qwen 1.5B fine-tuned.",
        "movielm, a small model of the same architecture as Mistral, trained here; the paper's where a"
        " profile names them and the machine can run them.",
        "zero_shot_llm.models",
    ),
    (
        "Prompt",
        "4.2.2, 4.2.3",
        "Five recent movies and three titles; Stages 2 and 3 show different templates. The released code"
        " uses whole histories and ten titles for hosted models, three recent movies for fine-tuned ones.",
        "One template, that of Stage 2, for prompting and training alike: five movies, three titles.",
        "zero_shot_llm.n_recent",
    ),
    (
        "The LSTM's suggestion in training prompts",
        "4.2.3",
        "Not stated; an LSTM that has seen the user suggests better than it will at test time.",
        "For training users it comes from an LSTM that never saw them (cross-fitted).",
        "lstm.n_folds",
    ),
    (
        "Answers to learn from",
        "4.2.3",
        "Three random titles of the last five; the released code takes the first three.",
        "Three of the last five drawn by the seed; training users only.",
        "lora_finetuning.n_titles",
    ),
    (
        "LoRA's loss",
        "4.2.3",
        "Causal loss on the output; in the released code on prompt and padding too.",
        "Loss on the answer only, padded to the longest example of a batch.",
        "",
    ),
    (
        "LoRA's layers",
        "4.2.3",
        "The attention projections; in the released code q_proj and v_proj.",
        "q_proj, k_proj, v_proj and o_proj; rank 8, alpha 16, dropout 0.1 as in the paper.",
        "lora_finetuning.rank",
    ),
    (
        "LoRA's optimiser",
        "4.2.3",
        "3 epochs, batch 2 with accumulation, FP16; learning rate not stated (the released code: 5e-5).",
        "Epochs: {lora_finetuning.n_epochs}. Batch {lora_finetuning.batch_size} with accumulation; movielm"
        " in full precision, its learning rate chosen on validation users.",
        "lora_finetuning.learning_rate",
    ),
    (
        "Titles to movies",
        "5.2",
        "Exact match implied; the released code accepts a string similarity from 0.8 or 0.9.",
        "Exact on a normal form, else by four rules that need the year (notebook 04, appendix A).",
        "",
    ),
    (
        "Re-ranking",
        "4.2.3",
        "By similarity to the LSTM's title; in the released code the targets are references too.",
        "By similarity to the LSTM's title alone. What the targets would add is measured in notebook 08.",
        "rerank_ablation.sbert",
    ),
    (
        "List length",
        "4.2.2",
        "Three titles, reported as HR@5 and NDCG@5.",
        "The same; the length of every system's lists is printed, for HR@5 of three titles is HR@3.",
        "zero_shot_llm.n_titles",
    ),
    (
        "Genre similarity",
        "5.2",
        "Top-1 against the next movie; in the released code the best of five, unmatched titles left out.",
        "Top-1 against the next movie; an unmatched title counts 0.",
        "",
    ),
    (
        "Baselines",
        "5.1",
        "Eleven rows, apparently taken over from Xu et al. (2025); SKNN is described, SLIM in the table.",
        "Own baselines on the same cases as every other system; the paper's rows stand beside them.",
        "baselines.models",
    ),
)


def deviations(settings: Mapping[str, Any]) -> pd.DataFrame:
    """The list as a table: `subject`, `section` (of the paper), `paper`, `study`, `parameter`.

    `parameter` names a value of `params.yaml`, empty where the choice is in the code.

    Args:
        settings: section of `params.yaml` -> its values, as attributes.
    """
    frame = pd.DataFrame(_ROWS, columns=["subject", "section", "paper", "study", "parameter"])
    return frame.assign(study=[text.format(**settings) for text in frame["study"]])
