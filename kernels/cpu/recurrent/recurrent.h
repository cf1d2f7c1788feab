#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// One layer in one direction over T steps of N sequences; G gates of H hidden units. States have T + 1 entries: the
// first one (with `reverse` the last) is filled in by the caller.
struct RecurrentForward {
  const float *x, *weight_ih, *weight_hh, *bias_ih, *bias_hh;  // (T, N, I), (GH, I), (GH, H), (GH) or null
  const float *packed_ih, *packed_hh;                          // by recurrent_pack, or null
  const int64_t* lengths;                                      // (N) or null
  float *gates, *h, *c;  // (T, N, GH) in an order of their own, GRU: (T, N, 4H); (T + 1, N, H); LSTM: (T + 1, N, H)
                         // gates null: nothing is kept for a backward, and c is (N, H), in place
  float* y;              // (T, N, H), with lengths: h, and 0 beyond the ends; or null
  int64_t steps, rows, inputs, hidden;
  bool reverse, relu;
  bool keep = false;  // (set by the kernel: were there gates?)
};

struct RecurrentBackward {
  const float *gy, *weight_hh;  // (T, N, H), (GH, H)
  const int64_t* lengths;
  const float *gates, *h, *c;  // as they came out
  float *gh, *gc;              // (N, H): of the last states, and then of the first; gc: LSTM
  float *ga, *gb;              // (T, N, GH): of W_ih x + b_ih; GRU: (T, N, H), of W_hn h + b_hn
  int64_t steps, rows, hidden;
  bool reverse, relu;
};

MINIDL_KERNEL(lstm_forward, RecurrentForward)
MINIDL_KERNEL(lstm_backward, RecurrentBackward)
MINIDL_KERNEL(gru_forward, RecurrentForward)
MINIDL_KERNEL(gru_backward, RecurrentBackward)
MINIDL_KERNEL(rnn_forward, RecurrentForward)
MINIDL_KERNEL(rnn_backward, RecurrentBackward)

// A weight as the forward reads it: floats of packed_weight(...).
struct PackRecurrent {
  const float* weight;  // (GH, K)
  float* packed;
  int64_t gates, hidden, depth;
};
MINIDL_KERNEL(recurrent_pack, PackRecurrent)
constexpr int64_t packed_weight(int64_t gates, int64_t hidden, int64_t depth) {
  return gates * ((hidden + 31) / 32 * 32) * depth;  // (at most 32 units are a group)
}

// y (columns) = the sum of the rows of x (rows, columns).
struct SumRows {
  const float* x;
  float* y;
  int64_t rows, columns;
};
MINIDL_KERNEL(sum_rows, SumRows)

}  // namespace minidl
