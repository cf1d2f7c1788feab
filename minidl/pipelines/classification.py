"""Pipelines that name: texts, and words in them."""
import numpy as np

from ..errors import ArgumentError, message, number
from .base import Pipeline, label_names, softmax


class TextClassification(Pipeline):
    """The label of a text: {"label", "score"}."""

    task, head = "text-classification", "SequenceClassification"

    def __call__(self, inputs, top_k=1, **options):
        """As `run` gives; of one string with top_k=1 in a list, too, as Hugging Face's."""
        found = super().__call__(inputs, top_k=top_k, **options)
        return [found] if isinstance(found, dict) and isinstance(inputs, str) else found

    def run(self, items, top_k=1, function_to_apply=None, truncation=False):
        """Classify texts.

        Args:
            items: strings, or {"text", "text_pair"}.
            top_k: 1: the best label; n, or None for all: a list of labels, the best first.
            function_to_apply: "softmax", "sigmoid" or "none"; None: softmax, of one label none.
            truncation: cut what is too long.
        """
        outputs = self.outputs(self.encode(items, truncation), "logits", tokens=False)
        return [self._best(self._scores(logits, function_to_apply), top_k) for logits, in outputs]

    def _scores(self, logits, function):
        function = function or ("none" if len(logits) == 1 else "softmax")
        apply = {"softmax": softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "none": lambda x: x}
        if function not in apply:
            raise ArgumentError(message("pipeline", "function_to_apply", " or ".join(apply), repr(function)))
        return apply[function](logits)

    def _best(self, scores, top_k):
        names = label_names(self.model, len(scores))
        ranked = [{"label": names[i], "score": float(scores[i])} for i in np.argsort(-scores, kind="stable")]
        return ranked[0] if top_k == 1 else ranked[:top_k]


STRATEGIES = "none", "simple", "first", "average", "max"


class TokenClassification(Pipeline):
    """Named entities, and other labels of words."""

    task, head = "token-classification", "TokenClassification"

    def run(self, items, aggregation_strategy="none", ignore_labels=("O",), stride=None):
        """Label the tokens of texts.

        Args:
            items: strings.
            aggregation_strategy: "none": a result for every token, {"entity", "score", "index", "word", "start",
                "end"}.  Otherwise tokens of the same label are one entity, {"entity_group", "score", "word", "start",
                "end"}: "simple": as they are; a word's label is "first" its first token's, "average" that of the mean
                of its tokens' scores, "max" that of the token with the highest score.
            ignore_labels: of what is left out.
            stride: a long text is read in pieces that share so many tokens; None: it is an error.
        """
        if aggregation_strategy not in STRATEGIES:
            raise ArgumentError(message("pipeline", "aggregation_strategy", f"one of {', '.join(STRATEGIES)}",
                                        repr(aggregation_strategy)))
        cut = {} if stride is None else {"truncation": True, "stride": stride}
        rows = self.encode(items, **cut, return_overflowing_tokens=True, return_offsets_mapping=True,
                           return_special_tokens_mask=True)
        tokens: list = [[] for _ in items]
        for row, (logits,) in enumerate(self.outputs(rows, "logits")):
            of = rows["overflow_to_sample_mapping"][row]
            self._add(tokens[of], rows, row, softmax(logits), items[of])
        return [self._entities(found, aggregation_strategy, ignore_labels) for found in tokens]

    def _add(self, tokens, rows, row, scores, text):
        """Append a row's tokens, but those that an earlier row of the text had."""
        seen = tokens[-1]["end"] if tokens else -1
        parts = getattr(self.tokenizer.backend.model, "continuing_subword_prefix", None)
        for place, (start, end) in enumerate(rows["offset_mapping"][row]):
            if rows["special_tokens_mask"][row][place] or start < seen:
                continue
            token = rows["input_ids"][row][place]
            word, shown = self.tokenizer.id_to_token(token), text[start:end]
            inner = len(word) != len(shown) if parts else start > 0 and " " not in text[start - 1:start + 1]
            if token == self.tokenizer.unk_token_id:
                word, inner = shown, False
            tokens.append({"scores": scores[place], "word": word, "start": start, "end": end, "index": place,
                           "inner": inner})

    def _entities(self, tokens, strategy, ignored):
        if strategy in ("first", "average", "max"):
            words: list = []
            for token in tokens:
                if token["inner"] and words:
                    words[-1].append(token)
                else:
                    words.append([token])
            found = [self._word(word, strategy) for word in words]
        else:
            found = [self._labelled(token, token["scores"]) for token in tokens]
        if strategy == "none":
            keys = "entity", "score", "index", "word", "start", "end"
            return [{key: e[key] for key in keys} for e in found if e["entity"] not in ignored]
        return [group for group in self._groups(found) if group["entity_group"] not in ignored]

    def _labelled(self, token, scores):
        best = int(scores.argmax())
        return {**token, "entity": label_names(self.model, len(scores))[best], "score": float(scores[best])}

    def _word(self, tokens, strategy):
        """Tokens of one word as one."""
        if strategy == "average":
            scores = np.mean([t["scores"] for t in tokens], 0)
        else:
            scores = tokens[0]["scores"] if strategy == "first" else max(
                (t["scores"] for t in tokens), key=lambda s: s.max())
        return self._labelled({"word": self._joined(tokens), "start": tokens[0]["start"], "end": tokens[-1]["end"]},
                              scores)

    def _joined(self, tokens):
        return self.tokenizer.backend.decoder.decode([t["word"] for t in tokens])

    def _groups(self, entities):
        """Neighbours of one label as one; "B-" starts a new one."""
        groups: list = []
        for entity in entities:
            begins, _, tag = entity["entity"].rpartition("-") if entity["entity"][:2] in ("B-", "I-") else (
                "I", "", entity["entity"])
            if groups and begins != "B" and groups[-1][0] == tag:
                groups[-1][1].append(entity)
            else:
                groups.append((tag, [entity]))
        return [{"entity_group": found[0]["entity"].partition("-")[2] or found[0]["entity"],
                 "score": float(np.mean([e["score"] for e in found])), "word": self._joined(found),
                 "start": found[0]["start"], "end": found[-1]["end"]} for _, found in groups]


