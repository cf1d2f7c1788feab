"""Files made to attack their reader: each is refused, with the name of what it wanted; none runs anything."""
import io as streams
import itertools
import os
import signal
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minidl import io
from minidl.errors import CheckpointError
from minidl.io import inert
from minidl.testing import checkpoints as write
from minidl.testing import fuzz_checkpoints
from minidl.testing.checkpoints import Call, Global, Persistent, Raw, pickled, torch_legacy, torch_zip

FORMATS = Path(__file__).parents[1] / "parity/formats"
W = {"w": np.arange(6, dtype="f4")}


def refused(folder, content, reason, name="x.pth"):
    """Both readers refuse the file, name it, and give the reason; nothing is left behind by a command."""
    path = folder / name
    path.write_bytes(content)
    for read in io.load, io.weights:
        with pytest.raises(CheckpointError) as error:
            dict(read(path))
        assert str(path) in str(error.value) and reason in str(error.value), str(error.value)
    assert os.listdir(folder) == [name]


# -- names: every function that public exploits have called -----------------------------------

COMMAND = "touch {}/owned"
NAMES = """
os.system posix.system nt.system os.popen posix.popen os.execv os.spawnl subprocess.Popen subprocess.check_output
subprocess.run subprocess.getoutput pty.spawn builtins.eval builtins.exec __builtin__.eval __builtin__.exec
builtins.getattr __builtin__.getattr builtins.setattr builtins.__import__ builtins.compile builtins.open builtins.apply
builtins.execfile builtins.globals builtins.vars builtins.map builtins.input builtins.breakpoint builtins.bytes
builtins.type builtins.range io.open _io.FileIO importlib.import_module imp.load_source runpy.run_path runpy._run_code
sys.exit sys.modules shutil.rmtree socket.socket socket.create_connection webbrowser.open urllib.request.urlopen
requests.api.get http.client.HTTPSConnection ftplib.FTP ssl.get_server_certificate smtplib.SMTP
ctypes.CDLL ctypes.WinDLL _ctypes.dlopen pickle.loads _pickle.loads cPickle.loads dill.loads cloudpickle.loads
joblib.load marshal.loads shelve.open torch.load torch.hub.load torch.hub.load_state_dict_from_url
torch.jit.load torch.jit.unsupported_tensor_ops.execWrapper torch._C._jit_script_compile torch.storage._load_from_file
torch.serialization.load torch._inductor.codecache.compile_file torch._dynamo.guards.GuardBuilder.get
torch.utils._config_module.ConfigModule.load_config torch.utils.collect_env.run
torch.utils.bottleneck.__main__.run_cprofile torch.utils.data.datapipes.utils.decoder.basichandlers
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch.package.PackageImporter
torch.distributed.rpc.internal._internal_rpc_pickler torch.nn.init.kaiming_normal_ torch.set_default_dtype
torch._utils._rebuild_sparse_tensor torch._utils._rebuild_wrapper_subclass torch._utils._import_dotted_name
torch.from_file torch.tensor torch.zeros torch.nn.utils.clip_grad_norm_ torch.ops.load_library
numpy.testing._private.utils.runstring numpy.testing._private.utils.rundocs numpy.f2py.crackfortran.myeval
numpy.f2py.crackfortran.getlincoef numpy.load numpy.memmap numpy.fromfile numpy.save numpy.ctypeslib.load_library
numpy.core.multiarray.fromfile numpy.distutils.exec_command.exec_command numpy.vectorize
functools.partial functools.reduce operator.attrgetter operator.itemgetter operator.methodcaller
_operator.attrgetter codecs.open codecs.decode _codecs.decode _codecs.lookup pydoc.locate pydoc.pipepager
pydoc.render_doc bdb.Bdb bdb.Bdb.run pdb.Pdb code.InteractiveInterpreter code.InteractiveInterpreter.runcode
code.interact codeop.compile_command timeit.timeit timeit.main cProfile.run cProfile.runctx profile.Profile.run
profile.run trace.Trace.run doctest.debug_script doctest.debug unittest.main ast.literal_eval asyncio.run
asyncio.unix_events._UnixSubprocessTransport._start commands.getoutput multiprocessing.util.spawnv_passfds
concurrent.futures.ProcessPoolExecutor threading.Thread signal.signal gc.get_objects inspect.getattr_static
types.CodeType types.FunctionType copy.deepcopy copyreg._reconstructor copyreg.add_extension copyreg.__newobj__
weakref.finalize tempfile.mktemp zipimport.zipimporter pkgutil.resolve_name pip.main pip._internal.main
ensurepip._run_pip venv.create distutils.file_util.write_file lib2to3.pgen2.pgen.ParserGenerator.make_label
lib2to3.pgen2.grammar.Grammar.loads idlelib.autocomplete.AutoComplete.get_entity
idlelib.calltip.get_entity idlelib.pyshell.ModifiedInterpreter.runcode idlelib.run.Executive.runcode
idlelib.debugobj.ObjectTreeItem.SetText test.support.script_helper.assert_python_ok uuid._get_command_stdout
logging.config.listen logging.config.valueAsTuple logging.FileHandler sqlite3.connect sqlite3.load_extension
tarfile.open zipfile.ZipFile pathlib.Path.write_text pathlib.Path.unlink nturl2path.url2pathname aiohttp.client
collections.namedtuple collections.UserDict collections.OrderedDict.fromkeys string.Formatter.format
linecache.getline site.main sysconfig._main mimetypes.init getpass.getpass cgitb.lookup dis.dis
pandas.read_pickle pandas.core.computation.eval.eval scipy.io.loadmat sklearn.utils._joblib keras.models.load_model
tensorflow.io.read_file jax.experimental.host_callback.call cv2.imread PIL.Image.open yaml.unsafe_load
""".split()
OPCODES = {                                            # every way in which an opcode calls a name
    "REDUCE": lambda module, name, args: Call(Global(module, name), args),
    "STACK_GLOBAL": lambda module, name, args: Call(Raw(pickled(module)[2:-1] + pickled(name)[2:-1] + b"\x93"), args),
    "NEWOBJ": lambda module, name, args: Call(Global(module, name), args, code=b"\x81"),
    "NEWOBJ_EX": lambda module, name, args: Call(Global(module, name), args, code=b"}\x92"),
    "INST": lambda module, name, args: Raw(b"(" + b"".join([pickled(a)[2:-1] for a in args])
                                           + f"i{module}\n{name}\n".encode()),
    "OBJ": lambda module, name, args: Raw(b"(" + f"c{module}\n{name}\n".encode()
                                          + b"".join([pickled(a)[2:-1] for a in args]) + b"o"),
}


