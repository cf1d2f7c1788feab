// Attention forward: queries in slivers, an online softmax over blocks of keys. No array of scores outlives its block.
#include "kernels/cpu/attention/ahead.h"
#include "kernels/cpu/attention/scores.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t SLIVERS = 4;  // that share a block of packed keys and values while it is in cache

// Keys and values of one head, packed block by block.
struct Packed {
  float *k, *v;
  static int64_t size(int64_t keys, int64_t width) { return keys * width + W; }
};

void pack_head(const AttentionForward& p, int64_t b, int64_t g, Packed to) {
  for (int64_t k0 = 0; k0 < p.keys; k0 += KEYS) {  // increasing addresses: what is written too far gets overwritten
    const int64_t n = min(KEYS, p.keys - k0);
    pack_keys(p.k.at(b, g, k0), p.k.row, n, p.width, to.k + k0 * p.width);
    pack_width(p.v.at(b, g, k0), p.v.row, n, p.value_width, to.v + k0 * p.value_width);
  }
}

// A sliver's queries and what is known of its rows so far.
struct Rows {
  float *q, *out, *top, *total;  // (width, LANE), (value_width, LANE), (LANE), (LANE)
  bool started;
};

// s becomes the weights; top, total and out are brought up to date.
template <int V>
void softmax_block(Rows& r, float* s, int64_t n, int64_t value_width) {
  vf top[V], total[V], rescale[V];
  for (int x = 0; x < V; x++) top[x] = load(r.top + x * W);
  for (int64_t i = 0; i < n; i++)
    for (int x = 0; x < V; x++) top[x] = vmax(top[x], load(s + i * LANE + x * W));
  for (int x = 0; x < V; x++) {
    rescale[x] = weight(load(r.top + x * W) - top[x]);
    total[x] = load(r.total + x * W) * rescale[x];
    store(r.top + x * W, top[x]);
  }
  for (int64_t i = 0; i < n; i++)
    for (int x = 0; x < V; x++) {
      float* at = s + i * LANE + x * W;
      const vf e = weight(load(at) - top[x]);
      total[x] += e;
      store(at, e);
    }
  for (int x = 0; x < V; x++) store(r.total + x * W, total[x]);
  if (r.started)
    for (int64_t d = 0; d < value_width; d++)
      for (int x = 0; x < V; x++) {
        float* at = r.out + d * LANE + x * W;
        store(at, load(at) * rescale[x]);
      }
}

// Scratch of a task beside what its slivers hold: (KEYS, LANE) each; null where there is no bias or mask, no dropout.
struct Tiles {
  float *s, *added, *kept;
};

// A sliver meets the block of n keys at k0.
void attend(const Sliver& q, Rows& r, int64_t k0, int64_t n, const Packed& packed, const Tiles& tiles, Ahead& ahead) {
  const Attention& p = q.p;
  const Range seen = q.seen();
  const int64_t low = max(seen.first, k0), high = min(seen.end, k0 + n);
  if (high <= low) return;
  const Panels panels(n), dims(p.value_width);
  int64_t i = 0;
  while (k0 + panels.start(i + 1) <= low) i++;
  const int64_t from = panels.start(i);  // within the block; the first panel may hold some keys that are hidden
  const int64_t half = min(high, max(q.seen_by_all(), k0 + from));  // from here on W lanes see keys
  const int64_t lanes = q.lanes();
  float* s = tiles.s;
  for (; i < panels.count && k0 + panels.start(i) < high; i++) {
    const int64_t start = panels.start(i), x = k0 + start >= half ? W : 0;
    tile(p.width, packed.k + (k0 + start) * p.width, nullptr, panels.height(i), r.q + x, static_cast<int>(lanes - x),
         s + (start - from) * LANE + x, LANE, false);
    ahead.step();
  }
  const Range keys{k0 + from, high};
  if (tiles.added) gather_added(q, keys, tiles.added);
  finish_scores(q, keys, s, tiles.added, nullptr);
  (lanes > W ? softmax_block<NV> : softmax_block<1>)(r, s, high - keys.first, p.value_width);
  if (tiles.kept) {
    draw_kept(q, keys, tiles.kept);
    for (int64_t j = 0; j < (high - keys.first) * LANE; j += W) store(s + j, load(s + j) * load(tiles.kept + j));
  }
  const int64_t all = half - keys.first, some = high - half;
  for (int64_t d = 0; d < dims.count; d++) {
    const int height = dims.height(d);
    const float* v = packed.v + k0 * p.value_width + dims.start(d) * n + from * height;
    float* out = r.out + dims.start(d) * LANE;
    tile(all, v, nullptr, height, s, static_cast<int>(lanes), out, LANE, r.started);
    ahead.step();
    if (some > 0) tile(some, v + all * height, nullptr, height, s + all * LANE + W, W, out + W, LANE, true);
  }
  r.started = true;
}

