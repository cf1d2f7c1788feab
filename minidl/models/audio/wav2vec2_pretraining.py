"""wav2vec 2.0 before it has heard a word: what is hidden of a wave is told from what is hidden elsewhere in it.

Source: Baevski, Zhou, Mohamed, Auli 2020, arXiv:2006.11477, sections 2 and 3; the quantiser: Baevski, Schneider, Auli
2019, "vq-wav2vec", arXiv:1910.05453; hidden spans: Park et al. 2019, "SpecAugment", arXiv:1904.08779.
Differs from the paper: nothing.

    wave (N,L) -> features (N,T,C) -> some hidden -> hidden states -> projected (N,T,P)
    features -> Quantizer, one of V vectors in each of G groups -> projected (N,T,P): which of these is the hidden one?
"""
import numpy as np

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, message
from ..registry import family
from ..text.bert import TextModel
from ..text.output import Output
from .wav2vec2 import LARGE, Wav2Vec2Config, Wav2Vec2Model, rows


class Quantizer(nn.Module):
    """Chooses one of V vectors in each of G groups, joined: drawn while training, else the likeliest. Paper: eq. 1."""

    def __init__(self, config):
        c = config
        self.groups, self.count, self.temperature = c.num_codevector_groups, c.num_codevectors_per_group, 2.0
        self.codevectors = nn.Parameter(nn.init.uniform(), 1, self.groups * self.count, c.codevector_dim // self.groups)
        self.weight_proj = nn.Linear(c.conv_dim[-1], self.groups * self.count)

    def forward(self, x, mask=None):
        """x (N, T, C), mask (N, T), bool: steps that count -> vectors (N, T, W), perplexity ().

        The perplexity is of the choices over all steps that count, added up over groups: at most G V.
        """
        n, t, _ = x.shape
        scores = self.weight_proj(x).reshape((n * t, self.groups, self.count))
        if self.training:
            chosen = ops.gumbel_softmax(scores, random.default().next_key(), self.temperature, hard=True)
            shares = ops.softmax(scores, -1)
        else:
            chosen = shares = ops.one_hot(ops.argmax(scores, -1), self.count).astype(scores.dtype)
        if mask is not None:
            weight = mask.reshape((n * t, 1, 1)).astype(scores.dtype)
            mean = ops.sum(shares * weight, 0) / ops.sum(weight)
        else:
            mean = ops.mean(shares, 0)
        perplexity = ops.sum(ops.exp(-ops.sum(mean * ops.log(mean + 1e-7), -1)))
        books = self.codevectors.reshape((self.groups, self.count, -1))
        vectors = ops.permute_dims(chosen, (1, 0, 2)) @ books                     # (G, N T, W / G)
        return ops.permute_dims(vectors, (1, 0, 2)).reshape((n, t, -1)), perplexity


def hidden_spans(batch, steps, key, prob=0.65, length=10, least=2):
    """Which steps are hidden: spans of some length at places drawn without repetition, which may overlap.

    Args:
        batch, steps: N and T.
        key: a random Key.
        prob: share of steps that spans would cover, if they did not overlap.
        length: steps of a span; least: how many spans there are at least, where they fit.

    Returns:
        (N, T), bool, on the host.

    Raises:
        ArgumentError: a span is longer than T.
    """
    if not 0 < length <= steps:
        raise ArgumentError(message("hidden_spans", "length", f"an integer in [1, {steps}], the steps", length))
    found = np.zeros((batch, steps), bool)
    for i in range(batch):
        own, drawn = random.fold_in(key, 2 * i), random.uniform(np, random.fold_in(key, 2 * i + 1), ())
        count = min(max(int(prob * steps / length + float(drawn)), least), steps - length + 1)
        starts = random.permutation(np, own, steps - length + 1)[:count]
        found[i, (starts[:, None] + np.arange(length)).ravel()] = True
    return found


def draw_negatives(mask, count, key):
    """Others for each hidden step, drawn from the hidden steps of the same wave.

    Args:
        mask (N, T): bool, on the host.
        count: K, how many for each.
        key: a random Key.

    Returns:
        (N, T, K): places among all N T steps, on the host; of steps that are not hidden, their own.

    Raises:
        ArgumentError: a wave has one hidden step only.
    """
    batch, steps = mask.shape
    found = np.tile(np.arange(batch * steps).reshape(batch, steps, 1), (1, 1, count))
    for i, row in enumerate(mask):
        hidden = np.flatnonzero(row)
        if len(hidden) == 1:
            raise ArgumentError(message("draw_negatives", "mask", "no hidden step, or at least two", 1))
        if len(hidden):
            others = random.integers(np, random.fold_in(key, i), (len(hidden), count), 0, len(hidden) - 1)
            others += others >= np.arange(len(hidden))[:, None]        # (not the step itself)
            found[i, hidden] = i * steps + hidden[others]
    return found


class Wav2Vec2ForPreTraining(TextModel):
    """The network of the module's docstring."""

    config_class = Wav2Vec2Config
    layouts = {"huggingface": rows("wav2vec2.", "encoder.")}
    architectures = ("Wav2Vec2ForPreTraining",)
    base_prefix = "wav2vec2."
    compares = ("codevector_perplexity",)

    def __init__(self, config):
        c = self.config = config
        self.encoder, self.quantizer = Wav2Vec2Model(c), Quantizer(c)
        self.dropout_features = nn.Dropout(c.feat_quantizer_dropout)
        self.project_hid = nn.Linear(c.hidden_size, c.proj_codevector_dim)
        self.project_q = nn.Linear(c.codevector_dim, c.proj_codevector_dim)
        nn.init.normal_(self.quantizer.weight_proj.weight, std=1.0)
        nn.init.zeros_(self.quantizer.weight_proj.bias)

    def forward(self, input_values, attention_mask=None, mask_time_indices=None, sampled_negative_indices=None):
        """Encode waves with hidden steps, and compare with what was hidden.

        Args:
            input_values, attention_mask, mask_time_indices: as of Wav2Vec2Model.
            sampled_negative_indices (N, T, K): as of `draw_negatives`: with them there is a loss.

        Returns:
            loss, contrastive_loss, diversity_loss (sums over the hidden steps), projected_states (N, T, P),
            projected_quantized_states (N, T, P), codevector_perplexity.
        """
        encoded = self.encoder(input_values, attention_mask, mask_time_indices)
        features = self.dropout_features(self.encoder.feature_norm(encoded.extract_features.mT))
        vectors, perplexity = self.quantizer(features, mask_time_indices)
        states, vectors = self.project_hid(encoded.last_hidden_state), self.project_q(vectors)
        found = {"projected_states": states, "projected_quantized_states": vectors, "codevector_perplexity": perplexity}
        if sampled_negative_indices is None:
            return Output(loss=None, **found)
        if mask_time_indices is None:
            raise ArgumentError(message("Wav2Vec2ForPreTraining", "mask_time_indices", "which steps are hidden", None))
        contrastive = self._contrastive(states, vectors, mask_time_indices, sampled_negative_indices)
        most = self.quantizer.groups * self.quantizer.count
        diversity = (most - perplexity) / most * ops.sum(mask_time_indices.astype(states.dtype))
        return Output(loss=contrastive + self.config.diversity_loss_weight * diversity, contrastive_loss=contrastive,
                      diversity_loss=diversity, **found)

    def _contrastive(self, states, vectors, mask, negatives):
        """How unlikely the hidden steps' own vectors are among others. Paper: eq. 3."""
        n, t, width = states.shape
        others = ops.take(vectors.reshape((n * t, width)), negatives.reshape((-1,)), 0).reshape((n, t, -1, width))
        own = ops.expand_dims(vectors, 2)
        alike = ops.cosine_similarity(ops.expand_dims(states, 2), ops.concat([own, others], 2), axis=-1)
        same = ops.all(own == others, -1)                              # (another step may have chosen the same)
        hidden = ops.concat([ops.zeros_like(same[:, :, :1]), same], 2)
        scores = ops.where(hidden, float("-inf"), alike / self.config.contrastive_logits_temperature)
        labels = ops.where(mask.reshape((-1,)), 0, -100)
        return ops.cross_entropy(scores.reshape((n * t, -1)), labels, reduction="sum")


pretraining = family(Wav2Vec2ForPreTraining, "speech", "Baevski et al. 2020, arXiv:2006.11477")


@pretraining(name="wav2vec2-base")
def wav2vec2_base():
    """12 layers, before any letters."""
    return Wav2Vec2Config()


@pretraining(name="wav2vec2-large-lv60")
def wav2vec2_large_lv60():
    """24 layers, norms in front, before any letters."""
    return Wav2Vec2Config(**LARGE, feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True,
                          codevector_dim=768, proj_codevector_dim=768)