@pytest.mark.parametrize("opcode", OPCODES)
def test_names_that_run_something_are_refused_by_their_name(tmp_path, opcode):
    for full in NAMES:
        module, _, name = full.rpartition(".")
        attack = {**W, "x": OPCODES[opcode](module, name, (COMMAND.format(tmp_path),))}
        for writer in (torch_zip, torch_legacy, pickled) if full in ("os.system", "builtins.eval") else (torch_zip,):
            refused(tmp_path, writer(attack), f"'{full}'")


@pytest.mark.parametrize("module, name", [
    ("torch", "hub.load"), ("os", "path.os.system"), ("torch.nn.modules.conv", "Conv2d.__class__"), ("collections",
     "OrderedDict.__reduce_ex__"), ("models.yolo", "os.system"), ("models", "__builtins__"), ("", "eval"), ("os", ""),
    ("torch.nn.modules.__globals__", "x"), ("models. os", "system"), ("models..os", "system"),
    ("models.\u00e9 ", "x"),
    ("torch.nn.modules", "conv.os.system"), ("ultralytics", "../../x"), ("argparse", "Namespace.__init__"),
    ("torch_utils.persistence", "_src_to_module.x"), ("numpy", "ndarray.tofile"),
    ("builtins", "object.__subclasses__")])
def test_walks_from_one_attribute_to_the_next_are_refused(tmp_path, module, name):
    for opcode in "REDUCE", "STACK_GLOBAL", "INST":
        refused(tmp_path, torch_zip({**W, "x": OPCODES[opcode](module, name, ("id",))}), repr(f"{module}.{name}"))


