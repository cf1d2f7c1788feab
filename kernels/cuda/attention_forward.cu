// Attention, forward: a block takes 16 M queries per warp through all keys that they see, a tile of these at a time.
//
// Queries stay in shared memory; keys and values arrive in a ring of tiles while earlier ones are in use. Scores become
// weights in registers, where they are at once the left operand of the product with the values.
//
// Source: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
// arXiv:2307.08691, algorithm 1.
#include "attention.cuh"

namespace minidl {

template <class T, int HEAD>
struct ForwardShape {
  static constexpr bool HALF = sizeof(T) == 2;
  static constexpr int WARPS = 4, THREADS = 32 * WARPS;
  static constexpr int M = HALF ? 2 : 1;         // accumulators of 16 rows of a warp
  static constexpr int RESIDENT = HALF ? 1 : 2;  // blocks on a processor, at least
  static constexpr int QUERIES = 16 * M * WARPS, KEYS = HALF && HEAD <= 64 ? 64 : 32, STAGES = 2;
};

template <class T, int HEAD>
struct Forward {
  using Shape = ForwardShape<T, HEAD>;
  static constexpr int M = Shape::M, QUERIES = Shape::QUERIES, KEYS = Shape::KEYS, STAGES = Shape::STAGES;
  using QueryTile = Tile<T, QUERIES, HEAD>;
  using KeyTile = Tile<T, KEYS, HEAD>;

  const Attention<T>& a;
  const Sequence& sequence;  // in shared memory: registers are scarce
  Scores<T> scores;
  QueryTile q;
  KeyTile ring[2 * STAGES];  // of keys, of values
  int h, first, row;         // row: the warp's first in the block
  float sums[M][HEAD / 8][4] = {}, top[M][2], total[M][2];

  __device__ Forward(const Attention<T>& a, u32 shared, const Sequence& sequence, const Place& place)
      : a(a),
        sequence(sequence),
        scores(a, sequence, place.h),
        h(place.h),
        first(place.block * QUERIES),
        row(static_cast<int>(threadIdx.x) / 32 * 16 * M) {
    q.base = shared;
    for (int i = 0; i < 2 * STAGES; i++) ring[i].base = shared + QueryTile::BYTES + i * KeyTile::BYTES;
    for (int m = 0; m < M; m++)
      for (int i = 0; i < 2; i++) top[m][i] = -infinity(), total[m][i] = 0;
  }

  __device__ void fetch(int block, int stage) const {
    const int key = block * KEYS, rows = sequence.keys - key, at = sequence.first_key + key;
    const KeyTile keys{ring[0].base + stage * 2 * KeyTile::BYTES}, values{keys.base + KeyTile::BYTES};
    keys.template fill<Shape::THREADS>(a.k.at(sequence.b, h / a.group, at), a.k.row, rows, a.width);
    values.template fill<Shape::THREADS>(a.v.at(sequence.b, h / a.group, at), a.v.row, rows, a.value_width);
  }

  __device__ void run() {
    q.template fill<Shape::THREADS>(a.q.at(sequence.b, h, sequence.first_query + first), a.q.row,
                                    sequence.queries - first, a.width);
    const int2 blocks = scores.keys_of(first, left_of(sequence.queries, first, QUERIES), KEYS);
    for (int s = 0; s < STAGES - 1; s++) {
      if (blocks.x + s < blocks.y) fetch(blocks.x + s, s);
      commit_copies();
    }
    int stage = 0;
    for (int block = blocks.x; block < blocks.y; block++) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      const int ahead = block + STAGES - 1;
      if (ahead < blocks.y) fetch(ahead, (stage + STAGES - 1) % STAGES);
      commit_copies();
      const KeyTile keys{ring[0].base + stage * 2 * KeyTile::BYTES}, values{keys.base + KeyTile::BYTES};
      float p[M][KEYS / 8][4] = {};
      products(p, keys);
      weigh(p, block * KEYS);
      add(p, values);
      stage = (stage + 1) % STAGES;
    }
    wait_copies<0>();
    __syncthreads();
  }

  __device__ void products(float (&p)[M][KEYS / 8][4], const KeyTile& keys) const {
#pragma unroll 2
    for (int d = 0; d < HEAD; d += STEP<T>) {
      Left<T> left[M];
#pragma unroll
      for (int m = 0; m < M; m++) left[m] = left_along<T>(q, row + 16 * m, d);
#pragma unroll
      for (int n = 0; n < KEYS; n += 16) {
        Right<T> right[2];
        right_along<T>(right, keys, n, d);
#pragma unroll
        for (int m = 0; m < M; m++)
          for (int i = 0; i < 2; i++) multiply(p[m][n / 8 + i], left[m], right[i]);
      }
    }
  }

  // Turn products into weights exp(score - top), and earlier sums into sums of such.
  __device__ void weigh(float (&p)[M][KEYS / 8][4], int key) {
#pragma unroll
    for (int m = 0; m < M; m++) {
      const int query = first + row + 16 * m;
      scores.bend(p[m]);
      if (scores.plain(query, 16, key, KEYS)) {
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
          for (int j = 0; j < 4; j++) p[m][n][j] *= scores.factor;
      } else {
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
          for (int j = 0; j < 4; j++) p[m][n][j] = scores.score(p[m][n][j], query + row_of(j), key + column_of(n, j));
        __syncwarp();
      }
#pragma unroll
      for (int i = 0; i < 2; i++) fold(p[m], sums[m], top[m][i], total[m][i], 2 * i);
      if (a.drops()) drop(p[m], query, key);
    }
  }

