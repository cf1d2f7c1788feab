// Max pooling row by row: each row of x is pooled along its columns once, into a ring of rows that windows are made of.
// Where the largest elements are is kept in a byte each, so the way back reads neither x nor y.
//
// The way back gathers: each element of gx asks the windows that see it. No two tasks write to the same place, and the
// order of additions is fixed.
#include "kernels/cpu/pool/pool.h"

#include "kernels/cpu/phases.h"
#include "kernels/cpu/pool/ring.h"

namespace minidl::MINIDL_ISA {
namespace {

// The larger one, and where it is: the first one of equals; NaN is the largest.
struct Largest {
  vf value;
  vi position;

  template <bool Positions>
  MINIDL_INLINE void see(vf x, vi where) {
    vf larger = x <= value ? value : x;  // x where either is NaN
    if constexpr (Positions) {
      vi at = x <= value ? position : where;
      position = value == value ? at : position;
    }
    value = value == value ? larger : value;
  }
};

template <class Position>
MINIDL_INLINE void store_positions(Position* p, vi v, int64_t n) {
  typedef Position Narrow __attribute__((vector_size(W * sizeof(Position))));
  Narrow narrow = __builtin_convertvector(v, Narrow);
  if (n >= W) {
    std::memcpy(p, &narrow, sizeof narrow);
  } else {
    for (int64_t i = 0; i < n; i++) p[i] = narrow[i];
  }
}

// A row's windows: the largest of each, and its column in the window. K: the kernel if it is known, else 0.
template <bool Positions, int K>
void pool_row(const Phases& phases, const float* line, const int64_t* tap, const int32_t* first, float* value,
              int32_t* column) {
  const int64_t kernel = K ? K : phases.w.kernel;
  for (int64_t i = 0; i < phases.w.count; i += W) {
    Largest best{load(line + tap[0] + i), Positions ? load(first + i) : vi{}};
    for (int64_t k = 1; k < kernel; k++) best.see<Positions>(load(line + tap[k] + i), splat(static_cast<int32_t>(k)));
    store(value + i, best.value);
    if constexpr (Positions) store(column + i, best.position);
  }
}

template <class Position, bool Positions, int K>
void forward(const MaxPool& p, Position* position) {
  const Windows &rows = p.rows, &columns = p.columns;
  const Phases phases(columns);
  const int64_t width = round_up(columns.count, W), slots = (rows.kernel - 1) * rows.dilation + 1;
  Scratch<int64_t> tap(columns.kernel);
  Scratch<int32_t> first(width);  // column in the window of its first element that is not padding
  for (int64_t k = 0; k < columns.kernel; k++) tap[k] = phases.tap(k);
  for (int64_t i = 0; i < width; i++) first[i] = static_cast<int32_t>(columns.first_tap(i));
  parallel_chunks(
      p.planes * rows.count, POOL_GRAIN / max<int64_t>(1, columns.size * rows.stride), [&](int64_t begin, int64_t end) {
        Scratch<float> line(phases.floats()), value(slots * width);
        Scratch<int32_t> column(Positions ? slots * width : 0);
        Ring ring(slots);
        phases.clear(line, -__builtin_inff());
        for (int64_t out = begin; out < end; out++) {
          const int64_t plane = out / rows.count, window = out % rows.count;
          const int64_t from = rows.first_tap(window), to = rows.end_tap(window);
          for (int64_t r = from; r < to; r++) {
            int64_t row = plane * rows.size + rows.at(window, r);
            if (!ring.missing(row)) continue;
            phases.fill<false>(p.x + row * columns.size, line);
            int64_t at = ring.slot(row) * width;
            pool_row<Positions, K>(phases, line, tap, first, value + at, column + at);
          }
          for (int64_t i = 0; i < columns.count; i += W) {
            auto at = [&](int64_t r) { return ring.slot(plane * rows.size + rows.at(window, r)) * width + i; };
            auto where = [&](int64_t r) {
              return Positions ? load(column + at(r)) + static_cast<int32_t>(r * columns.kernel) : vi{};
            };
            Largest best{load(value + at(from)), where(from)};
            for (int64_t r = from + 1; r < to; r++) best.see<Positions>(load(value + at(r)), where(r));
            store_n(p.y + out * columns.count + i, best.value, columns.count - i);
            if constexpr (Positions)
              store_positions(position + out * columns.count + i, best.position, columns.count - i);
          }
        }
      });
}

template <class Position, bool Positions>
void forward_of_kernel(const MaxPool& p, Position* position) {
  if (p.columns.kernel == 2) return forward<Position, Positions, 2>(p, position);
  if (p.columns.kernel == 3) return forward<Position, Positions, 3>(p, position);
  forward<Position, Positions, 0>(p, position);
}

template <class Position>
void backward(const MaxPoolBackward& p, const Position* position) {
  const Windows &rows = p.rows, &columns = p.columns;
  const int64_t slots = rows.reach() + 1, width = padded_row(columns);
  const Gather gather(columns);
  parallel_chunks(p.planes * rows.size, POOL_GRAIN / max<int64_t>(1, columns.size), [&](int64_t begin, int64_t end) {
    Scratch<float> g(slots * width);  // rows of g with zeros around them, and of positions
    Scratch<int32_t> at(slots * width);
    Scratch<int64_t> seen(2 * slots);  // windows that see a row: slot, and position of its column 0
    Ring ring(slots);
    std::memset(g.get(), 0, sizeof(float) * static_cast<size_t>(slots * width));
    std::memset(at.get(), 0, sizeof(int32_t) * static_cast<size_t>(slots * width));
    for (int64_t row = begin; row < end; row++) {
      const int64_t plane = row / rows.size, y = row % rows.size;
      int64_t count = 0;
      for_windows_seeing(rows, y, [&](int64_t window, int64_t r) {
        const int64_t out = plane * rows.count + window, slot = ring.slot(out) * width + margin(columns);
        if (ring.missing(out)) {
          float* to = g + slot;
          int32_t* to_at = at + slot;
          for (int64_t i = 0; i < columns.count; i += W)
            store_n(to + i, load_n(p.g + out * columns.count + i, columns.count - i), columns.count - i);
          for (int64_t i = 0; i < columns.count; i++) to_at[i] = position[out * columns.count + i];
        }
        seen[count++] = slot;
        seen[count++] = r * columns.kernel;
      });
      gather.row(p.gx + row * columns.size, [&](int64_t window, int64_t k, vf& total) {
        for (int64_t s = 0; s < count; s += 2) {
          const int64_t from = seen[s] + window;
          vf gi = load(g + from);
          total += load(at + from) == static_cast<int32_t>(seen[s + 1] + k) ? gi : vf{};
        }
      });
    }
  });
}

}  // namespace

void max_pool_forward(const MaxPool& p) {
  if (p.small_position) return forward_of_kernel<uint8_t, true>(p, p.small_position);
  if (p.position) return forward_of_kernel<int32_t, true>(p, p.position);
  forward_of_kernel<int32_t, false>(p, nullptr);
}

void max_pool_backward(const MaxPoolBackward& p) {
  if (p.small_position) return backward(p, p.small_position);
  backward(p, p.position);
}

}  // namespace minidl::MINIDL_ISA