SYSTEM = Global("posix", "system")
ORDERED, DTYPE = Global("collections", "OrderedDict"), Global("numpy", "dtype")
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
STORAGE = Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 6))
CONV = Global("torch.nn.modules.conv", "Conv2d")


def array_of(dtype, shape, data):
    empty = Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b"))
    return Call(empty.function, empty.args, (1, shape, dtype, False, data))


@pytest.mark.parametrize("value, reason", [
    # calling what is no function; functions reached in other ways than by a name
    (Call("posix.system", ("id",)), "a call of a str"), (Call(Call(CONV), ("id",)), "a call of a StandIn"),
    (Call(Call(ORDERED), ()), "a call of a dict"), (Call(Global("torch", "float32"),
    ("x",)), "a call of a Float32DType"),
    (Call(Global("torch", "FloatStorage"), (10**12,)), "a call of a StorageType"),
    (Call(ORDERED, ["id"]), "a call of"),
    (Call(Global("torch._tensor", "_rebuild_from_type_v2"), (SYSTEM, ORDERED, ("id",), {})), "'posix.system'"),
    (Call(Global("torch._tensor", "_rebuild_from_type_v2"), (CONV, ORDERED, ("id",), {})), "another function"),
    (Call(Global("torch._tensor", "_rebuild_from_type_v2"), (ORDERED, ORDERED, ([],), {})), "another function"),
    (Call(Global("collections", "defaultdict"), (SYSTEM,)), "'posix.system'"),
    (Call(Global("_codecs", "encode"), ("uryyb", "rot13")), "'rot13'"),
    (Call(Global("_codecs", "encode"), ("x", "zip")), "'zip'"), (Raw(b"(lposix\nsystem\n"), "LIST"),
    # BUILD: states with tricks
    (Call(ORDERED, (), {"__setstate__": SYSTEM}), "'posix.system'"), (Raw(b"]}b"), "a state for a list"),
    (Raw(b"cbuiltins\nobject\n}b"), "a state for a Name"), (Raw(b"ctorch\nfloat32\n}b"), "a state for"),
    (Raw(b"ccollections\nOrderedDict\n}X\x0c\0\0\0__setstate__Nsb"), "a state for a Call"),
    # extensions, persistent ids, buffers, text opcodes
    (Raw(b"\x82\1"), "EXT1"), (Raw(b"\x83\1\0"), "EXT2"), (Raw(b"\x84\1\0\0\0"), "EXT4"),
    (Raw(b"Pposix.system\n"), "PERSID"),
    (Persistent(("system", "id")), "a persistent id that is none of a storage"),
    (Persistent("id"), "a persistent id"),
    (Persistent(("storage", SYSTEM, "0", "cpu", 6)), "'posix.system'"), (Raw(b"\x97"), "NEXT_BUFFER"),
    (Persistent(("storage", CONV, "0", "cpu", 6)), "'torch.nn.modules.conv.Conv2d'"),
    (Raw(b"Nq\0\x98"), "READONLY_BUFFER"),
    (Persistent(("storage", Global("torch", "QInt8Storage"), "0", "cpu", 6)), "'torch.QInt8Storage'"),
    (Persistent(("module", CONV, "x.py", "import os")), "a persistent id"), (Raw(b"\xff"), "the opcode 0xff"),
    (Raw(b"I1\n"), "INT"), (Raw(b"L1L\n"), "LONG"), (Raw(b"S'x'\n"), "STRING"), (Raw(b"Vx\n"), "UNICODE"),
    (Raw(b"F1\n"), "FLOAT"), (Raw(b"N2"), "DUP"), (Raw(b"N0N"), "POP"), (Raw(b"(1N"), "POP_MARK"),
    (Raw(b"g0\n"), "GET"),
    # arrays of objects, whose bytes would be addresses; dtypes with fields
    (Call(DTYPE, ("O8", False, True)), "the dtype 'O8'"), (Call(DTYPE, ([("a", "O")],)), "the dtype [('a'"),
    (Call(DTYPE, ("f4,O",)), "the dtype"), (Call(DTYPE, ("f4",), (3, "<", (("a", "O"),
    ()), None, None)), "with fields"),
    (Call(DTYPE, ("V8",)), "the dtype 'V8'"), (Call(DTYPE, ("S99999999",)), "the dtype"),
    (array_of(Call(DTYPE, ("f4",)), (10**9, 10**9), b""), "an array of shape"),
    (array_of("f4", (1,), b"1234"), "a str"),
    (array_of(Call(DTYPE, ("f4",)), (-1, -1), b"1234"), "an array of shape"),
    (array_of(Call(DTYPE, ("f4",)), (1,), [Call(SYSTEM, ("id",))]), "'posix.system'"),
    (Call(Global("numpy.core.multiarray", "_reconstruct"), (SYSTEM, (0,), b"b")), "'posix.system'"),
    (Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b")), "no content"),
    # what would take memory or time without end
    (Call(Global("builtins", "bytearray"), (10**15,)), "builtins.bytearray"), (Call(Global("builtins", "set"),
    ("x" * 99,)), "set"),
    (Call(Global("builtins", "set"), (((1, 2), (3, 4)),)), "a key of a dict or set that is a tuple"),
    ({(1,): 2}, "a tuple"),
    ({2**64: 1}, "a key of"), ({Call(CONV): 1}, "a StandIn"),
    (Raw(b"\x8b" + struct.pack("<I", 2**31) + b"1"), "an integer"),
    (Raw(b"\x8d" + struct.pack("<Q", 2**63)), "cut short"),
    (Raw(b"\x8e" + struct.pack("<Q", 2**64 - 1)), "cut short"),
    (Raw(b"\x96" + struct.pack("<Q", 2**40)), "cut short"), (Raw(b"\x95" + struct.pack("<Q", 2**40)), "cut short"),
    (Raw(b"X\xff\xff\xff\xff"), "cut short"), (Raw(b"r\xff\xff\xff\xff"), "a key without"),
    (Raw(b"j\xff\xff\xff\xff"), "has not kept"),
    (Raw(b"]" * 300 + b"N" + b"a" * 300), "a nest 2"), (Raw(b"]q\0h\0a"), "a value contains itself"),
    (Raw(b"}q\0X\1\0\0\0ah\0s"), "contains itself"), (Raw(b"h\0"), "has not kept"),
    (Raw(b"(" * 90_000 + b"t" * 90_000), "far more memory"), (Raw(b"}" * 90_000), "far more memory"),
    (Raw(b"\x8f\x94" * 20_000), "far more memory"), (Raw(b"Nq\0" + b"h\0" * 400_000), "far more memory"),
    (Raw(b"(]\x94" + b"".join([b"](" + b"h%c" % i * 10 + b"e\x94" for i in range(9)]) + b"t"), "a nest 7 deep of 1"),
    # a stack machine that is led astray
    (Raw(b"R"), "a call"), (Raw(b"ttt"), "goes back to a mark"), (Raw(b"}N(u"), "wants a dict"),
    (Raw(b"NNs"), "wants a dict"), (Raw(b"}(Nu"), "a key without"),
    (Raw(b"NNa"), "wants a list"), (Raw(b"N(e"), "wants a list"), (Raw(b"N(\x90"), "wants a set"),
    (Raw(b"N("), "wants a dict"),
    (Raw(b"NN"), "x"), (Raw(b"\x93"), "no text"), (Raw(b"NN\x93"), "no text"), (Raw(b"\x80\x09N"), "protocol 9"),
    (Raw(b"\x80\0N"), "protocol 0"), (Raw(b"cposix"), "cut short"), (Raw(b"X\2\0\0\0\xff\xff"), "decode"),
    # tensors that reach outside of their storage
    *[(Call(REBUILD, (STORAGE, start, size, stride, False, Call(ORDERED))), reason) for start, size, stride, reason in [
        (0, (7,), (1,), "ends outside"), (1, (6,), (1,), "ends outside"), (0, (2, 3), (4, 1), "ends outside"),
        (-1, (2,), (1,), "a tensor of shape"), (0, (-2,), (1,), "a tensor of shape"), (5, (2,),
        (-1,), "a tensor of shape"),
        (2**62, (1,), (1,), "a tensor of shape"), (0, (2**40, 2**40), (0, 0), "larger than the whole file"),
        (0, (2**33,), (2**31,), "ends outside"), (0, (2**61,), (4,), "ends outside"), (True, (1,),
        (1,), "a tensor of shape"),
        (0, (1,), (1, 1), "a tensor of shape"), (0, 6, 1, "not integers"), (0, (1.0,), (1,), "not integers"),
        (None, (1,), (1,), ""),
        (0, (1,) * 70, (1,) * 70, "70 axes"), (0, (2**20,), (0,), "larger than"), (0, (0, 2**62), (1, 1), "")]],
    (Call(REBUILD, ("storage", 0, (1,), (1,), False)), "without a storage"),
    (Call(REBUILD, ()), "_rebuild_tensor_v2"),
    (Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 7)), "of 24 bytes"),
    (Persistent((1,) * 5), "none of"),
    (Persistent(("storage", Global("torch", "DoubleStorage"), "0", "cpu", 3)), "float64"),
    (Persistent(()), "none of"),
    (Persistent(("storage", Global("torch", "FloatStorage"), "../data.pkl", "cpu", 6)), "data.pkl"),
    (Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", -6)), "without a key or a length"),
    (Persistent(("storage", Global("torch", "FloatStorage"), 0, "cpu", 6)), "without a key"),
], ids=lambda v: repr(v)[:60])
def test_what_a_pickle_may_try_beside_names(tmp_path, monkeypatch, value, reason):
    monkeypatch.setattr(inert, "ALLOWANCE", 1 << 22)   # (the larger the slower the bombs, and nothing else)
    refused(tmp_path, torch_zip({**W, "x": value}), reason)