  // The rows of elements j and j + 1.
  static __device__ void fold(float (&p)[KEYS / 8][4], float (&sums)[HEAD / 8][4], float& top, float& total, int j) {
    float peak = top;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) peak = fmaxf(peak, fmaxf(p[n][j], p[n][j + 1]));
    peak = row_maximum(peak);
    const float floor = peak == -infinity() ? 0 : peak;  // a row that sees nothing: its weights are 0
    const float fade = exp2(top - floor);
    top = peak;
    total *= fade;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
      p[n][j] = exp2(p[n][j] - floor), p[n][j + 1] = exp2(p[n][j + 1] - floor);
      total += p[n][j] + p[n][j + 1];
    }
#pragma unroll
    for (int n = 0; n < HEAD / 8; n++) sums[n][j] *= fade, sums[n][j + 1] *= fade;
  }

  __device__ void drop(float (&p)[KEYS / 8][4], int query, int key) const {
    u64 kept = 0;
#pragma unroll 1
    for (int e = 0; e < KEYS / 4; e++) {
      const u64 number = scores.number(query + row_of(e % 2 * 2), key + column_of(e / 2, 0));
      kept |= static_cast<u64>(scores.kept(number, number + 1)) << 2 * e;
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
      for (int j = 0; j < 4; j++)
        if (!(kept >> (4 * n + j) & 1)) p[n][j] = 0;
    __syncwarp();
  }

  __device__ void add(const float (&p)[M][KEYS / 8][4], const KeyTile& values) {
#pragma unroll
    for (int k = 0; k < KEYS; k += STEP<T>) {
      Left<T> left[M];
#pragma unroll
      for (int m = 0; m < M; m++) left[m] = left_from<T>(&p[m][k / 8]);
#pragma unroll
      for (int n = 0; n < HEAD; n += 16) {
        Right<T> right[2];
        right_across<T>(right, values, k, n);
#pragma unroll
        for (int m = 0; m < M; m++)
          for (int i = 0; i < 2; i++) multiply(sums[m][n / 8 + i], left[m], right[i]);
      }
    }
  }

  // The means, by way of the queries' place in shared memory, and each row's logarithm of its sum.
  __device__ void finish(const Rows<T>& out, float* logsum) {
#pragma unroll
    for (int m = 0; m < M; m++)
      for (int i = 0; i < 2; i++) {
        total[m][i] = row_sum(total[m][i]);
        if (total[m][i] == 0) total[m][i] = 1;
        const float factor = a.kept / total[m][i];
#pragma unroll
        for (int n = 0; n < HEAD / 8; n++)
          q.put_pair(row + 16 * m + 8 * i + lane_row(), 8 * n, lane_column(), sums[m][n][2 * i] * factor,
                     sums[m][n][2 * i + 1] * factor);
      }
    __syncwarp();
    q.template store<16 * M>(out.at(sequence.b, h, sequence.first_query + first), out.row, row,
                             sequence.queries - first, a.value_width);
    for (int m = 0; m < M; m++)
      for (int i = 0; i < 2; i++) {
        const int query = first + row + 16 * m + 8 * i + lane_row();
        if (lane_column() == 0 && query < sequence.queries)
          logsum[sequence.number(a, h, query)] = (top[m][i] == -infinity() ? 0 : top[m][i]) + log2f(total[m][i]);
      }
  }
};

template <class T, int HEAD>
__device__ void attention_forward(const Attention<T>& a, const Rows<T>& out, float* logsum) {
  extern __shared__ __align__(128) u8 shared[];
  using Shape = ForwardShape<T, HEAD>;
  Place place(a.starts, a.sequences, a.queries, a.heads, Shape::QUERIES);
  if (a.starts == nullptr) place.block = ceil_div(a.queries, Shape::QUERIES) - 1 - place.block;  // most work first
  __shared__ Sequence sequence;
  if (threadIdx.x == 0) sequence = Sequence(a, place.b);
  __syncthreads();
  Forward<T, HEAD> forward(a, shared_address(shared), sequence, place);
  if (forward.first >= forward.sequence.queries) return;
  forward.run();
  forward.finish(out, logsum);
}

#define FORWARD(NAME, T, HEAD)                                                                                       \
  extern "C" __global__ void __launch_bounds__(ForwardShape<T, HEAD>::THREADS, ForwardShape<T, HEAD>::RESIDENT)      \
      attention_forward_##NAME##_##HEAD(ATTENTION_PARAMETERS(T), T* out, float* logsum, i64 out_batch, i64 out_head, \
                                        i64 out_row) {                                                               \
    const Attention<T> a = ATTENTION;                                                                                \
    attention_forward<T, HEAD>(a, {out, out_batch, out_head, out_row}, logsum);                                      \
  }

FORWARD(float16, float16, 32)
FORWARD(float16, float16, 64)
FORWARD(float16, float16, 128)
FORWARD(bfloat16, bfloat16, 32)
FORWARD(bfloat16, bfloat16, 64)
FORWARD(bfloat16, bfloat16, 128)
FORWARD(float32, float, 64)
FORWARD(float32, float, 128)
FORWARD(tf32, tf32, 64)
FORWARD(tf32, tf32, 128)

}  // namespace minidl
