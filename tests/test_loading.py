"""Loading of models, tokenizers and adapters that a user brings, good ones and bad ones."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import tiny_gguf, tiny_mistral, tiny_qwen2
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from dualrec_utils.core.errors import StudyError
from dualrec_utils.models.finetuning import lora
from dualrec_utils.models.language import generation, loading

pytestmark = pytest.mark.usefixtures("one_thread")

GENERATION = {"max_new_tokens": 12, "batch_size": 2, "label": "test"}
PROMPTS = ["- Toy Story (1995)\n", "- Film 01 (1961)\n- Film 02 (1962)\n"]


@pytest.fixture(scope="module")
def mistral(tmp_path_factory, one_thread):
    return tiny_mistral(tmp_path_factory.mktemp("models") / "mistral", chat=True)


@pytest.fixture
def copied(mistral, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(mistral, tmp_path / "mistral")


def adapter_of(base, folder, *, name=None, rank=4):
    """A saved adapter whose products are not zero."""
    model, _ = loading.load_model(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        settings = LoraConfig(
            r=rank, lora_alpha=64, target_modules=list(lora.TARGET_MODULES), init_lora_weights=False
        )
        adapted = get_peft_model(model, settings)
    return lora.save(adapted, folder, base=name or base.name)


def test_loading_says_what_is_wrong(mistral, tmp_path):
    with pytest.raises(StudyError, match="holds no language model"):
        loading.load_model(tmp_path)
    with pytest.raises(StudyError, match="holds no language model"):
        loading.load_model(tmp_path / "missing")
    with pytest.raises(StudyError, match="dtype 'float8' is unknown; allowed"):
        loading.load_model(mistral, dtype="float8")
    with pytest.raises(StudyError, match="holds no adapter"):
        loading.load_model(mistral, adapter=tmp_path)
    (tmp_path / "config.json").write_text((mistral / "config.json").read_text())
    with pytest.raises(StudyError, match="without its tokenizer"):
        loading.load_model(tmp_path)


def test_a_hub_id_out_of_reach_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StudyError, match="no language model 'nobody/no-such-model'"):
        loading.load_model("nobody/no-such-model")


def test_loaded_for_generation(mistral):
    model, tokenizer = loading.load_model(mistral)
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize("dtype", loading.DTYPES)
def test_every_dtype_answers(mistral, dtype):
    model, tokenizer = loading.load_model(mistral, dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}
    assert len(generation.generate(model, tokenizer, PROMPTS, **GENERATION)) == 2


def test_a_relative_folder_is_a_folder(mistral, monkeypatch):
    monkeypatch.chdir(mistral.parent)
    model, _ = loading.load_model("mistral")
    assert model.config.model_type == "mistral"


def test_sampling_settings_of_a_checkpoint_do_not_count(copied):
    model, tokenizer = loading.load_model(copied)
    ids = torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])
    wanted = model.generate(ids, max_new_tokens=12)
    suppressed = {"suppress_tokens": [int(wanted[0, ids.shape[1]])]}
    GenerationConfig(**suppressed, eos_token_id=tokenizer.eos_token_id).save_pretrained(copied)
    model, _ = loading.load_model(copied)
    assert torch.equal(model.generate(ids, max_new_tokens=12), wanted)
    # They would have counted.
    plain = AutoModelForCausalLM.from_pretrained(copied)
    assert not torch.equal(plain.generate(ids, max_new_tokens=12), wanted)


def test_padding_tokens_without_embedding_are_replaced(copied):
    bare = AutoTokenizer.from_pretrained(copied)
    bare.add_special_tokens({"pad_token": "[PAD]"})
    bare.save_pretrained(copied)
    model, tokenizer = loading.load_model(copied)
    rows = model.get_input_embeddings().num_embeddings
    assert bare.pad_token_id >= rows > tokenizer.pad_token_id
    assert len(generation.generate(model, tokenizer, PROMPTS, **GENERATION)) == 2


@pytest.mark.parametrize("config, generation_config", [(5, 6), ([5, 6], None), (None, [6, 5])])
def test_any_end_token_ends_a_text(copied, config, generation_config):
    path = copied / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": config}))
    GenerationConfig(eos_token_id=generation_config).save_pretrained(copied)
    model, tokenizer = loading.load_model(copied)
    ends = {5, 6, tokenizer.eos_token_id}
    assert set(model.generation_config.eos_token_id) == ends
    for end in ends:
        # Whatever is read, this token follows.
        hook = model.lm_head.register_forward_hook(
            lambda module, inputs, logits, end=end: logits + 1e6 * (torch.arange(logits.shape[-1]) == end)
        )
        assert generation.complete(model, tokenizer, [[3, 4]], **GENERATION) == [[]]
        hook.remove()


@pytest.mark.parametrize("where", ["vocabulary", "template", "end"])
def test_tokens_beyond_the_embeddings_are_refused(copied, where):
    tokenizer = AutoTokenizer.from_pretrained(copied)
    if where == "vocabulary":
        tokenizer.add_tokens(["Fargo"])
    elif where == "template":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
        tokenizer.chat_template = "<|im_start|>" + tokenizer.chat_template
    else:
        tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    tokenizer.save_pretrained(copied)
    with pytest.raises(StudyError, match=r"writes 1 tokens that the model has no embedding for"):
        loading.load_model(copied)


def test_a_failing_template_is_refused_when_a_model_is_loaded(copied):
    tokenizer = AutoTokenizer.from_pretrained(copied)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    tokenizer.save_pretrained(copied)
    with pytest.raises(StudyError, match="chat template cannot write a user's turn: no"):
        loading.load_model(copied)


@pytest.mark.parametrize(
    "scheme, library",
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "gptq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"quant_method": "aqlm"}, "aqlm"),
        ({"quant_method": "vptq"}, "vptq"),
    ],
)
def test_a_quantised_folder_names_the_library_it_lacks(copied, scheme, library):
    path = copied / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": scheme}))
    with pytest.raises(StudyError, match=rf"pip install .*{library}"):
        loading.load_model(copied)


def test_a_home_folder_is_written_with_a_tilde(mistral, monkeypatch):
    monkeypatch.setenv("HOME", str(mistral.parent))
    assert loading.load_model("~/mistral")[0].config.model_type == "mistral"
    with pytest.raises(StudyError, match=f"{mistral.parent}/other holds no language model"):
        loading.load_model("~/other")


def test_gguf_files_are_loaded(tmp_path):
    pytest.importorskip("gguf")
    source = tiny_qwen2(tmp_path / "qwen2", reasoning=False)
    file = tiny_gguf(source, tmp_path / "packed" / "tiny.gguf")
    (wanted, _), (by_file, tokenizer), (by_folder, _) = map(loading.load_model, (source, file, file.parent))
    ids = torch.tensor([[0, *tokenizer("- Toy Story (1995)\n", add_special_tokens=False)["input_ids"]]])
    with torch.inference_mode():
        logits = [model(ids).logits for model in (wanted, by_file, by_folder)]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    assert len(generation.generate(by_file, tokenizer, PROMPTS, **GENERATION)) == 2
    shutil.copy(file, file.parent / "other.gguf")
    with pytest.raises(StudyError, match=r"holds 2 GGUF files: name one of them \(other.gguf, tiny.gguf\)"):
        loading.load_model(file.parent)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(StudyError, match="no language model"):
        loading.load_model(file)


def test_gguf_files_need_their_package(tmp_path, monkeypatch):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    for path in (tmp_path, tmp_path / "tiny.gguf"):
        with pytest.raises(StudyError, match=r"tiny.gguf needs the package gguf: run `pip install gguf`"):
            loading.load_model(path)


def test_a_tokenizer_without_end_of_text_is_refused(copied):
    path = copied / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"eos_token": None}))
    with pytest.raises(StudyError, match="names no end-of-text token"):
        loading.load_model(copied)


def test_cut_off_weights_are_refused(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(StudyError, match=r"no language model .*mistral"):
        loading.load_model(copied)


def test_missing_weights_are_not_made_up(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StudyError, match=r"lacks 1 weights .* model.layers.1.mlp.up_proj.weight first"):
        loading.load_model(copied)


def test_weights_of_another_width_are_refused(copied, tmp_path):
    wide = tiny_mistral(tmp_path / "wide", chat=True, width=48)
    shutil.copy(wide / "model.safetensors", copied)
    with pytest.raises(StudyError, match=r"no language model .*mistral"):
        loading.load_model(copied)


def test_a_model_beyond_the_memory_is_refused_before_its_weights_are_read(copied):
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(settings | {"vocab_size": 10**12}))
    (copied / "model.safetensors").unlink()
    with pytest.raises(StudyError, match=r"take \d+\.\d GB \(bfloat16\); .* GB free: set dtype"):
        loading.load_model(copied, dtype="bfloat16")


def test_running_out_of_memory_says_what_to_change():
    with (
        pytest.raises(StudyError, match=r"out of memory: lower batch_size"),
        loading.memory_errors("lower batch_size"),
    ):
        torch.empty(2**55, dtype=torch.uint8)
    with pytest.raises(StudyError, match="lower batch_size"), loading.memory_errors("lower batch_size"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    with pytest.raises(RuntimeError, match="size mismatch"), loading.memory_errors("lower batch_size"):
        raise RuntimeError("size mismatch")


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_four_bits_need_a_gpu(mistral):
    with pytest.raises(StudyError, match="nf4 needs a CUDA GPU and there is none: set it to none or auto"):
        loading.load_model(mistral, quantization="nf4")
    model, _ = loading.load_model(mistral, quantization="auto")
    assert not getattr(model, "is_loaded_in_4bit", False)
    with pytest.raises(StudyError, match="quantization 'int8' is unknown; allowed: none, nf4, auto"):
        loading.load_model(mistral, quantization="int8")


@pytest.mark.parametrize(
    ("quantization", "gib", "wanted"),
    [("auto", 15, True), ("auto", 24, False), ("nf4", 80, True), ("none", 8, False)],
)
def test_auto_means_four_bits_on_small_gpus_alone(monkeypatch, quantization, gib, wanted):
    gpu = type("Gpu", (), {"total_memory": gib * 2**30})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(loading, "find_spec", lambda name: "there")
    assert loading.quantized(quantization) == wanted
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    if wanted:
        with pytest.raises(StudyError, match="pip install bitsandbytes"):
            loading.quantized(quantization)
    else:
        assert not loading.quantized(quantization)


def test_an_adapter_counts(mistral, tmp_path):
    folder = adapter_of(mistral, tmp_path / "adapter")
    (base, tokenizer), (adapted, _) = (loading.load_model(mistral, adapter=one) for one in (None, folder))
    ids = torch.tensor([tokenizer("- Toy Story")["input_ids"]])
    with torch.inference_mode():
        assert not torch.allclose(base(ids).logits, adapted(ids).logits, atol=0.1)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_adapters_of_other_models_are_refused(mistral, tmp_path):
    advice = "train an adapter for this one"
    named = adapter_of(mistral, tmp_path / "named", name="someone/other-7B")
    with pytest.raises(StudyError, match=f"belongs to someone/other-7B, the model is mistral.*{advice}"):
        loading.load_model(mistral, adapter=named)
    wide = tiny_mistral(tmp_path / "wide" / "mistral", chat=True, width=48)
    deep = tiny_mistral(tmp_path / "deep" / "mistral", chat=True, n_layers=3)
    shallow = tiny_mistral(tmp_path / "shallow" / "mistral", chat=True, n_layers=1)
    for name, base, what in (
        ("a", wide, "size mismatch|shape"),
        ("b", deep, r"8 matrices .*layers\.2"),
        ("c", shallow, r"8 matrices .*layers\.1"),
    ):
        folder = adapter_of(base, tmp_path / name)
        with pytest.raises(StudyError, match=f"does not fit .*({what}).*{advice}"):
            loading.load_model(mistral, adapter=folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"peft_type": "NOPE"}, "cannot be read .*NOPE"),
        ({"peft_type": None}, "cannot be read .*KeyError"),
        ({"r": "x"}, "cannot be read .*TypeError"),
        ({"rank_pattern": 4}, "cannot be read .*int"),
        ({"base_model_name_or_path": ["a", "b"]}, r"base_model_name_or_path is \['a', 'b'\]"),
        ({"base_model_name_or_path": 0}, "base_model_name_or_path is 0"),
    ],
)
def test_an_adapter_whose_settings_cannot_be_used_is_refused(mistral, tmp_path, changed, said):
    folder = adapter_of(mistral, tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(StudyError, match=f"{folder}.*{said}"):
        loading.load_model(mistral, adapter=folder)


def test_an_adapter_without_settings_or_weights_is_refused(mistral, tmp_path):
    folder = adapter_of(mistral, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(StudyError, match=f"{folder} cannot be read .*peft_type"):
        loading.load_model(mistral, adapter=folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(StudyError, match=f"{folder} holds an adapter without its weights"):
        loading.load_model(mistral, adapter=folder)


def test_a_damaged_adapter_is_refused(mistral, tmp_path):
    folder = adapter_of(mistral, tmp_path / "adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(StudyError, match="does not fit"):
        loading.load_model(mistral, adapter=folder)
