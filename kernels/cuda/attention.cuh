// What the forward and the backward of attention share: where arrays lie, and which score a query gives a key.
//
// Scores and logarithms are to the base 2.
#pragma once
#include "philox.cuh"
#include "rows.cuh"

namespace minidl {

// A bias or mask (batch, heads, queries, keys): along axes that it lacks steps are 0. Null: there is none.
template <class T>
struct Plane {
  const T* data;
  i64 batch, head, query, key;

  __device__ const T* at(int b, int h) const { return data == nullptr ? data : data + b * batch + h * head; }
  __device__ T load(const T* here, int q, int k) const { return here[q * query + k * key]; }
};

template <class T>
struct Attention {
  Rows<const T> q, k, v;
  Plane<T> bias;
  Plane<u8> mask;
  const int* lengths;              // of each sequence's keys, or null
  const int *starts, *key_starts;  // (sequences + 1) rows where packed sequences begin, or null
  int sequences, heads, group;
  int queries, keys;  // of a sequence; of all, where they are packed
  int width, value_width;
  float scale, softcap;
  int offset, last, before, behind;  // last: the offset is from where last queries meet last keys
  Philox random;
  u32 threshold;  // a weight is kept if half its random word is below
  float kept;     // and multiplied by this

  __device__ bool drops() const { return threshold < 0x80000000u; }
};

#define ATTENTION_PARAMETERS(T)                                                                                       \
  const T *q, const T *k, const T *v, const T *bias, const u8 *mask, const int *lengths, const int *starts,           \
      const int *key_starts, i64 q_batch, i64 q_head, i64 q_row, i64 k_batch, i64 k_head, i64 k_row, i64 v_batch,     \
      i64 v_head, i64 v_row, i64 bias_batch, i64 bias_head, i64 bias_query, i64 bias_key, i64 mask_batch,             \
      i64 mask_head, i64 mask_query, i64 mask_key, int sequences, int heads, int group, int queries, int keys,        \
      int width, int value_width, float scale, float softcap, int offset, int last, int before, int behind, i64 seed, \
      i64 stream, i64 threshold, float kept
#define ATTENTION                                       \
  {{q, q_batch, q_head, q_row},                         \
   {k, k_batch, k_head, k_row},                         \
   {v, v_batch, v_head, v_row},                         \
   {bias, bias_batch, bias_head, bias_query, bias_key}, \
   {mask, mask_batch, mask_head, mask_query, mask_key}, \
   lengths,                                             \
   starts,                                              \
   key_starts,                                          \
   sequences,                                           \
   heads,                                               \
   group,                                               \
   queries,                                             \
   keys,                                                \
   width,                                               \
   value_width,                                         \
   scale,                                               \
   softcap,                                             \
   offset,                                              \
   last,                                                \
   before,                                              \
   behind,                                              \
   {static_cast<u64>(seed), static_cast<u64>(stream)},  \
   static_cast<u32>(threshold),                         \
   kept}

// One sequence: where its rows are, and how many.
struct Sequence {
  int b, first_query, first_key, queries, room, keys, offset;  // room: for keys, of which there may be fewer
  int batch;                                                   // b, but 0 where sequences are packed

  Sequence() = default;
  template <class T>
  __device__ Sequence(const Attention<T>& a, int b) : b(b), batch(a.starts == nullptr ? b : 0) {
    const int2 q = part(a.starts, b, a.queries), k = part(a.key_starts, b, a.keys);
    first_query = q.x, first_key = k.x, queries = q.y, room = k.y;
    keys = a.lengths == nullptr ? room : left_of(a.lengths[b], 0, room);
    offset = a.offset + (a.last ? keys - queries : 0);
  }
  // The first row and the number of rows.
  static __device__ int2 part(const int* starts, int b, int rows) {
    if (starts == nullptr) return {0, rows};
    const int first = left_of(starts[b], 0, rows);
    return {first, left_of(starts[b + 1], first, rows - first)};
  }
  // Number of a query of a head among those of all sequences.
  template <class T>
  __device__ i64 number(const Attention<T>& a, int h, int query) const {
    return (static_cast<i64>(batch) * a.heads + h) * a.queries + first_query + query;
  }
};

// Which block of rows, of which head of which sequence, a block of threads takes.
struct Place {
  int b, h, block;

