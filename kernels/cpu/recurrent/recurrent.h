#pragma once
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace minidl {

// One layer in one direction over T steps of N sequences; G gates of H hidden units. States have T + 1 entries: the
// first one (with `reverse` the last) is filled in by the caller.
struct RecurrentForward {
  const float *x, *weight_ih, *weight_hh, *bias_ih, *bias_hh;  // (T, N, I), (GH, I), (GH, H), (GH) or null
  const int64_t* lengths;                                      // (N) or null
  float *gates, *h, *c, *recurrent;  // (T, N, GH), (T + 1, N, H), LSTM: (T + 1, N, H), GRU: (T, N, H)
  float* y;                          // (T, N, H), with lengths: h, and 0 beyond the ends; or null
  int64_t steps, rows, inputs, hidden;
  bool reverse, relu;
};

struct RecurrentBackward {
  const float *gy, *weight_hh;  // (T, N, H), (GH, H)
  const int64_t* lengths;
  const float *gates, *h, *c, *recurrent;  // as they came out
  float *gh, *gc;                          // (N, H): of the last states, and then of the first; gc: LSTM
  float *ga, *gb;                          // (T, N, GH): of W_ih x + b_ih; GRU: (T, N, H), of W_hn h + b_hn
  int64_t steps, rows, hidden;
  bool reverse, relu;
};

MINIDL_KERNEL(lstm_forward, RecurrentForward)
MINIDL_KERNEL(lstm_backward, RecurrentBackward)
MINIDL_KERNEL(gru_forward, RecurrentForward)
MINIDL_KERNEL(gru_backward, RecurrentBackward)
MINIDL_KERNEL(rnn_forward, RecurrentForward)
MINIDL_KERNEL(rnn_backward, RecurrentBackward)

// y (columns) = the sum of the rows of x (rows, columns).
struct SumRows {
  const float* x;
  float* y;
  int64_t rows, columns;
};
MINIDL_KERNEL(sum_rows, SumRows)

}  // namespace minidl
