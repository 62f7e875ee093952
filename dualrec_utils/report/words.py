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
# The systems of the claims about ratings.
RATING_SYSTEMS = {
    "factors": "biases and factorisation",
    "factors_text": "the same with text",
    "bayesian_text": "Bayesian hybrid",
    "svdpp": "SVD++",
}
# What to see in a figure: one sentence.
CAPTIONS = {
    "audit/ladder": (
        "Read from top to bottom: each rung changes one rule, from the released code's to this "
        "study's, for the same lists."
    ),
    "audit/leak": "From circle to square: what HR@1 gains when the re-ranker sees the right answers.",
    "audit/interface": (
        "One language model asked in different ways, from the paper's prompt down; the LSTM reads "
        "the same movies."
    ),
    "audit/stage_1": (
        "One LSTM without a language model, counted as in the paper's Figure 3 (top) and Figure 4 (bottom)."
    ),
    "audit/steps": (
        "One rule changed at a time: right of zero, the other rule gives higher values to the same system."
    ),
    "audit/steps_protocol": (
        "Ground truth, candidates and training data, one changed at a time: right of zero, values "
        "are higher."
    ),
    "eda/genres": (
        "Where a dot is right of its grey diamond, movies of that genre are more popular than average."
    ),
    "eda/history_lengths": (
        "How many movies each user rated; histories shorter than the paper's window of 30 give no window."
    ),
    "eda/order": "Left: time between two ratings; right: time that a user's last ratings span.",
    "eda/parts": "Training, validation and test users compared: lines close together mean a fair split.",
    "eda/popularity": "Ratings by movie, most rated first; the dashed line is where the catalog ends.",
    "eda/rating_values": (
        "How many stars users give; in the ranking task a bad rating counts like a good one."
    ),
    "eda/weeks": "Ratings by week.",
    "baselines/hit_rate_at_5": "HR@5 of every baseline under both protocols; further right is better.",
    "baselines/learning_curves": (
        "NDCG@5 on validation users by epoch; the star is the epoch that was kept."
    ),
    "zero_shot_llm/answers": (
        "What happens to the titles that the language model writes: unreadable, not in the catalog, "
        "seen, or usable."
    ),
    "zero_shot_llm/movielm_loss": (
        "Training of the small language model: the loss should fall below that of guessing."
    ),
    "lora_finetuning/losses": (
        "Loss of the adapters in training (left) and on validation users (right); the control shows "
        "how much is form."
    ),
    "lora_finetuning/answers": "What happens to the titles that the adapters write.",
    "lora_finetuning/differences": (
        "What fine-tuning changes: right of zero, the adapter is better than the other system."
    ),
    "rerank_ablation/differences": (
        "What re-ranking changes at HR@1: right of zero, the re-ranked list is better."
    ),
    "rerank_ablation/right_by_similarity": (
        "A rising line would mean that titles similar to the LSTM's are right more often."
    ),
    "rerank_ablation/fusion_weights": (
        "NDCG@5 on validation users by weight: a peak inside means that two models are better than one."
    ),
    "rerank_ablation/fusion_differences": (
        "What fusion and diversity change on test users: right of zero, the fusion is better."
    ),
    "rerank_ablation/diversity": (
        "Hits against variety on validation users: higher is more hits, further out is more varied."
    ),
    "rating_hybrids/errors": "RMSE of the rating models; further left is better.",
    "rating_hybrids/differences": (
        "The leak, text with its controls, and the diversity terms: left of zero, the first system "
        "is better."
    ),
    "rating_hybrids/curves": "Training of the rating models by epoch.",
    "rating_hybrids/by_true_rating": (
        "The mean prediction by the stars that users gave: a flat line hardly sees a difference "
        "between ratings."
    ),
    "cold_start/users_rmse": "New users: RMSE by number of known ratings; lower is better.",
    "cold_start/users_ndcg": (
        "New users: NDCG by number of known ratings; a rising line learns the user's taste."
    ),
    "cold_start/items_rmse": "New items: RMSE by number of training ratings; lower is better.",
    "online/over_time": "Hit rate along a stream of events, for each way to keep up with it.",
    "online/latency": "How long an answer takes, by number of clients.",
    "cold_start/items_ndcg": "New items: NDCG by number of training ratings; higher is better.",
    "rerank_ablation/fusion_pairs": (
        "The LSTM fused with each second model: what the first pair gains beyond the others is due "
        "to the language model."
    ),
    "audit/order": ("NDCG@5 with ratings in one second ordered by item id, at random, or left out."),
    "results/claims": "The differences behind the claims: right of zero, the first system is better.",
    "results/by_genre": "HR@5 by genre of the next movie; rare genres have wide intervals.",
    "results/by_history_length": "HR@5 by length of the history.",
    "results/by_popularity": "HR@5 by popularity of the next movie, from well-known to rare.",
    "results/catalog": (
        "Left: how much of the catalog is recommended; right: how little known it is. The dashed "
        "line is what users chose."
    ),
    "results/sample_size": "How many users it takes to show a difference between two systems.",
    "knowledge/little_data": (
        "NDCG@10 by the share of the training users that a model has learnt from; higher is better."
    ),
    "knowledge/cold": "Items that no model has learnt from, and how high they are ranked; right is better.",
    "knowledge/by_ratings": "HR@10 by how often training users rated the next movie, from rare to known.",
    "knowledge/form": (
        "The same model with its own weights, random weights, and titles without a meaning: the distance is"
        " what reading the web gave it."
    ),
    "domains/claims": "The differences behind the claims, data set by data set; filled: settled.",
    "domains/curves": "HR@10 by how often training users took the next item.",
    "questions/lstm": (
        "Learning rate, optimizer and batch size of the LSTM on validation users; dashed lines are "
        "the default."
    ),
    "questions/rerank": (
        "What re-ranking changes when the LSTM's suggestion is right, of the right kind, or wrong."
    ),
    "questions/suggestions": (
        "Other suggestions in the prompt: how often they are named, how far they draw the titles, "
        "what they cost."
    ),
    "questions/sizes": "Language models by size, the number of weights growing to the right.",
    "lstm/figure_3": (
        "Loss, accuracy and top-5 accuracy by epoch, as in the paper's Figure 3; dashed lines are "
        "the paper's end values."
    ),
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
        "MovieLens stores times in whole seconds, other data in days; half of MovieLens' ratings share "
        "theirs with the one before. A hash of seed, user and movie draws the order among equal times, so "
        "that no model can learn it",
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
        "the small language model of this study: built like Mistral, trained here on the training users' "
        "lists of titles alone",
    ),
    (
        "hint, LSTM's line",
        "the LSTM's best unseen movie, which the prompt names; “no LSTM line” leaves it out",
    ),
    (
        "free text, catalog only",
        "the model writes anything, or only titles of the catalog; then it gives ten",
    ),
    (
        "beam, exact search",
        "two ways to find these ten: a beam keeps only the most probable beginnings of titles, exact search"
        " goes on until no better title can be left",
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
