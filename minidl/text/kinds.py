"""What the tokenizer of each family of models is: its files from before tokenizer.json, and its special tokens."""
import json
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import CheckpointError, message
from . import sentencepiece
from .library import guarded, tokenizers
from .tokenizer import Tokenizer
from .translation import CC25, MORE50, MarianTokenizer, MBartTokenizer

INPUTS = ("input_ids", "attention_mask")
SEGMENTS = ("input_ids", "token_type_ids", "attention_mask")
BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
FAIRSEQ = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
CLIP = {"bos": "<|startoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>", "pad": "<|endoftext|>"}
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"     # Radford et al. 2021: the authors' code
GPT2 = dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>")


def template(made, single, pair, *special):
    """Put a template of special tokens around texts: "$A" and "$B" are they, ":1" is a segment."""
    made.post_processor = tokenizers().processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(s, made.token_to_id(s)) for s in special])


def word_piece(directory, told, special):
    """vocab.txt: BERT's words and parts of words. Source: Wu et al. 2016, arXiv:1609.08144, section 4.1."""
    t = tokenizers()
    words = _read(directory / "vocab.txt").splitlines()
    vocabulary = {word.rstrip("\n"): i for i, word in enumerate(words)}
    made = t.Tokenizer(t.models.WordPiece(vocabulary, unk_token=special["unk"], max_input_chars_per_word=100))
    bert_steps(made, told.get("do_lower_case", True), told.get("tokenize_chinese_chars", True),
               told.get("strip_accents"))
    made.add_special_tokens([token for token in special.values() if token in vocabulary])
    _need(made, special, "cls", "sep", "unk")
    bert_template(made, special)
    return made


def bert_steps(made, lower, chinese=True, accents=None):
    """How BERT cleans text, splits it into words, and joins parts of words."""
    t = tokenizers()
    made.normalizer = t.normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=chinese,
                                                   strip_accents=accents, lowercase=lower)
    made.pre_tokenizer, made.decoder = t.pre_tokenizers.BertPreTokenizer(), t.decoders.WordPiece(prefix="##")


def bert_template(made, special):
    """[CLS] A [SEP], and of pairs B [SEP], which is segment 1."""
    cls, sep = special["cls"], special["sep"]
    template(made, f"{cls}:0 $A:0 {sep}:0", f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1", cls, sep)


def byte_level(directory, told, special):
    """vocab.json and merges.txt: bytes, joined pair by pair. Source: Radford et al. 2019, section 2.2."""
    t = tokenizers()
    with guarded("load_tokenizer", "vocab.json, merges.txt", "tokens, and pairs of them", CheckpointError):
        vocabulary = json.loads(_read(directory / "vocab.json"))
        merges = [tuple(line.split(" ")) for line in _read(directory / "merges.txt").split("\n")
                  if line and not line.startswith("#version")]
        made = t.Tokenizer(t.models.BPE(vocabulary, merges))
    byte_steps(made, told.get("add_prefix_space", False))
    made.add_special_tokens([t.AddedToken(token, normalized=role != "mask", lstrip=role == "mask", special=True)
                             for role, token in special.items() if token in vocabulary])
    return made


def byte_steps(made, prefix_space=False):
    """How GPT-2 splits text, and joins tokens."""
    t = tokenizers()
    made.pre_tokenizer, made.decoder = t.pre_tokenizers.ByteLevel(prefix_space), t.decoders.ByteLevel()
    made.post_processor = t.processors.ByteLevel(trim_offsets=False)


def gpt2(directory, told, special):
    """GPT-2's: nothing around texts, or the first token (`add_bos_token`), as OPT has it."""
    made = byte_level(directory, told, special)
    if told.get("add_bos_token", False):
        bos = special["bos"]
        template(made, f"{bos} $A", f"{bos} $A {bos} $B", bos)
    return made


def roberta(directory, told, special):
    """RoBERTa's and BART's: <s> A </s>, and of pairs </s> B </s>."""
    made = byte_level(directory, told, special)
    _need(made, special, "cls", "sep")
    ends = [(special[role], made.token_to_id(special[role])) for role in ("sep", "cls")]
    made.post_processor = tokenizers().processors.RobertaProcessing(
        *ends, trim_offsets=True, add_prefix_space=told.get("add_prefix_space", False))
    return made


def clip(directory, told, special):
    """CLIP's: words in lower case, the last part of each marked, as bytes joined pair by pair; a start and an end."""
    t = tokenizers()
    with guarded("load_tokenizer", "vocab.json, merges.txt", "tokens, and pairs of them", CheckpointError):
        vocabulary = json.loads(_read(directory / "vocab.json"))
        merges = [tuple(line.split(" ")) for line in _read(directory / "merges.txt").split("\n")
                  if line and not line.startswith("#version")]
        made = t.Tokenizer(t.models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token=special["unk"]))
    made.normalizer = t.normalizers.Sequence([t.normalizers.NFC(), t.normalizers.Replace(t.Regex(r"\s+"), " "),
                                              t.normalizers.Lowercase()])
    made.pre_tokenizer = t.pre_tokenizers.Sequence([
        t.pre_tokenizers.Split(t.Regex(WORDS), "removed", invert=True), t.pre_tokenizers.ByteLevel(False)])
    made.decoder = t.decoders.Sequence([t.decoders.Replace("</w>", " "), t.decoders.ByteLevel()])
    made.add_special_tokens([token for token in special.values() if token in vocabulary])
    _need(made, special, "bos", "eos")
    ends = [(special[role], made.token_to_id(special[role])) for role in ("eos", "bos")]
    made.post_processor = t.processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)
    return made


