// Attention of a few queries, as when a model writes token by token: keys and values are read once, in place, and what
// bounds it is memory. Keys are cut into chunks of a fixed size, whose parts of the softmax are then put together.
#include "kernels/cpu/attention/scores.h"

namespace minidl::MINIDL_ISA {
namespace {

constexpr int64_t CHUNK = 256, CLOSE = 32;  // keys of a task; keys whose values stay in L1 for all queries

int64_t padded(int64_t width) { return round_up(width, W); }

// What a chunk found out about one query: out (padded), then top and total.
int64_t part_size(const Attention& p) { return padded(p.value_width) + 2 * W; }

// The queries of the heads that share keys, one behind the other, scaled and padded with zeros.
void gather_queries(const AttentionForward& p, int64_t b, int64_t g, float* to) {
  const int64_t together = p.heads / p.groups;
  const float scale = query_scale(p);
  for (int64_t row = 0; row < together * p.queries; row++, to += padded(p.width)) {
    const float* q = p.q.at(b, g * together + row / p.queries, row % p.queries);
    for (int64_t d = 0; d < p.width; d += W) store(to + d, load_n(q + d, p.width - d) * scale);
  }
}

// Products of one query with W keys (n of them), `stride` apart.
MINIDL_INLINE vf products(const float* q, const float* keys, int64_t stride, int64_t n, int64_t width, bool first) {
  vf sums[W];
  for (int j = 0; j < W; j++) sums[j] = vf{};
  if (first)  // keys of a while later: memory is what this waits for
    for (int j = 0; j < W; j++)
      for (int64_t d = 0; d < width; d += 16) __builtin_prefetch(keys + (j + 2 * W) * stride + d);
  int64_t d = 0;
  for (; d + W <= width && n >= W; d += W) {
    const vf x = load(q + d);
    MINIDL_UNROLL
    for (int j = 0; j < W; j++) sums[j] += x * load(keys + j * stride + d);
  }
  for (; d < width; d += W) {  // what is left of the width, or of the keys
    const vf x = load(q + d);
    for (int j = 0; j < W && j < n; j++) sums[j] += x * load_n(keys + j * stride + d, width - d);
  }
  transpose<float>(sums);
  for (int step = 1; step < W; step *= 2)
    for (int j = 0; j < W; j += 2 * step) sums[j] += sums[j + step];
  return sums[0];
}

// Products to scores of query t with the keys of a chunk, hidden ones among them. added: scratch.
void finish_row(const AttentionForward& p, int64_t b, int64_t h, int64_t t, Range keys, float* s, float* added) {
  const int64_t n = keys.end - keys.first;
  const float cap = p.softcap * LOG2_E;
  if (p.softcap != 0.f)
    for (int64_t i = 0; i < n; i += W) store(s + i, vtanh(load(s + i)) * cap);
  if (p.bias.data || p.mask.data) {
    added_row(p, b, h, t, keys, added);
    for (int64_t i = 0; i < n; i++) s[i] += added[i];
  }
  const Range seen = keys_seen(p, t, t + 1);
  for (int64_t i = 0; i < min(n, seen.first - keys.first); i++) s[i] = HIDDEN;
  for (int64_t i = max<int64_t>(0, seen.end - keys.first); i < n; i++) s[i] = HIDDEN;
  for (int64_t i = n; i < round_up(n, W); i++) s[i] = HIDDEN;
}

// Scores to weights; top and total go to `part`.
void softmax_row(float* s, int64_t n, float* part, int64_t value_width) {
  vf top = splatf(LOWEST), total{};
  for (int64_t i = 0; i < n; i += W) top = vmax(top, load(s + i));
  top = splatf(largest(top));
  for (int64_t i = 0; i < n; i += W) {
    const vf e = weight(load(s + i) - top);
    total += e;
    store(s + i, e);
  }
  part[padded(value_width)] = top[0], part[padded(value_width) + W] = sum(total);
}

// out[value_width] += the n values, `stride` apart, each times its weight. V vectors at a time.
template <int V>
MINIDL_INLINE void add_values(const float* weights, const float* values, int64_t stride, int64_t n, int64_t left,
                              float* out) {
  vf sums[V];
  for (int v = 0; v < V; v++) sums[v] = load(out + v * W);
  for (int64_t i = 0; i < n; i++, values += stride) {
    const vf w = splatf(weights[i]);
    for (int v = 0; v < V; v++) __builtin_prefetch(values + CLOSE * stride + v * W);
    MINIDL_UNROLL
    for (int v = 0; v < V; v++) sums[v] += w * (V > 1 ? load(values + v * W) : load_n(values, left));
  }
  for (int v = 0; v < V; v++) store(out + v * W, sums[v]);
}

// Where the keys of one sequence are.
struct Cache {
  int64_t b;             // in arrays that are not cut into pages
  const int64_t* table;  // the sequence's pages, or null
  int64_t per_page;