@pytest.mark.parametrize("inside, reason", [
    (pickled(Call(SYSTEM, ("id",))), "'posix.system'"),
    (torch_legacy({"x": Call(SYSTEM, ("id",))}), "'posix.system'"),
    (torch_legacy(W), "more than a storage"), (pickled(W), "no file of torch"), (torch_zip(W), "the opcode PERSID"),
    (pickled(Call(Global("torch.storage", "_load_from_bytes"), (b"",))), "'torch.storage._load_from_bytes'"),
    (b"", "cut short")])
def test_a_file_inside_of_a_pickle_is_read_by_the_same_rules(tmp_path, inside, reason):
    refused(tmp_path, pickled({**W, "x": Call(Global("torch.storage", "_load_from_bytes"), (inside,))}), reason)


def test_a_file_inside_of_a_pickle_is_not_read_without_end(tmp_path):
    """One file of a megabyte, and a thousand calls to read it."""
    inside = torch_legacy({"x": [None] * 200_000})
    call = b"ctorch.storage\n_load_from_bytes\nh\0\x85R"
    refused(tmp_path, b"\x80\2(" + pickled(inside)[2:-1] + b"q\0" + call * 1000 + b"t.", "storage")


@pytest.mark.parametrize("name", ["x.safetensors", "x.json", "x.npz", "model.bin", "x.txt", "x", "x.ckpt.tar"])
def test_a_name_changes_nothing(tmp_path, name):
    refused(tmp_path, (FORMATS / "refuse_zip.pth").read_bytes(), "'posix.getcwd'", name)


