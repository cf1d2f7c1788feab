// Attention, backward: the gradients of queries by one kernel, those of keys and values by another.
//
// Both compute scores again, from the logarithms of the rows' sums that the forward kept. A block owns 64 rows, 16 per
// warp, of one side (queries, or keys), and walks over all rows of the other side that meet them, a tile at a time:
// nothing is added up between blocks, so results have the same bits every time. With P the weights and G the gradient
// of the output:  V' = Pt G,  D = P (G Vt - delta),  Q' = D K,  K' = Dt Q,  delta the row sums of G times the output.
//
// Source: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
// arXiv:2307.08691, algorithm 2.
#include "attention.cuh"

namespace minidl {

enum Side { QUERIES, KEYS };

template <class T>
struct Gradients {
  Rows<const T> out, g;
  const float* logsum;  // (batch, heads, queries), as is delta
  float* delta;
  Rows<T> q, k, v;    // q may be null
  Plane<float> bias;  // (batch, heads, queries, keys), or null; zeros where nothing is written
};

template <class T, int HEAD>
struct BackwardShape {
  static constexpr int THREADS = 128, OWN = 64, STAGES = 2;
  static constexpr int COUNT =
      64 * 64 * 2 / HEAD / static_cast<int>(sizeof(T)) < 64 ? 64 * 64 * 2 / HEAD / static_cast<int>(sizeof(T)) : 64;
};

template <class T, int HEAD, Side SIDE>
struct Backward {
  using Shape = BackwardShape<T, HEAD>;
  static constexpr int OWN = Shape::OWN, COUNT = Shape::COUNT, STAGES = Shape::STAGES, THREADS = Shape::THREADS;
  static constexpr bool OF_KEYS = SIDE == KEYS;
  using OwnTile = Tile<T, OWN, HEAD>;
  using OtherTile = Tile<T, COUNT, HEAD>;
  static constexpr int STAGE = 2 * OtherTile::BYTES + 2 * COUNT * static_cast<int>(sizeof(float));

  const Attention<T>& a;
  const Gradients<T>& to;
  const Sequence& sequence;  // in shared memory: registers are scarce
  int h, first, row;         // h: the first query head; row: the warp's first
  OwnTile own, own_g;        // queries and G, or keys and values
  u32 ring;
  float sums[HEAD / 8][4] = {}, value_sums[OF_KEYS ? HEAD / 8 : 1][4] = {};
  float logsum[2], delta[2];  // of a thread's rows, if these are queries

  __device__ Backward(const Attention<T>& a, const Gradients<T>& to, u32 shared, const Sequence& sequence,
                      const Place& place)
      : a(a),
        to(to),
        sequence(sequence),
        h(place.h * (OF_KEYS ? a.group : 1)),
        first(place.block * OWN),
        row(static_cast<int>(threadIdx.x) / 32 * 16) {
    own.base = shared;
    own_g.base = shared + OwnTile::BYTES;
    ring = shared + 2 * OwnTile::BYTES;
  }

  __device__ int rows() const { return OF_KEYS ? sequence.room : sequence.queries; }

  __device__ void run() {
    const Scores<T> scores(a, sequence, h);
    fetch_own();
    const int2 blocks = OF_KEYS ? scores.queries_of(first, OWN, COUNT)
                                : scores.keys_of(first, left_of(sequence.queries, first, OWN), COUNT);
    const int per_head = at_least(blocks.y - blocks.x, 0), steps = per_head * (OF_KEYS ? a.group : 1);
    if constexpr (!OF_KEYS) find_delta();
    for (int s = 0; s < STAGES - 1; s++) {
      if (s < steps) fetch(h + s / per_head, (blocks.x + s % per_head) * COUNT, s);
      commit_copies();
    }
    for (int step = 0; step < steps; step++) {
      wait_copies<STAGES - 2>();
      __syncthreads();
      const int ahead = step + STAGES - 1;
      if (ahead < steps) fetch(h + ahead / per_head, (blocks.x + ahead % per_head) * COUNT, ahead % STAGES);
      commit_copies();
      meet(h + step / per_head, (blocks.x + step % per_head) * COUNT, ring + step % STAGES * STAGE);
    }
    wait_copies<0>();
    __syncthreads();
  }

