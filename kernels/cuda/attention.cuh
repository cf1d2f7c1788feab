// What the forward and the backward of attention share: where arrays lie, and which score a query gives a key.
//
// Scores and logarithms are to the base 2.
#pragma once
#include "mma.cuh"
#include "philox.cuh"

namespace minidl {

// A tensor (batch, heads, rows, width) whose rows are contiguous.
template <class T>
struct Rows {
  T* data;
  i64 batch, head, row;

  __device__ T* at(int b, int h, int r) const { return data + b * batch + h * head + r * row; }
};

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
  const int* lengths;  // of each sequence's keys, or null
  int heads, group, queries, keys, width, value_width;
  float scale, softcap;
  int offset, before, behind;
  Philox random;
  u32 threshold;  // a weight is kept if half its random word is below
  float kept;     // and multiplied by this

  __device__ bool drops() const { return threshold < 0x80000000u; }
};

#define ATTENTION_PARAMETERS(T)                                                                                        \
  const T *q, const T *k, const T *v, const T *bias, const u8 *mask, const int *lengths, i64 q_batch, i64 q_head,      \
      i64 q_row, i64 k_batch, i64 k_head, i64 k_row, i64 v_batch, i64 v_head, i64 v_row, i64 bias_batch,               \
      i64 bias_head, i64 bias_query, i64 bias_key, i64 mask_batch, i64 mask_head, i64 mask_query, i64 mask_key,        \
      int heads, int group, int queries, int keys, int width, int value_width, float scale, float softcap, int offset, \
      int before, int behind, i64 seed, i64 stream, i64 threshold, float kept
#define ATTENTION                                       \
  {{q, q_batch, q_head, q_row},                         \
   {k, k_batch, k_head, k_row},                         \
   {v, v_batch, v_head, v_row},                         \
   {bias, bias_batch, bias_head, bias_query, bias_key}, \
   {mask, mask_batch, mask_head, mask_query, mask_key}, \
   lengths,                                             \
   heads,                                               \
   group,                                               \
   queries,                                             \
   keys,                                                \
   width,                                               \
   value_width,                                         \
   scale,                                               \
   softcap,                                             \
   offset,                                              \
   before,                                              \
   behind,                                              \
   {static_cast<u64>(seed), static_cast<u64>(stream)},  \
   static_cast<u32>(threshold),                         \
   kept}

// The scores of one head of one sequence.
template <class T>
struct Scores {
  const Attention<T>& a;
  const T* bias;
  const u8* mask;
  int keys;
  u64 first;     // number of the head's first weight in the draw for dropout
  float factor;  // from what `bend` leaves to scores

  __device__ Scores(const Attention<T>& a, int b, int h)
      : a(a),
        bias(a.bias.at(b, h)),
        mask(a.mask.at(b, h)),
        keys(a.lengths == nullptr ? a.keys : left_of(a.lengths[b], 0, a.keys)),
        first((static_cast<u64>(b) * a.heads + h) * a.queries * a.keys),
        factor((a.softcap == 0 ? a.scale : a.softcap) * LOG2_E) {}

  // Are scores of the block no more than `factor` times what `bend` left, as all queries see all keys?
  __device__ bool plain(int query, int queries, int key, int count) const {
    return bias == nullptr && mask == nullptr && query + queries <= a.queries && key + count <= keys &&
           key >= query + queries - 1 + a.offset - a.before && key + count - 1 <= query + a.offset + a.behind;
  }
  __device__ bool sees(int query, int key) const {
    const int distance = key - (query + a.offset);
    return query < a.queries && key < keys && distance >= -a.before && distance <= a.behind &&
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
  __device__ u64 number(int query, int key) const { return first + static_cast<u64>(query) * a.keys + key; }

  // Blocks [low, high) of BLOCK keys that any of the queries in [query, query + count) may see.
  __device__ int2 keys_of(int query, int count, int block) const {
    const int low = at_least(query + a.offset - a.before, 0) / block;
    const int high = ceil_div(left_of(query + count + a.offset + a.behind, 0, keys), block);
    return {low, high};
  }
  // Blocks [low, high) of BLOCK queries that may see any of the keys in [key, key + count).
  __device__ int2 queries_of(int key, int count, int block) const {
    const int low = at_least(key - a.offset - a.behind, 0) / block;
    const int high = ceil_div(left_of(at_most(key + count, keys) - a.offset + a.before, 0, a.queries), block);
    return {low, key < keys ? high : low};
  }
};

// The sum, and the maximum, of what the four threads of a row have.
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}
__device__ inline float row_maximum(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

}  // namespace minidl
