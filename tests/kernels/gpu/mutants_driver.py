import sys, time, warnings; sys.path.insert(0, "tests/kernels/gpu")
import numpy as np
warnings.simplefilter("ignore")
from sizes import cases, CASES
from mutants import *
from minidl.testing.cupy_double import installed
from minidl.testing import kernelcheck as kc
from minidl.kernels.gpu.launch import launching
from minidl.op import REGISTRY
from minidl.dispatch import TABLE
T = [("attention", "cuda", 1, "float16"), ("conv2d", "triton", 1, "float16"), ("conv2d","cuda",1,"float16"), ("matmul", "triton", 0, "float16"), ("layer_norm", "triton", 0, "float32"), ("softmax", "triton", 0, "float32"),
     ("label_cross_entropy", "triton", 1, "float32"), ("lstm", "triton", 0, "float32"), ("gru","triton",0,"float32"), ("group_norm","triton",0,"float32"), ("geglu","triton",0,"float32")]
if len(sys.argv) > 1: T = [t for t in T if t[0] in sys.argv[1:]]
total = live = 0
for opname, maker, i, dt in T:
  with installed():
    op = REGISTRY[opname]; k = next(k for k in TABLE[opname, "cuda"] if k.maker == maker)
    case = CASES[opname][i]; want = kc.Expectation(op, *case, dt); want.answers
    with launching(Counting()) as c:
        t = time.time(); want.compare(k, want.by(k)); print(k.name, f"clean {time.time()-t:.2f}", flush=True)
    for entry, ran in c.ran.items():
        if entry.kernel == "column_sum" and opname != "layer_norm": continue
        for m in mutants(entry, ran):
            t = time.time(); total += 1
            try:
                with launching(Mutated(m)), np.errstate(all="ignore"): want.compare(k, want.by(k)); why = "SURVIVED"; live += 1
            except Exception as e: why = f"{type(e).__name__} {str(e)[:100]}"
            if "[" in why and not ("Assertion" in why or "Fault" in why) or why == "SURVIVED" or "-v" in sys.argv: print(f"  {m}  {time.time()-t:.2f} {why} | {m.before} -> {m.after} | {m.where[-90:]}", flush=True)
print(total, live)
