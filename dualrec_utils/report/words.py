"""The report page's words: titles of its sections, captions of its figures, its glossary."""

from __future__ import annotations

from dualrec_utils.analysis import verdict

TITLES = {
    "data": "Data: fetched, merged, split",
    "eda": "The data",
    "lstm": "Stage 1: the LSTM",
    "baselines": "Baselines",
    "movielm": "The small language model",
    "zero_shot_llm": "Stage 2: prompting",
    "lora_finetuning": "Stage 3: fine-tuning with LoRA",
    "rerank_ablation": "Stage 3: re-ranking; fusion and diversity",
    "rating_hybrids": "Rating hybrids: text and collaboration",
    "cold_start": "Cold start and explanations",
    "online": "Keeping up with events",
    "results": "Results",
    "audit": "The audit: from the paper's setting to this study's",
}
# What a figure shows, where its file name does not say it.
CAPTIONS = {
    "audit/ladder": "The ladder: the same lists, from the released code's setting to this study's",
    "audit/leak": "The leak: HR@1 with and without the answers among the re-ranker's references",
    "audit/interface": "One language model asked in different ways, and the LSTM on the same movies",
    "audit/stage_1": "One LSTM, no language model: from the count of Figure 3 to that of Figure 4",
    "audit/steps": "Each step alone: the other setting minus this study's",
    "audit/steps_protocol": "Ground truth, candidates and training data, each alone",
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
    "zero_shot_llm/movielm_loss": "Training the small language model",
    "lora_finetuning/losses": "Training and validation loss of the adapters",
    "lora_finetuning/answers": "What becomes of the titles that the adapters write",
    "lora_finetuning/differences": "What fine-tuning changes",
    "rerank_ablation/differences": "What re-ranking changes",
    "rerank_ablation/right_by_similarity": "Similarity to the LSTM's title, and being right",
    "rerank_ablation/fusion_weights": "Fusing LSTM and language model: the weight, on validation users",
    "rerank_ablation/fusion_differences": "What fusion and diversity change, on test users",
    "rerank_ablation/diversity": "What diversity costs, on validation users",
    "rating_hybrids/errors": "RMSE of the rating models",
    "rating_hybrids/differences": "Rating models: the leak, text and its controls, the diversity terms",
    "rating_hybrids/curves": "Training of the rating models that are trained in epochs",
    "rating_hybrids/by_true_rating": "What is predicted where users gave one, two, ... stars",
    "cold_start/users_rmse": "New users: RMSE by number of known ratings",
    "cold_start/users_ndcg": "New users: NDCG by number of known ratings",
    "cold_start/items_rmse": "New items: RMSE by number of training ratings",
    "online/over_time": "Hit rate over a stream of events, by how the model keeps up",
    "online/latency": "How long an answer takes, by number of clients",
    "results/claims": "The claims: the differences they rest on",
    "results/by_genre": "By genre of the next movie",
    "results/by_history_length": "By length of the history",
    "results/by_popularity": "By popularity of the next movie",
    "results/catalog": "How much of the catalog is recommended, and how little known it is",
    "results/sample_size": "How many users it takes to tell two systems apart",
    "questions/lstm": "Learning rate, optimizer and batch size of the LSTM, on validation users",
    "questions/rerank": "What re-ranking changes, by what the LSTM's suggestion was",
    "questions/suggestions": "Another suggestion in the prompt: named, drawn towards, and its cost",
    "questions/sizes": "Smaller language models",
    "lstm/figure_3": "The paper's Figure 3: loss, accuracy and top-5 accuracy by epoch",
}
# Words of the first table that are explained nowhere near it; reports/README.md has the same lines.
GLOSSARY = (
    (
        "HR@1, HR@5",
        "hit rate: the share of cases in which a right movie stands first in the list, or among its first"
        " five",
    ),
    (
        "NDCG@5",
        "normalized discounted cumulative gain: a hit at place r of the first five counts 1 / log2(r + 1),"
        " 1 for the first place and less further down",
    ),
    (
        "next_item, window_of_five",
        "the right movie is the next one that the user rated, the history being everything of earlier"
        " seconds, or any of the last five",
    ),
    (
        "second, drawn order",
        "MovieLens stamps ratings with a second, and half share it with the one before. Inside a second the"
        " order is drawn by a hash of seed, user and movie, so that nobody can learn it",
    ),
    (
        "yes, no, unclear",
        "yes or no: the interval over users and seeds excludes zero, the corrected p-value is below 5%, all"
        " seeds agree on the sign, and there are several; anything else is unclear",
    ),
    ("no LSTM line", "the prompt leaves out the line that names the LSTM's suggestion"),
    (
        "permuted or shuffled answers",
        "a control: fine-tuned on the same prompts, each with another user's answer, which teaches the form"
        " of an answer and not what follows what",
    ),
    ("after the LSTM's movie", "the LSTM's suggestion first, the language model's titles after it"),
    (
        "catalog only",
        "the language model may write titles of the catalog alone, and gives ten of them, without"
        " inventions",
    ),
    ("history only", "its prompt is the list of movies rated so far, without the paper's instruction"),
    ("the Hub", "the Hugging Face Hub, the website from which pretrained models are fetched"),
)


def words(stem: str) -> str:
    """A file name as a title: `figure_5a` -> `Figure 5a`."""
    text = stem.replace("_", " ")
    return text[:1].upper() + text[1:]


def heading(column: str) -> str:
    """A column's name for readers: `hit_rate@5` -> `HR@5`, `n_users` -> `n users`."""
    return verdict.short(column).replace("mrr", "MRR").replace("_", " ")
