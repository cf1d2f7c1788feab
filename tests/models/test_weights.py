"""Weights under official names: key maps both ways, prefixes, official files, and what is said of wrong ones."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import io
from minidl.errors import ArgumentError, CheckpointError
from minidl.models import KeyMap, load_weights
from minidl.models.registry import entries
from minidl.models.text.bert import BertConfig, BertForPreTraining
from minidl.models.text.gpt2 import GPT2Config, GPT2LMHeadModel
from minidl.models.vision.resnet import ResNet, ResNetConfig

FORMATS = Path(__file__).parents[1] / "parity" / "formats"
TINY = ResNetConfig("basic", (1, 1, 1, 1), width=4, num_classes=3)


def blank(config=TINY):
    return ResNet(config)


def state(model):
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


# -- key maps ------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(["attn.q", "attn.k", "attn.v", "mlp.w1", "mlp.w2", "norm.b"]), min_size=1, unique=True)
MAP = KeyMap([("enc.{i}.attn.[q|k|v].*", "h.{i}.qkv.*"), ("enc.{i}.mlp.w1.weight", "h.{i}.up.weight", "T"),
              ("enc.{i}.mlp.w{j}.*", "h.{i}.w{j}.*"), ("gone.*", None)])


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 30), min_size=1, max_size=4), st.randoms())
def test_a_key_map_reads_and_writes_the_same(layers, chance):
    rng = np.random.default_rng(chance.randrange(2**32))
    official = {}
    for i in layers:
        for part in "qkv":
            official[f"enc.{i}.attn.{part}.weight"] = rng.standard_normal((2, 3))
        official[f"enc.{i}.mlp.w1.weight"] = rng.standard_normal((4, 2))
        official[f"enc.{i}.mlp.w2.bias"] = rng.standard_normal(5)
        official[f"enc.{i}.free"] = rng.standard_normal(1)
    ours = MAP.read({**official, "gone.x": np.zeros(1)})
    i = min(layers)
    assert ours[f"h.{i}.qkv.weight"].shape == (6, 3) and ours[f"h.{i}.up.weight"].shape == (2, 4)
    back = MAP.write({name: ours[name] for name in ours})
    assert back.keys() == official.keys() and all((back[n] == official[n]).all() for n in official)


@pytest.mark.parametrize("row", [("a.{i}", "b"), ("a.*", "b"), ("a.[x|y]", "b.[x|y]"), ("a", "b", "R")])
def test_a_row_that_cannot_be_read_both_ways(row):
    with pytest.raises(ArgumentError, match="both sides"):
        KeyMap([row])


def test_no_two_official_names_become_one_of_ours():
    """Of any registered model: a name that hides another would lose weights silently."""
    for name in ("vit_b_16", "efficientnet_b0", "gpt2", "t5-small", "unet_resnet34"):
        model = entries()[name].skeleton()
        for layout in model.layouts:
            written = model.keymap(layout).write(state(model))
            assert len(written) >= len({id(t) for t in model.state_dict().values()}) - 1


# -- files ---------------------------------------------------------------------------------

@pytest.mark.parametrize("file", ["resnet_zip.pth", "resnet_legacy.pth"])
def test_official_resnet_files(file):
    weights = io.weights(FORMATS / file)
    width, classes = next(v for n, v in weights.items() if n.endswith("conv1.weight")).shape[0], \
        next(v for n, v in weights.items() if n.endswith("fc.bias")).size
    blocks = [1 + max((int(n.split(f"layer{i}.")[1].split(".")[0]) for n in weights if f"layer{i}." in n), default=-1)
              for i in range(1, 5)]
    model = blank(ResNetConfig("basic", tuple(b for b in blocks if b), width, num_classes=classes))
    load_weights(model, FORMATS / file)
    want = {n.removeprefix("module."): v for n, v in weights.items()}
    assert all((state(model)[n] == want[n]).all() for n in want)


def test_old_bert_names_and_half_types_and_missing_prefixes():
    weights = io.weights(FORMATS / "bert_gamma_beta_legacy.bin")
    config = BertConfig(*weights["bert.embeddings.word_embeddings.weight"].shape, 1, 4, num_labels=2,
                        intermediate_size=weights["bert.encoder.layer.0.intermediate.dense.bias"].size,
                        max_position_embeddings=len(weights["bert.embeddings.position_embeddings.weight"]))
    layers = 1 + max(int(n.split("layer.")[1].split(".")[0]) for n in weights if "layer." in n)
    model = BertForPreTraining(config.replace(num_hidden_layers=layers))
    load_weights(model, weights)
    gamma = weights["bert.embeddings.LayerNorm.gamma"]
    assert (model.encoder.embeddings.norm.weight.numpy() == gamma).all()
    for file in ("gpt2_no_prefix.safetensors", "gpt2_bfloat16.safetensors", "gpt2_sharded/model.safetensors.index.json",
                 "gpt2_sharded"):
        weights = io.weights(FORMATS / file)
        name = next(n for n in weights if n.endswith("wte.weight"))
        count = 1 + max(int(n.split("h.")[1].split(".")[0]) for n in weights if "h." in n and ".ln_1" in n)
        places = next(weights[n] for n in weights if n.endswith("wpe.weight")).shape[0]
        vocab, width = weights[name].shape
        model = GPT2LMHeadModel(GPT2Config(vocab, places, width, count, 2))
        load_weights(model, FORMATS / file)
        assert (model.wte.numpy() == weights[name].astype("f4")).all()


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model.", "net."])
def test_prefixes_of_wrappers(prefix):
    source, target = blank(), blank()
    result = load_weights(target, {prefix + name: array for name, array in state(source).items()})
    assert result == ([], []) and all((state(target)[n] == a).all() for n, a in state(source).items())


def test_shards(tmp_path):
    model = blank()
    model.save_pretrained(tmp_path, max_shard_bytes=20_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    again = ml.from_pretrained(tmp_path)
    assert all((state(again)[n] == a).all() for n, a in state(model).items())
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors.index.json").exists()


def spoil(arrays, how):
    arrays = dict(arrays)
    match how:
        case "missing":
            del arrays["layer1.0.conv1.weight"]
        case "unexpected":
            arrays["layer9.0.conv1.weight"] = np.zeros(3, "f4")
        case "transposed":
            arrays["fc.weight"] = arrays["fc.weight"].T.copy()
        case "nan":
            arrays["bn1.weight"] = np.full_like(arrays["bn1.weight"], np.nan)
        case "inf in half":
            arrays["bn1.weight"] = np.full_like(arrays["bn1.weight"], np.inf).astype("f2")
        case "text":
            arrays["bn1.weight"] = np.array(["a"] * arrays["bn1.weight"].size)
        case "swapped":
            arrays["conv1.weight"], arrays["fc.weight"] = arrays["fc.weight"], arrays["conv1.weight"]
    return arrays


@pytest.mark.parametrize("how, text", [("missing", "layer1.0.conv1.weight"), ("unexpected", "layer9"),
                                       ("transposed", "fc.weight"), ("nan", "NaN.*bn1.weight"),
                                       ("inf in half", "bn1.weight"), ("text", "bn1.weight"),
                                       ("swapped", "conv1.weight")])
def test_wrong_weights_leave_the_model_as_it_was(how, text):
    model = blank()
    before = {name: array.copy() for name, array in state(model).items()}
    with pytest.raises(CheckpointError, match=text):
        load_weights(model, spoil(state(blank()), how))
    assert all((state(model)[n] == a).all() for n, a in before.items())


@pytest.mark.parametrize("cut", [0, 1, 7, 100, -1, -1000])
def test_a_file_cut_short(cut, tmp_path):
    blank().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    with pytest.raises(CheckpointError, match="model.safetensors"):
        ml.create_model("resnet18", path, layers=(1, 1, 1, 1), width=4, num_classes=3)


def test_other_classes_make_a_new_head():
    weights = state(blank())
    model = ml.create_model("resnet18", weights, layers=(1, 1, 1, 1), width=4, num_classes=7)
    assert model.fc.weight.shape == (7, 32) and (state(model)["conv1.weight"] == weights["conv1.weight"]).all()
    assert np.isfinite(model.fc.weight.numpy()).all() and model.fc.weight.numpy().std() > 0
    same = ml.create_model("resnet18", weights, layers=(1, 1, 1, 1), width=4, num_classes=3)
    assert (state(same)["fc.weight"] == weights["fc.weight"]).all()


def test_names_that_are_nearly_right():
    with pytest.raises(ArgumentError, match="resnet50"):
        ml.create_model("resnet5O")
    with pytest.raises(ArgumentError, match="num_classes"):
        ml.create_model("resnet18", num_clases=3)
    with pytest.raises(ArgumentError, match="image-classification"):
        ml.list_models(task="classification")
    with pytest.raises(CheckpointError, match="config.json"):
        ml.from_pretrained(FORMATS)


def test_pyramids():
    model = ml.create_model("resnet18", features_only=True, out_indices=(1, -1), width=4, layers=(1, 1, 1, 1))
    maps = model(ml.zeros((1, 3, 64, 96)))
    assert [m.shape for m in maps] == [(1, 4, 16, 24), (1, 32, 2, 3)]
    assert [(f.channels, f.stride) for f in model.feature_info] == [(4, 4), (32, 32)]
    for name in ("efficientnet_b0", "vit_tiny_patch16_224"):
        model = ml.create_model(name, features_only=True, **({"depth": 2} if "vit" in name else {})).eval()
        with ml.no_grad():
            maps = model(ml.zeros((1, 3, 224, 224)))
        assert [(m.shape[1], 224 // m.shape[2]) for m in maps] == list(model.feature_info)
