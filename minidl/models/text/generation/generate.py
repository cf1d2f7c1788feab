"""`model.generate`."""
import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from .... import backend, tape
from ....backend import random
from ....errors import ArgumentError, message
from ....tensor import Tensor
from ..output import Output
from .processors import chain, filters
from .search import beams, one_by_one
from .settings import GenerationConfig
from .speculative import speculate
from .steps import start

LENGTH = 20                        # tokens written where nothing says how many


class Generative:
    """What a model that writes text can do. It has `decode` and `scores`, and `encode` if it reads first."""

    generation_config = None       # settings of its own; None: those of its config

    def generate(self, input_ids, attention_mask=None, *, logits_processor=(), stopping_criteria=(), streamer=None,
                 assistant_model=None, return_dict_in_generate=False, **settings):
        """Write on from a prompt, or what answers it.

        Args:
            input_ids (N, L): tokens of the prompts; shorter ones are padded on the left (an encoder's: on the right).
            attention_mask (N, L): 1 where a token counts; unless given, padding in front is taken for what it is.
            logits_processor, stopping_criteria: more of them, in lists.
            streamer: `put` gets tokens as they come, of one sequence, without beams.
            assistant_model: a smaller model of the same tokens, which guesses ahead.
            return_dict_in_generate: give an Output with `sequences` and, of beams, `sequences_scores`.
            settings: see GenerationConfig, whose defaults are the model's own.

        Returns:
            tokens (N * num_return_sequences, L'), those of the prompt in front, unless it went to an encoder; padded.

        Raises:
            ArgumentError: settings that do not fit each other, or the model.
        """
        config = (self.generation_config or GenerationConfig.of(self.config)).changed(**settings)
        tokens = _host(input_ids).astype(np.int64)
        if tokens.ndim != 2 or not tokens.size:
            raise ArgumentError(message("generate", "input_ids", "tokens (N, L), at least one each", tokens.shape))
        mask = self._mask(tokens, attention_mask, config)
        reads = hasattr(self, "encode")
        prompt = 1 if reads else tokens.shape[1]
        limit = self._limit(config, prompt)
        if reads and config.decoder_start_token_id is None:
            config = config.changed(decoder_start_token_id=config.forced_bos_token_id)
        if reads and config.decoder_start_token_id is None:
            raise ArgumentError(message("generate", "decoder_start_token_id", "a token", "none"))
        key = random.default().next_key() if config.seed is None else random.key(config.seed)
        training = self.training
        self.eval()
        try:
            with tape.no_grad():
                found, scores = self._search(tokens, mask, config, prompt, limit, tuple(logits_processor),
                                             tuple(stopping_criteria), streamer, assistant_model, key)
        finally:
            self.train(training)
        if not return_dict_in_generate:
            return Tensor(found)
        scores = None if scores is None else Tensor(scores.astype(np.float32))
        return Output(sequences=Tensor(found), sequences_scores=scores)

    def settings(self, told):
        """The GenerationConfig that config.json and generation_config.json, told as one dict, ask for."""
        return GenerationConfig.of({**vars(self.config), **{k: v for k, v in told.items() if v is not None}})

    def save_pretrained(self, directory, *args, **options):
        """As of Model; settings of generation that the model has of its own go to generation_config.json."""
        super().save_pretrained(directory, *args, **options)
        if self.generation_config is not None:
            told = {f.name: getattr(self.generation_config, f.name) for f in fields(GenerationConfig)
                    if getattr(self.generation_config, f.name) != f.default}
            (Path(directory) / "generation_config.json").write_text(json.dumps(told, indent=2))

    def _search(self, tokens, mask, config, prompt, limit, custom, stopping, streamer, assistant, key):
        copies = config.num_beams if config.num_beams > 1 else config.num_return_sequences
        count = len(tokens) * copies
        if streamer is not None and count > 1:
            raise ArgumentError(message("generate", "streamer", "one sequence, without beams", count))
        steps = start(self, tokens, mask, config, limit, copies)
        process, sift = chain(config, prompt, limit, custom), filters(config)
        if config.num_beams > 1:
            return beams(steps, config, process, sift, limit, stopping, key)
        if streamer is not None:
            streamer.put(steps.tokens[0])
        if assistant is None:
            found = one_by_one(steps, config, process, sift, limit, stopping, streamer, key)
        elif count > 1 or not config.use_cache:
            raise ArgumentError(message("generate", "assistant_model", "one sequence, and a cache", count))
        else:
            draft = start(assistant.eval(), tokens, mask, config, limit, copies)
            found = speculate(steps, draft, config, process, sift, limit, stopping, streamer, key)
        if streamer is not None:
            streamer.end()
        return found, None

    def _mask(self, tokens, attention_mask, config):
        """(N, L), int64: which tokens count."""
        if attention_mask is None:
            pad = config.pad_token_id
            padded = pad is not None and pad not in config.ends and (tokens == pad).any()
            return (tokens != pad).astype(np.int64) if padded else np.ones_like(tokens)
        mask = _host(attention_mask)
        if mask.shape != tokens.shape:
            raise ArgumentError(message("generate", "attention_mask", f"{tokens.shape}", mask.shape))
        return (mask != 0).astype(np.int64)

    def _limit(self, config, prompt):
        """Tokens of the decoder at the end, at most."""
        limit = config.max_length
        if config.max_new_tokens is not None or limit is None:
            limit = prompt + (LENGTH if config.max_new_tokens is None else config.max_new_tokens)
        places = getattr(self.config, "n_positions", getattr(self.config, "max_position_embeddings", None))
        if places is not None and limit > places:
            expected = f"at most {places - prompt}, which ends at the model's last place"
            raise ArgumentError(message("generate", "max_new_tokens", expected, limit - prompt))
        return limit


def _host(value):
    """A Tensor, or lists, as an array on the host."""
    return np.asarray(backend.to_host(value.data) if isinstance(value, Tensor) else value)
