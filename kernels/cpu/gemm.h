// GEMM: C[M, N] (+)= A[M, K] B[K, N], then an epilogue; any strides of A and B (in elements), rows of C dense.
//
// Kernels of other families include this and call `gemm` from their instruction set's namespace, inside of tasks too
// (it then runs on the caller's thread alone). An element of C is one chain of fused multiply-adds per slice of K, the
// slices added in order: its bits depend on K only, not on threads, blocking or its place.
// (Products with few rows or columns sum in an order of their own: thin.h.)
//
// A panel of A stays in L1 while a block of B goes by from L2. It is packed only where tiles cannot read it in place.
//
// Source: Goto, van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#pragma once
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/thin.h"

namespace minidl::MINIDL_ISA {

// K in slices of equal depth, as few as fit: each costs C a round trip.
template <class T>
struct Slices {
  static constexpr int64_t DEEPEST = 3072 / sizeof(T);  // MR rows of it are 42 KiB
  int64_t K, count, depth;
  explicit Slices(int64_t K) : K(K), count(ceil_div(K, DEEPEST)), depth(round_up(ceil_div(K, count), LANES<T>)) {
    count = ceil_div(K, depth);
  }
  int64_t start(int64_t slice) const { return slice * depth; }
  int64_t size(int64_t slice) const { return min(depth, K - start(slice)); }
};

// -- B packed: by slices of K, each [sliver][depth][NR], the last sliver filled up with 0 -----------------------------

template <class T>
int64_t packed_b_size(int64_t K, int64_t N) {
  return K * round_up(N, NR<T>);
}  // elements

// N columns of one slice into consecutive slivers. Rows of B that lie along memory are read as wholes: long runs.
template <class T>
void pack_slivers(const T* B, int64_t brs, int64_t bcs, int64_t kc, int64_t N, T* dst) {
  const int64_t whole = bcs == 1 ? N / NR<T> : 0;
  for (int64_t k = 0; k < kc && whole; k++)
    for (int64_t s = 0; s < whole; s++) {
      const T* src = B + k * brs + s * NR<T>;
      for (int v = 0; v < NV; v++) {
        __builtin_prefetch(src + 8 * brs + v * LANES<T>);
        store(dst + (s * kc + k) * NR<T> + v * LANES<T>, load(src + v * LANES<T>));
      }
    }
  for (int64_t s = whole; s * NR<T> < N; s++)
    pack(B + s * NR<T> * bcs, bcs, brs, static_cast<int>(min<int64_t>(NR<T>, N - s * NR<T>)), kc, dst + s * NR<T> * kc,
         NR<T>);
}

constexpr int64_t PACKED_TOGETHER = 256;  // columns of B, or rows of A, by one task

// Task `t` of slices [first, ...) x groups of columns, into dst as laid out above.
template <class T>
void pack_b_task(const Slices<T>& slices, int64_t first, int64_t N, const Strided<T>& B, int64_t t, T* dst) {
  const int64_t groups = ceil_div(N, PACKED_TOGETHER), slice = first + t / groups;
  const int64_t k0 = slices.start(slice), kc = slices.size(slice), n0 = t % groups * PACKED_TOGETHER;
  pack_slivers(B.at(k0, n0), B.rs, B.cs, kc, min(PACKED_TOGETHER, N - n0),
               dst + (k0 - slices.start(first)) * round_up(N, NR<T>) + n0 * kc);
}

// All of B into packed_b_size(K, N) elements at dst.
template <class T>
void pack_b(int64_t K, int64_t N, const T* B, int64_t brs, int64_t bcs, T* dst) {
  const Slices<T> slices(K);
  parallel_for(slices.count * ceil_div(N, PACKED_TOGETHER),
               [&](int64_t t) { pack_b_task<T>(slices, 0, N, {B, brs, bcs}, t, dst); });
}

// -- A packed: by slices of K, each [panel][depth][height] ------------------------------------------------------------

template <class T>
void pack_panel(const Strided<T>& A, const Panels& panels, int64_t panel, int64_t k0, int64_t kc, T* dst) {
  pack(A.at(panels.start(panel), k0), A.rs, A.cs, panels.height(panel), kc, dst, panels.height(panel));
}

// Task `t` of slices [first, ...) x groups of panels.
template <class T>
void pack_a_task(const Slices<T>& slices, int64_t first, const Panels& panels, int64_t groups, const Strided<T>& A,
                 int64_t t, T* dst) {
  const int64_t slice = first + t / groups, k0 = slices.start(slice), kc = slices.size(slice);
  const int64_t p0 = panels.count * (t % groups) / groups, last = panels.count * (t % groups + 1) / groups - 1;
  auto packed = [&](int64_t p) { return dst + (k0 - slices.start(first)) * panels.rows + panels.start(p) * kc; };
  for (int64_t p = p0; p < last; p++) pack_panel(A, panels, p, k0, kc, packed(p));
  alignas(64) T edge[MR * Slices<T>::DEEPEST + LANES<T>];  // (packing runs over, but the next panel is another task's)
  pack_panel(A, panels, last, k0, kc, edge);
  std::memcpy(packed(last), edge, sizeof(T) * static_cast<size_t>(panels.height(last) * kc));
}

// -- the product ------------------------------------------------------------------------------------------------------

// Can tiles read A where it is? Its rows lie along memory, and those of a panel do not compete for the same lines of L1
// (as they do at a multiple of 4 KiB from each other).
template <class T>
bool is_read_in_place(const Strided<T>& A) {
  constexpr int64_t ALIAS = 4096;
  const int64_t bytes = (A.rs < 0 ? -A.rs : A.rs) * static_cast<int64_t>(sizeof(T)), past = bytes % ALIAS;
  return A.cs == 1 && (bytes <= ALIAS / 2 || min(past, ALIAS - past) * MR >= ALIAS / 2);
}

template <class T>
struct Factors {
  int64_t M, N, K;
  Strided<T> A, B;
  const T* packed;  // all of B, or null
  T* C;
  int64_t ldc;
  const Epilogue<T>& epilogue;
  bool accumulate;
  bool a_in_place = is_read_in_place(A);
};

// Into how many tasks M x N x K of a product are cut, side by side. From shape and layout alone.
template <class T>
struct Grid {
  static constexpr int64_t TALL = 80 * MR;                            // rows of a task
  static constexpr int64_t BLOCK = (int64_t{640} << 10) / sizeof(T);  // elements of B in L2
  int64_t rows, columns;
  bool share_a, share_b;  // packed by all, for all tasks; or by each what it alone reads
  Grid(const Factors<T>& f, int64_t M, int64_t N, int64_t K) {
    const double work = 2e-6 * static_cast<double>(M * N) * static_cast<double>(K);  // in 4 us or so
    const int64_t want = max<int64_t>(1, static_cast<int64_t>(max(min(work, 8.), min(work / 256, 32.))));
    columns = max(ceil_div(N * min(K, Slices<T>(f.K).depth), BLOCK), M <= TALL ? want : 1);
    columns = min(columns, ceil_div(N, NR<T>));
    rows = min(max(ceil_div(M, TALL), ceil_div(want, columns)), Panels(M).count);
    share_a = columns > 1 && !f.a_in_place;
    share_b = rows > 1 && !f.packed;
  }
};

// Rows [m0, m1) x columns [n0, n1) x slices [first, end): as much as L3 holds of both factors, packed.
template <class T>
struct Chunk {
  const Factors<T>& f;
  const Slices<T>& slices;
  const Grid<T>& grid;
  T *shared_a, *shared_b;
  int64_t m0, m1, n0, n1, first, end;
  Panels panels{m1 - m0};
  Strided<T> A{f.A.at(m0, 0), f.A.rs, f.A.cs}, B{f.B.at(0, n0), f.B.rs, f.B.cs};

