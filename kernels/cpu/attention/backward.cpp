// Attention backward: the weights are computed again, block by block, and five products made of them.
//
// A task owns a range of keys and their gradients, for all the query heads that share them. The gradient of the queries
// is a sum over such ranges: where keys are cut into several, each task leaves its part, and a second phase adds them
// in order.
#include "kernels/cpu/attention/gradients.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t SLIVERS = 4, QUERIES = SLIVERS * LANE;  // of a block
constexpr int64_t BLOCK = KEYS * LANE;
constexpr int64_t NEAR = 2 * KEYS;  // keys that a block of queries meets while it is in cache

int64_t padded(int64_t width) { return round_up(width, W); }

// Rows as B operands: [LANE of the width][row][LANE].
void pack_columns(const float* rows, int64_t stride, int64_t n, int64_t width, float* dst) {
  for (int64_t d = 0; d < width; d += LANE, dst += n * LANE)
    pack(rows + d, 1, stride, static_cast<int>(min(LANE, width - d)), n, dst, static_cast<int>(LANE));
}

// What a task holds. Keys of its range: k, v as panels of keys, k_width as panels of the width, and gradients.
// Queries of one head: q, g as slivers, q_rows, g_rows as columns.
struct Held {
  float *k, *v, *k_width, *gk, *gv;
  PackedQueries queries;
  float *q_rows, *g_rows;
  float *weights, *slopes, *added, *kept, *capped;  // (SLIVERS, KEYS, LANE) the first two

  // Lays the parts out one after the other in `at`; gives the size of them all.
  static int64_t lay_out(const AttentionBackward& p, int64_t keys, Held* held, float* at) {
    const int64_t queries = round_up(p.queries, LANE), d = p.width, e = p.value_width;
    float* const begin = at;
    auto take = [&](int64_t size) {
      float* part = at;
      at += round_up(size + W, 16);
      return part;
    };
    *held = {take(keys * d),
             take(keys * e),
             take(keys * d),
             take(keys * padded(d)),
             take(keys * padded(e)),
             {take(queries * d), take(queries * e), take(queries), take(queries)},
             take(p.queries * round_up(d, LANE)),
             take(p.queries * round_up(e, LANE)),
             take(SLIVERS * BLOCK),
             take(SLIVERS * BLOCK),
             nullptr,
             nullptr,
             nullptr};
    if (p.bias.data || p.mask.data) held->added = take(BLOCK);
    if (p.drops) held->kept = take(BLOCK);
    if (p.softcap != 0.f) held->capped = take(BLOCK);
    return at - begin;
  }
};

void pack_keys_of(const AttentionBackward& p, int64_t b, int64_t g, Range keys, const Held& held) {
  for (int64_t k0 = keys.first; k0 < keys.end; k0 += KEYS) {
    const int64_t n = min(KEYS, keys.end - k0), at = k0 - keys.first;
    pack_keys(p.k.at(b, g, k0), p.k.row, n, p.width, held.k + at * p.width);
    pack_keys(p.v.at(b, g, k0), p.v.row, n, p.value_width, held.v + at * p.value_width);
    pack_width(p.k.at(b, g, k0), p.k.row, n, p.width, held.k_width + at * p.width);
  }
  std::memset(held.gk, 0, sizeof(float) * static_cast<size_t>((keys.end - keys.first) * padded(p.width)));
  std::memset(held.gv, 0, sizeof(float) * static_cast<size_t>((keys.end - keys.first) * padded(p.value_width)));
}

// gradient[key, width] += tiles[query, key]^T rows[query, width] for the queries [q0, q1), of which `offset` tells
// where in `tiles` they are.
void add_keys(const float* tiles, const int64_t* offset, int height, int64_t q0, int64_t q1, const float* columns,
              int64_t rows, int64_t width, float* gradient) {
  const int64_t wide = padded(width);
  for (int64_t d = 0; d < wide; d += LANE)
    tile<static_cast<int>(LANE)>(q1 - q0, tiles, offset, height, columns + d * rows + q0 * LANE,
                                 static_cast<int>(min(LANE, wide - d)), gradient + d, wide, true);
}

