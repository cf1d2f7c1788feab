// Products of fragments through nvcuda::wmma: every type and shape, row and column layouts.
#include <cuda_bf16.h>
#include <mma.h>
using namespace nvcuda::wmma;
#define KERNEL extern "C" __global__ void

// One warp: D = A B + C, then twice that, element by element.
#define PRODUCT(NAME, M, N, K, IN, FRAGMENT, OUT, LA, LB, LC)              \
  KERNEL NAME(const IN* a, const IN* b, const OUT* c, OUT* d) {            \
    fragment<matrix_a, M, N, K, FRAGMENT, LA> fa;                          \
    fragment<matrix_b, M, N, K, FRAGMENT, LB> fb;                          \
    fragment<accumulator, M, N, K, OUT> fc;                                \
    const int lda = is_row<LA> ? K : M, ldb = is_row<LB> ? N : K;          \
    load_matrix_sync(fa, a, lda);                                          \
    load_matrix_sync(fb, b, ldb);                                          \
    load_matrix_sync(fc, c, LC == mem_row_major ? N : M, LC);              \
    mma_sync(fc, fa, fb, fc);                                              \
    for (int i = 0; i < fc.num_elements; i++) fc.x[i] = fc.x[i] + fc.x[i]; \
    store_matrix_sync(d, fc, LC == mem_row_major ? N : M, LC);             \
  }
template <class T>
constexpr bool is_row = false;
template <>
constexpr bool is_row<row_major> = true;

PRODUCT(half_float, 16, 16, 16, __half, __half, float, row_major, col_major, mem_row_major)
PRODUCT(half_float_cr, 16, 16, 16, __half, __half, float, col_major, row_major, mem_col_major)
PRODUCT(half_half, 16, 16, 16, __half, __half, __half, row_major, row_major, mem_row_major)
PRODUCT(half_tall, 32, 8, 16, __half, __half, float, row_major, col_major, mem_row_major)
PRODUCT(half_wide, 8, 32, 16, __half, __half, float, col_major, col_major, mem_col_major)
PRODUCT(bfloat, 16, 16, 16, __nv_bfloat16, __nv_bfloat16, float, row_major, row_major, mem_row_major)
PRODUCT(bfloat_tall, 32, 8, 16, __nv_bfloat16, __nv_bfloat16, float, col_major, row_major, mem_row_major)
PRODUCT(signed_bytes, 16, 16, 16, signed char, signed char, int, row_major, col_major, mem_row_major)
PRODUCT(unsigned_bytes, 8, 32, 16, unsigned char, unsigned char, int, row_major, row_major, mem_col_major)
PRODUCT(tensor_float, 16, 16, 8, float, precision::tf32, float, row_major, col_major, mem_row_major)
PRODUCT(doubles, 8, 8, 4, double, double, double, row_major, col_major, mem_row_major)

// A whole product of half matrices (m, n, k multiples of 16) through shared memory; four warps, a tile of 32x32.
KERNEL gemm(const __half* a, const __half* b, float* c, int m, int n, int k) {
  __shared__ __half as[32][24], bs[16][40];
  int t = threadIdx.x, warp = t / 32, row = blockIdx.y * 32, col = blockIdx.x * 32;
  fragment<accumulator, 16, 16, 16, float> fc;
  fill_fragment(fc, 0.0f);
  for (int k0 = 0; k0 < k; k0 += 16) {
    for (int e = t; e < 512; e += 128) {
      as[e / 16][e % 16] = a[(row + e / 16) * k + k0 + e % 16];
      bs[e / 32][e % 32] = b[(k0 + e / 32) * n + col + e % 32];
    }
    __syncthreads();
    fragment<matrix_a, 16, 16, 16, __half, row_major> fa;
    fragment<matrix_b, 16, 16, 16, __half, row_major> fb;
    load_matrix_sync(fa, &as[warp / 2 * 16][0], 24);
    load_matrix_sync(fb, &bs[0][warp % 2 * 16], 40);
    mma_sync(fc, fa, fb, fc);
    __syncthreads();
  }
  store_matrix_sync(c + (row + warp / 2 * 16) * n + col + warp % 2 * 16, fc, n, mem_row_major);
}
