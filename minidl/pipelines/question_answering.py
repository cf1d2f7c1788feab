"""Answers to questions, as spans of a text."""
import numpy as np

from ..errors import ArgumentError, message, number
from .base import Pipeline, softmax

OUT = -10_000.0                    # the score of a place where no answer can be

CANDIDATES = 10                    # spans of a piece, beside twice those that are asked for: some are the same words


class QuestionAnswering(Pipeline):
    """Where in a text the answer to a question is: {"score", "start", "end", "answer"}.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 4.2 (spans) and 4.3 (no answer).
    """

    task, head = "question-answering", "QuestionAnswering"

    def __call__(self, inputs=None, question=None, context=None, **options):
        """{"question", "context"}, or a list of them; or the two by name, strings or lists of equal length."""
        if inputs is None:
            single = isinstance(question, str) and isinstance(context, str)
            questions = [question] if isinstance(question, str) else question
            contexts = [context] * len(questions or ()) if isinstance(context, str) else context
            if not questions or not contexts or len(questions) != len(contexts):
                raise ArgumentError(message("pipeline", "question, context", "strings, as many of each",
                                            (question, context)))
            inputs = [{"question": q, "context": c} for q, c in zip(questions, contexts)]
            inputs = inputs[0] if single else inputs
        return super().__call__(inputs, **options)

    def run(self, items, top_k=1, doc_stride=128, max_answer_len=15, max_seq_len=384, max_question_len=64,
            handle_impossible_answer=False, align_to_words=True):
        """Answer questions.

        Args:
            items: {"question", "context"}.
            top_k: 1: the best answer; more: a list of them, the best first.
            doc_stride: tokens that pieces of a long text share.
            max_answer_len: tokens of an answer, at most.
            max_seq_len: tokens of a piece with the question; max_question_len: of the question, which is cut.
            handle_impossible_answer: the answer may be "", at 0, that there is none.
            align_to_words: answers are whole words.
        """
        for name, value in (("top_k", top_k), ("max_answer_len", max_answer_len)):
            number("pipeline", name, value, 1, whole=True)
        found, candidates = [], CANDIDATES + 2 * top_k if align_to_words else top_k
        for item in items:
            pieces = self._pieces(item, doc_stride, max_seq_len, max_question_len)
            spans, none = [], 1.0
            for row, logits in enumerate(self.outputs(pieces, "start_logits", "end_logits")):
                scores, nothing = self._scores(pieces, row, logits, max_answer_len)
                none = min(none, nothing)
                order = np.argsort(-scores, axis=None, kind="stable")[:candidates]
                spans += [(float(scores.flat[i]), row, *divmod(int(i), scores.shape[1])) for i in order
                          if scores.flat[i] > 0]
            found.append(self._answers(item["context"], pieces, spans, none if handle_impossible_answer else None,
                                       top_k, align_to_words))
        return found

    def _pieces(self, item, stride, length, most):
        """The rows of a question and a text, as many as it takes."""
        if not isinstance(item, dict) or not all(isinstance(item.get(k), str) and item[k].strip() for k in (
                "question", "context")):
            raise ArgumentError(message("pipeline", "inputs", "{'question': text, 'context': text}", repr(item)[:80]))
        t = self.tokenizer
        cut = t(item["question"], add_special_tokens=False, truncation=True, max_length=most,
                return_offsets_mapping=True)
        question = item["question"][:max(end for _, end in cut["offset_mapping"])]
        length = min(length, t.model_max_length or length)
        room = length - t.num_special_tokens_to_add(True) - len(cut["input_ids"])
        number("pipeline", "max_seq_len", length, length - room + 2, whole=True)
        left = t.padding_side == "left"                # (some models read the text first)
        pair = (item["context"], question) if left else (question, item["context"])
        pieces = t([pair[0]], [pair[1]], truncation="only_first" if left else "only_second", max_length=length,
                   stride=min(stride, room - 1, length // 2), return_overflowing_tokens=True,
                   return_offsets_mapping=True)
        pieces.text = 0 if left else 1
        return pieces

    def _scores(self, pieces, row, logits, most):
        """(probability of each start and end (T, T), that there is no answer)."""
        inside = np.array([of == pieces.text for of in pieces.sequence_ids(row)])
        considered = inside.copy()
        considered[0] = True                           # (there, models say that there is no answer)
        start, end = (softmax(np.where(considered, x, OUT)) for x in logits)
        nothing = float(start[0] * end[0])
        start, end = start * inside, end * inside
        return np.tril(np.triu(np.outer(start, end)), most - 1), nothing

    def _answers(self, context, pieces, spans, none, top_k, words):
        """The best spans as text. Spans of the same text, of pieces that overlap or in one word, are one answer."""
        answers: dict = {}
        for score, row, first, last in spans:
            if words:
                encoding = pieces.encodings[row]
                start, end = (encoding.word_to_chars(encoding.token_to_word(at), pieces.text)[i]
                              for i, at in enumerate((first, last)))
            else:
                offsets = pieces["offset_mapping"][row]
                start, end = offsets[first][0], offsets[last][1]
            text = context[start:end]
            answer = answers.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
            answer["score"] += score
        found = [*answers.values()]
        if none is not None or not found:
            found.append({"score": none or 0.0, "start": 0, "end": 0, "answer": ""})
        found = sorted(found, key=lambda answer: -answer["score"])[:top_k]
        return found[0] if top_k == 1 else found