// Keys [k0, k0 + n) of the task's range meet the queries [q0, q0 + QUERIES).
void meet(const AttentionBackward& p, int64_t b, int64_t h, Range range, int64_t k0, int64_t n, int64_t q0,
          const Held& held, float* gq, Ahead& ahead) {
  const Range seen = keys_seen(p, q0, min(p.queries, q0 + QUERIES));
  if (seen.end <= k0 || seen.first >= k0 + n) return;
  const Panels panels(n), dims(p.width);
  const int64_t at = k0 - range.first, count = min(SLIVERS, ceil_div(p.queries - q0, LANE));
  Range met[SLIVERS];
  for (int64_t s = 0; s < count; s++) {
    const Sliver q(p, b, h, q0 + s * LANE);
    met[s] = panels_seen(q, k0, panels);
    if (met[s].empty()) continue;
    const PackedQueries& all = held.queries;
    const PackedQueries rows{all.q + q.first * p.width, all.g + q.first * p.value_width, all.logsum + q.first,
                             all.delta + q.first};
    float *weights = held.weights + s * BLOCK, *slopes = held.slopes + s * BLOCK;
    gradients_of_scores(q, k0, panels, met[s], held.k + at * p.width, held.v + at * p.value_width, rows,
                        {weights, slopes, held.added, held.kept, held.capped}, ahead);
    const int64_t from = panels.start(met[s].first), end = panels.start(met[s].end);
    if (held.capped)
      for (int64_t i = from * LANE; i < end * LANE; i += W) {
        const vf bent = load(held.capped + i);
        store(slopes + i, load(slopes + i) * (1.f - bent * bent));
      }
    const int64_t full = max(from, min(end, q.seen_by_all() - k0)) - from, some = end - from - full;
    for (int64_t d = 0; d < dims.count; d++) {
      const int height = dims.height(d);
      const float* k = held.k_width + at * p.width + dims.start(d) * n + from * height;
      float* to = gq + q.first * p.width + dims.start(d) * LANE;
      const float* own = slopes + from * LANE;
      if (full > 0) tile(full, k, nullptr, height, own, static_cast<int>(q.lanes()), to, LANE, true);
      if (some > 0) tile(some, k + full * height, nullptr, height, own + full * LANE + W, W, to + W, LANE, true);
    }
  }
  int64_t offset[QUERIES];
  for (int64_t i = 0; i < QUERIES; i++) offset[i] = i / LANE * BLOCK + i % LANE;
  for (int64_t i = 0; i < panels.count; i++) {
    int64_t first = 0, last = count;  // the slivers that met this panel lie together
    while (first < last && !(met[first].first <= i && i < met[first].end)) first++;
    while (last > first && !(met[last - 1].first <= i && i < met[last - 1].end)) last--;
    if (first == last) continue;
    const int64_t from = panels.start(i), key = at + from, end = min(p.queries, q0 + last * LANE);
    const Sliver q(p, b, h, q0 + first * LANE);
    const int64_t begin = k0 + from >= q.seen_by_all() ? q.first + W : q.first;
    add_keys(held.weights + from * LANE, offset + begin - q0, panels.height(i), begin, end, held.g_rows, p.queries,
             p.value_width, held.gv + key * padded(p.value_width));
    add_keys(held.slopes + from * LANE, offset + begin - q0, panels.height(i), begin, end, held.q_rows, p.queries,
             p.width, held.gk + key * padded(p.width));
  }
}

// rows[r][width] = src[r][padded width] * factor.
void write_rows(const float* src, float factor, int64_t n, int64_t width, float* rows, int64_t stride) {
  for (int64_t r = 0; r < n; r++)
    for (int64_t d = 0; d < width; d += W)
      store_n(rows + r * stride + d, load(src + r * padded(width) + d) * factor, width - d);
}

// The gradient of queries from sliver-wise sums: `parts` of them, `apart` from each other.
void write_queries(const AttentionBackward& p, int64_t b, int64_t h, Range slivers, float* sums, int64_t parts,
                   int64_t apart) {
  float factor[LANE];
  for (int64_t x = 0; x < LANE; x += W) store(factor + x, splatf(p.scale));
  for (int64_t s = slivers.first; s < slivers.end; s++) {
    float* own = sums + s * LANE * p.width;
    for (int64_t part = 1; part < parts; part++)
      for (int64_t i = 0; i < LANE * p.width; i += W) store(own + i, load(own + i) + load(own + part * apart + i));
    const int64_t first = s * LANE;
    unpack_lanes(own, factor, min(LANE, p.queries - first), p.width, p.gq.at(b, h, first), p.gq.row);
  }
}

