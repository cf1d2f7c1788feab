"""What pipelines share: a model and its tokenizer, from text to results, in batches."""
import inspect

import numpy as np

from ..errors import ArgumentError, message, number
from ..tape import no_grad
from ..tensor import Tensor
from ..text import Encoded


class Pipeline:
    """A task on text: call it with a string, or a list of them.

    A subclass has `task`, `head` (as `from_pretrained` takes it; None: the model's own), and `run(items, **options)`,
    which gives a result for each of a list.

    Args:
        model: of the zoo, in evaluation mode.
        tokenizer: its own.
        batch_size: sequences that go through the model at once.

    Raises:
        ArgumentError: the tokenizer has tokens that the model has no row for.
    """

    task: str
    head: str | None = None

    def __init__(self, model, tokenizer, batch_size=8):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_size = number("pipeline", "batch_size", batch_size, 1, whole=True)
        most, rows = max(tokenizer.get_vocab().values()), model.config.vocab_size
        if most >= rows:
            raise ArgumentError(message("pipeline", "tokenizer", f"tokens below {rows}, the model's vocabulary", most,
                                        "Do these files belong together?"))
        if tokenizer.pad_token is None and tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token
        self.device = next(iter(model.parameters())).device
        self.takes = [name for name in tokenizer.model_input_names if name in inspect.signature(
            model.forward).parameters]

    def __call__(self, inputs, **options):
        """The result for one input, or a list of results for a list; `run` says what results and options are."""
        single = not isinstance(inputs, (list, tuple))
        results = self.run([inputs] if single else list(inputs), **options)
        return results[0] if single else results

    def run(self, items, **options):
        """A result for each of a list of inputs."""
        raise NotImplementedError

    def encode(self, items, truncation=False, **options):
        """The tokenizer's rows for strings, or {"text", "text_pair"}.

        Raises:
            ArgumentError: an item is none of these, or longer than the model reads.
        """
        pairs = [(i.get("text"), i.get("text_pair")) if isinstance(i, dict) else (i, None) for i in items]
        texts, seconds = [text for text, _ in pairs], [second for _, second in pairs]
        if not items:
            return Encoded()
        if any(second is None for second in seconds):
            if any(second is not None for second in seconds):
                raise ArgumentError(message("pipeline", "text_pair", "all inputs to be pairs, or none", seconds[:3]))
            seconds = None
        found = self.tokenizer(texts, seconds, truncation=truncation, **options)
        limit, longest = self.tokenizer.model_max_length, max(map(len, found["input_ids"]))
        if limit is not None and longest > limit:
            raise ArgumentError(message("pipeline", "text", f"at most {limit} tokens, which the model reads", longest,
                                        "truncation=True cuts it."))
        if not min(map(len, found["input_ids"])):
            raise ArgumentError(message("pipeline", "text", "some text", "none"))
        return found

    def batches(self, rows, side="right"):
        """(numbers of rows, {name: Tensor (N, T)}) of rows that are alike in length, padded on a side."""
        lengths = [len(row) for row in rows.get("input_ids", ())]
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), self.batch_size):
            chosen = order[start:start + self.batch_size]
            given = self.tokenizer.pad({name: [list(rows[name][i]) for i in chosen] for name in self.takes},
                                       padding_side=side, return_tensors="np")
            yield chosen, {name: Tensor(value).to(self.device) for name, value in given.items()}

    def outputs(self, rows, *names, tokens=True):
        """What the model gives under these names for each row: a list of tuples of arrays.

        Args:
            rows: of the tokenizer.
            names: of outputs (N, T, ...), or without `tokens` (N, ...).
            tokens: is there an axis of tokens, to be freed of padding?
        """
        found: list = [None] * len(rows.get("input_ids", ()))
        with no_grad():
            for chosen, batch in self.batches(rows):
                output = self.forward(batch)
                arrays = [output[name].numpy() for name in names]
                for i, row in enumerate(chosen):
                    own = slice(len(rows["input_ids"][row]) if tokens else None)
                    found[row] = tuple(array[i][own] for array in arrays)
        return found

    def forward(self, batch):
        """The model's Output for {name: Tensor (N, T)}."""
        return self.model(**batch)


def softmax(scores):
    """exp(scores) scaled to sum to 1 over the last axis."""
    y = np.exp(scores - scores.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


def label_names(model, count):
    """The names of a classifier's labels."""
    return list(model.labels) if len(model.labels) == count else [f"LABEL_{i}" for i in range(count)]
