// Products with few rows: bound by reading B once, so B is read in place, in long runs, and never packed.
#pragma once
#include "kernels/cpu/microkernel.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t FEW = 4;  // rows; from 5 on packing pays

template <class T>
struct Strided {
  const T* data;
  int64_t rs, cs;
  const T* at(int64_t r, int64_t c) const { return data + r * rs + c * cs; }
  Strided transposed() const { return {data, cs, rs}; }
};

// Is B read in place? Where one of its axes lies along memory and it is worth it. (The order of sums then depends on
// which axis does: bits may differ between layouts, never between runs or numbers of threads.)
template <class T>
bool is_thin(int64_t M, int64_t N, int64_t K, const Strided<T>& B) {
  return M <= FEW && (B.rs == 1 || B.cs == 1) && N * K >= 1 << 12;
}

// y[M][N] (+)= x[M][R] b[R][N], b by whole rows; N counts columns.
template <class T, int M, int R>
MINIDL_INLINE void add_rows(const T* x, int64_t ldx, const T* b, int64_t ldb, int64_t N, T* y, int64_t ldy,
                            bool first) {
  constexpr int L = LANES<T>;
  T xs[M][R];
  for (int m = 0; m < M; m++)
    for (int r = 0; r < R; r++) xs[m][r] = x[m * ldx + r];
  auto step = [&](int64_t n, int64_t lanes) {
    vec<T> acc[M];
    for (int m = 0; m < M; m++) acc[m] = first ? vec<T>{} : load_n(y + m * ldy + n, lanes);
    MINIDL_UNROLL
    for (int r = 0; r < R; r++) {
      vec<T> row = load_n(b + r * ldb + n, lanes);
      MINIDL_UNROLL
      for (int m = 0; m < M; m++) acc[m] += xs[m][r] * row;
    }
    for (int m = 0; m < M; m++) store_n(y + m * ldy + n, acc[m], lanes);
  };
  int64_t n = 0;
  for (; n + L <= N; n += L) step(n, L);
  if (n < N) step(n, N - n);
}

template <int M>
constexpr int ROWS = M > 2 ? 4 : 8;  // that are read together: 16 broadcasts at most

// The sums over a block of K for a block of columns.
template <class T, int M>
void thin_by_rows(int64_t N, int64_t K, const T* x, int64_t ldx, const T* b, int64_t ldb, T* y, int64_t ldy) {
  constexpr int R = ROWS<M>;
  int64_t k = 0;
  for (; k + R <= K; k += R) add_rows<T, M, R>(x + k, ldx, b + k * ldb, ldb, N, y, ldy, k == 0);
  for (; k < K; k++) add_rows<T, M, 1>(x + k, ldx, b + k * ldb, ldb, N, y, ldy, k == 0);
}

// out[M][J] = x[M][K] . b[J][K].
template <class T, int M, int J, int U>
MINIDL_INLINE void dots(int64_t K, const T* x, int64_t ldx, const T* b, int64_t ldb, T (&out)[M][J]) {
  constexpr int L = LANES<T>;
  vec<T> acc[M][J][U] = {};
  int64_t k = 0;
  for (; k + U * L <= K; k += U * L) MINIDL_UNROLL
  for (int u = 0; u < U; u++) {
    vec<T> xs[M];
    for (int m = 0; m < M; m++) xs[m] = load(x + m * ldx + k + u * L);
    MINIDL_UNROLL
    for (int j = 0; j < J; j++) {
      vec<T> row = load(b + j * ldb + k + u * L);
      MINIDL_UNROLL
      for (int m = 0; m < M; m++) acc[m][j][u] += xs[m] * row;
    }
  }
  for (; k < K; k += L)
    for (int j = 0; j < J; j++)
      for (int m = 0; m < M; m++) acc[m][j][0] += load_n(x + m * ldx + k, K - k) * load_n(b + j * ldb + k, K - k);
  for (int m = 0; m < M; m++)
    for (int j = 0; j < J; j++) {
      vec<T> total = acc[m][j][0];
      for (int u = 1; u < U; u++) total += acc[m][j][u];
      out[m][j] = sum(total);
    }
}

// C[m * crs + n * ccs] (+)= x[m] . column n of B, columns [first, end); K lies along memory.
template <class T, int M>
void thin_by_dots(int64_t first, int64_t end, int64_t K, const T* x, int64_t ldx, const T* b, int64_t ldb, T* C,
                  int64_t crs, int64_t ccs, bool accumulate) {
  constexpr int J = M == 1 ? 1 : 4, U = M == 1 ? 4 : 1;  // one long run for one row; else each load serves 4 products
  auto columns = [&](int64_t n, auto& out) {
    for (int m = 0; m < M; m++)
      for (int j = 0; j < static_cast<int>(sizeof(out[0]) / sizeof(T)); j++) {
        T* c = C + m * crs + (n + j) * ccs;
        *c = accumulate ? *c + out[m][j] : out[m][j];
      }
  };
  int64_t n = first;
  for (; n + J <= end; n += J) {
    T out[M][J];
    dots<T, M, J, U>(K, x, ldx, b + n * ldb, ldb, out);
    columns(n, out);
  }
  for (; n < end; n++) {
    T out[M][1];
    dots<T, M, 1, U>(K, x, ldx, b + n * ldb, ldb, out);
    columns(n, out);
  }
}

