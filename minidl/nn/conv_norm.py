"""A convolution, its batch norm and an activation, as one step where nothing learns."""
from .. import ops, tape

ACTIVATIONS = {"none": lambda x: x, "relu": ops.relu, "silu": ops.silu, "gelu": ops.gelu, "relu6": ops.relu6,
               "leaky_relu": ops.leaky_relu, "mish": ops.mish}
FUSED = "none", "relu", "silu", "gelu"                 # what the op does in the same pass


def conv_norm(x, conv, norm, activation="none", residual=None):
    """activation(norm(conv(x)) + residual), x (N, C, H, W) -> (N, O, P, Q).

    In evaluation, where nothing is recorded, the norm goes into the filters: one convolution.  The folded filters are
    kept with the norm for as long as nothing changes what they were made of.

    Args:
        x (N, C, H, W): images.
        conv: a Conv2d.
        norm: the BatchNorm2d, or FrozenBatchNorm2d, behind it.
        activation: "none", "relu", "relu6", "silu", "gelu", "mish" or "leaky_relu" (of slope 0.01).
        residual (N, O, P, Q), optional: added in front of the activation.
    """
    if norm.adapts or tape.recording() or conv.padding_mode != "zeros" \
            or conv._hooks is not None or norm._hooks is not None:
        y = norm(conv(x))
        return ACTIVATIONS[activation](y if residual is None else y + residual)
    parts = conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var
    weight, bias = remembered(norm, parts, lambda: folded(conv, norm))
    fused, last = (activation, "none") if activation in FUSED else ("none", activation)
    y = ops.conv2d_activation(x, weight, bias, None, residual, conv.stride, conv.pads(x.shape), conv.dilation,
                              conv.groups, fused)
    return ACTIVATIONS[last](y)


def folded(conv, norm):
    """(weight (O, I, R, S), bias (O)) of the convolution that is a Conv2d and the norm behind it, in evaluation.

    Source: Jacob et al. 2017, arXiv:1712.05877, section 3.2, eq. 14.
    """
    scale = ops.rsqrt(norm.running_var + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias
    weight = conv.weight * ops.reshape(scale, (-1, *[1] * (conv.weight.ndim - 1)))
    return weight.detach(), shift.detach()


def remembered(owner, parts, make):
    """make(), kept with a module for as long as nothing changes the tensors (or None) that it is made of."""
    arrays = [p.data for p in parts if p is not None]
    state = [(a, tape.mutations.get(id(tape.owner(a)), (0,))[0]) for a in arrays]
    kept = vars(owner).get("_fold")
    if kept is None or not _same(kept[0], state):
        vars(owner)["_fold"] = kept = state, make()
    return kept[1]


def _same(kept, state):
    """Are these the same arrays, unchanged since?"""
    return len(kept) == len(state) and all(a is b and m == n for (a, m), (b, n) in zip(kept, state))
