// The loop over time that all recurrent layers share; cells say what is done to a vector of hidden units.
//
// Hidden units are cut into groups of NR. A step multiplies the packed state by the packed weights of each group's
// gates, bends these while they are in cache, and packs what comes out for the next step: one fork and join per step.
// Where a step is too little work for that, sequences are cut into blocks, each of which runs through all steps alone.
#pragma once
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/recurrent/recurrent.h"

namespace minidl::MINIDL_ISA {

constexpr double STEP_FLOPS = 2e6;   // a step of less is not worth a fork and join
constexpr double TASK_FLOPS = 2e5;   // and this is a task of one
constexpr int64_t DEPTH = 512;       // of a chain of additions
constexpr int64_t INPUTS = 1 << 20;  // floats: so much of the inputs' products is made at a time, and stays in cache

// The place of one vector: row n of step t, and the first of `lanes` hidden units.
struct Place {
  int64_t t, before, after;  // step; its states' numbers
  int64_t row, column, lanes;
};

struct Problem {
  int64_t steps, rows, hidden;
  int gates;
  bool reverse, back;  // the layer's direction; do gradients go against it?
  const int64_t* lengths;

  int64_t groups() const { return ceil_div(hidden, NR<float>); }
  int64_t columns(int64_t group) const { return min<int64_t>(NR<float>, hidden - group * NR<float>); }
  int64_t step(int64_t s) const { return reverse != back ? steps - 1 - s : s; }
  bool alive(int64_t t, int64_t row) const { return !lengths || t < lengths[row]; }
  Place place(int64_t t) const { return {t, reverse ? t + 1 : t, reverse ? t : t + 1, 0, 0, 0}; }
};

// How a problem is cut, from its shape alone: blocks of sequences, and tasks of each step.
struct Cut {
  int64_t blocks, tasks;
  explicit Cut(const Problem& p) {
    double work = 2. * static_cast<double>(p.rows * p.hidden) * static_cast<double>(p.hidden * p.gates);
    blocks = work < STEP_FLOPS ? min<int64_t>(16, max<int64_t>(1, p.rows / 8)) : 1;
    tasks = min(p.groups(), max<int64_t>(1, static_cast<int64_t>(work / static_cast<double>(blocks) / TASK_FLOPS)));
  }
};

struct Product {  // where the products of one gate go
  float* c;
  int64_t ld;
  bool accumulate;
};

// C += A B for one sliver of B; A (packed by panels) and B have all of K.
inline void multiply(const Panels& panels, int64_t K, const float* a, const float* b, int columns, const Product& to) {
  const int64_t slices = ceil_div(K, DEPTH);
  for (int64_t s = 0; s < slices; s++) {
    const int64_t k0 = K * s / slices, kc = K * (s + 1) / slices - k0;
    for (int64_t i = 0; i < panels.count; i++) {
      int height = panels.height(i);
      tile(kc, a + panels.start(i) * K + k0 * height, nullptr, height, b + k0 * NR<float>, columns,
           to.c + panels.start(i) * to.ld, to.ld, to.accumulate || s > 0);
    }
  }
}

// Columns [k0, k0 + columns) of the rows of a block, into their place in its panels of depth K.
inline void pack_rows(const Panels& panels, int64_t K, const float* src, int64_t ld, int64_t k0, int columns,
                      float* dst) {
  alignas(64) float edge[MR * NR<float> + W];  // (packing overruns; what follows may be another task's)
  for (int64_t i = 0; i < panels.count; i++) {
    int height = panels.height(i);
    pack(src + panels.start(i) * ld, ld, 1, height, columns, edge, height);
    std::memcpy(dst + panels.start(i) * K + k0 * height, edge, sizeof(float) * static_cast<size_t>(height * columns));
  }
}

// 1 / (1 + e^-x), to 3 ulp where it is a normal number.
MINIDL_INLINE vf gate_sigmoid(vf x) { return 1.f / (1.f + vexp_clamped(-x)); }

// tanh x = m / (m + 2) where m = e^2x - 1, to 3 ulp.
MINIDL_INLINE vf gate_tanh(vf x) {
  x = at_most(at_least(x + x, -20.f), 20.f);
  vf shifted = x * 1.44269504f + (ROUNDER + 127.f);
  vf power = (vf)((vi)shifted << 23);
  vf m = power * expm1_reduced(minus_ln2(x, shifted - (ROUNDER + 127.f))) + (power - 1.f);
  return m / (m + 2.f);
}

// f(place) at every vector of a group, row after row.
template <class F>
MINIDL_INLINE void for_group(const Problem& p, int64_t first, int64_t rows, int64_t group, int64_t t, const F& f) {
  Place at = p.place(t);
  const int64_t start = group * NR<float>, end = start + p.columns(group);
  for (at.row = first; at.row < first + rows; at.row++)
    for (at.column = start; at.column < end; at.column += W) {
      at.lanes = W;  // (known to the compiler: no masks)
      if (end - at.column >= W) {
        f(at);
      } else {
        at.lanes = end - at.column;
        f(at);
      }
    }
}

// f(first row, rows, first group, end group, which buffer) for each step of each block, in tasks.
template <class F>
MINIDL_INLINE void for_steps(const Problem& p, int64_t from, int64_t to, const F& f) {
  const Cut cut(p);
  parallel_for(cut.blocks, [&](int64_t block) {
    const int64_t first = p.rows * block / cut.blocks, rows = p.rows * (block + 1) / cut.blocks - first;
    for (int64_t s = from; s < to; s++)
      parallel_for(cut.tasks, [&](int64_t task) {
        f(s, first, rows, p.groups() * task / cut.tasks, p.groups() * (task + 1) / cut.tasks);
      });
  });
}

// Cells are made of the parameters and the biases (BIASES, H): those of inputs and state together for the first ADDED
// of the GATES, then the others. They have `product(gate, t)`, where a gate's recurrent products go; `(place)`, which
// bends the gates and gives h; and `stay(place)`, beyond a sequence's end.
template <class Cell>
void forward(const RecurrentForward& p) {
  constexpr int G = Cell::GATES;
  const int64_t H = p.hidden, width = G * H, size = p.rows * H;
  const Problem problem{p.steps, p.rows, H, G, p.reverse, false, p.lengths};
  const int64_t groups = problem.groups(), sliver = H * NR<float>;
  Scratch<float> bias(Cell::BIASES * H), inputs(packed_b_size<float>(p.inputs, width)), weights(groups * G * sliver);
  Scratch<float> packed(2 * size);
  for (int64_t i = 0; i < Cell::BIASES * H; i++) {
    bias[i] = p.bias_ih && i < width ? p.bias_ih[i] : 0.f;
    if (p.bias_hh && (i < Cell::ADDED * H || i >= width)) bias[i] += p.bias_hh[i < width ? i : i - H];
  }
  const Cell cell{p, bias};
  pack_b(p.inputs, width, p.weight_ih, 1, p.inputs, inputs.get());
  parallel_for(groups * G, [&](int64_t i) {
    const int64_t row = i % G * H + i / G * NR<float>;
    pack(p.weight_hh + row * H, H, 1, static_cast<int>(problem.columns(i / G)), H, weights + i * sliver, NR<float>);
  });

  auto group_step = [&](int64_t s, int64_t first, int64_t rows, int64_t group) {
    const int64_t t = problem.step(s), column = group * NR<float>;
    const int columns = static_cast<int>(problem.columns(group));
    const Panels panels(rows);
    for (int g = 0; g < G; g++) {
      Product to = cell.product(g, t);
      to.c += first * to.ld + column;
      multiply(panels, H, packed + s % 2 * size + first * H, weights + (group * G + g) * sliver, columns, to);
    }
    for_group(problem, first, rows, group, t, [&](const Place& at) {
      const bool alive = problem.alive(t, at.row);
      const float* before = p.h + at.before * size + at.row * H + at.column;
      vf h = alive ? cell(at) : load_n(before, at.lanes);
      if (!alive) cell.stay(at);
      store_n(p.h + at.after * size + at.row * H + at.column, h, at.lanes);
      if (p.y) store_n(p.y + t * size + at.row * H + at.column, alive ? h : vf{}, at.lanes);
    });
    const float* after = p.h + problem.place(t).after * size + first * H + column;
    pack_rows(panels, H, after, H, column, columns, packed + (s + 1) % 2 * size + first * H);
  };

  const Cut cut(problem);
  for (int64_t block = 0; block < cut.blocks; block++) {
    const int64_t first = p.rows * block / cut.blocks, rows = p.rows * (block + 1) / cut.blocks - first;
    const float* h = p.h + problem.place(problem.step(0)).before * size + first * H;
    for (int64_t g = 0; g < groups; g++)
      pack_rows(Panels(rows), H, h + g * NR<float>, H, g * NR<float>, static_cast<int>(problem.columns(g)),
                packed + first * H);
  }
  const int64_t several = max<int64_t>(1, INPUTS / (p.rows * width));
  for (int64_t from = 0; from < p.steps; from += several) {
    const int64_t to = min(p.steps, from + several), t = p.reverse ? p.steps - to : from;
    gemm_prepacked<float>((to - from) * p.rows, width, p.inputs, p.x + t * p.rows * p.inputs, p.inputs, 1, inputs,
                          p.gates + t * p.rows * width, width);
    for_steps(problem, from, to, [&](int64_t s, int64_t first, int64_t rows, int64_t group, int64_t end) {
      for (; group < end; group++) group_step(s, first, rows, group);
    });
  }
}

// Cells have GATES; `(place, gh)`, which takes the gradient of h, writes those of the gates and gives what of gh passes
// the gates by; `still(place)`, which writes zeros instead; `gradient(gate, t)`: of what the recurrent weights gave.
template <class Cell>
void backward(const RecurrentBackward& p, const Cell& cell) {
  constexpr int G = Cell::GATES;
  const int64_t H = p.hidden, K = G * H, size = p.rows * H;
  const Problem problem{p.steps, p.rows, H, G, p.reverse, true, p.lengths};
  const int64_t groups = problem.groups(), sliver = K * NR<float>;
  Scratch<float> weights(groups * sliver), packed(2 * p.rows * K);
  parallel_for(groups, [&](int64_t g) {
    pack_slivers(p.weight_hh + g * NR<float>, H, 1, K, problem.columns(g), weights + g * sliver);
  });

  for_steps(problem, 0, p.steps + 1, [&](int64_t s, int64_t first, int64_t rows, int64_t group, int64_t end) {
    const Panels panels(rows);
    for (; group < end; group++) {
      const int64_t column = group * NR<float>, t = problem.step(s);
      const int columns = static_cast<int>(problem.columns(group));
      if (s > 0)
        multiply(panels, K, packed + (s % 2 * p.rows + first) * K, weights + group * sliver, columns,
                 {p.gh + first * H + column, H, true});
      if (s == p.steps) continue;
      for_group(problem, first, rows, group, t, [&](const Place& at) {
        float* gh = p.gh + at.row * H + at.column;
        if (!problem.alive(t, at.row)) return cell.still(at);
        vf g = load_n(gh, at.lanes) + load_n(p.gy + t * size + at.row * H + at.column, at.lanes);
        store_n(gh, cell(at, g), at.lanes);
      });
      for (int g = 0; g < G; g++) {
        Product from = cell.gradient(g, t);
        pack_rows(panels, K, from.c + first * from.ld + column, from.ld, g * H + column, columns,
                  packed + ((s + 1) % 2 * p.rows + first) * K);
      }
    }
  });
}

}  // namespace minidl::MINIDL_ISA
