"""The words of a data set: what its items are called, and what users do with them."""

from __future__ import annotations

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

    @property
    def title(self) -> str:
        """Several items at the beginning of a line: "Movies"."""
        return self.items[0].upper() + self.items[1:]


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
