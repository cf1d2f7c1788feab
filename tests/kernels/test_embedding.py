"""Embedding and dropout kernels beyond the ops' samples: hot rows, tables of few rows, the reference's random bits."""
import numpy as np
import pytest

import minidl as ml
from minidl.backend import random
from minidl.dispatch import TABLE, use_kernels
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

if not hasattr(cpu, "embedding"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


@pytest.mark.parametrize(("rows", "columns", "count"), [(2, 300, 500), (700, 70, 900), (3000, 17, 40), (1, 1, 9)])
def test_rows(isa, rows, columns, count):
    rng = np.random.default_rng(rows)
    index, x = rng.integers(0, rows, count), rng.standard_normal((count, columns))
    index[::3] = rows - 1
    for name, *inputs in (("embedding", index, rng.standard_normal((rows, columns))), ("_added_to_rows", x, index)):
        op, (kernel,) = REGISTRY[name], TABLE[name, "cpu"]
        for check in check_kernel, check_threads:
            check(kernel, op, inputs, {} if name == "embedding" else {"rows": rows})


def test_streamed_sums_are_those_of_smaller_tables(isa):
    rng = np.random.default_rng(5)
    index, x = rng.integers(0, 20, 50), rng.standard_normal((50, 701), dtype="float32")
    tables = [np.empty((rows, 701), "float32") for rows in (3000, 20)]
    for table in tables:
        cpu.embedding.scatter_rows(x, index, table, 3)
    assert tables[0].nbytes > 8 << 20 and not tables[0][20:].any() and not tables[0][3].any()
    np.testing.assert_array_equal(tables[0][:20], tables[1])


def test_a_padding_index_gets_no_gradient_and_one_out_of_range_is_the_references_error(isa):
    weight = ml.tensor(np.ones((5, 3), "float32"), requires_grad=True)
    index = ml.tensor(np.array([4, 1, 4, 0]))
    gradient, = ml.gradients(ml.ops.embedding(index, weight, padding_idx=-1).sum(), weight)
    assert gradient.numpy()[:, 0].tolist() == [1, 1, 0, 0, 0]
    with pytest.raises(ml.errors.ArgumentError, match=r"\[embedding\] index"):
        ml.ops.embedding(ml.tensor(np.array([5])), weight)


@pytest.mark.parametrize("threads", [1, 3])
def test_random_words_are_the_references(isa, threads):
    before = cpu.threads()
    cpu.set_threads(threads)
    try:
        for n, first in (1, 0), (5, 2), (40001, 7), (3000, 2**64 - 2):
            key = random.fold_in(random.key(2**63 + 5), n)
            words = random.philox(np, key, first, n)
            random.use(None)
            assert words.tobytes() == random.philox(np, key, first, n).tobytes()
            random.use(cpu.embedding.philox)
    finally:
        random.use(cpu.embedding.philox)
        cpu.set_threads(before)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_dropout_drops_what_the_reference_drops(isa, p):
    x = np.random.default_rng(6).standard_normal(2_200_001, dtype="float32")
    x[:3] = np.inf, np.nan, -0.0
    for n in 1500, x.size:
        tensor, key = ml.tensor(x[:n]), random.key(n)
        with use_kernels("off"), np.errstate(invalid="ignore"):
            expected = ml.ops.dropout(tensor, p, key).numpy()
        assert ml.ops.dropout(tensor, p, key).numpy().view("uint32").tolist() == expected.view("uint32").tolist()
