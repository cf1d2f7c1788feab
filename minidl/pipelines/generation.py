"""Pipelines that write: on from a text, a summary of it, or a translation."""
import threading

from ..errors import ArgumentError, message
from ..models.text.generation import TextIteratorStreamer
from .base import Pipeline


class Generation(Pipeline):
    """Base: `key` is the name of what is written, `prefix` what is put in front of a text."""

    key = "generated_text"

    def __init__(self, model, tokenizer, batch_size=8, prefix="", **settings):
        super().__init__(model, tokenizer, batch_size)
        if not hasattr(model, "generate"):
            raise ArgumentError(message("pipeline", "model", "one that writes text", type(model).__name__))
        self.prefix, self.settings, self.reads = prefix, settings, hasattr(model, "encode")

    def stream(self, text, **options):
        """Iterate over pieces of what is written to one text, as it comes; options as of `run`."""
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True)
        failed = []

        def work():
            try:
                self([text], streamer=streamer, **options)
            except Exception as error:                 # (raised again where the stream is read)
                failed.append(error)
                streamer.pieces.put(None)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield from streamer
        thread.join()
        if failed:
            raise failed[0]

    def written(self, items, truncation=False, streamer=None, **settings):
        """[(prompt's tokens, [tokens that were written])] for each of a list of texts."""
        if any(not isinstance(item, str) for item in items):
            raise ArgumentError(message("pipeline", "inputs", "strings", [type(i).__name__ for i in items][:5]))
        rows = self.rows([self.prefix + item for item in items], truncation)
        found: list = [None] * len(items)
        settings = {**self.settings, **settings}
        pad = self.tokenizer.pad_token_id
        for chosen, batch in self.batches(rows, "right" if self.reads else "left"):
            ids, mask = batch["input_ids"], batch.get("attention_mask")
            out = self.model.generate(ids, mask, streamer=streamer,
                                      **{"pad_token_id": pad, **settings}).numpy()
            copies, start = len(out) // len(chosen), 1 if self.reads else ids.shape[1]
            for i, row in enumerate(chosen):
                found[row] = rows["input_ids"][row], [self._ended(x[start:]) for x in out[i * copies:(i + 1) * copies]]
        return found

    def rows(self, texts, truncation):
        """The tokenizer's rows for texts."""
        return self.encode(texts, truncation)

    def _ended(self, tokens):
        """A row up to its end, without padding behind it."""
        config = self.model.generation_config or self.model.config
        ends = getattr(config, "eos_token_id", None)
        ends = {ends} if isinstance(ends, int) else set(ends or ())
        tokens = tokens.tolist()
        first = next((i for i, t in enumerate(tokens) if t in ends), len(tokens))
        return tokens[:first]


class TextGeneration(Generation):
    """What a text could go on with: [{"generated_text"}]."""

    task = "text-generation"

    def __init__(self, model, tokenizer, batch_size=8, **settings):
        super().__init__(model, tokenizer, batch_size, **settings)
        if self.reads:
            raise ArgumentError(message("pipeline", "model", "one that goes on from a text", type(model).__name__,
                                        "It answers a text: summarization, translation."))

    def rows(self, texts, truncation):
        """Empty texts start from the model's first token."""
        first = self.tokenizer.bos_token
        return self.encode([text or first or "" for text in texts], truncation)

    def run(self, items, return_full_text=True, **settings):
        """Write on.

        Args:
            items: strings.
            return_full_text: with the text in front.
            settings: of `generate` (max_new_tokens, do_sample, temperature, top_p, num_return_sequences, seed, ...), a
                streamer, truncation.
        """
        results = []
        for text, (prompt, rows) in zip(items, self.written(items, **settings)):
            before = self.tokenizer.decode(prompt, skip_special_tokens=True)
            wholes = [self.tokenizer.decode([*prompt, *row], skip_special_tokens=True) for row in rows]
            results.append([{self.key: (text if return_full_text else "") + whole[len(before):]} for whole in wholes])
        return results


class Summarization(Generation):
    """A short text for a long one: {"summary_text"}."""

    task, key = "summarization", "summary_text"

    def run(self, items, **settings):
        """Write to what is read.

        Args:
            items: strings.
            settings: of `generate`, and truncation.

        Returns:
            {key: text} for each; a list of them with several num_return_sequences.
        """
        found = []
        for _, rows in self.written(items, **settings):
            texts = [{self.key: self.tokenizer.decode(row, skip_special_tokens=True)} for row in rows]
            found.append(texts[0] if len(texts) == 1 else texts)
        return found


class Translation(Summarization):
    """A text in another language: {"translation_text"}."""

    task, key = "translation", "translation_text"

    def run(self, items, src_lang=None, tgt_lang=None, **settings):
        """As of Summarization; src_lang, tgt_lang: languages of mBART, as "en_XX"."""
        if src_lang or tgt_lang:
            if not hasattr(self.tokenizer, "language_id"):
                raise ArgumentError(message("pipeline", "src_lang, tgt_lang", "none, for this model", (
                    src_lang, tgt_lang)))
            self.tokenizer.src_lang = src_lang or self.tokenizer.src_lang
            self.tokenizer.tgt_lang = tgt_lang or self.tokenizer.tgt_lang
        if getattr(self.tokenizer, "tgt_lang", None):
            first = self.tokenizer.language_id(self.tokenizer.tgt_lang)
            name = "forced_bos_token_id" if self.tokenizer.in_front else "decoder_start_token_id"
            settings.setdefault(name, first)
        return super().run(items, **settings)
