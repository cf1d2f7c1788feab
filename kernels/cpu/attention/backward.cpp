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

// What a task holds, so little that it stays in L2. Keys near each other: k, v as panels of keys, k_width as panels of
// the width, and gradients. A block of queries of one head: q, g as slivers, q_rows, g_rows as columns.
struct Held {
  float *k, *v, *k_width, *gk, *gv;
  PackedQueries queries;
  float *q_rows, *g_rows;
  float *weights, *slopes, *added, *kept, *capped;  // (SLIVERS, KEYS, LANE) the first two

  // Lays the parts out one after the other in `at`; gives the size of them all.
  static int64_t lay_out(const AttentionBackward& p, Held* held, float* at) {
    const int64_t keys = min(NEAR, p.keys), d = p.width, e = p.value_width;
    int64_t size = 0;
    auto take = [&](int64_t count) {
      const int64_t start = size;
      size += round_up(count + W, 16);
      return at ? at + start : nullptr;
    };
    *held = {take(keys * d),
             take(keys * e),
             take(keys * d),
             take(keys * padded(d)),
             take(keys * padded(e)),
             {take(QUERIES * d), take(QUERIES * e), take(QUERIES), take(QUERIES)},
             take(QUERIES * round_up(d, LANE)),
             take(QUERIES * round_up(e, LANE)),
             take(SLIVERS * BLOCK),
             take(SLIVERS * BLOCK),
             nullptr,
             nullptr,
             nullptr};
    if (p.bias.data || p.mask.data) held->added = take(BLOCK);
    if (p.drops) held->kept = take(BLOCK);
    if (p.softcap != 0.f) held->capped = take(BLOCK);
    return size;
  }
};

void pack_queries(const AttentionBackward& p, int64_t b, int64_t h, int64_t q0, int64_t n, const Held& held) {
  pack_rows(p, b, h, q0, n, held.queries);
  pack_columns(p.q.at(b, h, q0), p.q.row, n, p.width, held.q_rows);
  pack_columns(p.g.at(b, h, q0), p.g.row, n, p.value_width, held.g_rows);
}

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
    tile<static_cast<int>(LANE)>(q1 - q0, tiles, offset + q0, height, columns + d * rows + q0 * LANE,
                                 static_cast<int>(min(LANE, wide - d)), gradient + d, wide, true);
}

