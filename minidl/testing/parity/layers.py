"""Layers and losses. The case's text says how each layer is made: `Conv2d(6,8,3,stride 2,pad 1,groups 2) on x1`."""
import ast
import re

import numpy as np

from ... import Tensor, nn, ops
from . import Run, runs

WORDS = {"pad": "padding", "stride": "stride", "dilation": "dilation", "groups": "groups", "padding": "padding",
         "padding_mode": "padding_mode", "output_padding": "output_padding", "kdim": "kdim", "vdim": "vdim"}
FLAGS = {"affine": {"affine": True}, "batch_first": {"batch_first": True}, "norm_first": {"norm_first": True},
         "gelu": {"activation": "gelu"}, "mean": {"mode": "mean"}}


def parse(text):
    """(name or None, class name, positional arguments, keyword arguments) of a layer's description."""
    name, kind = re.match(r"(?:(\w+): )?([A-Z]\w+)\(", text).groups()
    start = text.index("(")
    depth, end = 0, start
    for end in range(start, len(text)):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[end], 0)
        if not depth:
            break
    args, keywords = [], {}
    for part in re.split(r",\s*(?![^(\[]*[)\]])", text[start + 1:end]):
        word, _, value = part.partition(" ")
        if word in FLAGS:
            keywords.update(FLAGS[word])
        elif word in WORDS:
            keywords[WORDS[word]] = _value(value)
        else:
            args.append(_value(part))
    return name, kind, args, keywords


def _value(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text.strip("'")


def build(case):
    """{official prefix: the layer, its weights loaded}."""
    made = {}
    for output, text in case.config["layers"].items():
        if not re.match(r"(\w+: )?[A-Z]\w+\(", text):
            continue
        name, kind, args, keywords = parse(text)
        name = name or output.partition(" / ")[0]
        if "Transformer" in kind or "Attention" in kind:       # batches first, no dropout
            keywords.update(dropout=0.0, batch_first=True)
        if kind == "RMSNorm":
            keywords["eps"] = None
        layer = getattr(nn, kind)(*args, **keywords)
        own = {k[len(name) + 1:]: v for k, v in case.weights.items() if k.startswith(f"{name}.")}
        layer.load_state_dict(own)
        made[name] = layer.eval()
    return made


@runs("ops_nn")
def layers(case):
    """torch.nn: convolutions, norms, attention, losses."""
    made = build(case)
    inputs = {k: Tensor(v) for k, v in case.inputs.items()}
    q = inputs["q"]
    found = {}
    on = {"c1d": "x1", "t1d": "x1", "c3d": "x3"}
    for name in ("c1", "c2", "c3", "csame", "t1", "t2", "gn", "ln", "inn", "bn", "rms", "pre", *on):
        found[name] = made[name](inputs[on.get(name, "x")])
    padded = Tensor(np.array(ast.literal_eval(re.search(r"key_padding_mask (\[\[.*?\]\])",
                                                        case.config["layers"]["mha / mha_w"])[1]), bool))
    later = Tensor(np.triu(np.ones((q.shape[1], q.shape[1]), bool), 1))
    found["mha"], found["mha_w"] = made["mha"](q, q, q, key_padding_mask=padded)
    found["mha_causal"], _ = made["mha"](q, q, q, attn_mask=later)
    found["mha_kv"], _ = made["mhak"](q, inputs["k5"], inputs["v7"])
    found["enc_post_norm"] = made["enc"](q)
    found["dec_pre_norm"] = made["dec"](q, ops.flip(q, 1), tgt_mask=later)
    found["embbag_mean"] = made["emb"](inputs["bags"])
    first, second = (slice(*(int(n) if n else None for n in m))
                     for m in re.findall(r"q\[:,:,(\d*):(\d*)\]", case.config["layers"]["bilinear"]))
    found["bilinear"] = made["bil"](q[:, :, first], q[:, :, second])
    one_head = ops.expand_dims(q, 1)
    found["sdpa_causal"] = ops.scaled_dot_product_attention(one_head, one_head, one_head, is_causal=True)
    found.update(losses(case, inputs))
    found["total"] = total(case.config["losses"]["total"], found)
    parameters = {f"{name}.{p}": value for name, layer in made.items() for p, value in layer.named_parameters()}
    return Run(found, parameters)


def losses(case, inputs):
    """Every loss of the case, by its name."""
    logits, labels, w, text = inputs["logits"], inputs["labels"], inputs["w"], case.config["losses"]
    other, n = ops.flip(logits, 0), logits.shape[0]
    log_probabilities = ops.log_softmax(logits)
    ignoring = case.inputs["labels"].copy()
    ignoring[0] = -100
    lengths = [Tensor(np.array(ast.literal_eval(m))) for m in re.findall(r"lengths (\(.*?\))", text["ctc"])]
    smoothing = float(re.search(r"label_smoothing ([\d.]+)", text["ce_ls_w"])[1])
    delta, beta = (float(re.search(rf"{k} ([\d.]+)", text[t])[1]) for k,
                   t in (("delta", "huber"), ("beta", "smooth_l1_b0.5")))
    return {
        "ce": ops.cross_entropy(logits, labels),
        "ce_ls_w": ops.cross_entropy(logits, labels, weight=w, label_smoothing=smoothing),
        "ce_ignore": ops.cross_entropy(logits, Tensor(ignoring)),
        "bce_logits_pw": ops.binary_cross_entropy_with_logits(logits, ops.sigmoid(other), pos_weight=w),
        "smooth_l1_b0.5": ops.smooth_l1_loss(logits, other, beta=beta),
        "huber": ops.huber_loss(logits, other, delta=delta),
        "kl_batchmean": ops.kl_div(log_probabilities, ops.softmax(other), reduction="batchmean"),
        "nll": ops.nll_loss(log_probabilities, labels),
        "triplet": ops.triplet_margin_loss(logits, other, ops.roll(logits, 1, 0)),
        "cos_emb": ops.cosine_embedding_loss(logits, other, Tensor(np.array([1, -1] * (n // 2), "f4"))),
        "ctc": ops.ctc_loss(ops.log_softmax(inputs["ctc_logits"]), inputs["ctc_targets"], *lengths),
        "focal": ops.sigmoid_focal_loss(logits, (other > 0).astype("float32"), reduction="mean"),
        "dice_margin": ops.multi_margin_loss(logits, labels),
    }


def total(text, found):
    """The scalar with the gradient: `sum(c1)*.01 + mean of squares of c3,t2 + mean of cubes of gn + ctc`."""
    loss = 0.0
    for term in text.split(" + "):
        if power := re.match(r"mean of (squares|cubes) of (.*)", term):
            exponent = {"squares": 2, "cubes": 3}[power[1]]
            for name in power[2].split(","):
                loss = (found[name] ** exponent).mean() + loss
        elif scaled := re.match(r"sum\((\w+)\)\*([\d.]+)", term):
            loss = found[scaled[1]].sum() * float(scaled[2]) + loss
        else:
            loss = found[term] + loss
    return loss
