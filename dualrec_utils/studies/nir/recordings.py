"""What the NIR paper's authors published: histories of MovieLens 100K users, and GPT-3's recorded answers.

Wang and Lim (2023), "Zero-Shot Next-Item Recommendation using Large Pretrained Language Models", arXiv
2304.03153. Their two files are fetched at one commit, checked by SHA-256 and never committed here.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process
from scipy.optimize import linear_sum_assignment

from dualrec_utils.core import config, files
from dualrec_utils.core.config import CASE, GENRE_LIST, HISTORY, ITEM, TITLE, USER, YEAR
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import sources
from dualrec_utils.models.language.matching import TitleMatcher, normal_form

DATASET = "nir-ml-100k"
HISTORIES = "ml_100k.json"
ANSWERS = "results_multi_prompting_len8_numcand_19_2023.json"
_COMMIT = "42e1deb9ad0af64ea3ea4b2cbb6f091490a99917"
URL = f"https://raw.githubusercontent.com/AGI-Edgerunners/LLM-Next-Item-Rec/{_COMMIT}/"
SHA256 = {
    HISTORIES: "2062f9c75c923223736097a7a3f8131902c023f5bee9b671324743c72cc9925c",
    ANSWERS: "32b93a78b09be0108a0a6b54952746e11b45724563ef4f4d21a951cfde109a13",
}
MOVIELENS = "movielens_id"
_TIMEOUT_SECONDS = 8
_SEPARATOR = " | "
_LIKE = 80  # least similarity of a title that was cut, 0 to 100


@dataclass(frozen=True)
class Published:
    """The published histories as frames.

    Attributes:
        items: `item_id` (0, 1, ... in order of first appearance), `title` as the authors write it, and
            of the MovieLens item it names `movielens_id`, `year`, `genres`. Their titles carry no
            year, so items of one title are one item.
        cases: `case_id` (`row0000`, their row), `history` (item ids, oldest first, at most the last
            50), `user_id` (the MovieLens user whose ratings these are).
        targets: `case_id` -> list of one item id, the item rated after the history.
    """

    items: pd.DataFrame
    cases: pd.DataFrame
    targets: pd.Series


def fetch() -> Path:
    """Put both files, verified, into `data/raw/nir-ml-100k`, or keep those already there.

    A folder that the environment variable `DUALREC_DATA` names, holding `nir-ml-100k/...`, is tried first.

    Returns:
        The folder of the two files.

    Raises:
        StudyError: when a file is to be had nowhere, with URL, checksum and the folder to put it in.
    """
    # Imported late: only this function needs a network library.
    import pooch

    pooch.get_logger().setLevel("WARNING")
    target, local = config.raw_dir(DATASET), os.environ.get("DUALREC_DATA")
    downloader = pooch.HTTPDownloader(progressbar=True, timeout=_TIMEOUT_SECONDS)
    with sources.alone(target):
        for name, checksum in SHA256.items():
            copy = Path(local).expanduser() / DATASET / name if local else target / name
            if not _is_right(target / name) and _is_right(copy):
                with files.replacing(target / name) as temporary:
                    shutil.copyfile(copy, temporary)
            try:
                # What has its checksum is kept.
                pooch.retrieve(URL + name, checksum, fname=name, path=target, downloader=downloader)
            except (OSError, ValueError) as error:  # requests' exceptions are OSErrors, pooch's ValueErrors
                state = "is another file" if copy.is_file() else "is not there"
                raise StudyError(
                    f"{name} could not be fetched: {copy} {state}; {URL + name} did not deliver it"
                    f" ({type(error).__name__}). Download {URL + name} (SHA-256 {checksum}) by hand, put it"
                    f" at SOME_FOLDER/{DATASET}/{name} and run again with DUALREC_DATA=SOME_FOLDER"
                ) from error
    return target


def _is_right(path: Path) -> bool:
    return path.is_file() and files.sha256(path) == SHA256[path.name]


def load(folder: Path, items: pd.DataFrame, ratings: pd.DataFrame) -> Published:
    """Read the histories and say which items and users of MovieLens they are.

    The rows are MovieLens' users in another order and without their numbers. Each row is given the
    user who rated most of its items, every user once (an assignment of greatest total overlap).

    Args:
        folder: from :func:`fetch`.
        items: all items of MovieLens 100K, with `item_id`, `title`, `year`, `genres`.
        ratings: all its ratings, with `user_id`, `item_id`.

    Raises:
        StudyError: when a title names no item.
    """
    rows = files.read_json(folder / HISTORIES, list)
    histories = [line.split(_SEPARATOR) for line, _ in rows]
    numbers: dict[str, int] = {}
    for title in [*(title for history in histories for title in history), *(last for _, last in rows)]:
        numbers.setdefault(title, len(numbers))
    named = _named_movies(list(numbers), items)
    cases = pd.DataFrame(
        {
            CASE: [f"row{row:04d}" for row in range(len(rows))],
            HISTORY: [np.array([numbers[title] for title in history]) for history in histories],
        }
    )
    cases[USER] = _users(cases[HISTORY], named[MOVIELENS].to_numpy(), ratings)
    targets = pd.Series([[numbers[last]] for _, last in rows], index=pd.Index(cases[CASE], name=CASE))
    return Published(named, cases, targets)


def _named_movies(titles: list[str], items: pd.DataFrame) -> pd.DataFrame:
    matcher = TitleMatcher(items)
    ids = [matcher.match(title) for title in titles]
    # The published titles are MovieLens', some cut in their brackets: those are the nearest ones.
    spelt = items[TITLE].map(normal_form).tolist()
    for place, (title, item) in enumerate(zip(titles, ids, strict=True)):
        if item is None:
            best = process.extractOne(normal_form(title), spelt, scorer=fuzz.ratio, score_cutoff=_LIKE)
            if best is None:
                raise StudyError(f"{HISTORIES} names {title!r}, which is no movie of MovieLens 100K")
            ids[place] = int(items[ITEM].iloc[best[2]])
    about = items.set_index(ITEM).loc[ids, [YEAR, GENRE_LIST]].reset_index(drop=True)
    return pd.DataFrame({ITEM: range(len(titles)), TITLE: titles, MOVIELENS: ids}).join(about)


def _users(histories: pd.Series, movielens_ids: np.ndarray, ratings: pd.DataFrame) -> np.ndarray:
    """The MovieLens user of each row; both sides must be equally many."""
    users = np.sort(ratings[USER].unique())
    if len(users) != len(histories):
        raise StudyError(f"{HISTORIES} has {len(histories)} users, the ratings have {len(users)}")
    rated = np.zeros((len(users), max(ratings[ITEM].max(), movielens_ids.max()) + 1), dtype=np.float32)
    rated[np.searchsorted(users, ratings[USER]), ratings[ITEM]] = 1
    watched = np.zeros((len(histories), rated.shape[1]), dtype=np.float32)
    for row, history in enumerate(histories):
        watched[row, movielens_ids[history]] = 1
    return users[linear_sum_assignment(watched @ rated.T, maximize=True)[1]]


def recordings(folder: Path) -> pd.DataFrame:
    """GPT-3's recorded answers (text-davinci-003, temperature 0) for the users it was asked about.

    Returns:
        Frame with `case_id`, `target` (its title), `prompt_1` ... `prompt_3`, `answer_1` ...
        `answer_3` and `hit` (the authors' own verdict, bool), in the order of the file.
    """
    rows = files.read_json(folder / ANSWERS, list)
    return pd.DataFrame(
        {
            CASE: [f"row{row['PID']:04d}" for row in rows],
            "target": [row["GT"] for row in rows],
            **{f"prompt_{step}": [row[f"Input_{step}"] for row in rows] for step in (1, 2, 3)},
            "answer_1": [row["Predictions_1"] for row in rows],
            "answer_2": [row["Predictions_2"] for row in rows],
            "answer_3": [row["Predictions"] for row in rows],
            "hit": [bool(row["Hit"]) for row in rows],
        }
    )
