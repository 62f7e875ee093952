"""What rating models may know of a data set beside its ratings."""

from __future__ import annotations

from dualrec_utils.core import config, files, ratings
from dualrec_utils.core.config import GENRE_LIST, ITEM, RATING, TITLE, YEAR
from dualrec_utils.datasets import beside, known as data_sets
from dualrec_utils.models.ratings.base import Known


def known_of(dataset: str) -> Known:
    """Items as fetched (none left out, none merged), users, tags and scale of a data set.

    Raises:
        StudyError: where stage `data` has not run, or as :func:`datasets.beside.load_users`.
    """
    items = files.read_parquet_of("data", config.processed_dir(dataset) / "items_raw.parquet")
    stars = data_sets.find(dataset).stars or ratings.load(dataset)[RATING].dropna()
    return Known(
        items[[ITEM, TITLE, YEAR, GENRE_LIST]].sort_values(ITEM, ignore_index=True),
        beside.load_users(dataset),
        beside.load_tags(dataset),
        (min(stars), max(stars)),
    )