  void pack_shared() const {
    const int64_t groups = ceil_div(panels.rows, PACKED_TOGETHER), count = end - first;
    const int64_t of_a = grid.share_a ? groups * count : 0;
    const int64_t of_b = grid.share_b && !m0 ? ceil_div(n1 - n0, PACKED_TOGETHER) * count : 0;
    parallel_for(of_a + of_b, [&](int64_t t) {
      if (t < of_a)
        pack_a_task(slices, first, panels, groups, A, t, shared_a);
      else
        pack_b_task(slices, first, n1 - n0, B, t - of_a, shared_b);
    });
  }

  void multiply() const {
    const int64_t slivers = ceil_div(n1 - n0, NR<T>);
    parallel_for(grid.rows * grid.columns, [&](int64_t t) {
      const int64_t row = t / grid.columns, column = t % grid.columns;
      const int64_t p0 = panels.count * row / grid.rows, p1 = panels.count * (row + 1) / grid.rows;
      const int64_t from = slivers * column / grid.columns * NR<T>;
      const int64_t to = min(n1 - n0, slivers * (column + 1) / grid.columns * NR<T>);
      Scratch<T> own_a(grid.share_a || f.a_in_place ? 0 : MR * slices.depth);
      Scratch<T> own_b(grid.share_b || f.packed ? 0 : round_up(to - from, NR<T>) * slices.depth);
      for (int64_t slice = first; slice < end; slice++) {
        const int64_t k0 = slices.start(slice), kc = slices.size(slice);
        const T* b = block_of_b(k0, kc, from, to, own_b);
        for (int64_t p = p0; p < p1; p++)
          if (f.a_in_place)
            row_of_tiles<IN_ROWS>(slice, p, A.at(panels.start(p), k0), from, to, b);
          else
            row_of_tiles<0>(slice, p, panel_of_a(p, k0, kc, own_a), from, to, b);
      }
    });
  }

  const T* panel_of_a(int64_t panel, int64_t k0, int64_t kc, T* own) const {
    if (grid.share_a) return shared_a + (k0 - slices.start(first)) * panels.rows + panels.start(panel) * kc;
    pack_panel(A, panels, panel, k0, kc, own);
    return own;
  }

