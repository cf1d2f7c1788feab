// GEMM: C[M, N] (+)= A[M, K] B[K, N], then an epilogue; any strides of A and B (in elements), rows of C dense.
//
// Kernels of other families include this and call `gemm` from their instruction set's namespace, inside of tasks too
// (it then runs on the caller's thread alone). An element of C is one chain of fused multiply-adds per slice of KC
// along K, the slices added in order: its bits depend on K only, not on threads, blocking or its place.
// (Products with few rows or columns sum in an order of their own: thin.h.)
//
// Source: Goto, van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
#pragma once
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/thin.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t MC = 20 * MR;  // rows of a task: its packed A (420 KiB in float32) stays in L2

// -- B packed: slices of KC, each [sliver][kc][NR], the last sliver filled up with 0 ----------------------------------

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

// All of B into packed_b_size(K, N) elements at dst.
template <class T>
void pack_b(int64_t K, int64_t N, const T* B, int64_t brs, int64_t bcs, T* dst) {
  constexpr int64_t GROUP = 8 * NR<T>;
  const int64_t slices = ceil_div(K, KC), groups = ceil_div(N, GROUP);
  parallel_for(slices * groups, [&](int64_t t) {
    int64_t k0 = t / groups * KC, kc = min(KC, K - k0), n0 = t % groups * GROUP;
    pack_slivers(B + k0 * brs + n0 * bcs, brs, bcs, kc, min(GROUP, N - n0), dst + k0 * round_up(N, NR<T>) + n0 * kc);
  });
}

// -- the product ------------------------------------------------------------------------------------------------------

// Where a product is cut: into `rows` x `columns` tasks, each with all of K. From the shape alone.
struct Grid {
  Panels panels;
  int64_t slivers, rows, columns;
  bool share_a;  // A is packed once; or by each task, its own rows
  Grid(int64_t M, int64_t N, int64_t K, int64_t nr) : panels(M), slivers(ceil_div(N, nr)) {
    rows = ceil_div(panels.count * MR, MC);
    share_a = M * K <= (int64_t{1} << 21);
    int64_t want =
        min<int64_t>(max<int64_t>(1, static_cast<int64_t>(2e-6 * static_cast<double>(M * N) * static_cast<double>(K))),
                     share_a ? 16 : 8);
    columns = min(max<int64_t>(max<int64_t>(1, ceil_div(want, rows)), N / (share_a ? 256 : 2048)), slivers);
    share_a &= columns > 1;
  }
};

// One task: panels [p0, p1) x slivers [s0, s1). packed_a and packed_b give its part of the slice at k0.
template <class T, class PackedA, class PackedB>
MINIDL_INLINE void gemm_block(const PackedA& packed_a, const PackedB& packed_b, const Panels& panels, int64_t p0,
                              int64_t p1, int64_t s0, int64_t s1, int64_t N, int64_t K, T* C, int64_t ldc,
                              const Epilogue<T>& e, bool accumulate) {
  for (int64_t k0 = 0; k0 < K; k0 += KC) {
    const int64_t kc = min(KC, K - k0);
    const T *a = packed_a(k0, kc), *b = packed_b(k0, kc);
    for (int64_t s = s0; s < s1; s++)
      for (int64_t p = p0; p < p1; p++) {
        int64_t m = panels.start(p), n = s * NR<T>;
        int rows = panels.height(p), columns = static_cast<int>(min<int64_t>(NR<T>, N - n));
        T* c = C + m * ldc + n;
        tile(kc, a + (m - panels.start(p0)) * kc, nullptr, rows, b + (s - s0) * NR<T> * kc, columns, c, ldc,
             accumulate || k0 > 0);
        if (k0 + kc == K && e.any()) e.apply(c, ldc, m, rows, n, columns);
      }
  }
}

// A, packed by panels: slices of KC, each [panel][kc][height].
template <class T>
void pack_a(int64_t K, const Strided<T>& A, const Grid& grid, T* dst) {
  const Panels& panels = grid.panels;
  const int64_t slices = ceil_div(K, KC);
  parallel_for(grid.rows * slices, [&](int64_t t) {
    int64_t k0 = t % slices * KC, kc = min(KC, K - k0), block = t / slices;
    int64_t p1 = panels.count * (block + 1) / grid.rows;
    alignas(64) T edge[MR * KC + MR + LANES<T>];  // the last panel must not write into the next task's first
    for (int64_t p = panels.count * block / grid.rows; p < p1; p++) {
      T* panel = dst + k0 * panels.rows + panels.start(p) * kc;
      pack(A.at(panels.start(p), k0), A.rs, A.cs, panels.height(p), kc, p + 1 < p1 ? panel : edge, panels.height(p));
      if (p + 1 == p1) std::memcpy(panel, edge, sizeof(T) * static_cast<size_t>(panels.height(p) * kc));
    }
  });
}

