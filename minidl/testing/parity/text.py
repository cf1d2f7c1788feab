"""Language models."""
from ... import Tensor, ops
from ...models.text import bart, bert, distilbert, electra, gpt2, gpt_neo, marian, mbart, opt, roberta, t5
from . import Run, runs
from .classification import loaded


def states(hidden, prefix="hidden"):
    """The hidden states that a case asks for, by its names: hidden.0, hidden.1, hidden.-1."""
    return {f"{prefix}.{i}": hidden[i] for i in (0, 1, -1)}


def encoder(case, kind):
    """A model with one sequence in: its results by name, and its hidden states."""
    model = loaded(kind(kind.config_class.from_hf(case.config)), case)
    output = model(**{name: Tensor(array) for name, array in case.inputs.items()}, output_hidden_states=True)
    found = {name: output[name] for name in output.keys() if name != "hidden_states"}
    return Run({**found, **states(output.hidden_states)}, model=model)


PROMPT, NEW = 6, 10                # tokens that the cases' decoders start from; that encoder-decoders write


def padded(tokens, length, model):
    """Tokens (N, L) filled up with padding, as a case holds them."""
    pad = getattr(model.config, "pad_token_id", None)
    spare = length - tokens.shape[1]
    return ops.pad(tokens, ((0, 0), (0, spare)), value=pad or 0) if spare > 0 else tokens


ENCODERS = {"bert": bert.BertForPreTraining, "bert_seqcls": bert.BertForSequenceClassification,
            "roberta": roberta.RobertaForMaskedLM, "distilbert": distilbert.DistilBertForMaskedLM,
            "electra_disc": electra.ElectraForPreTraining, "electra_gen": electra.ElectraForMaskedLM}


@runs(*ENCODERS)
def encoders(case):
    """BERT and its heirs."""
    return encoder(case, ENCODERS[case.name])


DECODERS = {"gpt2": gpt2.GPT2LMHeadModel, "gpt_neo": gpt_neo.GPTNeoForCausalLM, "opt": opt.OPTForCausalLM}


@runs(*DECODERS)
def decoders(case):
    """GPT-2, GPT-Neo, OPT: scores, the shifted loss."""
    kind = DECODERS[case.name]
    model = loaded(kind(kind.config_class.from_hf(case.config)), case)
    ids = Tensor(case.inputs["input_ids"])
    output = model(ids, labels=ids, output_hidden_states=True)
    length = case.meta["outputs"]["greedy_tokens"]["shape"][1]
    written = model.generate(ids[:1, :PROMPT], max_new_tokens=length - PROMPT)
    return Run({"logits": output.logits, "lm_loss": output.loss, "greedy_tokens": padded(written, length, model),
                **states(output.hidden_states)}, model=model)


SEQ2SEQ = {"t5": t5.T5ForConditionalGeneration, "t5_v1_1": t5.T5ForConditionalGeneration,
           "bart": bart.BartForConditionalGeneration, "mbart": mbart.MBartForConditionalGeneration,
           "marian": marian.MarianMTModel}


@runs(*SEQ2SEQ)
def seq2seq(case):
    """T5, BART, mBART, MarianMT."""
    kind = SEQ2SEQ[case.name]
    model = loaded(kind(kind.config_class.from_hf(case.config)), case)
    output = model(**{name: Tensor(array) for name, array in case.inputs.items()}, output_hidden_states=True)
    written = {}
    for name, beams in (("greedy", 1), ("beam4", 4)):
        length = case.meta["outputs"][f"{name}_tokens"]["shape"][1]
        found = model.generate(case.inputs["input_ids"], case.inputs["attention_mask"], max_new_tokens=NEW,
                               num_beams=beams, return_dict_in_generate=True,
                               bad_words_ids=case.config.get("bad_words_ids", ()))
        written |= {f"{name}_tokens": padded(found.sequences, length, model), f"{name}_scores": found.sequences_scores}
    return Run({"logits": output.logits, "encoder_last": output.encoder_last_hidden_state, **written,
                **states(output.encoder_hidden_states, "enc_hidden"),
                **states(output.decoder_hidden_states, "dec_hidden")}, model=model)
