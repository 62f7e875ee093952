"""One interface for local, hosted and recorded models, and a reason for each that cannot run here."""

import pytest
import torch
from tiny_models import tiny_mistral

from dualrec_utils.core import files
from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.backends import choose
from dualrec_utils.models.language import loading

KEY = "DUALREC_TEST_KEY"
LOCAL = {
    "backend": "local",
    "model": "movielm",
    "revision": None,
    "dtype": "float32",
    "quantization": "none",
}
HOSTED = LOCAL | {"backend": "hosted", "model": "someone/some-model"}
DECODING = {"max_new_tokens": 8, "batch_size": 2, "n_lines": 2, "max_thinking_tokens": 0}


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_what_this_machine_lacks_is_the_reason(monkeypatch, no_gpu):
    monkeypatch.delenv(KEY, raising=False)
    assert loading.why_not(LOCAL, key_variable=KEY) is None
    assert KEY in loading.why_not(HOSTED, key_variable=KEY)
    monkeypatch.setenv(KEY, "  ")
    assert KEY in loading.why_not(HOSTED, key_variable=KEY)
    monkeypatch.setenv(KEY, "a key")
    assert loading.why_not(HOSTED, key_variable=KEY) is None
    for change in ({"dtype": "float16"}, {"dtype": "auto"}, {"quantization": "nf4"}):
        assert "GPU" in loading.why_not(LOCAL | change, key_variable=KEY)
    # 4 bits only where a GPU is small: without one there is nothing to quantize for.
    assert loading.why_not(LOCAL | {"quantization": "auto"}, key_variable=KEY) is None
    assert loading.why_not(LOCAL | {"backend": "replay"}, key_variable=KEY) is None


@pytest.mark.parametrize(
    ("abilities", "able"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": False, "avx512_bf16": False, "avx2": True}, False)],
)
def test_bfloat16_runs_on_a_processor_that_computes_in_it(monkeypatch, no_gpu, abilities, able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    half = LOCAL | {"dtype": "bfloat16"}
    assert (loading.why_not(half, key_variable=KEY) is None) == able
    assert loading.why_not(half | {"quantization": "nf4"}, key_variable=KEY)


def test_with_a_gpu_nothing_local_is_refused_beforehand(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loading.why_not(LOCAL | {"dtype": "float16"}, key_variable=KEY) is None


def test_models_are_told_apart_and_the_first_must_run(monkeypatch, no_gpu):
    monkeypatch.delenv(KEY, raising=False)
    models = {"small": LOCAL, "far": HOSTED, "large": LOCAL | {"dtype": "float16"}}
    able, reasons = loading.runnable(models, key_variable=KEY)
    assert able == ["small"] and list(reasons) == ["far", "large"]
    with pytest.raises(StudyError, match=r"first language model, far, cannot run: .*Name one that can"):
        loading.runnable({"far": HOSTED, "small": LOCAL}, key_variable=KEY)


def test_the_roster_says_of_every_model_whether_it_runs_here():
    table = loading.roster({"small": LOCAL, "far": HOSTED}, {"far": "needs a key"})
    assert table["name"].tolist() == ["small", "far"]
    assert table["here"].tolist() == ["runs", "not run: needs a key"]
    assert table["model"].tolist() == ["movielm", "someone/some-model"]


def test_a_local_and_a_recorded_model_answer_alike(tmp_path):
    tiny_mistral(tmp_path / "model", chat=False)
    prompts = ["one prompt\n\n", "another, longer prompt\n\n", "one prompt\n\n"]
    common = {"dataset": "ml-100k", "seed": 1, "decoding": DECODING, "hosted": {}}
    local = choose.open_backend(LOCAL | {"model": str(tmp_path / "model")}, **common)
    answers = local.answer(prompts, label="local")
    rows = [
        {"prompt": p, "answer": a, "model": "m", "revision": None}
        for p, a in zip(prompts, answers, strict=True)
    ]
    files.write_jsonl(rows, tmp_path / "recorded.jsonl")
    replay = choose.open_backend({"backend": "replay", "model": str(tmp_path / "recorded.jsonl")}, **common)
    assert replay.answer(prompts, label="replay") == answers
    for speaker in (local, replay):
        with speaker as same:
            assert same is speaker
        speaker.close()
    assert local.model is None
    assert local.about["model"] == str(tmp_path / "model") and replay.about["model"] == "m"


def test_a_hosted_model_gets_the_settings_of_params(tmp_path, monkeypatch):
    from dualrec_utils.core import config
    from dualrec_utils.pipeline import params

    monkeypatch.setenv("OPENROUTER_API_KEY", "a key that is never used")
    monkeypatch.setattr(config, "ROOT", tmp_path)
    section = params.section("zero_shot_llm", config.PACKAGE_ROOT / "params.yaml")
    common = {"dataset": "ml-100k", "seed": 1, "decoding": DECODING, "hosted": section["hosted"]}
    hosted = choose.open_backend(HOSTED, **common)
    assert hosted.about["model"] == "someone/some-model"
    assert hosted.about["sampling"] == {"temperature": 0.0, "seed": 1, "max_tokens": 8}
