// Convolution with 3 x 3 filters by Winograd's F(4 x 4, 3 x 3): 36 products for 16 outputs instead of 144. Sums of
// terms that cancel make errors some ten times as large as the direct way's: it runs where the caller said
// `precision("fast")`.
//
// Tiles of 4 x 4 outputs, flattened over tile rows and images, are the lanes of everything: of the transform of
// patches, of the 36 matrix products (filters broadcast), of the transform back. Nothing is transposed. Tile rows are
// taken in blocks, so that what lies between the three steps stays in cache.
//
// Source: Lavin, Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv:1509.09308.
#include "kernels/cpu/conv/winograd.h"

#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/phases.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int M = 4, A = M + 2, AA = A * A;
constexpr int64_t BLOCK = 8 << 20;  // bytes of transformed patches and products at a time
constexpr float BT[A][A] = {{4, 0, -5, 0, 1, 0},  {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0},
                            {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
constexpr float G[A][3] = {{1 / 4.f, 0, 0},
                           {-1 / 6.f, -1 / 6.f, -1 / 6.f},
                           {-1 / 6.f, 1 / 6.f, -1 / 6.f},
                           {1 / 24.f, 1 / 12.f, 1 / 6.f},
                           {1 / 24.f, -1 / 12.f, 1 / 6.f},
                           {0, 0, 1}};
constexpr float AT[M][A] = {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};

// y = matrix x, for vectors `xs` and `ys` apart; zeros are left out, ones are no products.
template <int R, int C>
MINIDL_INLINE void combine(const float (&matrix)[R][C], const vf* x, int xs, vf* y, int ys) {
  MINIDL_UNROLL
  for (int r = 0; r < R; r++) {
    vf sum{};
    bool any = false;
    MINIDL_UNROLL
    for (int c = 0; c < C; c++) {
      const float f = matrix[r][c];
      if (f == 0) continue;
      const vf v = x[c * xs];
      sum = !any ? (f == 1 ? v : f * v) : f == 1 ? sum + v : f == -1 ? sum - v : sum + f * v;
      any = true;
    }
    y[r * ys] = sum;
  }
}

// y (R, R) = matrix x (C, C) matrix^T.
template <int R, int C>
MINIDL_INLINE void transform(const float (&matrix)[R][C], const vf (&x)[C * C], vf (&y)[R * R]) {
  vf half[R * C];
  MINIDL_UNROLL
  for (int c = 0; c < C; c++) combine(matrix, x + c, C, half + c, C);
  MINIDL_UNROLL
  for (int r = 0; r < R; r++) combine(matrix, half + r * C, 1, y + r * R, 1);
}

// Tile rows [first, end) of all images' together, flattened.
struct Tiles {
  int64_t across, down, rows;
  explicit Tiles(const Winograd& p)
      : across(ceil_div(p.columns.count, M)), down(ceil_div(p.rows.count, M)), rows(p.n * down) {}
};

// From one of 36 matrices (depth, tiles) to the next.
int64_t apart(int64_t depth, int64_t tiles) { return depth * tiles + 80; }

// Where channel c of tile vectors lies in a matrix packed as the product's B.
MINIDL_INLINE int64_t packed_at(int64_t c, int64_t tile, int64_t channels, int64_t tiles) {
  const int64_t slice = c / KC * KC, kc = min(KC, channels - slice);
  return slice * tiles + tile / NR<float> * NR<float> * kc + (c - slice) * NR<float> + tile % NR<float>;
}

// One channel's patches of a block: gathered tap by tap, lanes being tiles, and transformed.
void transform_patches(const Winograd& p, const Tiles& t, const Phases& phases, int64_t first, int64_t end, int64_t c,
                       int64_t tiles, float* line, float* taps, float* to) {
  const int64_t room = tiles + W;
  for (int64_t row = first; row < end; row++) {
    const float* plane = p.x + (row / t.down * p.inputs + c) * p.rows.size * p.columns.size;
    float* tap = taps + (row - first) * t.across;
    for (int64_t i = 0; i < A; i++) {
      const int64_t y = row % t.down * M + i - p.rows.before;
      const bool there = y >= 0 && y < p.rows.size;
      if (there) phases.fill<true>(plane + y * p.columns.size, line);
      for (int64_t j = 0; j < A; j++, tap += room) {
        const float* from = line + phases.tap(j);
        for (int64_t x = 0; x < t.across; x += W) store(tap + x, there ? load(from + x) : vf{});
      }
    }
  }
  const int64_t step = apart(p.inputs, tiles);
  for (int64_t tile = 0; tile < (end - first) * t.across; tile += W) {
    vf patch[AA], v[AA];
    MINIDL_UNROLL
    for (int k = 0; k < AA; k++) patch[k] = load(taps + k * room + tile);
    transform(BT, patch, v);
    float* at = to + packed_at(c, tile, p.inputs, tiles);
    for (int k = 0; k < AA; k++) store(at + k * step, v[k]);
  }
}

// One of the 36 products, for one block of filters: (outputs, inputs) times (inputs, tiles).
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

// Rows of 4 W neighbouring outputs of W tiles, from their four columns.
MINIDL_INLINE void store_four(float* to, const vf* column) {
  vf a, b, c, d, r[M];
  zip(column[0], column[2], a, b, LanesOf<vf>{});
  zip(column[1], column[3], c, d, LanesOf<vf>{});
  zip(a, c, r[0], r[1], LanesOf<vf>{});
  zip(b, d, r[2], r[3], LanesOf<vf>{});
  for (int v = 0; v < M; v++) store(to + v * W, r[v]);
}

// One filter's outputs of a block, from its products.
void transform_back(const Winograd& p, const Tiles& t, int64_t first, int64_t end, int64_t o, int64_t tiles,
                    const float* products, float* lines) {
  const int64_t room = M * (tiles + W), step = apart(p.outputs, tiles);
  const vf bias = splatf(p.bias ? p.bias[o] : 0);
  for (int64_t tile = 0; tile < (end - first) * t.across; tile += W) {
    vf m[AA], y[M * M];
    MINIDL_UNROLL
    for (int k = 0; k < AA; k++) m[k] = load(products + k * step + o * tiles + tile);
    transform(AT, m, y);
    for (vf& v : y) v += bias;
    for (int i = 0; i < M; i++) store_four(lines + i * room + tile * M, y + i * M);
  }
  for (int64_t row = first; row < end; row++) {
    float* plane = p.y + (row / t.down * p.outputs + o) * p.rows.count * p.columns.count;
    for (int64_t i = 0; i < M; i++) {
      const int64_t y = row % t.down * M + i;
      if (y >= p.rows.count) break;
      const float* line = lines + i * room + (row - first) * t.across * M;
      std::memcpy(plane + y * p.columns.count, line, sizeof(float) * static_cast<size_t>(p.columns.count));
    }
  }
}

Windows of_tiles(const Windows& columns, int64_t across) { return {columns.size, A, M, 1, columns.before, across}; }

}  // namespace

void winograd_filters(const WinogradFilters& p) {
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
        for (int k = 0; k < 3; k++) combine(G, g + k, 3, half + k, 3);
        for (int k = 0; k < A; k++) combine(G, half + k * 3, 1, u + k * A, 1);
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

void winograd(const Winograd& p) {
  const Tiles t(p);
  const Phases phases(of_tiles(p.columns, t.across));
  const int64_t fit = BLOCK / (static_cast<int64_t>(sizeof(float)) * AA * (p.inputs + p.outputs));
  const int64_t blocks = ceil_div(t.rows, max<int64_t>(1, max<int64_t>(fit, 64) / t.across));
  const int64_t tiles = round_up(ceil_div(t.rows, blocks) * t.across, NR<float>);
  Scratch<float> patches(AA * apart(p.inputs, tiles)), products(AA * apart(p.outputs, tiles));
  const Panels panels(p.outputs);
  const int64_t groups = ceil_div(panels.count, max<int64_t>(1, (1 << 18) / (tiles * p.inputs)) * 4);
  for (int64_t block = 0; block < blocks; block++) {
    const int64_t first = t.rows * block / blocks, end = t.rows * (block + 1) / blocks, used = (end - first) * t.across;
    parallel_chunks(p.inputs, 8, [&](int64_t c0, int64_t c1) {
      Scratch<float> line(phases.floats()), taps(AA * (tiles + W));
      phases.clear(line, 0);
      std::memset(taps.get(), 0, sizeof(float) * static_cast<size_t>(AA * (tiles + W)));
      for (int64_t c = c0; c < c1; c++) transform_patches(p, t, phases, first, end, c, tiles, line, taps, patches);
    });
    parallel_for(AA * groups, [&](int64_t task) {
      const int64_t k = task / groups, group = task % groups;
      multiply(p, panels, panels.count * group / groups, panels.count * (group + 1) / groups, tiles, used,
               p.filters + k * winograd_stride(p.outputs, p.inputs), patches + k * apart(p.inputs, tiles),
               products + k * apart(p.outputs, tiles));
    });
    parallel_chunks(p.outputs, 8, [&](int64_t o0, int64_t o1) {
      Scratch<float> lines(M * M * (tiles + W));
      for (int64_t o = o0; o < o1; o++) transform_back(p, t, first, end, o, tiles, products, lines);
    });
  }
}

}  // namespace minidl::MINIDL_ISA
