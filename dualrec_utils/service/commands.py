"""The commands of the rating recommender, with the names and defaults of the system that it rebuilds.

Nothing heavy is imported before a command runs: `dualrec --help` comes at once.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from dualrec_utils.core.errors import StudyError

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_log = logging.getLogger("dualrec")


def add_preprocess(command: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of :func:`preprocess`."""
    command.add_argument("--data-dir", type=Path, required=True, help="a MovieLens folder of any edition")
    command.add_argument("--output-dir", type=Path, required=True, help="written whole or not at all")
    command.add_argument("--min-user-ratings", type=int, help="ratings of a user; default 5")
    command.add_argument("--min-movie-ratings", type=int, help="ratings of a movie; default 5")
    command.add_argument("--min-tags-per-item", type=int, help="tags of a movie; default 3")
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
    from dualrec_utils.datasets import folder, thresholds
    from dualrec_utils.service import prepared

    _start_logging(log_level, log_file)
    given = {
        "min_user_ratings": min_user_ratings,
        "min_movie_ratings": min_movie_ratings,
        "min_tags_per_item": min_tags_per_item,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if variant and given:
        raise StudyError(f"--variant {variant} has thresholds of its own: leave out {', '.join(given)}")
    _log.info("reading %s", data_dir)
    read = folder.read(data_dir)
    least, line = thresholds.Thresholds(**given), ""
    if variant:
        least, line = thresholds.variant(variant, read.ratings, read.tags)
    for said in (line, thresholds.about_tags(read.tags, least)):
        if said:
            _log.warning(said)
    summary = prepared.write(read, output_dir, least=least)
    _log.info(
        "%d ratings (%d of them for tests) of %d users and %d movies, %d tags, in %s",
        summary.n_ratings, summary.n_test, summary.n_users, summary.n_items, summary.n_tags, output_dir,
    )  # fmt: skip
    return 0


def _start_logging(level: str, file: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", handlers=handlers, force=True)
