"""The commands of the rating recommender, with the names and defaults of the system that it rebuilds, and
`dualrec serve`.

Nothing heavy is imported before a command runs: `dualrec --help` comes at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from dualrec_utils.core.config import ITEM, USER
from dualrec_utils.core.errors import StudyError

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_log = logging.getLogger("dualrec")


def add_preprocess(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`preprocess`."""
    command.add_argument("--data-dir", type=Path, required=True, help="a MovieLens folder of any edition")
    command.add_argument("--output-dir", type=Path, required=True, help="written whole or not at all")
    command.add_argument("--min-user-ratings", type=int, help="ratings of a user; default 5")
    command.add_argument("--min-movie-ratings", type=int, help="ratings of an item; default 5")
    command.add_argument("--min-tags-per-item", type=int, help="tags of an item; default 3")
    command.add_argument(
        "--variant", help="tiny, small or large: the published thresholds, scaled where they leave nothing"
    )
    command.add_argument("--log-level", choices=LOG_LEVELS, default="INFO", help="default INFO")
    command.add_argument("--log-file", type=Path, help="a copy of the messages")


def preprocess(
    data_dir: Path,
    output_dir: Path,
    min_user_ratings: int | None,
    min_movie_ratings: int | None,
    min_tags_per_item: int | None,
    variant: str | None,
    log_level: str,
    log_file: Path | None,
) -> int:
    """Filter a MovieLens folder by thresholds, and cut it into training and test ratings."""
    from dualrec_utils.datasets import thresholds
    from dualrec_utils.service import prepared

    if log_file and output_dir.resolve() in log_file.resolve().parents:
        raise StudyError(
            f"--log-file {log_file} lies in --output-dir, which is replaced as a whole: name another place"
        )
    _start_logging(log_level, log_file)
    limits = {
        "min_user_ratings": min_user_ratings,
        "min_movie_ratings": min_movie_ratings,
        "min_tags_per_item": min_tags_per_item,
    }
    given = {name: value for name, value in limits.items() if value is not None}
    if variant and given:
        raise StudyError(f"--variant {variant} has thresholds of its own: leave out {', '.join(given)}")
    _log.info("reading %s", data_dir)
    read = prepared.read_raw(data_dir)
    least, line = thresholds.Thresholds(**given), ""
    if variant:
        least, line = thresholds.variant(variant, read.ratings, read.tags)
    for said in (line, thresholds.about_tags(read.tags, least)):
        if said:
            _log.warning(said)
    summary = prepared.write(read, output_dir, least=least)
    _log.info(
        "%s leave %d of %d ratings, %d of %d users and %d of %d items",
        least,
        *(summary.n_ratings, len(read.ratings)),
        *(summary.n_users, read.ratings[USER].nunique()),
        *(summary.n_items, read.ratings[ITEM].nunique()),
    )
    _log.info(
        "%d of the ratings are for tests; there are %d tags; written to %s",
        summary.n_test, summary.n_tags, output_dir,
    )  # fmt: skip
    return 0


