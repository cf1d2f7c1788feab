// Lanes of a warp among themselves: shuffles, votes, matches, reductions, partial masks, meeting from different places.
#define KERNEL extern "C" __global__ void

KERNEL shuffles(const int* x, int* y, const double* d, double* e) {
  int t = threadIdx.x, v = x[t], n = blockDim.x;
  y[t] = __shfl_sync(~0u, v, 3), y[t + n] = __shfl_sync(~0u, v, t * 7), y[t + 2 * n] = __shfl_up_sync(~0u, v, 3);
  y[t + 3 * n] = __shfl_down_sync(~0u, v, 5), y[t + 4 * n] = __shfl_xor_sync(~0u, v, 9);
  y[t + 5 * n] = __shfl_sync(~0u, v, 5, 8), y[t + 6 * n] = __shfl_up_sync(~0u, v, 2, 8);
  y[t + 7 * n] = __shfl_down_sync(~0u, v, 3, 16), y[t + 8 * n] = __shfl_xor_sync(~0u, v, 4, 8);
  y[t + 9 * n] = __shfl_down_sync(~0u, v, t);
  e[t] = __shfl_xor_sync(~0u, d[t], 1);
}
KERNEL votes(const int* x, unsigned* y) {
  int t = threadIdx.x, v = x[t], n = blockDim.x, p;
  y[t] = __ballot_sync(~0u, v > 50), y[t + n] = __any_sync(~0u, v > 98), y[t + 2 * n] = __all_sync(~0u, v >= 0);
  y[t + 3 * n] = __match_any_sync(~0u, v & 3), y[t + 4 * n] = __match_all_sync(~0u, v, &p), y[t + 5 * n] = p;
  y[t + 6 * n] = __match_all_sync(~0u, t / 32, &p), y[t + 7 * n] = p;
  y[t + 8 * n] = __reduce_add_sync(~0u, v), y[t + 9 * n] = __reduce_max_sync(~0u, -v),
            y[t + 10 * n] = __reduce_min_sync(~0u, v);
  y[t + 11 * n] = __reduce_xor_sync(~0u, (unsigned)v), y[t + 12 * n] = __reduce_and_sync(~0u, v | 96u);
  y[t + 13 * n] = __reduce_or_sync(~0u, (unsigned)v), y[t + 14 * n] = __activemask();
}
KERNEL partial(const int* x, int* y) {  // groups of lanes, each with its own mask, inside a branch
  int t = threadIdx.x, lane = t % 32, v = x[t];
  unsigned mask = lane < 8 ? 0xFFu : lane < 20 ? 0xFFF00u : 0xFFF00000u;
  int sum = 0, first = __ffs(mask) - 1;
  if (lane < 20) {
    for (int k = first; k < 32 && mask >> k & 1; k++) sum += __shfl_sync(mask, v, k);
  } else {
    sum = -(int)__reduce_add_sync(mask, v);
  }
  y[t] = sum;
  if (lane % 2) y[t] += __popc(__ballot_sync(0xAAAAAAAAu, v > 50)) * 1000;
}
KERNEL uneven(const int* x, int* y) {  // lanes come to a vote after loops of different lengths
  int t = threadIdx.x, v = x[t], sum = 0;
  for (int k = 0; k < v % 7; k++) sum += k * v;
  unsigned odd = __ballot_sync(~0u, sum & 1);
  while (sum > 10) sum /= 2;
  y[t] = __shfl_xor_sync(~0u, sum, 1) + __popc(odd) * 1000;
}
KERNEL two_places(const int* x, int* y) {  // half the lanes wait at one __syncwarp, half at another
  __shared__ int s[64];
  int t = threadIdx.x;
  if (t % 2) {
    s[t] = x[t];
    __syncwarp();
    y[t] = s[t - 1];
  } else {
    s[t] = x[t] + 1;
    __syncwarp();
    y[t] = s[t + 1];
  }
}
KERNEL hand_over(int* y) {  // lanes of one warp pass a token along; each spins until it is its turn
  __shared__ volatile int turn;
  int t = threadIdx.x;
  if (t == 0) turn = 0;
  __syncthreads();
  while (turn != t) {
  }
  y[t] = t * t;
  __threadfence_block();
  turn = t + 1;
}
KERNEL not_all(const int* x, int* y) {  // a mask of lanes that never come
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_sync(~0u, x[threadIdx.x], 0);
}
KERNEL not_me(const int* x, int* y) { y[threadIdx.x] = __shfl_sync(0xFFFFu, x[threadIdx.x], 0); }
