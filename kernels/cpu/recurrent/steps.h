// The loop over time that all recurrent layers share; cells say what is done to a vector of hidden units.
//
// Hidden units are cut into groups of NR. A step multiplies the packed inputs and the packed state by the packed
// weights of each group's gates, bends these while they are in cache, and packs what comes out for the next step: one
// fork and join per step. (Where rows are few, the inputs of several steps are multiplied at a time: their weights are
// read once.) Where a step is too little work for that, sequences are cut into blocks, each of which runs through all
// steps alone.
#pragma once
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/recurrent/recurrent.h"

namespace minidl::MINIDL_ISA {

constexpr double STEP_FLOPS = 2e6;    // a step of less is not worth a fork and join
constexpr double TASK_FLOPS = 2e5;    // and this is a task of one
constexpr int64_t DEPTH = 512;        // of a chain of additions
constexpr int64_t TOGETHER = 2 * MR;  // rows of inputs that are multiplied at a time, at least

// The place of one vector: row n of step t, and the first of `lanes` hidden units.
struct Place {
  int64_t t, before, after;  // step; its states' numbers
  int64_t row, column, lanes;
  int64_t gate, pitch;  // of what is kept: that of the first gate, and from one gate to the next
};

struct Problem {
  int64_t steps, rows, hidden;
  int64_t gates, kept;  // of each unit; what is kept of it
  bool reverse, back;   // the layer's direction; do gradients go against it?
  const int64_t* lengths;