  const T* block_of_b(int64_t k0, int64_t kc, int64_t from, int64_t to, T* own) const {
    if (f.packed) return f.packed + k0 * round_up(f.N, NR<T>) + (n0 + from) * kc;
    if (grid.share_b) return shared_b + (k0 - slices.start(first)) * round_up(n1 - n0, NR<T>) + from * kc;
    pack_slivers(B.at(k0, from), B.rs, B.cs, kc, to - from, own);
    return own;
  }

  template <int Stride>
  MINIDL_INLINE void row_of_tiles(int64_t slice, int64_t panel, const T* a, int64_t from, int64_t to,
                                  const T* b) const {
    const int64_t kc = slices.size(slice), m = m0 + panels.start(panel);
    const int rows = panels.height(panel);
    T* c = f.C + m * f.ldc + n0;
    for (int64_t n = from; n < to; n += NR<T>)
      tile<Stride>(kc, a, nullptr, rows, b + (n - from) * kc, static_cast<int>(min<int64_t>(NR<T>, to - n)), c + n,
                   f.ldc, f.accumulate || slice > 0, A.rs);
    if (slice + 1 == slices.count && f.epilogue.any()) f.epilogue.apply(c + from, f.ldc, m, rows, n0 + from, to - from);
  }
};

template <class T>
void gemm_by_chunks(const Factors<T>& f) {
  constexpr int64_t SIDE = 4096, PACKED = (int64_t{16} << 20) / sizeof(T);  // rows or columns; elements
  const Slices<T> slices(f.K);
  const int64_t slivers = ceil_div(f.N, NR<T>), tall = ceil_div(f.M, SIDE), wide = ceil_div(f.N, SIDE);
  const int64_t M = ceil_div(f.M, tall), N = min(f.N, ceil_div(slivers, wide) * NR<T>);
  const int64_t fit = max<int64_t>(1, PACKED / (((f.a_in_place ? 0 : M) + (f.packed ? 0 : N) + 1) * slices.depth));
  const int64_t phases = ceil_div(slices.count, fit), depth = min(f.K, ceil_div(slices.count, phases) * slices.depth);
  const Grid<T> grid(f, M, N, depth);
  Scratch<T> a(grid.share_a ? M * depth : 0), b(grid.share_b ? packed_b_size<T>(depth, N) : 0);
  for (int64_t column = 0; column < wide; column++)
    for (int64_t phase = 0; phase < phases; phase++)
      for (int64_t row = 0; row < tall; row++) {
        const int64_t m0 = f.M * row / tall, m1 = f.M * (row + 1) / tall;
        const int64_t n0 = slivers * column / wide * NR<T>, n1 = min(f.N, slivers * (column + 1) / wide * NR<T>);
        const int64_t first = slices.count * phase / phases, end = slices.count * (phase + 1) / phases;
        const Chunk<T> chunk{f, slices, grid, a, b, m0, m1, n0, n1, first, end};
        chunk.pack_shared();
        chunk.multiply();
      }
}

// K = 0: an empty sum.
template <class T>
void gemm_of_nothing(int64_t M, int64_t N, T* C, int64_t ldc, const Epilogue<T>& e, bool accumulate) {
  for (int64_t m = 0; m < M && !accumulate; m++) std::memset(C + m * ldc, 0, sizeof(T) * static_cast<size_t>(N));
  if (e.any()) e.apply(C, ldc, 0, M, 0, N);
}

// B as packed by pack_b.
template <class T>
void gemm_prepacked(int64_t M, int64_t N, int64_t K, const T* A, int64_t ars, int64_t acs, const T* packed, T* C,
                    int64_t ldc, const Epilogue<T>& e = {}, bool accumulate = false) {
  if (M <= 0 || N <= 0) return;
  if (K <= 0) return gemm_of_nothing(M, N, C, ldc, e, accumulate);
  gemm_by_chunks<T>({M, N, K, {A, ars, acs}, {}, packed, C, ldc, e, accumulate});
}

template <class T>
void gemm(int64_t M, int64_t N, int64_t K, const T* a, int64_t ars, int64_t acs, const T* b, int64_t brs, int64_t bcs,
          T* C, int64_t ldc, const Epilogue<T>& e = {}, bool accumulate = false) {
  if (M <= 0 || N <= 0) return;
  if (K <= 0) return gemm_of_nothing(M, N, C, ldc, e, accumulate);
  const Strided<T> A{a, ars, acs}, B{b, brs, bcs};
  const bool thin_rows = is_thin(M, N, K, B);
  if (!thin_rows && !is_thin(N, M, K, A.transposed()))
    return gemm_by_chunks<T>({M, N, K, A, B, nullptr, C, ldc, e, accumulate});
  if (thin_rows)
    thin(M, N, K, A, B, C, ldc, 1, accumulate);
  else
    thin(N, M, K, B.transposed(), A.transposed(), C, 1, ldc, accumulate);
  if (e.any()) e.apply(C, ldc, 0, M, 0, N);
}

}  // namespace minidl::MINIDL_ISA