  // Blocks of SIZE rows: a packed sequence has those from starts / SIZE + its number on, which are at least enough.
  __device__ Place(const int* starts, int sequences, int rows, int heads, int size) {
    const int per_head = starts == nullptr ? ceil_div(rows, size) : rows / size + sequences;
    const int number = static_cast<int>(blockIdx.x), head = number / per_head;
    block = number % per_head, b = head / heads, h = head % heads;
    if (starts == nullptr) return;
    b = 0;
    for (int end = sequences; b + 1 < end;) {
      const int middle = (b + end) / 2;
      if (left_of(starts[middle], 0, rows) / size + middle <= block)
        b = middle;
      else
        end = middle;
    }
    block -= left_of(starts[b], 0, rows) / size + b;
  }
};

// The scores of one head of one sequence.
template <class T>
struct Scores {
  const Attention<T>& a;
  const Sequence& sequence;
  const T* bias;
  const u8* mask;
  int h;
  float factor;  // from what `bend` leaves to scores

  __device__ Scores(const Attention<T>& a, const Sequence& sequence, int h)
      : a(a),
        sequence(sequence),
        bias(a.bias.at(sequence.b, h)),
        mask(a.mask.at(sequence.b, h)),
        h(h),
        factor((a.softcap == 0 ? a.scale : a.softcap) * LOG2_E) {}

  // Are scores of the block no more than `factor` times what `bend` left, as all queries see all keys?
  __device__ bool plain(int query, int queries, int key, int count) const {
    return bias == nullptr && mask == nullptr && query + queries <= sequence.queries && key + count <= sequence.keys &&
           key >= query + queries - 1 + sequence.offset - a.before &&
           key + count - 1 <= query + sequence.offset + a.behind;
  }
  __device__ bool sees(int query, int key) const {
    const int distance = key - (query + sequence.offset);
    return query < sequence.queries && key < sequence.keys && distance >= -a.before && distance <= a.behind &&
           (mask == nullptr || a.mask.load(mask, query, key) != 0);
  }
  __device__ float score(float bent, int query, int key) const {
    if (!sees(query, key)) return -infinity();
    return bent * factor + (bias == nullptr ? 0 : to_float(a.bias.load(bias, query, key)) * LOG2_E);
  }
  // The softcap's tangent of products, where there is one; else they stay.
  template <int N>
  __device__ void bend(float (&p)[N][4]) const {
    if (a.softcap == 0) return;
    const float inverse = a.scale / a.softcap;
#pragma unroll
    for (int n = 0; n < N; n++)
      for (int j = 0; j < 4; j++) p[n][j] = tanhf(p[n][j] * inverse);
  }
  // Are two weights kept by dropout? They often share the words of a counter.
  __device__ u32 kept(u64 one, u64 other) const {
    uint4 words = a.random.words(one >> 2);
    const u32 bit = Philox::select(words, one) >> 1 < a.threshold;
    if (one >> 2 != other >> 2) words = a.random.words(other >> 2);
    return bit | static_cast<u32>(Philox::select(words, other) >> 1 < a.threshold) << 1;
  }
  // Number of a weight in the draw for dropout.
  __device__ u64 number(int query, int key) const {
    return static_cast<u64>(sequence.number(a, h, query)) * a.keys + sequence.first_key + key;
  }

  // Blocks [low, high) of BLOCK keys that any of the queries in [query, query + count) may see.
  __device__ int2 keys_of(int query, int count, int block) const {
    const int low = at_least(query + sequence.offset - a.before, 0) / block;
    const int high = ceil_div(left_of(query + count + sequence.offset + a.behind, 0, sequence.keys), block);
    return {low, high};
  }
  // Blocks [low, high) of BLOCK queries that may see any of the keys in [key, key + count).
  __device__ int2 queries_of(int key, int count, int block) const {
    const int low = at_least(key - sequence.offset - a.behind, 0) / block;
    const int high =
        ceil_div(left_of(at_most(key + count, sequence.keys) - sequence.offset + a.before, 0, sequence.queries), block);
    return {low, key < sequence.keys ? high : low};
  }
};

}  // namespace minidl