  __device__ void fetch_own() const {
    if constexpr (OF_KEYS) {
      own.template fill<THREADS>(a.k.at(sequence.b, h / a.group, sequence.first_key + first), a.k.row,
                                 sequence.keys - first, a.width);
      own_g.template fill<THREADS>(a.v.at(sequence.b, h / a.group, sequence.first_key + first), a.v.row,
                                   sequence.keys - first, a.value_width);
    } else {
      own.template fill<THREADS>(a.q.at(sequence.b, h, sequence.first_query + first), a.q.row, sequence.queries - first,
                                 a.width);
      own_g.template fill<THREADS>(to.g.at(sequence.b, h, sequence.first_query + first), to.g.row,
                                   sequence.queries - first, a.value_width);
    }
  }

  // The row sums of G times the output, which is in the ring's place meanwhile.
  __device__ void find_delta() {
    const OwnTile out{ring};
    out.template fill<THREADS>(to.out.at(sequence.b, h, sequence.first_query + first), to.out.row,
                               sequence.queries - first, a.value_width);
    commit_copies();
    wait_copies<0>();
    __syncthreads();
    for (int i = 0; i < 2; i++) {
      const int mine = row + 8 * i + lane_row(), query = first + mine;
      float sum = 0;
      for (int c = lane() % 4; c < OwnTile::CHUNKS; c += 4) sum += dot(own_g.chunk(mine, c), out.chunk(mine, c));
      delta[i] = row_sum(sum);
      logsum[i] = query < sequence.queries ? to.logsum[sequence.number(a, h, query)] : 0;
      if (lane() % 4 == 0 && query < sequence.queries) to.delta[sequence.number(a, h, query)] = delta[i];
    }
    __syncthreads();
  }

