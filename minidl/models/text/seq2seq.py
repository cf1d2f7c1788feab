"""What encoder-decoders share: one sequence is read, another is written."""
from .bert import TextModel, cross_entropy
from .generation import Generative
from .output import Output


class Seq2Seq(Generative, TextModel):
    """An encoder whose states a decoder looks at.

    A subclass has `encode(input_ids, attention_mask, states)`; `decode(input_ids, encoded, attention_mask,
    decoder_attention_mask, cache, states)`, both behind their last norms, which append to the list `states`, unless
    it is None, what is in front of each layer; `scores(x)`; and `shifted(labels)`, what the decoder reads to write
    labels.
    """

    def forward(self, input_ids=None, attention_mask=None, decoder_input_ids=None, decoder_attention_mask=None,
                encoder_outputs=None, past_key_values=None, labels=None, output_hidden_states=False):
        """Score what the decoder writes next.

        Args:
            input_ids (N, S), attention_mask (N, S): what is read; 1 where a token counts.
            decoder_input_ids (N, T), decoder_attention_mask (N, T): what has been written; with a cache what is new.
            encoder_outputs: the encoder's states (N, S, W), if they are known.
            past_key_values: a Cache of the decoder.
            labels (N, T): what shall be written: with them there is a loss, and decoder_input_ids are theirs.
            output_hidden_states: give what is in front of each layer, and behind the last norm, of both, too.

        Returns:
            loss, logits (N, T, V), past_key_values, encoder_last_hidden_state, encoder_hidden_states,
            decoder_hidden_states.
        """
        read, written = ([], []) if output_hidden_states else (None, None)
        encoded = self.encode(input_ids, attention_mask, read) if encoder_outputs is None else encoder_outputs
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = self.shifted(labels)
        x = self.decode(decoder_input_ids, encoded, attention_mask, decoder_attention_mask, past_key_values, written)
        logits = self.scores(x)
        return Output(loss=cross_entropy(logits, labels), logits=logits, past_key_values=past_key_values,
                      encoder_last_hidden_state=encoded,
                      encoder_hidden_states=None if read is None else (*read, encoded),
                      decoder_hidden_states=None if written is None else (*written, x))
