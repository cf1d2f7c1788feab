"""How text is generated: the arguments of `generate`, under Hugging Face's names."""
from dataclasses import dataclass, fields, replace

from ....errors import ArgumentError, message, number
from ...config import near


@dataclass(frozen=True)
class GenerationConfig:
    """Settings of generation.

    Args:
        max_new_tokens: how many tokens are written at most; max_length: likewise, with those of the prompt (of the
            decoder); the first counts, if both are there.
        min_new_tokens: how many are written before an end.
        do_sample: draw tokens, by temperature, top_k (the most likely ones), top_p (the fewest that have this
            probability), min_p (those at least so likely, in units of the likeliest), typical_p (those whose
            surprise is nearest to the mean).  Otherwise the likeliest is taken.
        num_beams: sequences that are followed at once; num_beam_groups, diversity_penalty: in groups that avoid each
            other's tokens.
        length_penalty: a beam's score is its sum of log probabilities over its length to this power.
        early_stopping: end as soon as there are num_beams ended ones; False: when no other can beat them; "never": when
            none could, however long it grew.
        num_return_sequences: how many per prompt.
        repetition_penalty: divides (multiplies, where negative) scores of tokens that are there already.
        no_repeat_ngram_size: no such n-gram comes twice.
        bad_words_ids: sequences of tokens that are never written.
        forced_bos_token_id, forced_eos_token_id: the first token written; the last one at the length limit.
        eos_token_id: ends a sequence: one, or several; pad_token_id: follows it.
        decoder_start_token_id: what a decoder starts from.
        use_cache: keep keys and values; cache_implementation: "dynamic" or "static" (room for all at once).
        seed: of drawing; None: from minidl's default generator.
        num_assistant_tokens: a draft model's guesses per step.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int = 0
    do_sample: bool = False
    num_beams: int = 1
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    eos_token_id: int | tuple | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    use_cache: bool = True
    cache_implementation: str = "dynamic"
    seed: int | None = None
    num_assistant_tokens: int = 5

    def __post_init__(self):
        for name, least in {"num_beams": 1, "num_beam_groups": 1, "num_return_sequences": 1, "top_k": 0,
                            "min_new_tokens": 0, "no_repeat_ngram_size": 0, "num_assistant_tokens": 1}.items():
            number("generate", name, getattr(self, name), least, whole=True)
        for name in ("top_p", "typical_p", "min_p"):
            number("generate", name, getattr(self, name), 0, 1)
        for name in ("temperature", "repetition_penalty"):
            if number("generate", name, getattr(self, name)) <= 0:
                raise ArgumentError(message("generate", name, "a number above 0", getattr(self, name)))
        if self.num_beams % self.num_beam_groups or self.num_beam_groups > 1 and self.do_sample:
            raise ArgumentError(message("generate", "num_beam_groups", "a divisor of num_beams, without do_sample",
                                        self.num_beam_groups))
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            raise ArgumentError(message("generate", "num_return_sequences", f"at most num_beams={self.num_beams}",
                                        self.num_return_sequences, "Or do_sample=True."))
        if self.cache_implementation not in ("dynamic", "static"):
            raise ArgumentError(message("generate", "cache_implementation", "dynamic or static",
                                        repr(self.cache_implementation)))

    @property
    def ends(self):
        """The tokens that end a sequence."""
        found = self.eos_token_id
        return () if found is None else (found,) if isinstance(found, int) else tuple(found)

    def changed(self, **changes):
        """This config with other values.

        Raises:
            ArgumentError: there is no such setting; similar ones are named.
        """
        names = [f.name for f in fields(self)]
        for wrong in (name for name in changes if name not in names):
            expected = f"one of {', '.join(names)}"
            raise ArgumentError(message("generate", "setting", expected, repr(wrong), near(wrong, names)))
        return replace(self, **changes)

    @classmethod
    def of(cls, config):
        """The settings that a model's config, or a dict as of generation_config.json, has under their names."""
        told = config if isinstance(config, dict) else vars(config)
        names = {f.name for f in fields(cls)}
        return cls().changed(**{n: tuple(v) if isinstance(v, list) else v for n, v in told.items()
                                if n in names and v is not None})