def add_train(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`train`."""
    command.add_argument("--data-dir", type=Path, required=True, help="written by `dualrec preprocess`")
    command.add_argument("--output-dir", type=Path, required=True, help="of the model, written whole")
    command.add_argument(
        "--config-path", type=Path, help="YAML with model, settings, seed; default: the most accurate model"
    )


def train(data_dir: Path, output_dir: Path, config_path: Path | None) -> int:
    """Train a rating model on prepared data."""
    from dualrec_utils.service import training

    # Libraries draw a bar for the sentence encoder that they load, among the messages.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    _start_logging("INFO", None)
    _log.info("training on %s", data_dir)
    done = training.train(data_dir, output_dir, config_path=config_path)
    _log.info(
        "%s trained on %d ratings in %.0f s: %s", done.model, done.n_ratings, done.seconds, output_dir
    )
    return 0


def add_evaluate(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`evaluate`."""
    command.add_argument("--data-dir", type=Path, required=True, help="that the model was trained on")
    command.add_argument("--model-path", type=Path, required=True, help="written by `dualrec train`")
    command.add_argument("--output-dir", type=Path, required=True, help="of metrics.json and users.csv")
    command.add_argument("--batch-size", type=int, default=128, help="ratings at once; default 128")


def evaluate(data_dir: Path, model_path: Path, output_dir: Path, batch_size: int) -> int:
    """Predict the test ratings, and say how far off the model is."""
    from dualrec_utils.service import training

    _start_logging("INFO", None)
    metrics = training.evaluate(data_dir, model_path, output_dir, batch_size=batch_size)
    for metric in ("rmse", "mae"):
        _log.info(
            "%s %.4f (95%% interval over users %.4f to %.4f); biases alone %.4f",
            metric.upper(),
            *(metrics[f"{metric}{end}"] for end in ("", "/low", "/high")),
            metrics[f"biases_alone/{metric}"],
        )
    _log.info(
        "%d test ratings of %d users; a row for each user in %s",
        metrics["n_ratings"], metrics["n_users"], output_dir / training.OF_USERS,
    )  # fmt: skip
    return 0


def add_recommend(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`recommend`."""
    command.add_argument("--model-path", type=Path, required=True, help="written by `dualrec train`")
    command.add_argument("--data-dir", type=Path, required=True, help="that the model was trained on")
    command.add_argument("--user-id", type=int, help="a user of the data")
    command.add_argument("--text", help="of somebody new: what they say of themselves")
    command.add_argument("--titles", nargs="+", default=[], help="of somebody new: items they like")
    command.add_argument("--n-recommendations", type=int, default=10, help="default 10")
    watched = command.add_mutually_exclusive_group()
    watched.add_argument(
        "--include-watched", action="store_true", help="items already rated or named may be listed"
    )
    watched.add_argument(
        "--exclude-watched", dest="include_watched", action="store_false", help="the default"
    )


def recommend(
    model_path: Path,
    data_dir: Path,
    user_id: int | None,
    text: str | None,
    titles: list[str],
    n_recommendations: int,
    include_watched: bool,
) -> int:
    """List the items that the model predicts the highest ratings for."""
    from dualrec_utils.service import recommending

    recommended = recommending.recommend(
        model_path,
        data_dir,
        user_id=user_id,
        text=text,
        titles=titles,
        n=n_recommendations,
        include_watched=include_watched,
    )
    # A terminal may lack a title's letters.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    print(recommending.as_text(recommended))
    return 0


def add_serve(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`serve`."""
    command.add_argument("--dataset", help="default: that of params.yaml")
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: this machine's own"
    )
    command.add_argument("--port", type=int, default=8000, help="default 8000; 0: any that is free")
    command.add_argument("--workers", type=int, default=1, help="processes that share one log; default 1")
    command.add_argument("--learn", action="store_true", help="let the LSTM learn from events")
    command.add_argument(
        "--tokens", type=Path, help='JSON file, {"token": user id or "admin"}; default $DUALREC_TOKENS'
    )
    command.add_argument(
        "--name", dest="names", action="append", default=[], help="a name the server goes by; repeatable"
    )
    command.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="of another finished run, such as profiles/ml-1m, served at the next free port; repeatable",
    )


def serve(**arguments: Any) -> int:
    """Serve the page and the API of a finished run, and of others beside it."""
    from dualrec_utils.service.web import serve as serving

    return serving.serve(**arguments)


def _start_logging(level: str, file: Path | None) -> None:
    # A terminal may lack letters of a path.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8", errors="backslashreplace"))
    for handler in handlers:
        handler.handleError = _raised  # type: ignore[method-assign]
    # What libraries say of themselves is of no use here.
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", handlers=handlers, force=True)
    _log.setLevel(level)


def _raised(record: logging.LogRecord) -> None:
    """What cannot be written is an error of the command, and no traceback beside it."""
    # They would try again when they are closed.
    logging.getLogger().handlers.clear()
    raise
