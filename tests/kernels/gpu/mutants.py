"""Slips of the pen in kernels for GPUs, and what notices each: a list of mutations of their sources.

A slip is (where, before, after, what notices it): behind the text `where` of the source, the first `before` becomes
`after`. What notices: "race", "fault" (out of bounds, a null pointer), "unwritten" (a read of memory that nobody
wrote, and other warnings of minidl.simt), or "values" beyond the budget of minidl/testing/kernelcheck.py. Those of SAME
are noticed by nothing; they show as well that what notices the others is the slip.
"""

# (file, op whose cases run it, dtype) -> its slips
SLIPS = {
    ("triton/norm.py", "layer_norm", "float32"): [
        ("def _normalise(", "(row < rows)", "(row <= rows)", "fault"),
        ("def _normalise(", "tl.sum(total, 1, keep_dims=True) / columns", "tl.sum(total, 1, keep_dims=True)", "values"),
        ("def _normalise(", "- centre, 0.0)", "- centre, -centre)", "values"),
        ("def _through(", "of_y - by_mean - normal", "of_y - normal", "values"),
        ("def _parts(", "of_bias += of_y", "of_bias = of_y", "values"),
        ("def _parts(", "part * 2 * columns", "part * columns", "race")],
    ("triton/norm.py", "group_norm", "float32"): [
        ("def _normalise_group(", "first_channel + at // inner", "at // inner", "values"),
        ("def _normalise_group(", "tl.where(at < count, rest * rest, 0.0)", "rest * rest", "values"),
        ("def group_norm_sums(", "mean + row // channels", "mean + row % channels", "fault"),
        ("def _through_group(", "2 * width", "width", "values")],
    ("triton/reduce.py", "layer_norm", "float32"): [
        ("def _sum_columns(", "(row < rows) & (column < columns)", "column < columns", "fault")],
    ("triton/reduce.py", "linear", "float16"): [
        ("def _sum_columns(", "part * chunk + first", "first", "values")],
    ("triton/softmax.py", "softmax", "float32"): [
        ("def _largest_and_sum(", "other=-INFINITY", "other=0.0", "values"),
        ("def _largest_and_sum(", "total = total * tl.exp(top - level)", "total = total", "values"),
        ("def _largest_and_sum(", "tl.where(new == -INFINITY, 0.0, new)", "new", "values"),
        ("def _interleaved(", "outer * count * inner", "outer * inner", "race"),
        ("def _softmax(", "values, mask)", "values, inside)", "fault"),
        ("def _through(", "(of_y - total)", "of_y", "values")],
    ("triton/softmax.py", "label_cross_entropy", "float32"): [
        ("def _label_loss(", "tl.where(counts, factor, 0.0)", "factor", "values"),
        ("def _label_loss(", "(1.0 - smoothing) * loss", "loss", "values"),
        ("def _label_gradient(", "column == label", "column == label + 1", "values"),
        ("def _label_gradient(", "column < count)", "column <= count)", "fault")],
    ("triton/activation.py", "geglu", "float32"): [
        ("def gate_forward(", "mask = at < count", "mask = at <= count", "fault"),
        ("def gate_backward(", "of_x *= tl.load(other + at", "of_x *= tl.load(x + at", "values")],
    ("triton/optim.py", "adam", "float32"): [
        ("def adam_step(", "at < count", "at <= count", "fault"),
        ("def adam_step(", "* correction + eps", "+ eps", "values"),
        ("def adam_step(", "rest2 * gradient * gradient", "rest2 * gradient", "values")],
    ("triton/matmul.py", "matmul", "float16"): [
        ("def tile_of(", "tl.minimum(tiles_m - first, GROUP)", "GROUP", "fault or values"),
        ("def matmul(", "(first + along < a_high)[None, :]", "True", "fault"),
        ("def matmul(", "tl.minimum(row, m - 1)", "row", "fault"),
        ("def matmul(", "low = tl.program_id(1) * chunk", "low = 0", "values"),
        ("def matmul(", "a += batch * vectors(a_batch)", "a += batch", "fault or values"),
        ("def matmul(", "b_at += b_step", "b_at += a_step", "fault or values"),
        ("mask = (row < m)", "(column < n)", "(column <= n)", "fault"),
        ("def matmul(", "start * y_stride + ", "start + ", "race")],
    ("triton/conv.py", "conv2d", "float16"): [
        ("def correlate(", "tl.minimum(row, windows - 1)", "row", "fault"),
        ("def correlate(", "(w >= 0) & ", "", "fault"),
        ("def correlate(", "(line * width + place)", "(place * width + line)", "fault or values"),
        ("def correlate(", "(column < padded(outputs))[None, :]", "True", "fault"),
        ("def filter_gradient(", " & (row < windows)[:, None]", "", "fault"),
        ("def filter_gradient(", "low = part * chunk", "low = part", "values")],
    ("triton/recurrent.py", "lstm", "float16"): [
        ("def _alive(", "step < end", "step <= end", "values"),
        ("def _recurrent(", "2 * step", "step", "values"),
        ("def lstm_forward(", "tl.where(alive, c_new, c_old)", "c_new", "values"),
        ("def lstm_backward(", "old + gh * o", "gh * o", "values")],
    ("triton/recurrent.py", "gru", "float16"): [
        ("def gru_forward(", "r * nh", "nh", "values"),
        ("def gru_backward(", "tl.where(alive, gh * z, gh)", "gh * z", "values")],
    ("cuda/conv.cu", "conv2d", "float16"): [
        ("struct View", "window < w.count ?", "true ?", "fault"),
        ("struct Tap", "place = 0, line++", "place = 0", "values"),
        ("void fetch(int stage)", "there && i < outputs", "there", "fault"),
        ("void run()", "wait_copies<STAGES - 2>();", "wait_copies<STAGES - 1>();", "race"),
        ("void run()", "__syncthreads();", "", "race"),
        ("wait_copies<0>();", "__syncthreads();", "", "race"),
        ("void finish(const Outputs", "__syncthreads();", "", "race"),
        ("void finish(const Outputs", "output + i < w.outputs ?", "true ?", "fault"),
        ("struct FilterGradient", "window < high && ", "", "fault"),
        ("struct FilterGradient", "if (++line == w.p) line = 0, image++", "++line", "values"),
        ("struct FilterGradient", "wait_copies<STAGES - 2>();", "", "race")],
    ("cuda/attention_forward.cu", "attention", "float16"): [
        ("void run()", "wait_copies<STAGES - 2>();", "", "race"),
        ("void run()", "__syncthreads();", "", "race"),
        ("wait_copies<0>();", "__syncthreads();", "", "race"),
        ("void fold(", "total *= fade;", "", "values"),
        ("void fold(", "peak == -infinity() ? 0 : peak", "peak", "values"),
        ("void finish(", "__syncwarp();", "", "race"),
        ("void finish(", "lane_column() == 0 && query < sequence.queries", "lane_column() == 0", "fault"),
        ("void finish(", "a.kept / total", "1 / total", "values")],
    ("cuda/attention.cuh", "attention", "float16"): [
        ("bool sees(", "distance <= a.behind", "distance < a.behind", "values"),
        ("bool sees(", " && key < sequence.keys", "", "fault or values")],
    ("cuda/attention.cuh", "attention_packed", "float16"): [
        ("i64 number(", " + first_query + query", " + query", "race or values"),
        ("struct Place", "+ middle <= block", "+ middle < block", "unwritten or values")],
    ("cuda/rows.cuh", "attention", "float16"): [
        ("float row_sum(", "(~0u, x, 2)", "(~0u, x, 1)", "values")],
    ("cuda/decode.cu", "decode_attention", "float16"): [
        ("void run(", "wait_copies<0>();", "", "race"),
        ("void run(", "__syncthreads();", "", "race"),
        ("void weigh(", "at <= own", "at < own", "values"),
        ("void weigh(", "total[i] *= fade;", "", "values"),
        ("void finish(", "chunk * Shape::WARPS + warp()", "warp()", "race"),
        ("void join(", "__syncthreads();", "", "race")],
    ("cuda/rotary.cu", "rotary", "float16"): [
        ("void rotary(", "item >= p.items", "item > p.items", "fault"),
        ("void rotary(", "u * sin + v * cos", "u * cos + v * sin", "values")],
    ("cuda/attention_backward.cu", "attention", "float16"): [
        ("void run()", "wait_copies<STAGES - 2>();", "", "race"),
        ("void run()", "__syncthreads();", "", "race"),
        ("void find_delta()", "wait_copies<0>();", "", "race"),
        ("void find_delta()", "__syncthreads();", "", "race"),
        ("to.delta[sequence.number(a, h, query)] = delta[i];", "__syncthreads();", "", "race"),
        ("void fetch(int head", "from + i < sequence.queries ? 4 : 0", "4", "fault"),
        ("void weigh(", "gradient * (1 - bent * bent)", "gradient", "values"),
        ("void weigh(", "d[n][j] * factor - mean", "d[n][j] * factor", "values"),
        ("void put(", "__syncwarp();", "", "race")],
    ("cuda/depthwise.cu", "conv2d", "float16"): [
        ("void depthwise_correlate(", "if (v < 0 || v >= w.width) continue;", "", "fault"),
        ("void depthwise_correlate(", "if (j + u >= w.q) continue;", "", "fault"),
        ("void run(const T* x", " || v >= w.width", "", "fault or values"),
        ("void gather(", "sum += __shfl_xor_sync(~0u, sum, 8);", "", "values"),
        ("void gather(", "__syncthreads();", "", "race")],
    ("cuda/recurrence.cuh", "lstm", "float16"): [
        ("const bool alive =", "step < lengths[row]", "step <= lengths[row]", "values"),
        ("void meet(", "__syncthreads();", "", "race"),
        ("void meet(", "red.release.gpu", "red.relaxed.gpu", "race"),
        ("void meet(", "ld.acquire.gpu", "ld.relaxed.gpu", "race"),
        ("void run(const T* rows", "turn ^= 1;", "", "race"),
        ("void run(const T* rows", "__syncthreads();", "", "race")],
    ("cuda/recurrent.cu", "lstm", "float16"): [
        ("struct LstmBackward", "p.alive ? 0 : of_h", "0", "values")],
    ("cuda/recurrent.cu", "gru", "float16"): [
        ("struct GruForward", "reset * a[2]", "a[2]", "values")],
}