  int64_t groups() const { return ceil_div(hidden, NR<float>); }
  int64_t columns(int64_t group) const { return min<int64_t>(NR<float>, hidden - group * NR<float>); }
  int64_t step(int64_t s) const { return reverse != back ? steps - 1 - s : s; }
  bool alive(int64_t t, int64_t row) const { return !lengths || t < lengths[row]; }
  Place place(int64_t t) const { return {t, reverse ? t + 1 : t, reverse ? t : t + 1, 0, 0, 0, 0, 0}; }
};

// Some sequences, all of which run through a step at once.
struct Block {
  int64_t first, rows;
};

// Where what is kept of a group and a step begins: (blocks, groups, steps, rows of the block, kept, columns of the
// group). There is room for `steps`, the first of which is step t0.
struct Kept {
  int64_t at, ld, pitch;  // of row 0; from a row (the last one of a step, too) to the next, from a number to the next
  Kept(const Problem& p, const Block& block, int64_t group, int64_t t, int64_t steps, int64_t t0)
      : ld(p.kept * p.columns(group)), pitch(p.columns(group)) {
    const int64_t units = block.first * p.hidden + block.rows * group * NR<float>;
    at = p.kept * steps * units + (t - t0) * block.rows * ld;
  }
};

// How a problem is cut, from its shape alone: blocks of sequences, tasks of each step, steps whose inputs are
// multiplied together.
struct Cut {
  int64_t blocks, tasks, together;
  explicit Cut(const Problem& p) {
    double work = 2. * static_cast<double>(p.rows * p.hidden) * static_cast<double>(p.hidden * p.gates);
    blocks = work < STEP_FLOPS ? min<int64_t>(16, max<int64_t>(1, p.rows / 8)) : 1;
    tasks = min(p.groups(), max<int64_t>(1, static_cast<int64_t>(work / static_cast<double>(blocks) / TASK_FLOPS)));
    together = blocks > 1 ? 1 : min(p.steps, ceil_div(TOGETHER, p.rows));
  }
  Block block(const Problem& p, int64_t i) const {
    const int64_t first = p.rows * i / blocks;
    return {first, p.rows * (i + 1) / blocks - first};
  }
};

struct Gradient {  // of one gate at one step: (N, H)
  const float* g;
  int64_t ld;
};

// Asks for n floats that will be read or written soon. (What only asks is taken for doing nothing, and left out, but
// for the assembly.)
MINIDL_INLINE void ask(const float* p, int64_t n) {
  for (int64_t i = 0; i < n; i += W) {
    __builtin_prefetch(p + i, 0, 2);
    asm volatile("");
  }
}

struct Product {  // where the products of one gate go
  float* c;
  int64_t ld;
  bool accumulate;
};

// C += A B for one sliver of B; A (packed by panels) and B have all of K. meanwhile(first row, end row): on the way,
// what is needed of these rows afterwards may be asked for.
template <class F>
MINIDL_INLINE void multiply(const Panels& panels, int64_t K, const float* a, const float* b, int columns,
                            const Product& to, const F& meanwhile) {
  const int64_t slices = ceil_div(K, DEPTH);
  for (int64_t s = 0; s < slices; s++) {
    const int64_t k0 = K * s / slices, kc = K * (s + 1) / slices - k0;
    for (int64_t i = 0; i < panels.count; i++) {
      const int64_t start = panels.start(i), height = panels.height(i);
      meanwhile(start + height * s / slices, start + height * (s + 1) / slices);
      tile(kc, a + start * K + k0 * height, nullptr, static_cast<int>(height), b + k0 * NR<float>, columns,
           to.c + start * to.ld, to.ld, to.accumulate || s > 0);
    }
  }
}

// Columns [k0, end) of the rows of a block, into their place in its panels of depth K.
inline void pack_rows(const Panels& panels, int64_t K, const float* src, int64_t ld, int64_t k0, int64_t end,
                      float* dst) {
  alignas(64) float edge[MR * NR<float> + W];  // (packing overruns; what follows may be another task's)
  for (int64_t i = 0; i < panels.count; i++)
    for (int64_t k = k0; k < end; k += NR<float>) {
      const int height = panels.height(i);
      const int64_t depth = min<int64_t>(NR<float>, end - k);
      pack(src + panels.start(i) * ld + k, ld, 1, height, depth, edge, height);
      std::memcpy(dst + panels.start(i) * K + k * height, edge, sizeof(float) * static_cast<size_t>(height * depth));
    }
}

// Weights (GH, K) by groups and gates, as slivers (K, NR).
inline void pack_weight(const Problem& p, int64_t K, const float* weight, float* packed) {
  parallel_for(p.groups() * p.gates, [&](int64_t i) {
    const int64_t group = i / p.gates, row = i % p.gates * p.hidden + group * NR<float>;
    pack(weight + row * K, K, 1, static_cast<int>(p.columns(group)), K, packed + i * K * NR<float>, NR<float>);
  });
}

// The slivers of a weight: those that are there, or else packed now.
class Slivers {
 public:
  Slivers(const Problem& p, int64_t K, const float* weight, const float* packed)
      : own_(packed ? 0 : p.groups() * p.gates * K * NR<float>), data_(packed ? packed : own_.get()), K_(K) {
    if (!packed) pack_weight(p, K, weight, own_);
  }
  const float* operator[](int64_t i) const { return data_ + i * K_ * NR<float>; }

