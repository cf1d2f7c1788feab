// Attention of a few queries to a cache of keys and values, which may lie in pages: bound by memory, so keys are cut
// into chunks, each of which a block reads once for all queries that share it; then what its warps found is put
// together.
//
// A warp takes 16 keys of every tile, with a softmax of its own. Rows are the queries of the heads that share keys.
//
// Source: Dao, Haziza, Massa, Sizov 2023, "Flash-Decoding for long-context inference"; pages: Kwon et al. 2023,
// "Efficient Memory Management for Large Language Model Serving with PagedAttention", arXiv:2309.06180.
#include "mma.cuh"
#include "rows.cuh"

namespace minidl {

constexpr int MOST_PARTS = 256;  // of a query: chunks times warps

template <class T>
struct Cache {
  Rows<const T> q, k, v;       // (sequences, heads, queries, width); (pages, key heads, keys of a page, width)
  const int *lengths, *table;  // keys of each sequence; its pages, or null: it has the one of its own number
  float *sums, *statistics;    // (sequences, heads, queries, parts, value width), and (..., 2): top, total
  int heads, group, queries, caches, pages, per_page, width, value_width;
  float scale, softcap;
  int before, chunk, parts;

  __device__ int length(int n) const { return left_of(lengths[n], 0, pages * per_page); }
};

template <class T, int HEAD>
struct DecodeShape {
  static constexpr int KEYS = HEAD * static_cast<int>(sizeof(T)) <= 256 ? 64 : 32, WARPS = KEYS / 16;
  static constexpr int THREADS = 32 * WARPS, STAGES = 2, ROWS = 16;
};

template <class T, int HEAD>
struct Decode {
  using Shape = DecodeShape<T, HEAD>;
  static constexpr int KEYS = Shape::KEYS, STAGES = Shape::STAGES, THREADS = Shape::THREADS;
  using QueryTile = Tile<T, Shape::ROWS, HEAD>;
  using KeyTile = Tile<T, KEYS, HEAD>;

  const Cache<T>& a;
  QueryTile q;
  u32 ring;
  int n, g, first, length;  // sequence, key head, first row
  float sums[HEAD / 8][4] = {}, top[2], total[2] = {};

  __device__ Decode(const Cache<T>& a, u32 shared, int n, int g, int first)
      : a(a), ring(shared + QueryTile::BYTES), n(n), g(g), first(first), length(a.length(n)) {
    q.base = shared;
    top[0] = top[1] = -infinity();
  }

  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
  __device__ int rows() const { return a.group * a.queries; }
  __device__ int head(int row) const { return g * a.group + row / a.queries; }
  // The place of a row's query among the keys.
  __device__ int place(int row) const { return length - a.queries + row % a.queries; }

  __device__ const T* key(const Rows<const T>& of, int key) const {
    if (a.table == nullptr) return of.at(n, g, key);
    const int page = a.table[static_cast<i64>(n) * a.pages + key / a.per_page];
    return of.at(page >= 0 && page < a.caches ? page : 0, g, key % a.per_page);  // (a wrong one leads nowhere else)
  }

  __device__ void fetch(int from, int stage) const {
    const KeyTile keys{ring + stage * 2 * KeyTile::BYTES}, values{keys.base + KeyTile::BYTES};
    keys.template gather<THREADS>([&](int row) { return key(a.k, from + row); }, a.k.aligned(), length - from, a.width);
    values.template gather<THREADS>([&](int row) { return key(a.v, from + row); }, a.v.aligned(), length - from,
                                    a.value_width);
  }

  // Keys [low, high), low a multiple of KEYS.
  __device__ void run(int low, int high) {
    q.template gather<THREADS>([&](int row) { return a.q.at(n, head(first + row), (first + row) % a.queries); },
                               a.q.aligned(), rows() - first, a.width);
    if (low < high) fetch(low, 0);
    commit_copies();
    for (int from = low, stage = 0; from < high; from += KEYS, stage ^= 1) {
      wait_copies<0>();
      __syncthreads();
      if (from + KEYS < high) fetch(from + KEYS, stage ^ 1);
      commit_copies();
      const KeyTile keys{ring + stage * 2 * KeyTile::BYTES}, values{keys.base + KeyTile::BYTES};
      float p[2][4] = {};
      products(p, keys);
      weigh(p, from + 16 * warp());
      add(p, values);
    }
    wait_copies<0>();
  }