// packed: B by pack_b; or null, and each task packs its own columns of B (right where one block of rows reads them).
template <class T>
void gemm_by_tasks(int64_t M, int64_t N, int64_t K, const Strided<T>& A, const Strided<T>& B, const T* packed, T* C,
                   int64_t ldc, const Epilogue<T>& e, bool accumulate) {
  const Grid grid(M, N, K, NR<T>);
  const Panels& panels = grid.panels;
  Scratch<T> shared(grid.share_a ? M * K : 0);
  if (grid.share_a) pack_a(K, A, grid, shared.get());
  parallel_for(grid.rows * grid.columns, [&](int64_t t) {
    const int64_t row = t / grid.columns, column = t % grid.columns;
    const int64_t p0 = panels.count * row / grid.rows, p1 = panels.count * (row + 1) / grid.rows;
    const int64_t s0 = grid.slivers * column / grid.columns, s1 = grid.slivers * (column + 1) / grid.columns;
    const int64_t deepest = min(K, KC);
    Scratch<T> own_a(grid.share_a ? 0 : (panels.start(p1) - panels.start(p0)) * deepest);
    Scratch<T> own_b(packed ? 0 : (s1 - s0) * NR<T> * deepest);
    auto packed_a = [&](int64_t k0, int64_t kc) -> const T* {
      if (grid.share_a) return shared + k0 * M + panels.start(p0) * kc;
      for (int64_t p = p0; p < p1; p++)
        pack(A.at(panels.start(p), k0), A.rs, A.cs, panels.height(p), kc,
             own_a + (panels.start(p) - panels.start(p0)) * kc, panels.height(p));
      return own_a;
    };
    auto packed_b = [&](int64_t k0, int64_t kc) -> const T* {
      if (packed) return packed + k0 * round_up(N, NR<T>) + s0 * NR<T> * kc;
      pack_slivers(B.at(k0, s0 * NR<T>), B.rs, B.cs, kc, min(N, s1 * NR<T>) - s0 * NR<T>, own_b.get());
      return own_b;
    };
    gemm_block(packed_a, packed_b, panels, p0, p1, s0, s1, N, K, C, ldc, e, accumulate);
  });
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
  gemm_by_tasks<T>(M, N, K, {A, ars, acs}, {}, packed, C, ldc, e, accumulate);
}

template <class T>
void gemm(int64_t M, int64_t N, int64_t K, const T* a, int64_t ars, int64_t acs, const T* b, int64_t brs, int64_t bcs,
          T* C, int64_t ldc, const Epilogue<T>& e = {}, bool accumulate = false) {
  if (M <= 0 || N <= 0) return;
  if (K <= 0) return gemm_of_nothing(M, N, C, ldc, e, accumulate);
  const Strided<T> A{a, ars, acs}, B{b, brs, bcs};
  if (is_thin(M, N, K, B) || is_thin(N, M, K, A.transposed())) {
    if (is_thin(M, N, K, B))
      thin(M, N, K, A, B, C, ldc, 1, accumulate);
    else
      thin(N, M, K, B.transposed(), A.transposed(), C, 1, ldc, accumulate);
    if (e.any()) e.apply(C, ldc, 0, M, 0, N);
    return;
  }
  if (M <= MC) return gemm_by_tasks<T>(M, N, K, A, B, nullptr, C, ldc, e, accumulate);
  const int64_t chunk = max<int64_t>(NR<T>, (int64_t{1} << 22) / K / NR<T> * NR<T>);  // packed B: 16 MiB of L3
  Scratch<T> packed(packed_b_size<T>(K, min(chunk, N)));
  for (int64_t n = 0; n < N; n += chunk) {
    int64_t columns = min(chunk, N - n);
    pack_b(K, columns, B.at(0, n), brs, bcs, packed.get());
    gemm_by_tasks<T>(M, columns, K, A, {}, packed, C + n, ldc, e.columns_from(n), accumulate);
  }
}

}  // namespace minidl::MINIDL_ISA
