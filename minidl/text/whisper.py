"""The tokens of Whisper: parts of words as bytes, and what is said about them (languages, tasks, times).

All its checkpoints have one of two vocabularies, one for English and one for many languages; they are in the package,
so that a checkpoint needs no file beside it.

Source: Radford et al. 2022, arXiv:2212.04356, section 2.3; byte pairs: Radford et al. 2019, section 2.2.
"""
import base64
import codecs
import lzma
import re
import string
import unicodedata
from functools import cache, cached_property
from pathlib import Path

from ..errors import ArgumentError, message

FILES = Path(__file__).with_suffix("")                 # see the README.md there
STEP, LONGEST = 0.02, 1500                             # seconds between two times, and how many of them
LANGUAGES = dict(pair.split(" ", 1) for pair in (
    "en english, zh chinese, de german, es spanish, ru russian, ko korean, fr french, ja japanese, pt portuguese, "
    "tr turkish, pl polish, ca catalan, nl dutch, ar arabic, sv swedish, it italian, id indonesian, hi hindi, "
    "fi finnish, vi vietnamese, he hebrew, uk ukrainian, el greek, ms malay, cs czech, ro romanian, da danish, "
    "hu hungarian, ta tamil, no norwegian, th thai, ur urdu, hr croatian, bg bulgarian, lt lithuanian, la latin, "
    "mi maori, ml malayalam, cy welsh, sk slovak, te telugu, fa persian, lv latvian, bn bengali, sr serbian, "
    "az azerbaijani, sl slovenian, kn kannada, et estonian, mk macedonian, br breton, eu basque, is icelandic, "
    "hy armenian, ne nepali, mn mongolian, bs bosnian, kk kazakh, sq albanian, sw swahili, gl galician, mr marathi, "
    "pa punjabi, si sinhala, km khmer, sn shona, yo yoruba, so somali, af afrikaans, oc occitan, ka georgian, "
    "be belarusian, tg tajik, sd sindhi, gu gujarati, am amharic, yi yiddish, lo lao, uz uzbek, fo faroese, "
    "ht haitian creole, ps pashto, tk turkmen, nn nynorsk, mt maltese, sa sanskrit, lb luxembourgish, my myanmar, "
    "bo tibetan, tl tagalog, mg malagasy, as assamese, tt tatar, haw hawaiian, ln lingala, ha hausa, ba bashkir, "
    "jw javanese, su sundanese, yue cantonese").split(", "))
ALSO = {"burmese": "my", "castilian": "es", "flemish": "nl", "haitian": "ht", "letzeburgesch": "lb", "mandarin": "zh",
        "moldavian": "ro", "moldovan": "ro", "panjabi": "pa", "pushto": "ps", "sinhalese": "si", "valencian": "ca"}
UNSPACED = {"zh", "ja", "th", "lo", "my", "yue"}       # languages that write words without spaces between them
TASKS = "translate", "transcribe"
_PIECES = re.compile(r" ?L+| ?N+| ?O+|\s+(?!\S)|\s+")  # of a text's kinds of characters
_ENDINGS = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
_SYMBOLS = (*'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
            *"<< >> <<< >>> -- --- -( -[ (' (\" (( )) ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪".split())
_NOTES = "♩♪♫♬♭♮♯"                                     # several tokens each, of which the first says that it is one


@cache
def base(name):
    """The tokens that are text, as bytes, in order: of "gpt2" or "multilingual"."""
    lines = lzma.decompress((FILES / f"{name}.tiktoken.xz").read_bytes()).splitlines()
    return tuple([base64.b64decode(line.split()[0] + b"==") for line in lines])


@cache
def vocabulary(size):
    """The vocabulary of a model with so many tokens.

    Raises:
        ArgumentError: there is none of this size.
    """
    known = {51864: ("gpt2", 99), 51865: ("multilingual", 99), 51866: ("multilingual", 100)}
    if size not in known:
        raise ArgumentError(message("whisper", "vocab_size", " or ".join(map(str, known)), size,
                                    "No vocabulary is known for this model."))
    name, languages = known[size]
    return WhisperVocabulary(base(name), languages, multilingual=name != "gpt2")


