// What backward and the gradient of the bias compute for a sliver of queries and a block of keys: weights again, from
// the saved sums of exponentials, and the gradient of the scores.
#pragma once
#include "kernels/cpu/attention/ahead.h"
#include "kernels/cpu/attention/scores.h"

namespace minidl::MINIDL_ISA {

// Packed rows of queries and of what comes with them.
struct PackedQueries {
  float *q, *g;           // slivers [width][LANE] of queries and of out's gradient
  float *logsum, *delta;  // of each row; 0 in lanes without one
};

// delta = the sum over the width of g * out: what a row's weights lose by sharing a sum.
inline void pack_rows(const AttentionGradients& p, int64_t b, int64_t h, int64_t first, int64_t n, PackedQueries to) {
  pack_lanes(p.q.at(b, h, first), p.q.row, n, p.width, query_scale(p), to.q);
  pack_lanes(p.g.at(b, h, first), p.g.row, n, p.value_width, 1.f, to.g);
  const int64_t lanes = round_up(n, LANE);
  const float* logsum = p.logsum + (b * p.heads + h) * p.queries + first;
  for (int64_t i = 0; i < lanes; i += W) store(to.logsum + i, load_n(logsum + i, n - i));
  for (int64_t i = 0; i < lanes; i++) {
    vf all{};
    if (i < n) {
      const float *g = p.g.at(b, h, first + i), *out = p.out.at(b, h, first + i);
      for (int64_t e = 0; e < p.value_width; e += W)
        all += load_n(g + e, p.value_width - e) * load_n(out + e, p.value_width - e);
    }
    to.delta[i] = sum(all);
  }
}

// Scratch of one block: the first two are results.
struct Tiles {
  float *weights, *slopes;       // [key][LANE]: after dropout; and the gradient of the scores (of the bias)
  float *added, *kept, *capped;  // null where there is no bias or mask, no dropout, no softcap
};

// Panels of the keys [k0, k0 + n) that a sliver meets: from the first to before the last of Panels(n).
inline Range panels_seen(const Sliver& q, int64_t k0, const Panels& panels) {
  const Range seen = q.seen();
  const int64_t low = max(seen.first - k0, int64_t(0)), high = min(seen.end - k0, panels.rows);
  if (high <= low) return {0, 0};
  Range met{low * panels.count / panels.rows, 0};
  while (panels.start(met.first + 1) <= low) met.first++;
  while (panels.start(met.first) > low) met.first--;
  for (met.end = met.first; met.end < panels.count && panels.start(met.end) < high;) met.end++;
  return met;
}

// k, v: the block's panels of keys. rows: the sliver's.
inline void gradients_of_scores(const Sliver& q, int64_t k0, const Panels& panels, Range met, const float* k,
                                const float* v, const PackedQueries& rows, const Tiles& to, Ahead& ahead) {
  const Attention& p = q.p;
  vf logsum[NV], delta[NV];
  for (int x = 0; x < NV; x++) logsum[x] = load(rows.logsum + x * W), delta[x] = load(rows.delta + x * W);
  const Range keys{k0 + panels.start(met.first), k0 + panels.start(met.end)};
  if (to.added) gather_added(q, keys, to.added + (keys.first - k0) * LANE);
  if (to.kept) draw_kept(q, keys, to.kept + (keys.first - k0) * LANE);
  const int64_t half = q.seen_by_all();
  for (int64_t i = met.first; i < met.end; i++) {  // panel by panel: products are still in L1 when they are looked at
    const int64_t from = panels.start(i), end = panels.start(i + 1), at = from * LANE;
    const int64_t x = k0 + from >= half ? W : 0;
    const int lanes = static_cast<int>(q.lanes() - x), height = panels.height(i);
    tile(p.width, k + from * p.width, nullptr, height, rows.q + x, lanes, to.weights + at + x, LANE, false);
    tile(p.value_width, v + from * p.value_width, nullptr, height, rows.g + x, lanes, to.slopes + at + x, LANE, false);
    ahead.step();
    if (x)
      for (int64_t j = at; j < end * LANE; j += LANE) store(to.weights + j, vf{}), store(to.slopes + j, vf{});
    finish_scores(q, {k0 + from, k0 + end}, to.weights + at, to.added ? to.added + at : nullptr,
                  to.capped ? to.capped + at : nullptr);
    for (int64_t j = at; j < end * LANE; j += LANE)
      for (int v = 0; v < NV; v++) {
        float *weights = to.weights + j + v * W, *slopes = to.slopes + j + v * W;
        const vf y = weight(load(weights) - logsum[v]);
        const vf kept = to.kept ? load(to.kept + j + v * W) : splatf(1.f);
        store(weights, y * kept);
        store(slopes, y * (load(slopes) * kept - delta[v]));
      }
  }
}

}  // namespace minidl::MINIDL_ISA
