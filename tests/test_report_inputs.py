"""What the report page reads stands in dvc.yaml: a file that is missing there could change unnoticed."""

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from dualrec_utils.core import config

ROOT = config.PACKAGE_ROOT
# Prints every file under the repository that making the page opens.
SPY = """
import sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
from dualrec_utils.core import config
from dualrec_utils.report import page, text
flat = text.read_metrics()
opened.clear()
page.page_context(flat, dataset=flat["dataset"], seed=1)
inside = str(config.PACKAGE_ROOT) + "/"
print(*sorted(name.removeprefix(inside) for name in opened if name.startswith(inside)), sep="\\n")
"""


@pytest.fixture(scope="module")
def inputs():
    """Files under reports/ and profiles/ that the default page reads, from the root."""
    if not config.METRICS.joinpath("results.json").is_file():
        pytest.skip("notebook 07 has not run")
    done = subprocess.run([sys.executable, "-c", SPY], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split() if name.startswith(("reports/", "profiles/"))]


def listed():
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    return {Path(dep) for dep in pipeline["stages"]["report"]["deps"]}


def test_every_file_that_the_page_reads_is_a_dependency(inputs):
    """Files of other profiles are none: running one must leave this run's status alone. `make report` draws
    the page with what they found, and a test compares the committed page with a fresh one."""
    missing = [
        name
        for name in inputs
        if not name.startswith("profiles/") and not listed() & {Path(name), *Path(name).parents}
    ]
    assert not missing


def test_no_dependency_lies_in_a_profile(inputs):
    assert any(name.startswith("profiles/ml-1m/reports/") for name in inputs)
    assert not [dep for dep in listed() if dep.parts[0] == "profiles"]