 private:
  Scratch<float> own_;
  const float* data_;
  int64_t K_;
};

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
MINIDL_INLINE void for_group(const Problem& p, const Block& block, int64_t group, int64_t t, const Kept& kept,
                             const F& f) {
  Place at = p.place(t);
  const int64_t start = group * NR<float>, end = start + p.columns(group);
  at.pitch = kept.pitch;
  for (int64_t row = 0; row < block.rows; row++)
    for (at.row = block.first + row, at.column = start; at.column < end; at.column += W) {
      at.gate = kept.at + row * kept.ld + at.column - start;
      at.lanes = W;  // (known to the compiler: no masks)
      if (end - at.column >= W) {
        f(at);
      } else {
        at.lanes = end - at.column;
        f(at);
      }
    }
}

// f(step, block, first group, end group) for each step of each block, in tasks.
template <class F>
MINIDL_INLINE void for_steps(const Problem& p, int64_t steps, const F& f) {
  const Cut cut(p);
  parallel_for(cut.blocks, [&](int64_t i) {
    const Block block = cut.block(p, i);
    for (int64_t s = 0; s < steps; s++)
      parallel_for(cut.tasks, [&](int64_t task) {
        f(s, block, p.groups() * task / cut.tasks, p.groups() * (task + 1) / cut.tasks);
      });
  });
}

// Cells are made of the parameters and the biases (BIASES, H): those of inputs and state together for the first ADDED
// of the GATES, then the others. They have `(place)`, which bends the gates and gives h; and `stay(place)`, beyond a
// sequence's end. Of each unit KEPT numbers are kept, at first its products: those of the state are added to those of
// the inputs for ADDED gates, and follow for the others.
template <class Cell>
void forward(RecurrentForward p) {
  constexpr int G = Cell::GATES;
  const int64_t H = p.hidden, I = p.inputs, width = G * H, size = p.rows * H;
  const Problem problem{p.steps, p.rows, H, G, Cell::KEPT, p.reverse, false, p.lengths};
  const Cut cut(problem);
  const Slivers of_inputs(problem, I, p.weight_ih, p.packed_ih), of_state(problem, H, p.weight_hh, p.packed_hh);
  Scratch<float> bias(Cell::BIASES * H), inputs(p.steps * p.rows * I), state(2 * size);
  for (int64_t i = 0; i < Cell::BIASES * H; i++) {
    bias[i] = p.bias_ih && i < width ? p.bias_ih[i] : 0.f;
    if (p.bias_hh && (i < Cell::ADDED * H || i >= width)) bias[i] += p.bias_hh[i < width ? i : i - H];
  }
  p.keep = p.gates;  // or there is room for what is used at once
  Scratch<float> gates(p.keep ? 0 : cut.together * p.rows * Cell::KEPT * H);
  if (!p.keep) p.gates = gates;
  const Cell cell{p, bias};

  // Steps [t, t + count), whose inputs are multiplied when the first of them is met.
  struct Together {
    int64_t t, count;
  };
  auto together = [&](int64_t s) -> Together {
    const int64_t count = min(cut.together, p.steps - s);
    return {min(problem.step(s), problem.step(s + count - 1)), count};
  };
  const int64_t chunks = ceil_div(p.steps, cut.together);
  parallel_for(chunks * cut.blocks, [&](int64_t i) {
    const Block block = cut.block(problem, i % cut.blocks);
    const Together some = together(i / cut.blocks * cut.together);
    pack_rows(Panels(some.count * block.rows), I, p.x + (some.t * p.rows + block.first) * I, I, 0, I,
              inputs + (some.t * p.rows + block.first) * I);
    if (i < cut.blocks)
      pack_rows(Panels(block.rows), H, p.h + problem.place(problem.step(0)).before * size + block.first * H, H, 0, H,
                state + block.first * H);
  });

  auto group_step = [&](int64_t s, const Block& block, int64_t group) {
    const int64_t t = problem.step(s), column = group * NR<float>;
    const int columns = static_cast<int>(problem.columns(group));
    const Panels panels(block.rows);
    const Together some = together(s - s % cut.together);
    const Kept kept(problem, block, group, t, p.keep ? p.steps : cut.together, p.keep ? 0 : some.t);
    for (int g = 0; g < G && s % cut.together == 0; g++) {
      multiply(Panels(some.count * block.rows), I, inputs + (some.t * p.rows + block.first) * I,
               of_inputs[group * G + g], columns,
               {p.gates + kept.at + (some.t - t) * block.rows * kept.ld + g * kept.pitch, kept.ld, false},
               [](int64_t, int64_t) {});
    }
    for (int g = 0; g < G; g++) {
      const int slot = g < Cell::ADDED ? g : g + G - Cell::ADDED;
      multiply(panels, H, state + s % 2 * size + block.first * H, of_state[group * G + g], columns,
               {p.gates + kept.at + slot * kept.pitch, kept.ld, g < Cell::ADDED}, [](int64_t, int64_t) {});
    }
    for_group(problem, block, group, t, kept, [&](const Place& at) {
      const bool alive = problem.alive(t, at.row);
      const float* before = p.h + at.before * size + at.row * H + at.column;
      vf h = alive ? cell(at) : load_n(before, at.lanes);
      if (!alive) cell.stay(at);
      store_n(p.h + at.after * size + at.row * H + at.column, h, at.lanes);
      if (p.y) store_n(p.y + t * size + at.row * H + at.column, alive ? h : vf{}, at.lanes);
    });
    const float* after = p.h + problem.place(t).after * size + block.first * H;
    pack_rows(panels, H, after, H, column, column + columns, state + (s + 1) % 2 * size + block.first * H);
  };
  for_steps(problem, p.steps, [&](int64_t s, const Block& block, int64_t group, int64_t end) {
    for (; group < end; group++) group_step(s, block, group);
  });
}

// Cells have GATES and KEPT; `(place, gh)`, which takes the gradient of h, writes those of the gates and gives what of
// gh passes the gates by; `still(place)`, which writes zeros instead; `gradient(gate, t)`: of what the recurrent
// weights gave.
template <class Cell>
void backward(const RecurrentBackward& p, const Cell& cell) {
  constexpr int G = Cell::GATES;
  const int64_t H = p.hidden, K = G * H, size = p.rows * H;
  const Problem problem{p.steps, p.rows, H, G, Cell::KEPT, p.reverse, true, p.lengths};
  const int64_t groups = problem.groups(), sliver = K * NR<float>;
  Scratch<float> weights(groups * sliver), packed(2 * p.rows * K);
  parallel_for(groups, [&](int64_t g) {
    pack_slivers(p.weight_hh + g * NR<float>, H, 1, K, problem.columns(g), weights + g * sliver);
  });

  auto group_step = [&](int64_t s, const Block& block, int64_t group) {
    const int64_t t = problem.step(s), column = group * NR<float>;
    const int columns = static_cast<int>(problem.columns(group));
    const Panels panels(block.rows);
    const Kept kept(problem, block, group, t, p.steps, 0);
    if (s > 0)
      multiply(panels, K, packed + (s % 2 * p.rows + block.first) * K, weights + group * sliver, columns,
               {p.gh + block.first * H + column, H, true}, [&](int64_t row, int64_t end) {
                 for (; row < end && s < p.steps; row++) {
                   const int64_t at = (block.first + row) * H + column;
                   ask(p.gates + kept.at + row * kept.ld, kept.ld);
                   ask(p.gy + t * size + at, columns);
                   cell.ask(problem.place(t), at, columns);
                   for (int g = 0; g < G; g++) {
                     const Gradient of = cell.gradient(g, t);
                     ask(of.g + (block.first + row) * of.ld + column, columns);
                   }
                 }
               });
    if (s == p.steps) return;
    for_group(problem, block, group, t, kept, [&](const Place& at) {
      float* gh = p.gh + at.row * H + at.column;
      if (!problem.alive(t, at.row)) return cell.still(at);
      vf g = load_n(gh, at.lanes) + load_n(p.gy + t * size + at.row * H + at.column, at.lanes);
      store_n(gh, cell(at, g), at.lanes);
    });
    for (int g = 0; g < G; g++) {
      const Gradient of = cell.gradient(g, t);
      pack_rows(panels, K, of.g + block.first * of.ld - g * H, of.ld, g * H + column, g * H + column + columns,
                packed + ((s + 1) % 2 * p.rows + block.first) * K);
    }
  };
  for_steps(problem, p.steps + 1, [&](int64_t s, const Block& block, int64_t group, int64_t end) {
    for (; group < end; group++) group_step(s, block, group);
  });
}

}  // namespace minidl::MINIDL_ISA