  static __device__ float dot(u32 x, u32 y) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < CHUNK; i += 4) {
      const u32 u = load_word(x + i), v = load_word(y + i);
      if constexpr (sizeof(T) == 4)
        sum += __uint_as_float(u) * __uint_as_float(v);
      else
        sum += to_float(T{static_cast<u16>(u)}) * to_float(T{static_cast<u16>(v)}) +
               to_float(T{static_cast<u16>(u >> 16)}) * to_float(T{static_cast<u16>(v >> 16)});
    }
    return sum;
  }

  // COUNT rows of the other side; if these are queries, also their logarithms and deltas.
  __device__ void fetch(int head, int from, int stage) const {
    const OtherTile x{ring + stage * STAGE}, y{x.base + OtherTile::BYTES};
    if constexpr (OF_KEYS) {
      x.template fill<THREADS>(a.q.at(sequence.b, head, sequence.first_query + from), a.q.row, sequence.queries - from,
                               a.width);
      y.template fill<THREADS>(to.g.at(sequence.b, head, sequence.first_query + from), to.g.row,
                               sequence.queries - from, a.value_width);
      if (threadIdx.x < COUNT) {
        const int i = static_cast<int>(threadIdx.x), bytes = from + i < sequence.queries ? 4 : 0;
        const i64 at = sequence.number(a, head, from + i);
        copy_word(y.base + OtherTile::BYTES + 4 * i, to.logsum + at, bytes);
        copy_word(y.base + OtherTile::BYTES + 4 * (COUNT + i), to.delta + at, bytes);
      }
      __syncwarp();
    } else {
      x.template fill<THREADS>(a.k.at(sequence.b, head / a.group, sequence.first_key + from), a.k.row,
                               sequence.keys - from, a.width);
      y.template fill<THREADS>(a.v.at(sequence.b, head / a.group, sequence.first_key + from), a.v.row,
                               sequence.keys - from, a.value_width);
    }
  }

  // Add what the rows [from, from + COUNT) of the other side, of one head, give.
  __device__ void meet(int head, int from, u32 stage) {
    const OtherTile x{stage}, y{x.base + OtherTile::BYTES};
    float p[COUNT / 8][4] = {}, d[COUNT / 8][4] = {};
    products(p, own, x);
    products(d, own_g, y);
    weigh(p, d, head, from, y.base + OtherTile::BYTES);
    if constexpr (OF_KEYS) add(value_sums, p, y);
    if (OF_KEYS || to.q.data != nullptr) add(sums, d, x);
  }

  __device__ void products(float (&p)[COUNT / 8][4], const OwnTile& mine, const OtherTile& other) const {
#pragma unroll(OF_KEYS ? 2 : 4)
    for (int i = 0; i < HEAD; i += STEP<T>) {
      const Left<T> left = left_along<T>(mine, row, i);
#pragma unroll
      for (int n = 0; n < COUNT; n += 16) {
        Right<T> right[2];
        right_along<T>(right, other, n, i);
        multiply(p[n / 8], left, right[0]);
        multiply(p[n / 8 + 1], left, right[1]);
      }
    }
  }

  static __device__ void add(float (&sum)[HEAD / 8][4], const float (&p)[COUNT / 8][4], const OtherTile& other) {
#pragma unroll
    for (int k = 0; k < COUNT; k += STEP<T>) {
      const Left<T> left = left_from<T>(&p[k / 8]);
#pragma unroll
      for (int n = 0; n < HEAD; n += 16) {
        Right<T> right[2];
        right_across<T>(right, other, k, n);
        multiply(sum[n / 8], left, right[0]);
        multiply(sum[n / 8 + 1], left, right[1]);
      }
    }
  }

  // Products become weights (as they meet G), and their gradients those of the products.
  __device__ void weigh(float (&p)[COUNT / 8][4], float (&d)[COUNT / 8][4], int head, int from, u32 statistics) const {
    const Scores<T> scores(a, sequence, head);
    const int mine = first + row;
    const bool plain = OF_KEYS ? scores.plain(from, COUNT, mine, 16) : scores.plain(mine, 16, from, COUNT);
    const u64 kept = a.drops() ? drawn(scores, from) : ~0ull;
    scores.bend(p);
#pragma unroll
    for (int n = 0; n < COUNT / 8; n++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const int column = column_of(n, j), query = OF_KEYS ? from + column : mine + row_of(j);
        const int key = OF_KEYS ? mine + row_of(j) : from + column;
        const float log = OF_KEYS ? __uint_as_float(load_word(statistics + 4 * column)) : logsum[j / 2];
        const float mean = OF_KEYS ? __uint_as_float(load_word(statistics + 4 * (COUNT + column))) : delta[j / 2];
        const float bent = p[n][j], factor = kept >> (4 * n + j) & 1 ? a.kept : 0;
        const float weight = exp2((plain ? bent * scores.factor : scores.score(bent, query, key)) - log);
        const float gradient = weight * (d[n][j] * factor - mean);
        if (!OF_KEYS && to.bias.data != nullptr && query < sequence.queries && key < sequence.keys)
          const_cast<float*>(to.bias.at(sequence.b, head))[query * to.bias.query + key * to.bias.key] = gradient;
        p[n][j] = weight * factor;
        d[n][j] = a.softcap == 0 ? gradient : gradient * (1 - bent * bent);
      }
    __syncwarp();
  }

  __device__ u64 drawn(const Scores<T>& scores, int from) const {
    u64 kept = 0;
#pragma unroll 1
    for (int e = 0; e < COUNT / 4; e++) {
      const int mine = first + row + row_of(e % 2 * 2), other = from + column_of(e / 2, 0);
      const u64 one = OF_KEYS ? scores.number(other, mine) : scores.number(mine, other);
      kept |= static_cast<u64>(scores.kept(one, one + (OF_KEYS ? a.keys : 1))) << 2 * e;
    }
    return kept;
  }

  __device__ void finish() {
    if constexpr (OF_KEYS) {
      put(sums, own, a.scale, to.k, h / a.group, a.width);
      put(value_sums, own_g, 1, to.v, h / a.group, a.value_width);
    } else if (to.q.data != nullptr) {
      put(sums, own, a.scale, to.q, h, a.width);
    }
  }

  // Sums to global memory, by way of the warp's rows in shared memory.
  __device__ void put(const float (&sum)[HEAD / 8][4], const OwnTile& tile, float scale, const Rows<T>& out, int head,
                      int width) const {
#pragma unroll
    for (int n = 0; n < HEAD / 8; n++)
      for (int i = 0; i < 2; i++)
        tile.put_pair(row + 8 * i + lane_row(), 8 * n, lane_column(), sum[n][2 * i] * scale, sum[n][2 * i + 1] * scale);
    __syncwarp();
    const int at = (OF_KEYS ? sequence.first_key : sequence.first_query) + first;
    tile.template store<16>(out.at(sequence.b, head, at), out.row, row, rows() - first, width);
  }
};

