"""What the report page reads stands in dvc.yaml: a file that is missing there could change unnoticed."""

import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dualrec_utils.core import config
from dualrec_utils.report import page, text

ROOT = config.PACKAGE_ROOT


@pytest.fixture(scope="module")
def inputs():
    """Files under reports/ and profiles/ that the default page reads, from the root."""
    if not config.METRICS.joinpath("results.json").is_file():
        pytest.skip("notebook 07 has not run")
    flat, opened = text.read_metrics(), set()
    # No hook can be taken away again.
    sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
    page.page_context(flat, dataset=flat["dataset"])
    inside = [Path(name).relative_to(ROOT) for name in opened if name.startswith(f"{ROOT}/")]
    return sorted({str(name) for name in inside if name.parts[0] in ("reports", "profiles")})


@pytest.fixture(scope="module")
def listed():
    """The report's dependencies in dvc.yaml."""
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    return {Path(dep) for dep in pipeline["stages"]["report"]["deps"]}


def test_every_file_that_the_page_reads_is_a_dependency(inputs, listed):
    """Files of other profiles are none: running one must leave this run's status alone. `make report` draws
    the page with what they found, and a test compares the committed page with a fresh one."""
    missing = [
        name
        for name in inputs
        if not name.startswith("profiles/") and not listed & {Path(name), *Path(name).parents}
    ]
    assert not missing


def test_no_dependency_lies_in_a_profile(inputs, listed):
    assert any(name.startswith("profiles/ml-1m/reports/") for name in inputs)
    assert not [dep for dep in listed if dep.parts[0] == "profiles"]
