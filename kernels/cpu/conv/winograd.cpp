// Convolution with 3 x 3 filters by Winograd's algorithm: F(2 x 2, 3 x 3), and where the caller said
// `precision("fast")` F(4 x 4, 3 x 3).
//
// Tiles of outputs, flattened over tile rows and images, are the lanes of everything: of the transform of patches, of
// the matrix products (filters broadcast), of the transform back. Nothing is transposed. Tile rows are taken in blocks,
// so that what lies between the three steps stays in cache.
#include "kernels/cpu/conv/winograd.h"

#include "kernels/cpu/conv/winograd_tiles.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/microkernel.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t BLOCK = 8 << 20;  // bytes of transformed patches and products at a time

// Where channel c of tile vectors lies in a matrix packed as the product's B.
MINIDL_INLINE int64_t packed_at(int64_t c, int64_t tile, int64_t channels, int64_t tiles) {
  const int64_t slice = c / KC * KC, kc = min(KC, channels - slice);
  return slice * tiles + tile / NR<float> * NR<float> * kc + (c - slice) * NR<float> + tile % NR<float>;
}

// One of the products, for one block of filters: (outputs, inputs) times (inputs, tiles).
void multiply(const Winograd& p, const Panels& panels, int64_t p0, int64_t p1, int64_t tiles, int64_t used,
              const float* filters, const float* patches, float* products) {
  for (int64_t k0 = 0; k0 < p.inputs; k0 += KC) {
    const int64_t kc = min(KC, p.inputs - k0);
    for (int64_t tile0 = 0; tile0 < used; tile0 += NR<float>)
      for (int64_t panel = p0; panel < p1; panel++)
        tile(kc, filters + k0 * p.outputs + panels.start(panel) * kc, nullptr, panels.height(panel),
             patches + k0 * tiles + tile0 * kc, used - tile0 <= W ? W : NR<float>,
             products + panels.start(panel) * tiles + tile0, tiles, k0 > 0);
  }
}

// Rows of M W neighbouring outputs of W tiles, from their M columns.
template <int M>
MINIDL_INLINE void store_columns(float* to, const vf* column) {
  if constexpr (M == 2) {
    vf low, high;
    zip(column[0], column[1], low, high, LanesOf<vf>{});
    store(to, low);
    store(to + W, high);
  } else {
    vf a, b, c, d, r[M];
    zip(column[0], column[2], a, b, LanesOf<vf>{});
    zip(column[1], column[3], c, d, LanesOf<vf>{});
    zip(a, c, r[0], r[1], LanesOf<vf>{});
    zip(b, d, r[2], r[3], LanesOf<vf>{});
    for (int v = 0; v < M; v++) store(to + v * W, r[v]);
  }
}

// One filter's outputs of a block, from its products.
template <int M>
void transform_back(const Winograd& p, const Tiles& t, int64_t first, int64_t end, int64_t o, int64_t tiles,
                    const float* products, float* lines) {
  constexpr int A = M + 2, AA = A * A;
  const int64_t room = M * (tiles + W), step = apart(p.outputs, tiles);
  const vf bias = splatf(p.bias ? p.bias[o] : 0);
  for (int64_t tile = 0; tile < (end - first) * t.across; tile += W) {
    vf m[AA], y[M * M];
    MINIDL_UNROLL
    for (int k = 0; k < AA; k++) m[k] = load(products + k * step + o * tiles + tile);
    transform(Transforms<M>::AT, m, y);
    for (vf& v : y) v += bias;
    for (int i = 0; i < M; i++) store_columns<M>(lines + i * room + tile * M, y + i * M);
  }
  for (int64_t row = first; row < end; row++) {
    const int64_t plane = (row / t.down * p.outputs + o) * p.rows.count * p.columns.count;
    for (int64_t i = 0; i < M; i++) {
      const int64_t y = row % t.down * M + i;
      if (y >= p.rows.count) break;
      const float* line = lines + i * room + (row - first) * t.across * M;
      const int64_t at = plane + y * p.columns.count;
      std::memcpy(p.y + at, line, sizeof(float) * static_cast<size_t>(p.columns.count));
      finish(p.finish, p.y, at, p.columns.count);
    }
  }
}

