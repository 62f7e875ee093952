"""What an earlier layout of data/ left is moved or named, and nothing else is touched."""

import pytest
from conftest import use_root

from dualrec_utils.core import config
from dualrec_utils.pipeline import old_layout


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile's folder beside the repository's `data/raw`."""
    use_root(tmp_path / "profiles/p", monkeypatch)
    monkeypatch.setattr(config, "RAW", tmp_path / "data/raw")
    return config.ROOT / "data"


def test_nothing_is_said_where_nothing_is_left(profile):
    (profile / "ml-1m/processed").mkdir(parents=True)
    assert old_layout.tidy() == []
    assert (profile / "ml-1m/processed").is_dir()


def test_raw_files_of_a_profile_are_moved_where_all_profiles_look(profile):
    (profile / "raw/ml-1m").mkdir(parents=True)
    (profile / "raw/ml-1m/movies.dat").write_text("x")
    assert len(old_layout.tidy()) == 1
    assert (config.RAW / "ml-1m/movies.dat").read_text() == "x"
    assert not (profile / "raw/ml-1m").exists()


def test_raw_files_that_are_there_already_stay(profile):
    for folder, text in ((profile / "raw/ml-1m", "old"), (config.RAW / "ml-1m", "shared")):
        folder.mkdir(parents=True)
        (folder / "movies.dat").write_text(text)
    assert old_layout.tidy() == []
    assert (config.RAW / "ml-1m/movies.dat").read_text() == "shared"


def test_old_folders_are_named_and_kept(profile):
    (profile / "models/ml-1m/lstm").mkdir(parents=True)
    (profile / "processed").mkdir()
    (line,) = old_layout.tidy()
    for name in ("models", "processed"):
        assert str(profile / name) in line and (profile / name).is_dir()
