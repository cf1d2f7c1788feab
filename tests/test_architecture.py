"""The house rules that no reviewer should have to remember."""
import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "minidl"
FILES = sorted(ROOT.rglob("*.py"))
# low to high: a file may import only from rows above its own, or beside it inside one package
LAYERS = ["errors", "simt", "dtypes", "shapes", "door", "backend", "tape", "tensor", "dispatch", "autograd", "guests",
          "specialise", "op", "chain",
          "ops", "kernels", "nn", "io", "optim", "data", "text", "models", "train", "transfer", "compress", "testing",
          "tools", "pipelines", "cli"]
FOREIGN = {"torch", "torchvision", "transformers", "timm", "onnx", "onnxruntime", "tensorflow", "jax", "sklearn",
           "scipy"}


def layer(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return LAYERS.index(part) if part in LAYERS else len(LAYERS)


def imports(path):
    """(target file or None, the module's name) of every import in a file."""
    package = path.relative_to(ROOT.parent).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((None, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield None, node.module
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            for name in [node.module] if node.module else [a.name for a in node.names]:
                target = ROOT.parent.joinpath(*base, *name.split("."))
                yield target.with_suffix(".py") if target.with_suffix(".py").exists() else target / "__init__.py", name


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [p for p in FILES if p != ROOT / "__init__.py"], ids=ids)
def test_imports_point_down(path):
    for target, name in imports(path):
        assert name.partition(".")[0] not in FOREIGN, f"{path.name} imports {name}: a rival, not a part"
        if target is not None and target.exists() and target != ROOT / "__init__.py":
            assert layer(target) <= layer(path), f"{path.name} imports {target.name}: the arrow points up"


def test_tensor_imports_no_op():
    assert not [t for t, _ in imports(ROOT / "tensor.py") if t and "ops" in t.parts]


def test_only_the_backend_knows_which_library_runs():
    for path in FILES:
        if path.relative_to(ROOT).parts[0] not in ("backend", "testing", "cli"):
            assert not re.search(r"\bcupyx?\.|import cupy|is_cuda", path.read_text()), f"{path} names CuPy"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_no_file_or_function_outgrows_a_sitting(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 600, f"{path} is over 600 lines: split it by subject"
    assert path.stem not in ("utils", "helpers", "misc", "common")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
            assert node.end_lineno - node.lineno - doc <= 80, f"{path.name}: {node.name} is over 80 lines"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_what_is_public_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_no_pickle():
    for path in FILES:
        assert not any(name.partition(".")[0] in ("pickle", "cloudpickle", "dill", "joblib") for _,
                       name in imports(path)), path


def test_every_public_op_says_what_it_takes_gives_and_where_it_is_from():
    import minidl  # noqa: F401
    from minidl.op import REGISTRY
    for name, op in REGISTRY.items():
        if name.startswith("_"):
            continue
        assert op.__doc__ and op.sampler, f"{name}: needs a docstring and samples"
        if len(op.__doc__.splitlines()) > 3:
            for section in ("Args:", "Returns:"):
                assert section in op.__doc__, f"{name}: docstring lacks {section}"
            assert all(re.search(rf"\b{i}\b", op.__doc__) for i in op.inputs), f"{name}: an input is not described"