  __device__ void products(float (&p)[2][4], const KeyTile& keys) const {
#pragma unroll 4
    for (int d = 0; d < HEAD; d += STEP<T>) {
      const Left<T> left = left_along<T>(q, 0, d);
      Right<T> right[2];
      right_along<T>(right, keys, 16 * warp(), d);
      multiply(p[0], left, right[0]);
      multiply(p[1], left, right[1]);
    }
  }

  // Turn products with the keys from `key` on into weights exp(score - top), and earlier sums into sums of such.
  __device__ void weigh(float (&p)[2][4], int key) {
    const float inverse = a.scale / a.softcap, factor = (a.softcap == 0 ? a.scale : a.softcap) * LOG2_E;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int row = first + row_of(2 * i), own = place(row);
      float peak = top[i];
#pragma unroll
      for (int c = 0; c < 4; c++) {
        const int at = key + column_of(c / 2, c % 2);
        float& x = p[c / 2][2 * i + c % 2];
        if (a.softcap != 0) x = tanhf(x * inverse);
        x = row < rows() && at <= own && at >= own - a.before ? x * factor : -infinity();
        peak = fmaxf(peak, x);
      }
      __syncwarp();
      peak = row_maximum(peak);
      const float floor = peak == -infinity() ? 0 : peak;  // a row that sees nothing: its weights are 0
      const float fade = exp2(top[i] - floor);
      top[i] = peak;
      total[i] *= fade;
#pragma unroll
      for (int c = 0; c < 4; c++) {
        float& x = p[c / 2][2 * i + c % 2];
        x = exp2(x - floor);
        total[i] += x;
      }
#pragma unroll
      for (int d = 0; d < HEAD / 8; d++) sums[d][2 * i] *= fade, sums[d][2 * i + 1] *= fade;
    }
  }

  __device__ void add(const float (&p)[2][4], const KeyTile& values) {
#pragma unroll
    for (int k = 0; k < 16; k += STEP<T>) {
      const Left<T> left = left_from<T>(&p[k / 8]);
#pragma unroll
      for (int d = 0; d < HEAD; d += 16) {
        Right<T> right[2];
        right_across<T>(right, values, 16 * warp() + k, d);
        multiply(sums[d / 8], left, right[0]);
        multiply(sums[d / 8 + 1], left, right[1]);
      }
    }
  }

  // What the warp found about its keys.
  __device__ void finish(int chunk) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      total[i] = row_sum(total[i]);
      const int row = first + row_of(2 * i);
      if (row >= rows()) continue;
      const i64 query = (static_cast<i64>(n) * a.heads + head(row)) * a.queries + row % a.queries;
      const i64 part = query * a.parts + chunk * Shape::WARPS + warp();
      if (lane() % 4 == 0) a.statistics[2 * part] = top[i], a.statistics[2 * part + 1] = total[i];
#pragma unroll
      for (int d = 0; d < HEAD / 8; d++)
        for (int j = 0; j < 2; j++) {
          const int column = column_of(d, j);
          if (column < a.value_width) a.sums[part * a.value_width + column] = sums[d][2 * i + j];
        }
    }
  }
};

template <class T, int HEAD>
__device__ void decode(const Cache<T>& a) {
  extern __shared__ __align__(128) u8 shared[];
  using Shape = DecodeShape<T, HEAD>;
  const int chunks = a.parts / Shape::WARPS, tiles = ceil_div(a.group * a.queries, Shape::ROWS);
  const int key_heads = a.heads / a.group, number = static_cast<int>(blockIdx.x);
  const int chunk = number % chunks, tile = number / chunks % tiles, head = number / chunks / tiles;
  Decode<T, HEAD> decode(a, shared_address(shared), head / key_heads, head % key_heads, tile * Shape::ROWS);
  const int from = chunk * a.chunk,
            seen = at_least(decode.length - a.queries - a.before, 0) / Shape::KEYS * Shape::KEYS;
  if (from >= decode.length) return;
  decode.run(at_least(from, seen), at_most(from + a.chunk, decode.length));
  decode.finish(chunk);
}