class FillMask(Pipeline):
    """What fits in place of the mask: {"score", "token", "token_str", "sequence"}."""

    task, head = "fill-mask", "MaskedLM"

    def run(self, items, top_k=5, targets=None, truncation=False):
        """Fill the masks of texts.

        Args:
            items: strings with the tokenizer's mask token in them.
            top_k: how many tokens to give.
            targets: the words to choose from; None: the vocabulary.
            truncation: cut what is too long.

        Returns:
            a list for each text, the likeliest first; of a text with several masks, a list for each.
        """
        number("pipeline", "top_k", top_k, 1, whole=True)
        t, wanted = self.tokenizer, None if targets is None else self._targets(targets)
        if t.mask_token is None:
            raise ArgumentError(message("pipeline", "tokenizer", "one with a mask token", "none"))
        rows, results = self.encode(items, truncation), []
        for ids, (logits,) in zip(rows.get("input_ids", ()), self.outputs(rows, "logits")):
            places = [i for i, token in enumerate(ids) if token == t.mask_token_id]
            if not places:
                raise ArgumentError(message("pipeline", "text", f"{t.mask_token} in it", repr(t.decode(ids, True))))
            found = [self._fill(ids, place, softmax(logits[place]), top_k, wanted, len(places) == 1)
                     for place in places]
            results.append(found[0] if len(places) == 1 else found)
        return results

    def _fill(self, ids, place, scores, top_k, wanted, single):
        candidates = np.arange(len(scores)) if wanted is None else wanted
        best = candidates[np.argsort(-scores[candidates], kind="stable")[:top_k]]
        filled = ((token, [*ids[:place], token, *ids[place + 1:]]) for token in best.tolist())
        return [{"score": float(scores[token]), "token": token, "token_str": self.tokenizer.decode([token]),
                 "sequence": self.tokenizer.decode(row, skip_special_tokens=single)} for token, row in filled]

    def _targets(self, targets):
        """The tokens of words; of one that is several tokens, its first."""
        found = []
        for word in [targets] if isinstance(targets, str) else targets:
            ids = [self.tokenizer.token_to_id(word)]
            ids = self.tokenizer(word, add_special_tokens=False)["input_ids"] if ids == [None] else ids
            if not ids:
                raise ArgumentError(message("pipeline", "targets", "words that the tokenizer knows", repr(word)))
            found.append(ids[0])
        return np.unique(found)