// Keys [k0, k0 + n) of those that are held, `range`, meet the queries [q0, q0 + QUERIES).
void meet(const AttentionBackward& p, int64_t b, int64_t h, Range range, int64_t k0, int64_t n, int64_t q0,
          const Held& held, float* gq, Ahead& ahead) {
  const Panels panels(n), dims(p.width);
  const int64_t at = k0 - range.first, count = min(SLIVERS, ceil_div(p.queries - q0, LANE));
  Range met[SLIVERS];
  for (int64_t s = 0; s < count; s++) {
    const Sliver q(p, b, h, q0 + s * LANE);
    met[s] = panels_seen(q, k0, panels);
    if (met[s].empty()) continue;
    const PackedQueries& all = held.queries;
    const int64_t row = s * LANE;
    const PackedQueries rows{all.q + row * p.width, all.g + row * p.value_width, all.logsum + row, all.delta + row};
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
    const int64_t from = panels.start(i), key = at + from, rows = min(QUERIES, p.queries - q0);
    const bool upper = k0 + from >= Sliver(p, b, h, q0 + first * LANE).seen_by_all();
    const int64_t begin = first * LANE + (upper ? W : 0), end = min(rows, last * LANE);
    add_keys(held.weights + from * LANE, offset, panels.height(i), begin, end, held.g_rows, rows, p.value_width,
             held.gv + key * padded(p.value_width));
    add_keys(held.slopes + from * LANE, offset, panels.height(i), begin, end, held.q_rows, rows, p.width,
             held.gk + key * padded(p.width));
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

// Keys near each other meet all queries; their gradients are then complete. gq: of the heads that share the keys.
void meet_all(const AttentionBackward& p, int64_t b, int64_t g, Range keys, const Held& held, float* gq, Ahead& ahead) {
  const int64_t together = p.heads / p.groups, gq_size = round_up(p.queries, LANE) * p.width;
  pack_keys_of(p, b, g, keys, held);
  for (int64_t j = 0; j < together; j++)
    for (int64_t q0 = 0; q0 < p.queries; q0 += QUERIES) {
      const int64_t h = g * together + j, n = min(QUERIES, p.queries - q0);
      const Range seen = keys_seen(p, q0, q0 + n);
      if (seen.end <= keys.first || seen.first >= keys.end) continue;
      pack_queries(p, b, h, q0, n, held);
      for (int64_t k0 = keys.first; k0 < keys.end; k0 += KEYS)
        if (k0 < seen.end && seen.first < k0 + KEYS)
          meet(p, b, h, keys, k0, min(KEYS, keys.end - k0), q0, held, gq + j * gq_size, ahead);
    }
  const int64_t n = keys.end - keys.first;
  write_rows(held.gk, p.scale, n, p.width, p.gk.at(b, g, keys.first), p.gk.row);
  write_rows(held.gv, 1.f, n, p.value_width, p.gv.at(b, g, keys.first), p.gv.row);
}

// What the task of another head reads first.
void ask_for(const AttentionBackward& p, int64_t b, int64_t g, Ahead& ahead) {
  const int64_t h = g * (p.heads / p.groups);
  ahead.add(p.k.at(b, g, 0), p.k.row, min(NEAR, p.keys), p.width);
  ahead.add(p.v.at(b, g, 0), p.v.row, min(NEAR, p.keys), p.value_width);
  ahead.add(p.q.at(b, h, 0), p.q.row, min(NEAR, p.queries), p.width);
  ahead.add(p.g.at(b, h, 0), p.g.row, min(NEAR, p.queries), p.value_width);
  ahead.add(p.out.at(b, h, 0), p.out.row, min(NEAR, p.queries), p.value_width);
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
  const int64_t apart = p.batch * p.heads * gq_size;
  Held sizes;
  const int64_t size = Held::lay_out(p, &sizes, nullptr);
  Scratch<float> parts(ranges > 1 ? ranges * apart : 0);  // of gq
  parallel_for(p.batch * p.groups * ranges, [&](int64_t task) {
    const int64_t range = task / (p.batch * p.groups), i = task % (p.batch * p.groups);
    const int64_t b = i / p.groups, g = i % p.groups;
    const Range keys{blocks * range / ranges * KEYS, min(p.keys, blocks * (range + 1) / ranges * KEYS)};
    Scratch<float> memory(size), own(ranges > 1 ? 0 : together * gq_size);
    Held held;
    Held::lay_out(p, &held, memory);
    float* const gq = ranges > 1 ? parts + range * apart + i * together * gq_size : own.get();
    std::memset(gq, 0, sizeof(float) * static_cast<size_t>(together * gq_size));
    Ahead ahead;
    if (const int64_t next = task + pool::threads(); ranges == 1 && next < p.batch * p.groups)
      ask_for(p, next / p.groups, next % p.groups, ahead);
    for (int64_t near = keys.first; near < keys.end; near += NEAR)
      meet_all(p, b, g, {near, min(keys.end, near + NEAR)}, held, gq, ahead);
    for (int64_t j = 0; ranges == 1 && j < together; j++)
      write_queries(p, b, g * together + j, {0, slivers}, gq + j * gq_size, 1, 0);
  });
  if (ranges > 1)
    parallel_for(p.batch * p.heads * ranges, [&](int64_t task) {
      const int64_t i = task / ranges, part = task % ranges;
      write_queries(p, i / p.heads, i % p.heads, {slivers * part / ranges, slivers * (part + 1) / ranges},
                    parts + i * gq_size, ranges, apart);
    });
}

}  // namespace minidl::MINIDL_ISA