class WhisperVocabulary:
    """Tokens by number: text, then the end, the start, languages, tasks, marks, and times.

    Args:
        text: tokens that are text, as bytes.
        languages: how many.
        multilingual: does a model of these tell languages and tasks apart?

    Attributes:
        end, start, previous, no_speech, no_timestamps, first_time: numbers of tokens.
        languages: {code: number}.
        tasks: {"translate", "transcribe": number}.
        marks: numbers of those that are never written: start, tasks, previous, no_speech, and one without use.
    """

    def __init__(self, text, languages=99, multilingual=True):
        self.text, self.multilingual = text, multilingual
        self.end, self.start = len(text), len(text) + 1
        after = self.start + 1
        self.languages = {code: after + i for i, code in enumerate([*LANGUAGES][:languages])}
        after += languages
        self.tasks = {task: after + i for i, task in enumerate(TASKS)}
        _, self.previous, self.no_speech, self.no_timestamps, self.first_time = range(after + 2, after + 7)
        self.marks = (self.start, *self.tasks.values(), after + 2, self.previous, self.no_speech)
        self._numbers = {token: i for i, token in enumerate(self.text)}

    def __len__(self):
        return self.first_time + LONGEST + 1

    def language(self, name):
        """The code of a language, from its code or its name.

        Raises:
            ArgumentError: it is none that the model knows.
        """
        code = {**{word: code for code, word in LANGUAGES.items()}, **ALSO}.get(str(name).lower(), str(name).lower())
        known = self.languages if self.multilingual else ("en",)
        if code not in known:
            raise ArgumentError(message("whisper", "language", f"one of {', '.join(known)}", repr(name)))
        return code

    def prompt(self, language="en", task="transcribe"):
        """The tokens that ask for a text: the start, and of a model for many languages the language and the task.

        Raises:
            ArgumentError: another task; of a model for English, another than to transcribe.
        """
        known = TASKS if self.multilingual else ("transcribe",)
        if task not in known:
            raise ArgumentError(message("whisper", "task", f"{' or '.join(known)}", repr(task)))
        return [self.start, *[self.languages[language], self.tasks[task]] * self.multilingual]

    # -- text -------------------------------------------------------------------------------------

    def encode(self, text):
        """The tokens of a text."""
        return [token for piece in _pieces(text) for token in self._joined(piece.encode())]

    def _joined(self, piece):
        """Bytes joined, pair by pair, always the pair that is the token with the lowest number."""
        parts = [piece[i:i + 1] for i in range(len(piece))]
        while True:
            joined = [self._numbers.get(a + b) for a, b in zip(parts, parts[1:])]
            pairs = [(number, i) for i, number in enumerate(joined) if number is not None]
            if not pairs:
                return [self._numbers[part] for part in parts]
            _, i = min(pairs)
            parts[i:i + 2] = [parts[i] + parts[i + 1]]

    def decode(self, tokens):
        """The text of tokens; those that are none are left out, bytes that are none become U+FFFD."""
        return b"".join([self.text[t] for t in tokens if t < len(self.text)]).decode("utf-8", "replace")

    def words(self, tokens, language="en"):
        """[(word, its tokens)] of tokens of text: words keep the space in front, punctuation stands alone."""
        words, decoder, open_ = [], codecs.getincrementaldecoder("utf-8")("replace"), ([], [])
        for token in tokens:
            open_[0].append(decoder.decode(self.text[token]))
            open_[1].append(token)
            if decoder.getstate()[0]:                  # (half of a character)
                continue
            piece = "".join(open_[0])
            alone = language in UNSPACED or piece.startswith(" ") or piece.strip() in string.punctuation
            if alone or not words:
                words.append((piece, open_[1]))
            else:
                words[-1] = words[-1][0] + piece, words[-1][1] + open_[1]
            open_ = ([], [])
        return words + ([("".join([*open_[0], decoder.decode(b"", True)]), open_[1])] if open_[1] else [])

    @cached_property
    def quiet(self):
        """Tokens that nobody says: brackets, notes, and a dash or a quote in front of a word."""
        found = {self._numbers[b" -"], self._numbers[b" '"]}
        for symbol in (*_SYMBOLS, *_NOTES):
            for text in (symbol, f" {symbol}"):
                tokens = self.encode(text)
                if len(tokens) == 1 or symbol in _NOTES:
                    found.add(tokens[0])
        return tuple(sorted(found))


def _pieces(text):
    """What pairs are joined in: letters, numbers, others, each with a space in front, endings of verbs, and spaces."""
    def kind(c):
        return c if c == " " else "\n" if c.isspace() else {"L": "L", "N": "N"}.get(unicodedata.category(c)[0], "O")

    kinds, at = "".join(map(kind, text)), 0
    while at < len(text):
        found = _ENDINGS.match(text, at) or _PIECES.match(kinds, at)
        yield text[at:found.end()]
        at = found.end()