template <class T, int HEAD, Side SIDE>
__device__ void attention_backward(const Attention<T>& a, const Gradients<T>& to) {
  extern __shared__ __align__(128) u8 shared[];
  constexpr int OWN = BackwardShape<T, HEAD>::OWN;
  const int* starts = SIDE == KEYS ? a.key_starts : a.starts;
  Place place(starts, a.sequences, SIDE == KEYS ? a.keys : a.queries, SIDE == KEYS ? a.heads / a.group : a.heads, OWN);
  if (SIDE == QUERIES && starts == nullptr)
    place.block = ceil_div(a.queries, OWN) - 1 - place.block;  // most work first
  __shared__ Sequence sequence;
  if (threadIdx.x == 0) sequence = Sequence(a, place.b);
  __syncthreads();
  Backward<T, HEAD, SIDE> backward(a, to, shared_address(shared), sequence, place);
  if (backward.first >= backward.rows()) return;
  backward.run();
  backward.finish();
}

#define BACKWARD(NAME, T, HEAD)                                                                                      \
  extern "C" __global__ void __launch_bounds__(128, 2) attention_backward_queries_##NAME##_##HEAD(                   \
      ATTENTION_PARAMETERS(T), const T* out, const T* g, const float* logsum, float* delta, T* gq, float* gbias,     \
      i64 out_batch, i64 out_head, i64 out_row, i64 g_batch, i64 g_head, i64 g_row, i64 gq_batch, i64 gq_head,       \
      i64 gq_row) {                                                                                                  \
    const Attention<T> a = ATTENTION;                                                                                \
    const i64 plane = static_cast<i64>(queries) * keys;                                                              \
    const Gradients<T> to = {{out, out_batch, out_head, out_row},                                                    \
                             {g, g_batch, g_head, g_row},                                                            \
                             logsum,                                                                                 \
                             delta,                                                                                  \
                             {gq, gq_batch, gq_head, gq_row},                                                        \
                             {},                                                                                     \
                             {},                                                                                     \
                             {gbias, heads * plane, plane, keys, 1}};                                                \
    attention_backward<T, HEAD, QUERIES>(a, to);                                                                     \
  }                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, 2) attention_backward_keys_##NAME##_##HEAD(                      \
      ATTENTION_PARAMETERS(T), const T* g, const float* logsum, float* delta, T* gk, T* gv, i64 g_batch, i64 g_head, \
      i64 g_row, i64 gk_batch, i64 gk_head, i64 gk_row, i64 gv_batch, i64 gv_head, i64 gv_row) {                     \
    const Attention<T> a = ATTENTION;                                                                                \
    const Gradients<T> to = {{},                                                                                     \
                             {g, g_batch, g_head, g_row},                                                            \
                             logsum,                                                                                 \
                             delta,                                                                                  \
                             {},                                                                                     \
                             {gk, gk_batch, gk_head, gk_row},                                                        \
                             {gv, gv_batch, gv_head, gv_row},                                                        \
                             {}};                                                                                    \
    attention_backward<T, HEAD, KEYS>(a, to);                                                                        \
  }

BACKWARD(float16, float16, 64)
BACKWARD(float16, float16, 128)
BACKWARD(bfloat16, bfloat16, 64)
BACKWARD(bfloat16, bfloat16, 128)
BACKWARD(float32, float, 64)
BACKWARD(float32, float, 128)
BACKWARD(tf32, tf32, 64)
BACKWARD(tf32, tf32, 128)

}  // namespace minidl
