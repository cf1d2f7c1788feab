"""What decoder-only language models share: tokens in, scores for the next one out."""
from ... import ops
from .bert import TextModel, cross_entropy
from .generation import Generative
from .output import Output


class CausalLM(Generative, TextModel):
    """A decoder that sees what came before.

    A subclass has `decode(input_ids, attention_mask, position_ids, cache, states)`, which gives the hidden states
    behind the last norm and appends to the list `states`, unless it is None, what is in front of each layer; and
    `scores(x)`.
    """

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, labels=None,
                output_hidden_states=False):
        """Score the next token behind every token.

        Args:
            input_ids (N, T): tokens; with a cache those that it does not hold yet.
            attention_mask (N, S): 1 where a token counts, 0 where it is padding; S with those in the cache.
            position_ids (N, T): places; counted on from the cache unless given.
            past_key_values: a Cache: keys and values of the tokens so far; these are added.
            labels (N, T): with them there is a loss, of every token from those before it; -100 does not count.
            output_hidden_states: give what is in front of each layer, and behind the last norm, too.

        Returns:
            loss, logits (N, T, V), past_key_values, hidden_states.
        """
        states = [] if output_hidden_states else None
        x = self.decode(input_ids, attention_mask, position_ids, past_key_values, states)
        logits = self.scores(x)
        loss = None if labels is None else cross_entropy(logits[:, :-1], labels[:, 1:])
        return Output(loss=loss, logits=logits, past_key_values=past_key_values,
                      hidden_states=None if states is None else (*states, x))


def places(input_ids, cache):
    """0, 1, ... (1, T), counted on from the cache."""
    start = 0 if cache is None else cache.length
    return ops.expand_dims(ops.arange(start, start + input_ids.shape[1], device=input_ids.device), 0)
