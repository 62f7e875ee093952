"""Learning from events while the service runs: off unless asked for, since strangers would train it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from dualrec_utils.core.errors import StudyError, first_line
from dualrec_utils.core.splits import load_histories
from dualrec_utils.service.online.events import EventLog
from dualrec_utils.service.online.learner import IncrementalLearner, Learning
from dualrec_utils.service.online.states import load_lstm
from dualrec_utils.service.online.versions import Versions
from dualrec_utils.service.web.engines import Engines

# Seconds from one lesson to the next.
_PAUSE = 60.0
Forget = Callable[[int], None]
_log = logging.getLogger("dualrec")


def forgetting(folder: Path) -> Forget:
    """What deletes versions that learnt from a user, for a service that does not learn now.

    Args:
        folder: of the versions; need not be there.
    """

    def forget(user: int) -> None:
        Versions(folder).forget(user)

    return forget


def start(
    engines: Engines,
    log: EventLog,
    folder: Path,
    *,
    pause: float = _PAUSE,
    stop: threading.Event | None = None,
) -> Forget:
    """Let a thread learn from new events now and then, and the engines answer by what it learnt.

    Args:
        engines: of the run; they begin with the current version.
        folder: of the versions.
        pause: seconds from one lesson to the next.
        stop: ends the thread once it is set; default: it ends with the process.

    Returns:
        What deletes versions that learnt from a user.

    Raises:
        StudyError: as :class:`IncrementalLearner`.
    """
    learner = IncrementalLearner(
        load_lstm(engines.dataset),
        engines.catalog,
        folder,
        known=engines.histories(),
        replay=[items.tolist() for items in load_histories(engines.dataset, "train").values()],
        settings=Learning(),
    )
    engines.lstm = learner.states()
    ending = stop or threading.Event()

    def learn_on() -> None:
        while not ending.wait(pause):
            try:
                if learner.learn(log) is not None:
                    engines.lstm = learner.states()
            except StudyError as error:
                _log.error("no lesson: %s", first_line(error))

    def forget(user: int) -> None:
        if learner.forget(user):
            engines.lstm = learner.states()

    threading.Thread(target=learn_on, name="learner", daemon=True).start()
    return forget
