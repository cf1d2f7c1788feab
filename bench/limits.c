// What one core can do at most: float32 multiply-adds in registers, and reading memory.
#ifdef __AVX512F__
typedef float vec __attribute__((vector_size(64), aligned(4)));
#else
typedef float vec __attribute__((vector_size(32), aligned(4)));
#endif
enum { LANES = sizeof(vec) / sizeof(float), CHAINS = 12 };

// FLOPs of `rounds` rounds; the result depends on all of them.
double multiply_adds(long rounds, float* result) {
  vec sum[CHAINS], x = {0}, y = {0};
  x += 0.999f + *result, y += 1e-3f;
  for (int i = 0; i < CHAINS; ++i) sum[i] = y * (float)i;
  for (long r = 0; r < rounds; ++r)
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; ++i) sum[i] = sum[i] * x + y;
  for (int i = 1; i < CHAINS; ++i) sum[0] += sum[i];
  for (int i = 0; i < LANES; ++i) *result += sum[0][i];
  return 2.0 * CHAINS * LANES * rounds;
}

// Bytes read in `rounds` passes over x (n).
double read_all(long rounds, const float* x, long n, float* result) {
  vec sum[8] = {{0}};
  for (long r = 0; r < rounds; ++r)
    for (long j = 0; j + 8 * LANES <= n; j += 8 * LANES)
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) sum[i] += *(const vec*)(x + j + i * LANES);
  for (int i = 0; i < 8; ++i)
    for (int k = 0; k < LANES; ++k) *result += sum[i][k];
  return 4.0 * rounds * n;
}
