"""What counts as the same metrics: every digit here, the interval elsewhere."""

import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.pipeline import stages, verify

COMMITTED = {
    "next_item/lstm/hit_rate@5": 0.2,
    "next_item/lstm/hit_rate@5/low": 0.15,
    "next_item/lstm/hit_rate@5/high": 0.25,
    "next_item/lstm/n_cases": 1136,
    "validation/loss": 5.04,
    "order_sha256": "abc",
}


def changed(**values):
    return COMMITTED | {key.replace("hit", "next_item/lstm/hit_rate@5"): v for key, v in values.items()}


@pytest.mark.parametrize("same_machine", [True, False])
def test_identical_metrics_have_no_changes(same_machine):
    assert verify.compare(COMMITTED, dict(COMMITTED), same_machine=same_machine) == []


def test_on_the_same_machine_the_last_digit_counts():
    (change,) = verify.compare(COMMITTED, changed(hit=0.2 + 1e-16 * 2), same_machine=True)
    assert change.fails and change.key == "next_item/lstm/hit_rate@5"


@pytest.mark.parametrize(
    ("value", "fails"), [(0.15, False), (0.2499, False), (0.25, False), (0.2501, True), (0.1499, True)]
)
def test_elsewhere_only_leaving_the_committed_interval_fails(value, fails):
    (change,) = verify.compare(COMMITTED, changed(hit=value), same_machine=False)
    assert change.fails is fails


def test_elsewhere_numbers_without_interval_are_told_but_pass():
    new = COMMITTED | {"validation/loss": 6.0, "next_item/lstm/hit_rate@5/low": 0.9}
    changes = verify.compare(COMMITTED, new, same_machine=False)
    assert [change.key for change in changes] == ["next_item/lstm/hit_rate@5/low", "validation/loss"]
    assert not any(change.fails for change in changes)


@pytest.mark.parametrize("same_machine", [True, False])
def test_other_data_and_missing_or_added_keys_fail_everywhere(same_machine):
    new = {key: value for key, value in COMMITTED.items() if key != "validation/loss"}
    new |= {"order_sha256": "xyz", "extra": 1}
    changes = verify.compare(COMMITTED, new, same_machine=same_machine)
    assert {change.key for change in changes if change.fails} == {
        "validation/loss",
        "order_sha256",
        "extra",
    }


@pytest.mark.parametrize("same_machine", [True, False])
def test_another_source_of_the_same_data_is_told_but_passes(same_machine):
    (change,) = verify.compare({"source": "a"}, {"source": "b"}, same_machine=same_machine)
    assert (change.key, change.fails) == ("source", False)


def test_a_change_says_by_how_much_and_against_which_interval():
    (change,) = verify.compare(COMMITTED, changed(hit=0.21), same_machine=False)
    assert str(change) == (
        "moved  next_item/lstm/hit_rate@5: 0.2 -> 0.21 (+0.01; interval [0.15, 0.25], 10.0% of its width)"
    )


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
flat = st.dictionaries(st.sampled_from(["a", "b", "a/low", "a/high", "c"]), numbers)


@given(flat, flat)
def test_another_machine_never_fails_what_the_same_machine_passes(committed, new):
    strict = verify.compare(committed, new, same_machine=True)
    loose = verify.compare(committed, new, same_machine=False)
    assert [c.key for c in strict] == [c.key for c in loose]
    assert all(change.fails for change in strict)
    assert (strict == []) == (committed == new)


PROFILE = "profiles/small"


@pytest.fixture
def repository(tmp_path):
    """A git repository with one stage's metrics and the timing that names this machine.

    Its profile has the same ones but for the loss.
    """
    for place, metrics in (("", COMMITTED), (PROFILE, COMMITTED | {"validation/loss": 4.0})):
        files.write_json(metrics, tmp_path / place / "reports/metrics/lstm.json")
        files.write_json({"machine": stages.machine()}, tmp_path / place / "reports/timings/lstm.json")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "metrics"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


def test_the_worktree_is_compared_with_head(repository, capsys):
    assert verify.report_on(repository, rerun=repository)
    files.write_json(changed(hit=0.21), repository / "reports/metrics/lstm.json")
    assert not verify.report_on(repository, rerun=repository)
    out = capsys.readouterr().out
    assert "FAIL  next_item/lstm/hit_rate@5: 0.2 -> 0.21" in out and "verify: 1 failures" in out


def test_a_profile_is_compared_with_its_metrics_at_head(repository, capsys):
    place = repository / PROFILE
    assert verify.report_on(place, rerun=place)
    files.write_json(COMMITTED, place / "reports/metrics/lstm.json")
    assert not verify.report_on(place, rerun=place)
    assert "FAIL  validation/loss: 4.0 -> 5.04" in capsys.readouterr().out


@pytest.mark.parametrize("other", [{"cpu": "another"}, {"gpu": "a GPU"}])
def test_another_machine_is_told_by_the_committed_timing(repository, monkeypatch, capsys, other):
    files.write_json(changed(hit=0.21), repository / "reports/metrics/lstm.json")
    here = stages.machine()
    monkeypatch.setattr(stages, "machine", lambda: here | other)
    assert verify.report_on(repository, rerun=repository)
    assert "from another machine" in capsys.readouterr().out


def test_metrics_that_the_rerun_lacks_fail(repository):
    (repository / "reports/metrics/lstm.json").unlink()
    assert not verify.report_on(repository, rerun=repository)


def test_nothing_committed_is_said(tmp_path):
    with pytest.raises(StudyError, match="failed in"):
        verify.report_on(tmp_path, rerun=tmp_path)


@pytest.mark.parametrize("place", ["", PROFILE])
def test_a_forced_rerun_runs_the_copy_and_leaves_the_repository_alone(repository, place):
    """A one-stage pipeline whose package prints where it was loaded from: the copy's, not ours."""
    package = repository / "dualrec_utils"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "where.py").write_text(
        "import json, os, pathlib\n"
        "at = pathlib.Path('reports/metrics'); at.mkdir(parents=True, exist_ok=True)\n"
        "(at / 'lstm.json').write_text(json.dumps({'file': os.path.realpath(__file__)}))\n"
    )
    run = repository / place
    if place:
        (run / "dualrec_utils").symlink_to("../../dualrec_utils")
    (run / "dvc.yaml").write_text(
        "stages:\n  lstm:\n    cmd: python -m dualrec_utils.where\n    deps: [dualrec_utils/where.py]\n"
        "    metrics:\n    - reports/metrics/lstm.json:\n        cache: false\n"
    )
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    init = [sys.executable, "-m", "dvc", "init", "-q", *(["--subdir"] if place else [])]
    subprocess.run(init, cwd=run, check=True)
    # DVC wants its outputs untracked or declared: metrics with cache off may be tracked.
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "pipeline"], check=True)
    copy = repository.with_name(f"{repository.name}-copy")
    before = (run / "reports/metrics/lstm.json").read_bytes()
    assert verify.rerun_in(copy, root=run) == copy / place
    assert files.read_json(copy / place / "reports/metrics/lstm.json") == {
        "file": str(copy / "dualrec_utils/where.py")
    }
    assert (run / "reports/metrics/lstm.json").read_bytes() == before