void finish(const AttentionForward& p, const Sliver& q, Rows& r) {
  if (!r.started) std::memset(r.out, 0, sizeof(float) * static_cast<size_t>(p.value_width * LANE));
  float factor[LANE], logsum[LANE];
  for (int64_t x = 0; x < LANE; x += W) {
    const vf total = load(r.total + x), nothing = total == 0.f ? splatf(1.f) : vf{};
    store(factor + x, 1.f / (total + nothing));
    const vf sum = load(r.top + x) + vlog(total) * LOG2_E;
    store(logsum + x, nothing == 1.f ? vf{} : sum);
  }
  unpack_lanes(r.out, factor, q.n, p.value_width, p.out.at(q.b, q.h, q.first), p.out.row);
  std::memcpy(p.logsum + (q.b * p.heads + q.h) * p.queries + q.first, logsum, sizeof(float) * static_cast<size_t>(q.n));
}

// Up to SLIVERS slivers, from query `first` on, of one head.
void block_of_queries(const AttentionForward& p, int64_t b, int64_t h, int64_t first, const Packed& packed,
                      float* scratch, const Tiles& tiles, Ahead& ahead) {
  const int64_t sliver = (p.width + p.value_width + 2) * LANE, count = min(SLIVERS, ceil_div(p.queries - first, LANE));
  Rows rows[SLIVERS];
  for (int64_t i = 0; i < count; i++) {
    Sliver q(p, b, h, first + i * LANE);
    float* at = scratch + i * sliver;
    rows[i] = {at, at + p.width * LANE, at + (p.width + p.value_width) * LANE,
               at + (p.width + p.value_width + 1) * LANE, false};
    pack_lanes(p.q.at(b, h, q.first), p.q.row, q.n, p.width, query_scale(p), rows[i].q);
    for (int64_t x = 0; x < LANE; x += W) store(rows[i].top + x, splatf(LOWEST)), store(rows[i].total + x, vf{});
  }
  const Range seen = keys_seen(p, first, min(p.queries, first + count * LANE));
  for (int64_t k0 = seen.first / KEYS * KEYS; k0 < seen.end; k0 += KEYS)
    for (int64_t i = 0; i < count; i++)
      attend(Sliver(p, b, h, first + i * LANE), rows[i], k0, min(KEYS, p.keys - k0), packed, tiles, ahead);
  for (int64_t i = 0; i < count; i++) finish(p, Sliver(p, b, h, first + i * LANE), rows[i]);
}

// Into how many tasks the queries of the heads that share keys are cut: one where there are many such, or little work.
int64_t parts_of(const Attention& p, int64_t blocks) {
  const int64_t together = p.heads / p.groups, work = together * p.queries * p.keys * (p.width + p.value_width);
  return p.batch * p.groups >= 64 ? 1 : max<int64_t>(1, min(together * blocks, work >> 21));
}

}  // namespace

void attention_forward(const AttentionForward& p) {
  const int64_t together = p.heads / p.groups, blocks = ceil_div(p.queries, SLIVERS * LANE),
                parts = parts_of(p, blocks);
  const int64_t k_size = Packed::size(p.keys, p.width), size = k_size + Packed::size(p.keys, p.value_width);
  const int64_t slivers = SLIVERS * (p.width + p.value_width + 2) * LANE;
  const bool adds = p.bias.data || p.mask.data;
  Scratch<float> shared(parts > 1 ? p.batch * p.groups * size : 0);
  if (parts > 1)
    parallel_for(p.batch * p.groups, [&](int64_t i) {
      pack_head(p, i / p.groups, i % p.groups, {shared + i * size, shared + i * size + k_size});
    });
  parallel_for(p.batch * p.groups * parts, [&](int64_t task) {
    const int64_t i = task % (p.batch * p.groups), part = parts - 1 - task / (p.batch * p.groups);  // long ones first
    const int64_t b = i / p.groups, g = i % p.groups;
    Scratch<float> own(parts > 1 ? 0 : size), scratch(slivers + 3 * KEYS * LANE);
    float* const s = scratch + slivers;
    const Tiles tiles{s, adds ? s + KEYS * LANE : nullptr, p.drops ? s + 2 * KEYS * LANE : nullptr};
    float* base = parts > 1 ? shared + i * size : own.get();
    const Packed packed{base, base + k_size};
    if (parts == 1) pack_head(p, b, g, packed);
    Ahead ahead;
    if (const int64_t next = task + pool::threads(); parts == 1 && next < p.batch * p.groups) {
      const int64_t nb = next / p.groups, ng = next % p.groups;
      ahead.add(p.k.at(nb, ng, 0), p.k.row, p.keys, p.width);
      ahead.add(p.v.at(nb, ng, 0), p.v.row, p.keys, p.value_width);
      ahead.add(p.q.at(nb, ng * together, 0), p.q.row, p.queries, p.width);
    }
    const int64_t all = together * blocks;  // blocks of the heads that share keys: those of the same queries together
    for (int64_t j = all * part / parts; j < all * (part + 1) / parts; j++)
      block_of_queries(p, b, g * together + j % together, j / together * SLIVERS * LANE, packed, scratch, tiles, ahead);
  });
}

}  // namespace minidl::MINIDL_ISA
