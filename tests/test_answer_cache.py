"""Answers on disk are kept for good, are JSON alone, and a broken store is named."""

import pytest

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import answer_cache


def test_answers_on_disk_are_never_dropped_and_never_unpickled(root):
    folder = answer_cache.answers_dir("host")
    cache = answer_cache.open_cache(folder)
    assert cache.eviction_policy == "none"
    with pytest.raises(ValueError, match="JSON"):
        cache["a"] = {"cost": float("nan")}
    cache.close()
    planted = answer_cache.diskcache.Cache(folder)
    planted["b"] = ("run", "me")
    planted.close()
    with pytest.raises(StudyError, match="did not write"):
        answer_cache.open_cache(folder).get("b")


def test_a_broken_store_is_said_to_be_broken(root):
    folder = answer_cache.answers_dir("host")
    folder.mkdir(parents=True)
    (folder / "cache.db").write_text("no database " * 1000)
    with pytest.raises(StudyError, match="cannot be used"):
        answer_cache.open_cache(folder)