def t5(directory, told, special):
    """T5's: spiece.model, and <extra_id_99> ... <extra_id_0> behind its pieces."""
    model = sentencepiece.read(directory / "spiece.model")
    extra = [f"<extra_id_{i}>" for i in reversed(range(told.get("extra_ids", 100)))]
    made = sentencepiece.build(model, [*model.pieces, *((token, 0.0) for token in extra)])
    made.add_special_tokens([*special.values(), *extra])
    eos = special["eos"]
    template(made, f"$A {eos}", f"$A {eos} $B {eos}", eos)
    return made


def mbart(languages):
    """mBART's: fairseq's special tokens, sentencepiece.bpe.model's pieces, languages, and the mask."""
    def build(directory, told, special):
        model = sentencepiece.read(directory / "sentencepiece.bpe.model")
        first = [special[role] for role in ("bos", "pad", "eos", "unk")]
        last = [*languages, special["mask"]]
        made = sentencepiece.build(model, [*((t, 0.0) for t in first), *model.pieces[3:], *((t, 0.0) for t in last)], 3)
        made.add_special_tokens([tokenizers().AddedToken(token, normalized=False, lstrip=token == special["mask"])
                                 for token in (*first, *last)])
        return made
    return build


@dataclass(frozen=True)
class Kind:
    """A family's tokenizer.

    Args:
        files: those that it is built from, where there is no tokenizer.json.
        build: (directory, tokenizer_config.json, special) -> the library's tokenizer.
        special: its special tokens, by role, unless its files say others.
        inputs: what its models take.
        defaults: of tokenizer_config.json.
        make: (backend, special, **options) -> Tokenizer.
        settings: names in tokenizer_config.json that `make` takes.
        reserved: places of its models that no token of a text has.
    """

    files: tuple
    build: Callable
    special: dict
    inputs: tuple = INPUTS
    defaults: tuple = ()
    make: Callable = Tokenizer
    settings: tuple = ()
    reserved: int = 0


_TWO = "vocab.json", "merges.txt"
_LANGUAGES = "src_lang", "tgt_lang"
KINDS = {
    "bert": Kind(("vocab.txt",), word_piece, BERT, SEGMENTS),
    "electra": Kind(("vocab.txt",), word_piece, BERT, SEGMENTS),
    "distilbert": Kind(("vocab.txt",), word_piece, BERT),
    "roberta": Kind(_TWO, roberta, FAIRSEQ, reserved=2), "bart": Kind(_TWO, roberta, FAIRSEQ),
    "gpt2": Kind(_TWO, gpt2, GPT2), "gpt_neo": Kind(_TWO, gpt2, GPT2),
    "clip": Kind(_TWO, clip, CLIP),
    "opt": Kind(_TWO, gpt2, {"bos": "</s>", "eos": "</s>", "unk": "</s>", "pad": "<pad>"},
                defaults=(("add_bos_token", True),)),
    "t5": Kind(("spiece.model",), t5, {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}),
    "mbart": Kind(("sentencepiece.bpe.model",), mbart(CC25), FAIRSEQ, make=MBartTokenizer, settings=_LANGUAGES),
    "mbart50": Kind(("sentencepiece.bpe.model",), mbart(CC25 + MORE50), FAIRSEQ, defaults=(("in_front", True),),
                    make=MBartTokenizer, settings=(*_LANGUAGES, "in_front")),
    "marian": Kind(MarianTokenizer.files, lambda directory, told, special: directory,
                   {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}, make=MarianTokenizer),
}


def _read(path):
    with guarded("load_tokenizer", path.name, "text in UTF-8", CheckpointError):
        return path.read_text(encoding="utf-8")


def _need(made, special, *roles):
    for role in roles:
        if made.token_to_id(special[role]) is None:
            raise CheckpointError(message("load_tokenizer", "vocabulary", f"the {role} token {special[role]!r}",
                                          f"{made.get_vocab_size()} tokens without it"))
