#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// A float array (batch, heads, rows, width): elements of a row lie together, everything else has strides.
template <class T>
struct Heads {
  T* data;
  int64_t batch, head, row;
  T* at(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }
};

// What is added to the scores (batch, heads, queries, keys), in strides: 0 where it is the same along an axis.
template <class T>
struct Plane {
  T* data;  // null: nothing
  int64_t batch, head, query, key;
  T* at(int64_t b, int64_t h, int64_t t, int64_t s) const { return data + b * batch + h * head + t * query + s * key; }
};

// What all of them read. Query t sees the keys from t + offset - before to t + offset + behind.
struct Attention {
  int64_t batch, heads, groups, queries, keys, width, value_width;
  Heads<const float> q, k, v;  // k and v have `groups` heads
  Plane<const float> bias;
  Plane<const uint8_t> mask;  // 0 hides a key
  float scale, softcap;
  int64_t offset, before, behind;
  bool drops;  // weights are dropped where a random word's upper 31 bits are not below the threshold
  uint64_t seed, stream;
  uint32_t threshold;
  float kept;  // what those that are not dropped are multiplied by
  // Score (b, h, t, s) has the random word of number draw_first + ((b heads + h) draw_queries + t) draw_keys + s.
  int64_t draw_first, draw_queries, draw_keys;
};

struct AttentionForward : Attention {
  Heads<float> out;
  float* logsum;  // (batch, heads, queries): of each row of scores, to the base 2; 0 for one that sees nothing
};

// Few queries, without bias, mask and dropout, which are the last of sequences that a cache holds.
struct AttentionCached : AttentionForward {
  const int64_t* lengths;   // (batch): keys of each sequence
  const int64_t* table;     // (batch, pages): which of the arrays' first axis hold a sequence; null: its own
  int64_t pages, per_page;  // of a sequence; keys
};

struct AttentionGradients : Attention {
  Heads<const float> g, out;  // out's gradient, and what the forward gave
  const float* logsum;
};

struct AttentionBackward : AttentionGradients {
  Heads<float> gq, gk, gv;
};

struct AttentionBias : AttentionGradients {
  Plane<float> gbias;  // stride 0: summed along this axis
};

MINIDL_KERNEL(attention_forward, AttentionForward)
MINIDL_KERNEL(attention_decode, AttentionForward)  // for few queries, without dropout
MINIDL_KERNEL(attention_cached, AttentionCached)
MINIDL_KERNEL(attention_backward, AttentionBackward)
MINIDL_KERNEL(attention_bias, AttentionBias)

}  // namespace minidl