// Rows of B lie along memory: blocks of K side by side, so that each task reads long runs; then their sums in order.
template <class T, int M>
void thin_rows(int64_t N, int64_t K, const T* x, int64_t ldx, const Strided<T>& B, T* C, int64_t crs, int64_t ccs,
               bool accumulate) {
  const int64_t wide = ceil_div(N, 4096);  // (a block's sums stay in L1)
  const int64_t deep = max<int64_t>(1, min<int64_t>(min<int64_t>(K / 64, 8), N * K / wide / (1 << 16)));
  const int64_t groups = ceil_div(K, ROWS<M>);
  auto block = [&](int64_t i, T* y, int64_t ldy) {
    int64_t n0 = N * (i % wide) / wide, n1 = N * (i % wide + 1) / wide;
    int64_t k0 = groups * (i / wide) / deep * ROWS<M>, k1 = min(K, groups * (i / wide + 1) / deep * ROWS<M>);
    thin_by_rows<T, M>(n1 - n0, k1 - k0, x + k0, ldx, B.at(k0, n0), B.rs, y + n0, ldy);
  };
  if (deep == 1 && ccs == 1 && !accumulate) return parallel_for(wide, [&](int64_t i) { block(i, C, crs); });
  // Sums half a page apart from B's rows: a load waits for an earlier store to the same place in another page.
  constexpr int64_t PAGE = 4096 / sizeof(T);
  const int64_t pitch = round_up(M * N, PAGE);
  Scratch<T> room(deep * pitch + PAGE);
  T* parts = room + ((B.data - room.get() + PAGE / 2) & (PAGE - 1));
  parallel_for(wide * deep, [&](int64_t i) { block(i, parts + i / wide * pitch, N); });
  for (int64_t m = 0; m < M; m++)
    for (int64_t n = 0; n < N; n += LANES<T>) {
      vec<T> total{};
      for (int64_t d = 0; d < deep; d++) total += load_n(parts + d * pitch + m * N + n, N - n);
      T* c = C + m * crs + n * ccs;
      if (ccs == 1) {
        store_n(c, accumulate ? load_n(c, N - n) + total : total, N - n);
      } else {
        for (int64_t j = 0; j < min<int64_t>(LANES<T>, N - n); j++)
          c[j * ccs] = accumulate ? c[j * ccs] + total[j] : total[j];
      }
    }
}

template <class T, int M>
void thin_of(int64_t N, int64_t K, const Strided<T>& A, const Strided<T>& B, T* C, int64_t crs, int64_t ccs,
             bool accumulate) {
  Scratch<T> copied(A.cs == 1 ? 0 : M * K);
  const T* x = A.cs == 1 ? A.data : copied.get();
  const int64_t ldx = A.cs == 1 ? A.rs : K;
  if (A.cs != 1)
    for (int64_t m = 0; m < M; m++)
      for (int64_t k = 0; k < K; k++) copied[m * K + k] = *A.at(m, k);
  if (B.cs == 1 && (B.rs != 1 || N > LANES<T>)) return thin_rows<T, M>(N, K, x, ldx, B, C, crs, ccs, accumulate);
  parallel_chunks(N, max<int64_t>(1, (1 << 17) / K), [&](int64_t first, int64_t end) {
    thin_by_dots<T, M>(first, end, K, x, ldx, B.data, B.cs, C, crs, ccs, accumulate);
  });
}

// C[m * crs + n * ccs] (+)= A[M, K] B[K, N] for M <= FEW.
template <class T>
void thin(int64_t M, int64_t N, int64_t K, const Strided<T>& A, const Strided<T>& B, T* C, int64_t crs, int64_t ccs,
          bool accumulate) {
  switch (M) {
    case 1:
      return thin_of<T, 1>(N, K, A, B, C, crs, ccs, accumulate);
    case 2:
      return thin_of<T, 2>(N, K, A, B, C, crs, ccs, accumulate);
    case 3:
      return thin_of<T, 3>(N, K, A, B, C, crs, ccs, accumulate);
    default:
      return thin_of<T, 4>(N, K, A, B, C, crs, ccs, accumulate);
  }
}

}  // namespace minidl::MINIDL_ISA