def test_what_follows_a_pickle_is_not_passed_over(tmp_path):
    attack = pickled(Call(SYSTEM, ("id",)))
    refused(tmp_path, pickled({"w": W["w"]}) + attack, "bytes follow its pickle")
    refused(tmp_path, torch_legacy(W) + attack, "bytes follow the last storage")


# -- zip files ------------------------------------------------------------------------------

def edited(content, place, form, *values):
    """The bytes with numbers put somewhere; a negative place counts from the end."""
    content = bytearray(content)
    struct.pack_into(form, content, place % len(content), *values)
    return bytes(content)


GOOD = torch_zip(W)
ATTACK = pickled({"w": Call(SYSTEM, ("id",))})
END, CENTRAL, LOCAL = GOOD.rindex(b"PK\5\6"), GOOD.index(b"PK\1\2"), 0
DATA = GOOD.index(b"PK\3\4", 1)
STREAM = streams.BytesIO(GOOD)
with zipfile.ZipFile(STREAM, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
    archive.writestr("archive/data.pkl", ATTACK)
DUPLICATE = STREAM.getvalue()


@pytest.mark.parametrize("content, reason", [
    (torch_zip(W, extra=[("archive/evil.pkl", ATTACK)]), "'archive/evil.pkl'"),
    (DUPLICATE, "two entries of the name"),
    (torch_zip(W, extra=[("archive/code/__torch__.py", b"import os")]), "'archive/code/__torch__.py'"),
    (torch_zip(W, extra=[("archive/constants.pkl", ATTACK)]), "'archive/constants.pkl'"),
    (torch_zip(W, extra=[("other/data.pkl", ATTACK)]), "one directory"),
    (torch_zip(W, extra=[("evil", b"")]), "one directory"),
    (torch_zip(W, extra=[("archive/../evil", b"")]), "leads elsewhere"), (torch_zip(W, root=".."), "leads elsewhere"),
    (torch_zip(W, extra=[("/etc/passwd", b"")]), "'/etc/passwd'"), (torch_zip(W, extra=[("C:\\evil", b"")]), "evil"),
    (torch_zip(W, extra=[("archive/version/", b"")]), "leads elsewhere"), (write.zipped([]), "it has nothing"),
    (write.zipped([("a.txt", b"")]), "neither torch's nor NumPy's: it has a.txt"),
    (write.zipped([("a.npy", b""), ("evil.pkl", ATTACK)]), "evil.pkl"), (write.zipped([("a.npy", ATTACK)]), "a.npy"),
    (write.zipped([("archive/data.pkl", pickled(W))], packed=True), "'archive/data.pkl' is packed"),
    (write.zipped([("archive/data.pkl", pickled(W)), ("archive/byteorder", b"big")]), "little-endian"),
    (GOOD + b"x", "something follows"), (b"PK\3\4" + GOOD, "is not before its end"), (GOOD[:-1], "cut short"),
    (GOOD + GOOD, "is not before its end"), (GOOD + GOOD[END:], "is not before its end"), (GOOD[:END], "cut short"),
    (GOOD[:END] + write.zipped([("archive/data.pkl", ATTACK)]), "is not before its end"),
    (edited(GOOD, -2, "<H", 9) + b"PK\5\6" + b"x" * 5, "cut short"), (edited(GOOD, -2, "<H", 1), "comment"),
    (edited(GOOD, END + 4, "<H", 1), "several parts"), (edited(GOOD, END + 8, "<2H", 3, 3), "not as long as it says"),
    (edited(GOOD, END + 8, "<2H", 9999, 9999), "damaged"), (edited(GOOD, END + 16, "<I", CENTRAL - 1), "not before"),
    (edited(GOOD, CENTRAL + 8, "<H", 1), "encrypted"), (edited(GOOD, CENTRAL + 10, "<H", 12), "method 12"),
    (edited(GOOD, CENTRAL + 16, "<I", 1), "contradicts"), (edited(GOOD, CENTRAL + 24, "<I", 9), "contradicts"),
    (edited(GOOD, CENTRAL + 20, "<2I", 2**31, 2**31), "contradicts"),
    (edited(GOOD, CENTRAL + 42, "<I", DATA), "contradicts"),
    (edited(GOOD, CENTRAL + 42, "<I", 2**31), "outside the zip file"),
    (edited(GOOD, LOCAL + 8, "<H", 8), "contradicts"),
    (edited(GOOD, LOCAL + 30, "4s", b"evil"), "contradicts"),
    (edited(GOOD, LOCAL + 28, "<H", 9), "does not follow on"),
    (edited(GOOD, GOOD.index(W["w"].tobytes()), "<f", 9), "do not have their checksum"),
    (edited(GOOD, GOOD.index(b"_rebuild"), "8s", b"_REBUILD"), "do not have their checksum"),
    (b"".join([edited(GOOD, DATA,
     "4s", b"PK\3\4")[:CENTRAL], GOOD[CENTRAL:CENTRAL + 46], GOOD[CENTRAL + 46:]])[:-4], "cut short"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_zip_files_about_which_readers_could_differ(tmp_path, content, reason):
    refused(tmp_path, content, reason)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = write.npz({"a": np.zeros(2**27, "u1")}, packed=True)
    refused(tmp_path, bomb, "far beyond its own")
    size = bomb.index(b"PK\1\2") + 24
    npy = bomb.index(b"a.npy") - 30
    small = edited(edited(bomb, size, "<I", 1000), npy + 22, "<I", 1000)
    refused(tmp_path, small, "")


def test_entries_that_share_bytes(tmp_path):
    """A zip file of one entry that its directory has a hundred times, under other names."""
    one = write.zipped([("archive/data/10", bytes(1000))])
    central, end = one.index(b"PK\1\2"), one.index(b"PK\5\6")
    many = one[:central] + b"".join([one[central:end].replace(b"/10", b"/%d" % n) for n in range(10, 60)])
    content = edited(many + one[end:], -14, "<2H2I", 50, 50, len(many) - central, central)
    refused(tmp_path, content, "")


@pytest.mark.parametrize("header, reason", [
    ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "the dtype '|O'"), ("", "objects or fields"),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "objects or fields"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (99,), }", "a.npy of shape (99,)"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "objects or fields"), ("(" * 5000, "or damaged"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "a.npy of shape"),
    ("{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,), }", "or damaged")])
@pytest.mark.parametrize("packed", [False, True])
def test_npy_headers(tmp_path, header, reason, packed):
    header = header.ljust(117) + "\n"
    content = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + bytes(4)
    refused(tmp_path, write.zipped([("a.npy", content)], packed), reason)


# -- damaged files of every format ------------------------------------------------------------

def many(count, item):
    return b",".join([item % n for n in range(count)])


def bombs():
    """Small files that want much: objects, names, tensors, entries, JSON."""
    return [
        b"\x80\2(" + b"\x8f" * 2_000_000 + b"t.", b"\x80\2(" + b"G12345678" * 2_000_000 + b"t.",
        b"\x80\2(cmodels.x\nY\nq\0)q\1" + b"h\0h\1\x81" * 1_000_000 + b"t.", pickled([[[]] * 499_990]),
        torch_zip([W["w"], Raw(b"(" + write.pickled(STORAGE.identity)[2:-1] + b"q\1Q" + b"h\1Q" * 200_000 + b"t")]),
        write.zipped([(f"{n}.npy", b"") for n in range(70_000)]), write.npz({"a": np.zeros(2**27, "u1")}, True),
        *[struct.pack("<Q", len(header)) + header for header in (
            b"{" + many(300_000, b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}') + b"}",
            b'{"__metadata__":{"minidl":"[' + b"[]," * 2_000_000 + b'1]"}}',
            b'{"__metadata__":{"minidl":"' + b"[" * 200_000 + b'"}}')],
        b'{"weight_map":{' + many(200_000, b'"%d":"shard"') + b"}}"]


def test_no_bomb_takes_more_than_damaged_files_may(monkeypatch):
    files = bombs()
    monkeypatch.setattr(fuzz_checkpoints, "case", lambda valid, seed, number: ("a bomb", files[number]))
    monkeypatch.setattr(fuzz_checkpoints, "SECONDS", 120)
    assert fuzz_checkpoints.fuzz(len(files), seed=0)[1] == []


def test_damaged_files_give_a_state_or_an_error():
    """3000 of the cases of `python -m minidl.testing.fuzz_checkpoints`; a million are run by hand."""
    outcomes, failures = fuzz_checkpoints.fuzz(3000, seed=0)
    assert not failures and outcomes["state"] + outcomes["error"] == 3000 and min(outcomes.values()) > 100


@pytest.mark.parametrize("wrong, how", [
    (lambda: [][0], "an exception"), (lambda: bytearray(2**30), "an exception"), (lambda: time.sleep(60), "not back"),
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "died: -9")])
def test_the_fuzzer_sees_what_goes_wrong(monkeypatch, wrong, how):
    """An exception, too much memory, a hang, a death: it is told, and the other cases go on."""
    calls = itertools.count()
    monkeypatch.setattr(fuzz_checkpoints, "judge", lambda path: wrong() if next(calls) == 2 else "state")
    monkeypatch.setattr(fuzz_checkpoints, "SECONDS", 1)
    outcomes, ((number, _, told),) = fuzz_checkpoints.fuzz(4, seed=0)
    assert (outcomes["state"], number, told[:len(how)]) == (3, 2, how)