template <int M>
void transform_filters(const WinogradFilters& p) {
  constexpr int A = M + 2, AA = A * A;
  constexpr int64_t CHANNELS = 32;  // of a task
  const Panels panels(p.outputs);
  const int64_t parts = ceil_div(p.inputs, CHANNELS), step = winograd_stride(p.outputs, p.inputs);
  const int64_t of_output = p.turned ? 9 : p.inputs * 9, of_input = p.turned ? p.outputs * 9 : 9;
  parallel_for(panels.count * parts, [&](int64_t task) {
    const int64_t panel = task / parts, start = panels.start(panel), height = panels.height(panel);
    const int64_t end = min(p.inputs, (task % parts + 1) * CHANNELS);
    alignas(64) float taps[9 * W + W];
    for (int64_t c = task % parts * CHANNELS; c < end; c++)
      for (int64_t r = 0; r < height; r += W) {
        const int64_t lanes = min<int64_t>(W, height - r), slice = c / KC * KC, kc = min(KC, p.inputs - slice);
        pack(p.weight + (start + r) * of_output + c * of_input, of_output, int64_t{1}, static_cast<int>(lanes), 9, taps,
             W);
        vf g[9], half[A * 3], u[AA];
        MINIDL_UNROLL
        for (int k = 0; k < 9; k++) g[k] = load(taps + (p.turned ? 8 - k : k) * W);
        for (int k = 0; k < 3; k++) combine(Transforms<M>::G, g + k, 3, half + k, 3);
        for (int k = 0; k < A; k++) combine(Transforms<M>::G, half + k * 3, 1, u + k * A, 1);
        float* to = p.filters + slice * p.outputs + start * kc + (c - slice) * height + r;
        const bool alone =
            height > W || c + 1 == end || c + 1 == slice + kc;  // what follows is another's, or there already
        for (int k = 0; k < AA; k++)
          if (alone)
            store_n(to + k * step, u[k], lanes);
          else
            store(to + k * step, u[k]);
      }
  });
}

template <int M>
void convolve(const Winograd& p) {
  constexpr int A = M + 2, AA = A * A;
  const Tiles t(M, p.n, p.rows, p.columns);
  const Phases phases(of_squares(p.columns, A, M, t.across));
  const int64_t fit = BLOCK / (static_cast<int64_t>(sizeof(float)) * AA * (p.inputs + p.outputs));
  const int64_t blocks = ceil_div(t.rows, max<int64_t>(1, max<int64_t>(fit, 64) / t.across));
  const int64_t tiles = round_up(ceil_div(t.rows, blocks) * t.across, NR<float>);
  Scratch<float> patches(AA * apart(p.inputs, tiles)), products(AA * apart(p.outputs, tiles));
  const Panels panels(p.outputs);
  const int64_t plane = p.rows.size * p.columns.size;
  const int64_t groups = ceil_div(panels.count, max<int64_t>(1, (1 << 18) / (tiles * p.inputs)) * 4);
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = t.rows * block / blocks, end = t.rows * (block + 1) / blocks, used = (end - first) * t.across;
    parallel_chunks(p.inputs, 8, [&](int64_t c0, int64_t c1) {
      Scratch<float> line(phases.floats()), taps(AA * (tiles + W));
      phases.clear(line, 0);
      std::memset(taps.get(), 0, sizeof(float) * static_cast<size_t>(AA * (tiles + W)));
      for (int64_t c = c0; c < c1; c++)
        transform_squares<M>(Transforms<M>::BT, p.x + c * plane, p.inputs * plane, p.rows, p.columns, t, phases, first,
                             end, tiles, line, taps, apart(p.inputs, tiles),
                             [&](int64_t tile) { return patches + packed_at(c, tile, p.inputs, tiles); });
    });
    parallel_for(AA * groups, [&](int64_t task) {
      const int64_t k = task / groups, group = task % groups;
      multiply(p, panels, panels.count * group / groups, panels.count * (group + 1) / groups, tiles, used,
               p.filters + k * winograd_stride(p.outputs, p.inputs), patches + k * apart(p.inputs, tiles),
               products + k * apart(p.outputs, tiles));
    });
    parallel_chunks(p.outputs, 8, [&](int64_t o0, int64_t o1) {
      Scratch<float> lines(M * M * (tiles + W));
      for (int64_t o = o0; o < o1; o++) transform_back<M>(p, t, first, end, o, tiles, products, lines);
    });
  }
}

}  // namespace

void winograd_filters(const WinogradFilters& p) { p.m == 2 ? transform_filters<2>(p) : transform_filters<4>(p); }

void winograd(const Winograd& p) { p.m == 2 ? convolve<2>(p) : convolve<4>(p); }

}  // namespace minidl::MINIDL_ISA
