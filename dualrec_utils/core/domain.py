"""The words of a data set: what its items are called, and what users do with them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from dualrec_utils.core import config, files
from dualrec_utils.core.errors import StudyError

FILE = "domain.json"


@dataclass(frozen=True)
class Domain:
    """Words that prompts, figures and pages use for items and for what users did with them.

    Attributes:
        item: one item, such as "movie", in lower case.
        items: several.
        verb: what a user did with them, in the past: "rated", "bought".
        history: what a user's list of items is called, such as "movie watching history".
        details: what a prompt asks for beside titles, such as " with release years and genres"; it begins
            with a space, or is empty where items have nothing but titles.
    """

    item: str
    items: str
    verb: str
    history: str
    details: str

    def spoken(self, text: str) -> str:
        """A text of ours about rated movies, in the words of this data set; not for texts that hold titles.

        >>> Domain("game", "games", "bought", "", "").spoken("Movies a user rated, and movielm")
        'Games a user bought, and movielm'
        """
        words = {"movie": self.item, "movies": self.items, "rated": self.verb}

        def other(word: re.Match) -> str:
            written = words[word[0].lower()]
            return written if word[0].islower() else written[0].upper() + written[1:]

        return re.sub(r"\b(?:movies?|rated)\b", other, text, flags=re.IGNORECASE)


# The words of the default run, for catalogs that no stage wrote.
MOVIES = Domain(
    item="movie",
    items="movies",
    verb="rated",
    history="movie watching history",
    details=" with release years and genres",
)


def write_domain(domain: Domain, dataset: str) -> None:
    """Write the words beside what stage `data` wrote."""
    files.write_json(asdict(domain), config.processed_dir(dataset) / FILE)


def load_domain(dataset: str) -> Domain:
    """The words that stage `data` wrote.

    Raises:
        StudyError: when they are not there, naming the stage to run.
    """
    path = config.processed_dir(dataset) / FILE
    try:
        return files.read_json(path, Domain)
    except FileNotFoundError:
        raise StudyError(f"{path} is not there: run `dvc repro data` first") from None
