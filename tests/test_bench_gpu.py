"""Tests of studies.bench.gpu: its whole path, with a tiny model on the CPU."""

import pytest
import torch
from toy_catalog import catalog_of

from dualrec_utils.core.errors import StudyError
from dualrec_utils.studies.bench import gpu as bench_gpu

SPEEDS = (
    "training_tokens_per_second",
    "generation_tokens_per_second",
    "prompts_per_second",
    "rankings_per_minute",
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_row_is_measured_or_says_why_not():
    catalog = catalog_of(range(60))
    settings = (bench_gpu.Setting("tiny", 40, "none", False), bench_gpu.Setting("tiny", 16, "none", True))
    if not torch.cuda.is_available():
        settings += (bench_gpu.Setting("tiny", 16, "nf4", True),)
    table = bench_gpu.bench(settings, catalog, dtype="float32", n_steps=2, n_prompts=2, n_new=5)
    run = table.iloc[:2]
    assert (run["note"] == "").all()
    assert (run[list(SPEEDS)] > 0).all(axis=None)
    if len(table) > 2:
        assert table["note"].iloc[2].startswith("not run: ") and "GPU" in table["note"].iloc[2]
        assert table.iloc[2][list(SPEEDS)].isna().all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_written(root, capsys):
    bench_gpu.run_bench("bfloat16")
    assert capsys.readouterr().out == "not run: no GPU\n"
    assert not root.exists()


def test_an_unknown_dtype_is_named():
    with pytest.raises(StudyError, match="'int8'; allowed: float32"):
        bench_gpu.run_bench("int8")