// One query: its parts put together in order. statistics of parts behind a sequence's end are not looked at.
template <class T>
__device__ void join(const float* sums, const float* statistics, const int* lengths, const Rows<T>& out, float* logsum,
                     int heads, int queries, int room, int width, int chunk, int warps, int parts) {
  __shared__ float factors[MOST_PARTS];
  const int query = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int b = query / queries / heads, used = ceil_div(left_of(lengths[b], 0, room), chunk) * warps;
  const i64 first = static_cast<i64>(query) * parts;
  float top = -infinity(), total = 0;
  for (int i = 0; i < used; i++) top = fmaxf(top, statistics[2 * (first + i)]);
  if (top == -infinity()) top = 0;
  for (int i = thread; i < used; i += static_cast<int>(blockDim.x))
    factors[i] = exp2(statistics[2 * (first + i)] - top);
  __syncthreads();
  for (int i = 0; i < used; i++) total += factors[i] * statistics[2 * (first + i) + 1];
  if (total == 0) total = 1;
  T* row = out.at(b, query / queries % heads, query % queries);
  for (int e = thread; e < width; e += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int i = 0; i < used; i++) sum += factors[i] * sums[(first + i) * width + e];
    row[e] = from_float<T>(sum / total);
  }
  if (thread == 0) logsum[query] = top + log2f(total);
}

#define DECODE(NAME, T, HEAD)                                                                                          \
  extern "C" __global__ void __launch_bounds__(DecodeShape<T, HEAD>::THREADS) decode_parts_##NAME##_##HEAD(            \
      const T* q, const T* k, const T* v, const int* lengths, const int* table, float* sums, float* statistics,        \
      i64 q_batch, i64 q_head, i64 q_row, i64 k_batch, i64 k_head, i64 k_row, i64 v_batch, i64 v_head, i64 v_row,      \
      int heads, int group, int queries, int caches, int pages, int per_page, int width, int value_width, float scale, \
      float softcap, int before, int chunk, int parts) {                                                               \
    const Cache<T> a = {{q, q_batch, q_head, q_row},                                                                   \
                        {k, k_batch, k_head, k_row},                                                                   \
                        {v, v_batch, v_head, v_row},                                                                   \
                        lengths,                                                                                       \
                        table,                                                                                         \
                        sums,                                                                                          \
                        statistics,                                                                                    \
                        heads,                                                                                         \
                        group,                                                                                         \
                        queries,                                                                                       \
                        caches,                                                                                        \
                        pages,                                                                                         \
                        per_page,                                                                                      \
                        width,                                                                                         \
                        value_width,                                                                                   \
                        scale,                                                                                         \
                        softcap,                                                                                       \
                        before,                                                                                        \
                        chunk,                                                                                         \
                        parts};                                                                                        \
    decode<T, HEAD>(a);                                                                                                \
  }
#define JOIN(NAME, T)                                                                                            \
  extern "C" __global__ void __launch_bounds__(128) decode_join_##NAME(                                          \
      const float* sums, const float* statistics, const int* lengths, T* out, float* logsum, i64 out_batch,      \
      i64 out_head, i64 out_row, int heads, int queries, int room, int width, int chunk, int warps, int parts) { \
    join<T>(sums, statistics, lengths, {out, out_batch, out_head, out_row}, logsum, heads, queries, room, width, \
            chunk, warps, parts);                                                                                \
  }

DECODE(float16, float16, 64)
DECODE(float16, float16, 128)
DECODE(float16, float16, 256)
DECODE(bfloat16, bfloat16, 64)
DECODE(bfloat16, bfloat16, 128)
DECODE(bfloat16, bfloat16, 256)
DECODE(float32, float, 64)
DECODE(float32, float, 128)
DECODE(float32, float, 256)
JOIN(float16, float16)
JOIN(bfloat16, bfloat16)
JOIN(float32, float)

}  // namespace minidl
