"""Tokenizers of models that translate: what is read and what is written are in different languages."""
import json
import re
import shutil

import numpy as np

from ..errors import ArgumentError, CheckpointError, message
from . import sentencepiece
from .library import tokenizers
from .tokenizer import Tokenizer

# The languages of mBART, in the order of their tokens. Source: Liu et al. 2020, arXiv:2001.08210, table 1 (fairseq's
# order); Tang et al. 2020, arXiv:2008.00401.
CC25 = tuple("ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM "
             "ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN".split())
MORE50 = tuple("af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE "
               "sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI".split())


class MBartTokenizer(Tokenizer):
    """mBART's: each text has a token of its language, behind it (25 languages) or in front of it (50).

    Args:
        backend, options: as of Tokenizer.
        src_lang, tgt_lang: the languages of what is read and written, as "en_XX".
        in_front: the language is the first token.

    Raises:
        ArgumentError: no such language, when one is set.
    """

    def __init__(self, backend, special=(), src_lang=None, tgt_lang=None, in_front=False, **options):
        super().__init__(backend, special, **options)
        self.in_front = in_front
        self.saved_as = "MBart50Tokenizer" if in_front else "MBartTokenizer"
        self.languages = [code for code in CC25 + MORE50 if self.token_to_id(code) is not None]
        self.src_lang, self.tgt_lang = src_lang or "en_XX", tgt_lang

    def __setattr__(self, name, value):
        if name in ("src_lang", "tgt_lang") and value is not None:
            self.language_id(value)
        super().__setattr__(name, value)

    def language_id(self, language):
        """The number of a language's token: `forced_bos_token_id` of what is written in it.

        Raises:
            ArgumentError: the model does not know it.
        """
        if language not in self.languages:
            expected = f"one of {', '.join(self.languages)}"
            raise ArgumentError(message("tokenizer", "language", expected, repr(language)))
        return self.token_to_id(language)

    def _side(self, target):
        language = self.tgt_lang or self.src_lang if target else self.src_lang
        ends = [(self.eos_token, self.eos_token_id), (language, self.language_id(language))]
        around = f"{language} $A {self.eos_token}" if self.in_front else f"$A {self.eos_token} {language}"
        self.backend.post_processor = tokenizers().processors.TemplateProcessing(
            single=around, pair=around.replace("$A", "$A $B"), special_tokens=ends)
        return self.backend

    def describe(self):
        """The languages."""
        return {"src_lang": self.src_lang, "tgt_lang": self.tgt_lang}


class MarianTokenizer(Tokenizer):
    """MarianMT's: a SentencePiece model for each language, and numbers for the pieces of both.

    Args:
        directory: with source.spm, target.spm and vocab.json.
        options: as of Tokenizer.

    Raises:
        CheckpointError: a file cannot be read.
    """

    files = "source.spm", "target.spm", "vocab.json"
    saved_as = "MarianTokenizer"

    def __init__(self, directory, special=(), **options):
        self.directory = directory
        try:
            self.vocabulary = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
            self._tokens = {i: token for token, i in self.vocabulary.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(message("load_tokenizer", "vocab.json", "{token: number}", error)) from error
        special = dict(special)
        self._backends = [self._backend(directory / file, special["eos"]) for file in self.files[:2]]
        self._numbers_of = []
        for backend in self._backends:                 # (the pieces' numbers -> the vocabulary's)
            unknown = self.vocabulary[special["unk"]]
            self._numbers_of.append(np.array([self.vocabulary.get(backend.id_to_token(i), unknown)
                                              for i in range(backend.get_vocab_size())]))
        super().__init__(self._backends[0], special, **options)

    def _backend(self, path, eos):
        made, t = sentencepiece.build(sentencepiece.read(path)), tokenizers()
        languages = [token for token in self.vocabulary if re.fullmatch(">>.+<<", token)]
        made.add_special_tokens([t.AddedToken(token, normalized=False) for token in (eos, *languages)])
        made.post_processor = t.processors.TemplateProcessing(
            single=f"$A {eos}", pair=f"$A $B {eos}", special_tokens=[(eos, made.token_to_id(eos))])
        return made

    def __len__(self):
        return len(self.vocabulary)

    def get_vocab(self):
        """{token: number}."""
        return dict(self.vocabulary)

    def token_to_id(self, token):
        """The number of a token, or None."""
        return self.vocabulary.get(token)

    def id_to_token(self, index):
        """The token of a number, or None."""
        return self._tokens.get(index)

    def _side(self, target):
        return self._backends[target]

    def _ids(self, encoding, target):
        return self._numbers_of[target][encoding.ids].tolist()

    def _text(self, ids, skip_special_tokens):
        hidden = set(self.special.values()) if skip_special_tokens else ()
        tokens = (self._tokens.get(i, "") for i in ids)
        return "".join(t for t in tokens if t not in hidden).replace(sentencepiece.SPACE, " ").strip()

    def write_vocabulary(self, directory):
        """Copy the three files."""
        for file in self.files:
            if (directory / file).resolve() != (self.directory / file).resolve():
                shutil.copyfile(self.directory / file, directory / file)
