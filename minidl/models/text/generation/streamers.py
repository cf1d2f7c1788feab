"""Text as it is generated."""
import queue


class TextStreamer:
    """Prints text as tokens come, whole words at a time, as `generate` puts them in.

    Args:
        tokenizer: with `decode(tokens, skip_special_tokens=True)`.
        skip_prompt: leave the prompt out.
        write: what takes a piece of text; by default it is printed at once.
    """

    def __init__(self, tokenizer, skip_prompt=False, write=None):
        self.tokenizer, self.skip_prompt = tokenizer, skip_prompt
        self.write = write or (lambda text: print(text, end="", flush=True))
        self._tokens, self._shown, self._is_prompt = [], 0, True

    def put(self, tokens):
        """Take the next tokens of the one sequence that is streamed."""
        if self._is_prompt:
            self._is_prompt = False
            if self.skip_prompt:
                return
        self._tokens.extend(int(t) for t in tokens)
        text = self.tokenizer.decode(self._tokens, skip_special_tokens=True)
        if text.endswith("\n"):
            self.write(text[self._shown:])
            self._tokens, self._shown = [], 0
        elif not text.endswith("\N{REPLACEMENT CHARACTER}"):           # (half of a character)
            ready = text.rfind(" ") + 1
            if ready > self._shown:
                self.write(text[self._shown:ready])
                self._shown = ready

    def end(self):
        """The sequence is complete: show what is left."""
        text = self.tokenizer.decode(self._tokens, skip_special_tokens=True)
        self.write(text[self._shown:])
        self._tokens, self._shown, self._is_prompt = [], 0, True


class TextIteratorStreamer(TextStreamer):
    """Iterate over pieces of text while another thread generates.

    Args:
        tokenizer, skip_prompt: as of TextStreamer.
        timeout: seconds to wait for a piece; None: for ever.
    """

    def __init__(self, tokenizer, skip_prompt=False, timeout=None):
        self.pieces, self.timeout = queue.Queue(), timeout
        super().__init__(tokenizer, skip_prompt, self.pieces.put)

    def end(self):
        """The sequence is complete."""
        super().end()
        self.pieces.put(None)

    def __iter__(self):
        while (piece := self.pieces.get(timeout=self.timeout)) is not None:
            yield piece
