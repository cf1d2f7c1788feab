"""ELECTRA's training: a small model guesses hidden tokens, a larger one tells which guesses are wrong.

Source: Clark, Luong, Le, Manning 2020, arXiv:2003.10555, section 2.
"""
from .. import nn, ops
from ..backend import random
from ..models.text.bert import IGNORED
from ..models.text.output import Output
from ..tape import no_grad

SHARED = "word", "position", "token_type"              # (section 3.2: weight sharing)


class ReplacedTokens(nn.Module):
    """A generator and a discriminator, trained together; the discriminator is what is kept.

    Args:
        generator: an ElectraForMaskedLM.
        discriminator: an ElectraForPreTraining; embeddings of the same size are shared.
        weight: of the discriminator's loss.
    """

    def __init__(self, generator, discriminator, weight=50.0):
        self.generator, self.discriminator, self.weight = generator, discriminator, weight
        ours, theirs = (model.encoder.embeddings for model in (generator, discriminator))
        if ours.word.shape == theirs.word.shape:
            for name in SHARED:
                setattr(ours, name, getattr(theirs, name))
            generator.weight = theirs.word

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, labels=None, key=None):
        """The loss of both.  Paper: eq. 3 and the loss under it.

        Args:
            input_ids (N, T): tokens, some hidden; attention_mask, token_type_ids (N, T).
            labels (N, T): what is hidden, as MaskTokens gives it; -100 where nothing is.
            key: of drawing guesses; None: from minidl's default generator.

        Returns:
            loss, generator_loss, discriminator_loss, logits (N, T) and replaced (N, T) of the discriminator.
        """
        guessed = self.generator(input_ids, attention_mask, token_type_ids, labels=labels)
        with no_grad():
            key = random.default().next_key() if key is None else key
            noise = ops.rand(guessed.logits.shape, guessed.logits.dtype, guessed.logits.device, key=key)
            drawn = ops.argmax(guessed.logits - ops.log(-ops.log(ops.clip(noise, 1e-30, 1.0 - 1e-7))), axis=-1)
            hidden = labels != IGNORED
            seen = ops.where(hidden, drawn.astype(input_ids.dtype), input_ids)
            replaced = ((seen != labels) & hidden).astype("int64")
            if attention_mask is not None:
                replaced = ops.where(attention_mask == 0, IGNORED, replaced)
        found = self.discriminator(seen, attention_mask, token_type_ids, labels=replaced)
        return Output(loss=guessed.loss + found.loss * self.weight, generator_loss=guessed.loss,
                      discriminator_loss=found.loss, logits=found.logits, replaced=replaced)
