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
# What the page explains in its own fold; docs/glossary.md has the same lines.
GLOSSARY = (
    ("case", "one question to a system: a user's history, and a target that only the evaluation sees"),
    (
        "history, target, catalog",
        "what the user rated before; the movie to be found; all movies that may be named",
    ),
    (
        "HR@1, HR@5",
        "hit rate: the share of cases in which the target is first in the list, or among its first five",
    ),
    ("NDCG@5", "like HR@5, but a hit counts less further down: 1 / log2(r + 1) at place r"),
    (
        "next_item",
        "this study's protocol: the target is the next movie that the user rated; the history is "
        "everything from earlier seconds",
    ),
    (
        "window_of_five",
        "the released code's protocol: any of a user's last five movies is a hit; never compare it "
        "with next_item",
    ),
    (
        "second, drawn order",
        "MovieLens stores times in whole seconds, and half of all ratings share theirs with the one "
        "before. A hash of seed, user and movie draws the order inside a second, so that no model can "
        "learn it",
    ),
    (
        "seen movies",
        "movies that the user has rated; main lists leave them out, lists named _seen_kept keep them",
    ),
    (
        "interval",
        "how far a value could move with other users, and with other seeds where several were run. If "
        "the interval of a difference includes zero, no difference is shown",
    ),
    ("seed", "the number from which a run draws its random choices; a finding should hold for several"),
    (
        "yes, no, unclear",
        "the answers to a claim. Yes or no: the interval excludes zero, the corrected p-value is "
        "below 5%, and several seeds agree on the sign. Otherwise unclear",
    ),
    (
        "validation users, test users",
        "settings are chosen on the first, results come from the second; no model learns from either",
    ),
    (
        "movielm",
        "the small language model of this study: built like Mistral, trained here on movie titles alone",
    ),
    (
        "hint, LSTM's line",
        "the LSTM's best unseen movie, which the prompt names; “no LSTM line” leaves it out",
    ),
    (
        "free text, catalog only",
        "the model writes anything, or only titles of the catalog; then it gives ten",
    ),
    ("history only", "the prompt is the list of movies rated so far, without the paper's request"),
    (
        "LoRA, adapter",
        "fine-tuning that leaves a model's weights alone and trains a small addition, the adapter",
    ),
    (
        "permuted or shuffled answers",
        "a control: fine-tuned on other users' answers, so it learns their form but not what follows what",
    ),
    (
        "re-ranking, fusion",
        "sorting three titles by similarity to the LSTM's; adding up the scores of two models",
    ),
    ("after the LSTM's movie", "the LSTM's movie first, then the language model's titles"),
    ("leak", "a right answer reaches the system that is asked for it"),
    (
        "ladder, step",
        "changing one rule after the other, from the released code's to this study's; changing one "
        "rule alone",
    ),
    ("RMSE", "root mean squared error of predicted ratings, in stars; lower is better"),
    ("cold start", "a user or an item with few or no ratings"),
    ("the Hub", "the Hugging Face Hub, the website from which pretrained models are fetched"),
)


def words(stem: str) -> str:
    """A file name as a title: `figure_5a` -> `Figure 5a`."""
    text = stem.replace("_", " ")
    return text[:1].upper() + text[1:]


def heading(column: str) -> str:
    """A column's name for readers: `hit_rate@5` -> `HR@5`, `n_users` -> `n users`."""
    return verdict.short(column).replace("mrr", "MRR").replace("_", " ")
