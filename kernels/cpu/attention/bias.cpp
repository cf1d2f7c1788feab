// The gradient of a bias: of the scores themselves, summed along the axes on which the bias is the same. A task owns a
// part of it and goes through all scores that the part was added to, so nothing is kept beside the result.
#include "kernels/cpu/attention/gradients.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t QUERIES = 4 * LANE;  // of a part

// Adds the slopes of a sliver with the keys [keys.first, keys.end), which `slopes` holds.
void add_slopes(const Plane<float>& to, const Sliver& q, Range keys, const float* slopes) {
  const int64_t n = keys.end - keys.first;
  float* const begin = to.at(q.b, q.h, q.first, keys.first);
  if (to.query && to.key) {
    for (int64_t lane = 0; lane < q.n; lane += W)
      for (int64_t i = 0; i < n; i += W) {
        vf t[W];
        for (int64_t j = 0; j < W; j++) t[j] = i + j < n ? load(slopes + (i + j) * LANE + lane) : vf{};
        transpose<float>(t);
        for (int64_t j = 0; j < W && lane + j < q.n; j++) {
          float* at = begin + (lane + j) * to.query + i;
          store_n(at, load_n(at, n - i) + t[j], n - i);
        }
      }
    return;
  }
  vf sums[NV] = {};  // over keys
  for (int64_t i = 0; i < n; i++) {
    vf row{};
    for (int x = 0; x < NV; x++) {
      const vf v = x * W < q.n ? load_n(slopes + i * LANE + x * W, q.n - x * W) : vf{};
      row += v, sums[x] += v;
    }
    if (to.key) begin[i] += sum(row);
  }
  if (to.query)
    for (int x = 0; x < NV; x++) {
      float* at = begin + x * W;
      store_n(at, load_n(at, q.n - x * W) + sums[x], q.n - x * W);
    }
  if (!to.query && !to.key) {
    vf all{};
    for (int x = 0; x < NV; x++) all += sums[x];
    *begin += sum(all);
  }
}

// One axis of the bias: cut into parts, or summed over as a whole.
struct Axis {
  int64_t size, step, parts;
  Axis(int64_t size, int64_t step, bool summed) : size(size), step(step), parts(summed ? 1 : ceil_div(size, step)) {}
  Range part(int64_t i) const { return parts == 1 ? Range{0, size} : Range{i * step, min(size, (i + 1) * step)}; }
};

struct Memory {
  PackedQueries rows;
  float *k, *v;
  Tiles tiles;
};

// Queries [q0, q1) of a head, at most QUERIES, with the blocks of keys from keys.first on.
void add_block(const AttentionBias& p, int64_t b, int64_t h, Range queries, Range keys, const Memory& at) {
  const Range seen = keys_seen(p, queries.first, queries.end);
  pack_rows(p, b, h, queries.first, queries.end - queries.first, at.rows);
  const int64_t g = h / (p.heads / p.groups);
  Ahead none;
  for (int64_t k0 = keys.first; k0 < min(keys.end, seen.end); k0 += KEYS) {
    const int64_t n = min(KEYS, keys.end - k0);
    if (k0 + n <= seen.first) continue;
    pack_keys(p.k.at(b, g, k0), p.k.row, n, p.width, at.k);
    pack_keys(p.v.at(b, g, k0), p.v.row, n, p.value_width, at.v);
    const Panels panels(n);
    for (int64_t first = queries.first; first < queries.end; first += LANE) {
      const Sliver q(p, b, h, first);
      const Range met = panels_seen(q, k0, panels);
      if (met.empty()) continue;
      const int64_t row = first - queries.first, from = panels.start(met.first);
      const PackedQueries rows{at.rows.q + row * p.width, at.rows.g + row * p.value_width, at.rows.logsum + row,
                               at.rows.delta + row};
      gradients_of_scores(q, k0, panels, met, at.k, at.v, rows, at.tiles, none);
      add_slopes(p.gbias, q, {k0 + from, k0 + panels.start(met.end)}, at.tiles.slopes + from * LANE);
    }
  }
}

}  // namespace

void attention_bias(const AttentionBias& p) {
  const Plane<float>& to = p.gbias;
  const Axis batch(p.batch, 1, !to.batch), heads(p.heads, 1, !to.head), queries(p.queries, QUERIES, !to.query),
      keys(p.keys, KEYS, !to.key);
  parallel_for(batch.parts * heads.parts * queries.parts * keys.parts, [&](int64_t task) {
    const Range own_keys = keys.part(task % keys.parts), own_queries = queries.part(task / keys.parts % queries.parts);
    const Range own_heads = heads.part(task / keys.parts / queries.parts % heads.parts);
    const Range own_batch = batch.part(task / keys.parts / queries.parts / heads.parts);
    Scratch<float> q(QUERIES * p.width), g(QUERIES * p.value_width), sums(2 * QUERIES), k(KEYS * p.width),
        v(KEYS * p.value_width), tiles(4 * KEYS * LANE);
    const bool adds = p.bias.data || p.mask.data;
    const Memory memory{{q, g, sums, sums + QUERIES},
                        k,
                        v,
                        {tiles, tiles + KEYS * LANE, adds ? tiles + 2 * KEYS * LANE : nullptr,
                         p.drops ? tiles + 3 * KEYS * LANE : nullptr, nullptr}};
    for (int64_t t = own_queries.first; t < (to.query ? own_queries.end : own_queries.first + 1); t++)
      for (int64_t s = own_keys.first; s < (to.key ? own_keys.end : own_keys.first + 1); s++)
        *to.at(own_batch.first, own_heads.first, t, s) = 0;
    for (int64_t b = own_batch.first; b < own_batch.end; b++)
      for (int64_t h = own_heads.first; h < own_heads.end; h++)
        for (int64_t t = own_queries.first; t < own_queries.end; t += QUERIES)
          add_block(p, b, h, {t, min(own_queries.end, t + QUERIES)}, own_keys, memory);
  });
}

}  // namespace minidl::MINIDL_ISA
