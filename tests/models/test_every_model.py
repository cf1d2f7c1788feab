"""What every registered model keeps: official counts and names, gradients, independence, learning, round trips."""
from pathlib import Path

import pytest

from minidl import models
from minidl.models.registry import entries, model_classes
from minidl.testing import modelcheck

PARITY = Path(__file__).parents[1] / "parity"
CLASSES = {kind.__name__: (kind, task) for kind, task in model_classes()}


@pytest.mark.parametrize("name", [n for n, e in entries().items() if e.official])
def test_official_counts_names_and_shapes(name):
    modelcheck.check_official(PARITY, name)


@pytest.mark.parametrize("check", modelcheck.CHECKS.values(), ids=modelcheck.CHECKS)
@pytest.mark.parametrize("kind, task", CLASSES.values(), ids=CLASSES)
def test_tiny(kind, task, check):
    check(kind, task)


@pytest.mark.parametrize("kind, task", CLASSES.values(), ids=CLASSES)
def test_round_trip(kind, task, tmp_path):
    modelcheck.check_round_trip(kind, task, tmp_path)


def test_every_official_net_of_a_family_that_is_here_is_claimed():
    """A net whose family has models, but that none of them says to be, has been forgotten."""
    counts, _ = modelcheck.official(PARITY)
    claimed = {net for e in entries().values() for net in e.official}
    families = {net.rstrip("0123456789_") for net in claimed}
    assert not [net for net in counts if net.rstrip("0123456789_") in families and net not in claimed]
    assert claimed <= set(counts)


def test_no_method_has_the_name_of_what_create_model_sets():
    assert not [kind.__name__ for kind, _ in CLASSES.values() if callable(kind.inputs) or callable(kind.labels)]


@pytest.mark.parametrize("name", models.list_models())
def test_describe(name):
    told = models.describe(name)
    assert told.num_parameters > 0 and told.paper and name in str(told)