// Into how many ranges the keys of a head are cut: one where there are many heads, or little work.
int64_t ranges_of(const Attention& p) {
  const int64_t heads = p.batch * p.groups;
  const int64_t work = p.heads / p.groups * p.queries * p.keys * (p.width + p.value_width);
  return max<int64_t>(1, min(min(ceil_div(24, heads), ceil_div(p.keys, KEYS)), work >> 24));
}

}  // namespace

void attention_backward(const AttentionBackward& p) {
  const int64_t together = p.heads / p.groups, ranges = ranges_of(p), blocks = ceil_div(p.keys, KEYS);
  const int64_t slivers = ceil_div(p.queries, LANE), gq_size = slivers * LANE * p.width;
  const int64_t most = min(p.keys, ceil_div(blocks, ranges) * KEYS), apart = p.batch * p.heads * gq_size;
  Held sizes;
  const int64_t size = Held::lay_out(p, most, &sizes, nullptr);
  Scratch<float> parts(ranges > 1 ? ranges * apart : 0);  // of gq
  parallel_for(p.batch * p.groups * ranges, [&](int64_t task) {
    const int64_t range = task / (p.batch * p.groups), i = task % (p.batch * p.groups);
    const int64_t b = i / p.groups, g = i % p.groups;
    const Range keys{blocks * range / ranges * KEYS, min(p.keys, blocks * (range + 1) / ranges * KEYS)};
    Scratch<float> memory(size), own(ranges > 1 ? 0 : gq_size);
    Held held;
    Held::lay_out(p, most, &held, memory);
    pack_keys_of(p, b, g, keys, held);
    Ahead ahead;
    if (const int64_t next = task + pool::threads(); ranges == 1 && next < p.batch * p.groups) {
      const int64_t nb = next / p.groups, ng = next % p.groups;
      ahead.add(p.k.at(nb, ng, 0), p.k.row, p.keys, p.width);
      ahead.add(p.v.at(nb, ng, 0), p.v.row, p.keys, p.value_width);
      ahead.add(p.q.at(nb, ng * together, 0), p.q.row, p.queries, p.width);
      ahead.add(p.g.at(nb, ng * together, 0), p.g.row, p.queries, p.value_width);
      ahead.add(p.out.at(nb, ng * together, 0), p.out.row, p.queries, p.value_width);
    }
    for (int64_t h = g * together; h < (g + 1) * together; h++) {
      float* gq = ranges > 1 ? parts + range * apart + (b * p.heads + h) * gq_size : own.get();
      std::memset(gq, 0, sizeof(float) * static_cast<size_t>(gq_size));
      pack_rows(p, b, h, 0, p.queries, held.queries);
      pack_columns(p.q.at(b, h, 0), p.q.row, p.queries, p.width, held.q_rows);
      pack_columns(p.g.at(b, h, 0), p.g.row, p.queries, p.value_width, held.g_rows);
      for (int64_t near = keys.first; near < keys.end; near += NEAR)
        for (int64_t q0 = 0; q0 < p.queries; q0 += QUERIES)
          for (int64_t k0 = near; k0 < min(keys.end, near + NEAR); k0 += KEYS)
            meet(p, b, h, keys, k0, min(KEYS, keys.end - k0), q0, held, gq, ahead);
      if (ranges == 1) write_queries(p, b, h, {0, slivers}, gq, 1, 0);
    }
    const int64_t n = keys.end - keys.first;
    write_rows(held.gk, p.scale, n, p.width, p.gk.at(b, g, keys.first), p.gk.row);
    write_rows(held.gv, 1.f, n, p.value_width, p.gv.at(b, g, keys.first), p.gv.row);
  });
  if (ranges > 1)
    parallel_for(p.batch * p.heads * ranges, [&](int64_t task) {
      const int64_t i = task / ranges, part = task % ranges;
      write_queries(p, i / p.heads, i % p.heads, {slivers * part / ranges, slivers * (part + 1) / ranges},
                    parts + i * gq_size, ranges, apart);
    });
}

}  // namespace minidl::MINIDL_ISA