  // Calls visit(first, end, array's first axis, row there) for the parts of a range of keys that lie together.
  template <class Visit>
  void each(Range keys, Visit visit) const {
    if (!table) return visit(keys.first, keys.end, b, keys.first);
    for (int64_t key = keys.first; key < keys.end;) {
      const int64_t row = key % per_page, end = min(keys.end, key - row + per_page);
      visit(key, end, table[key / per_page], row);
      key = end;
    }
  }
};

void chunk_of_keys(const AttentionForward& p, const Cache& cache, int64_t g, Range keys, const float* q, float* s,
                   float* added, float* parts) {
  const int64_t together = p.heads / p.groups, rows = together * p.queries, n = keys.end - keys.first;
  cache.each(keys, [&](int64_t first, int64_t end, int64_t b, int64_t at) {
    for (int64_t key = first; key < end; key += W) {
      const int64_t count = min<int64_t>(W, end - key);
      for (int64_t row = 0; row < rows; row++)
        store_n(s + row * CHUNK + key - keys.first,
                products(q + row * padded(p.width), p.k.at(b, g, at + key - first), p.k.row, count, p.width, row == 0),
                count);
    }
  });
  for (int64_t row = 0; row < rows; row++) {
    float* part = parts + row * part_size(p);
    finish_row(p, cache.b, g * together + row / p.queries, row % p.queries, keys, s + row * CHUNK, added);
    softmax_row(s + row * CHUNK, n, part, p.value_width);
    std::memset(part, 0, sizeof(float) * static_cast<size_t>(padded(p.value_width)));
  }
  cache.each(keys, [&](int64_t first, int64_t end, int64_t b, int64_t at) {
    for (int64_t key = first; key < end; key += CLOSE)
      for (int64_t row = 0; row < rows; row++) {
        const float *weights = s + row * CHUNK + key - keys.first, *values = p.v.at(b, g, at + key - first);
        float* out = parts + row * part_size(p);
        const int64_t count = min(CLOSE, end - key), width = p.value_width;
        int64_t e = 0;
        for (; e + 4 * W <= width; e += 4 * W) add_values<4>(weights, values + e, p.v.row, count, 0, out + e);
        for (; e < width; e += W) add_values<1>(weights, values + e, p.v.row, count, width - e, out + e);
      }
  });
}

// One query: its parts, `apart` from each other, put together in order.
void join(const AttentionForward& p, float* parts, int64_t chunks, int64_t apart, float* out, float* logsum) {
  const int64_t wide = padded(p.value_width);
  float top = LOWEST;
  for (int64_t c = 0; c < chunks; c++) top = max(top, parts[c * apart + wide]);
  vf total{};
  for (int64_t c = 0; c < chunks; c++) {
    float* part = parts + c * apart;
    const vf factor = weight(splatf(part[wide] - top));
    total += factor * part[wide + W];
    for (int64_t e = 0; e < wide; e += W) store(parts + e, (c ? load(parts + e) : vf{}) + load(part + e) * factor);
  }
  const float all = total[0];
  *logsum = all == 0.f ? 0.f : top + vlog(total)[0] * LOG2_E;
  for (int64_t e = 0; e < wide; e += W) {
    const vf mean = chunks ? load(parts + e) / (all == 0.f ? 1.f : all) : vf{};
    store_n(out + e, mean, p.value_width - e);
  }
}

// sequence(b, own): where the keys of sequence b are; `own`, a copy of p, learns how many there are and where they end.
template <class Sequence>
void decode(const AttentionForward& p, int64_t most, Sequence sequence) {
  const int64_t together = p.heads / p.groups, rows = together * p.queries, chunks = ceil_div(most, CHUNK);
  const int64_t size = part_size(p),
                apart = p.batch * p.groups * rows * size;  // parts: (chunks, batch, heads, queries)
  Scratch<float> parts(chunks * apart);
  parallel_for(p.batch * p.groups * chunks, [&](int64_t task) {
    const int64_t i = task / chunks, c = task % chunks, b = i / p.groups, g = i % p.groups;
    AttentionForward own = p;
    const Cache cache = sequence(b, own);
    const Range keys{c * CHUNK, min(own.keys, (c + 1) * CHUNK)};
    if (keys.empty()) return;
    Scratch<float> scratch(rows * (padded(p.width) + CHUNK) + CHUNK);
    float *q = scratch, *s = q + rows * padded(p.width), *added = s + rows * CHUNK;
    gather_queries(p, b, g, q);
    chunk_of_keys(own, cache, g, keys, q, s, added, parts + c * apart + i * rows * size);
  });
  parallel_chunks(p.batch * p.heads * p.queries, 4096 / max<int64_t>(chunks, 1), [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++) {
      const int64_t t = row % p.queries, h = row / p.queries % p.heads, b = row / p.queries / p.heads;
      AttentionForward own = p;
      sequence(b, own);
      join(p, parts + row * size, ceil_div(own.keys, CHUNK), apart, p.out.at(b, h, t), p.logsum + row);
    }
  });
}

}  // namespace

void attention_decode(const AttentionForward& p) {
  decode(p, p.keys, [](int64_t b, AttentionForward&) { return Cache{b, nullptr, 0}; });
}

void attention_cached(const AttentionCached& p) {
  int64_t most = 0;
  for (int64_t b = 0; b < p.batch; b++) most = max(most, p.lengths[b]);
  decode(p, most, [&](int64_t b, AttentionForward& own) {
    own.keys = p.lengths[b], own.offset = own.keys - p.queries;
    return Cache{b, p.table ? p.table + b * p.pages : nullptr, p.per_page};
  });
}

}  // namespace minidl::MINIDL_ISA