# The same in what Triton compiled, where barriers and waits are its own: (file, op, dtype) -> (pattern, instead, what
# notices it), of all instructions that match.
COMPILED = {
    ("triton/matmul.ptx", "matmul", "float16"): [
        (r"cp\.async\.wait_group\s+2;", "cp.async.wait_group 3;", "race"),
        (r"cp\.async\.wait_group\s+0;", "", "race"),
        (r"bar\.sync\s+0;", "", "race"),
        (r"(ldmatrix\.sync\.aligned\.m8n8\.x4)\.trans", r"\1", "values")],
    ("triton/conv.ptx", "conv2d", "float16"): [
        (r"cp\.async\.wait_group\s+\d;", "", "race")],
    ("triton/recurrent.ptx", "lstm", "float16"): [
        (r"cp\.async\.wait_group\s+\d;", "", "race")],
    ("triton/norm.ptx", "group_norm", "float32"): [
        (r"bar\.sync\s+0;", "", "race"),
        (r"(shfl\.sync\.bfly\.b32\s+\S+ \S+) 16,", r"\1 0,", "race or values")],
    ("triton/softmax.ptx", "softmax", "float32"): [
        (r"@%p\d+ (st\.global)", r"\1", "fault")],
}

# What differs in speed alone, and why. Beyond what is here, of the single waits and barriers of the compiled matmul
# some do nothing: Triton waits twice in a row, and again where nothing was copied since; and comparisons with K are
# unrolled into copies that only certain K ever make true.
SAME = {
    ("triton/matmul.py", "matmul", "float16"): [
        ("def matmul(", "range(low, tl.minimum(high, k), BLOCK_K)", "range(low, high, BLOCK_K)",
         "blocks behind K are masked: they add zeros")],
    ("triton/softmax.py", "label_cross_entropy", "float32"): [
        ("def _label_loss(", "known = counts & ", "known = inside & ",
         "what is loaded for a label that does not count is not used")],
    ("cuda/conv.cu", "conv2d", "float16"): [
        ("commit_copies();\n      const Given given", "wait_copies<0>();", "",
         "groups that are left after the last slab are empty")],
    ("cuda/depthwise.cu", "conv2d", "float16"): [
        ("void run(const T* x", "if (tap + t >= w.taps || ", "if (",
         "what is summed for taps beyond the last is not stored")],
    ("cuda/copies.cuh", "attention", "float16"): [
        ("u32 chunk(", "((column & LOW) ^ ((more ^ row / SPREAD) & LOW))", "((column & LOW) ^ (more & LOW))",
         "the order of chunks within a row is known to one function only, and decides how many banks are busy")],
}
