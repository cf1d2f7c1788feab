// Scores of a sliver of queries with a block of keys, transposed: s[key][lane], a lane being a query.
//
// Maxima, sums and rescaling of rows are then vertical vector operations, and the weights are what the microkernel
// reads as B: both products of the forward and four of the backward's five are `tile` on packed panels.
// Scores are to the base 2: log2 e is in the scale of the queries.
//
// Source: Dao 2023, "FlashAttention-2", arXiv:2307.08691, algorithms 1 and 2, here on vectors of queries.
#pragma once
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/microkernel.h"
#include "kernels/cpu/philox.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t LANE = NR<float>;  // queries of a sliver
constexpr int64_t KEYS = 128;        // keys of a block: its scores are KEYS * LANE floats, half of L1
constexpr float LOG2_E = 1.44269504f, LOWEST = -3.40282347e38f, HIDDEN = -__builtin_inff();

// 2^t for t <= 0; 0 below -126.
MINIDL_INLINE vf weight(vf t) {
  constexpr float c[] = {.000154531634f, .00133908633f, .00961808302f, .0555035695f, .240226507f, .693147182f, 1.f};
  vf shifted = t + (ROUNDER + 127.f);
  vf y = horner(t - (shifted - (ROUNDER + 127.f)), c) * bits_of_exponent((vu)shifted);
  return t < -126.f ? vf{} : y;
}

struct Range {
  int64_t first, end;
  bool empty() const { return end <= first; }
};

// Keys that one of the queries first ... end - 1 sees.
inline Range keys_seen(const Attention& p, int64_t first, int64_t end) {
  return {max<int64_t>(0, first + p.offset - p.before), min(p.keys, end + p.offset + p.behind)};
}

// -- packing ------------------------------------------------------------------------------------------------------

// Rows [first, first + n) of a head as slivers [row / LANE][width][LANE], times `factor`; lanes without a row are 0.
inline void pack_lanes(const float* rows, int64_t stride, int64_t n, int64_t width, float factor, float* dst) {
  for (int64_t first = 0; first < n; first += LANE, dst += width * LANE) {
    pack(rows + first * stride, stride, 1, static_cast<int>(min(LANE, n - first)), width, dst, static_cast<int>(LANE));
    if (factor != 1.f)
      for (int64_t i = 0; i < width * LANE; i += W) store(dst + i, load(dst + i) * factor);
  }
}

// n keys as panels [panel of keys][width][height].
inline void pack_keys(const float* rows, int64_t stride, int64_t n, int64_t width, float* dst) {
  const Panels keys(n);
  for (int64_t p = 0; p < keys.count; p++)
    pack(rows + keys.start(p) * stride, stride, 1, keys.height(p), width, dst + keys.start(p) * width, keys.height(p));
}

// n keys as panels [panel of the width][key][height]. Row by row: memory is read in its order.
inline void pack_width(const float* rows, int64_t stride, int64_t n, int64_t width, float* dst) {
  const Panels dims(width);
  for (int64_t key = 0; key < n; key++, rows += stride)
    for (int64_t p = 0; p < dims.count; p++) {
      const int64_t start = dims.start(p), height = dims.height(p);
      float* to = dst + start * n + key * height;
      for (int64_t i = 0; i < height; i += W) {  // what is written too far gets overwritten, but behind the last key
        const vf v = start + i + W <= width ? load(rows + start + i) : load_n(rows + start + i, height - i);
        key + 1 < n ? store(to + i, v) : store_n(to + i, v, height - i);
      }
    }
}

// rows[lane][d] = src[d][lane] * factor[lane] for lanes below n.
inline void unpack_lanes(const float* src, const float* factor, int64_t n, int64_t width, float* rows, int64_t stride) {
  for (int64_t lane = 0; lane < n; lane += W)
    for (int64_t d = 0; d < width; d += W) {
      vf t[W], f = load(factor + lane);
      for (int j = 0; j < W; j++) t[j] = d + j < width ? load(src + (d + j) * LANE + lane) * f : vf{};
      transpose<float>(t);
      for (int j = 0; j < W && lane + j < n; j++) store_n(rows + (lane + j) * stride + d, t[j], width - d);
    }
}

// -- a sliver of queries of one head ------------------------------------------------------------------------------

struct Sliver {
  const Attention& p;
  int64_t b, h, first, n;  // queries first ... first + n - 1

  Sliver(const Attention& p, int64_t b, int64_t h, int64_t first)
      : p(p), b(b), h(h), first(first), n(min(LANE, p.queries - first)) {}
  Range seen() const { return keys_seen(p, first, first + n); }
  int64_t lanes() const { return n > W ? LANE : W; }  // that are worth multiplying
  // Before the keys that only the upper W lanes see; at the diagonal they make half as many products.
  int64_t seen_by_all() const { return n > W && NV == 2 ? keys_seen(p, first, first + W).end : p.keys; }
};

// What queries are multiplied by when they are packed.
inline float query_scale(const Attention& p) { return p.softcap != 0.f ? p.scale / p.softcap : p.scale * LOG2_E; }

// row[i] = what bias and mask add to the score of query t with key keys.first + i, to the base 2.
inline void added_row(const Attention& p, int64_t b, int64_t h, int64_t t, Range keys, float* row) {
  const int64_t n = keys.end - keys.first;
  if (p.bias.data) {
    const float* bias = p.bias.at(b, h, t, keys.first);
    if (p.bias.key == 1)
      for (int64_t i = 0; i < n; i += W) store_n(row + i, load_n(bias + i, n - i) * LOG2_E, n - i);
    else
      for (int64_t i = 0; i < n; i++) row[i] = bias[i * p.bias.key] * LOG2_E;
  } else {
    std::memset(row, 0, sizeof(float) * static_cast<size_t>(n));
  }
  if (p.mask.data) {
    const uint8_t* mask = p.mask.at(b, h, t, keys.first);
    for (int64_t i = 0; i < n; i++) row[i] = mask[i * p.mask.key] ? row[i] : HIDDEN;
  }
}

// added[key - first][lane]: of the keys [keys.first, keys.end), at most KEYS.
inline void gather_added(const Sliver& q, Range keys, float* added) {
  const Attention& p = q.p;
  const int64_t n = keys.end - keys.first;
  const bool same = (!p.bias.data || !p.bias.query) && (!p.mask.data || !p.mask.query);  // for all queries
  float across[LANE * KEYS + W];
  for (int64_t r = 0; r < (same ? 1 : q.n); r++) added_row(p, q.b, q.h, q.first + r, keys, across + r * KEYS);
  if (!same) return pack(across, KEYS, 1, static_cast<int>(q.n), n, added, static_cast<int>(LANE));
  for (int64_t i = 0; i < n; i++)
    for (int64_t x = 0; x < LANE; x += W) store(added + i * LANE + x, splatf(across[i]));
}

// kept[key - first][lane]: what dropout multiplies weights by. Element (b, h, t, s) of the scores has the random word
// of its number.
inline void draw_kept(const Sliver& q, Range keys, float* kept) {
  const Attention& p = q.p;
  const int64_t n = keys.end - keys.first;
  float across[LANE * KEYS + W];
  uint32_t words[KEYS + 8 + BYTES];
  for (int64_t r = 0; r < q.n; r++) {
    const int64_t row = (q.b * p.heads + q.h) * p.draw_queries + q.first + r,
                  number = p.draw_first + row * p.draw_keys + keys.first, skipped = number % 4;
    philox(p.seed, p.stream, static_cast<uint64_t>(number / 4), ceil_div(skipped + n, 4), words);
    for (int64_t i = 0; i < n; i++) across[r * KEYS + i] = words[skipped + i] >> 1 < p.threshold ? p.kept : 0.f;
  }
  pack(across, KEYS, 1, static_cast<int>(q.n), n, kept, static_cast<int>(LANE));
}

// Hides keys outside the queries' windows: s holds the keys [keys.first, keys.end).
inline void hide(const Sliver& q, Range keys, float* s) {
  const int64_t own = q.first + q.p.offset;  // the place of lane 0
  if (keys.end - 1 <= own + q.p.behind && keys.first >= own + LANE - 1 - q.p.before) return;
  for (int64_t key = keys.first; key < keys.end; key++) {
    // lane sees key  <=>  key - own - behind <= lane <= key - own + before
    const int64_t low = key - own - q.p.behind, high = key - own + q.p.before;
    if (low <= 0 && high >= LANE - 1) continue;
    const int32_t from = static_cast<int32_t>(max<int64_t>(-1, min(low, LANE)));
    const int32_t to = static_cast<int32_t>(max<int64_t>(-1, min(high, LANE)));
    for (int64_t x = 0; x < LANE; x += W) {
      float* at = s + (key - keys.first) * LANE + x;
      const vi lane = lane_index() + static_cast<int32_t>(x);
      store(at, ((lane >= from) & (lane <= to)) ? load(at) : splatf(HIDDEN));
    }
  }
}

// Products to scores. s, added, capped: of the keys [keys.first, keys.end); capped (or null) gets the tanh of softcap.
inline void finish_scores(const Sliver& q, Range keys, float* s, const float* added, float* capped) {
  const int64_t size = (keys.end - keys.first) * LANE;
  if (q.p.softcap != 0.f) {
    const float cap = q.p.softcap * LOG2_E;
    for (int64_t i = 0; i < size; i += W) {
      const vf bent = vtanh(load(s + i));
      if (capped) store(capped + i, bent);
      store(s + i, bent * cap);
    }
  }
  if (added)
    for (int64_t i = 0; i < size; i += W) store(s + i, load(s + i) + load(added + i));
  hide(q, keys, s);
}

}  // namespace minidl::MINIDL_ISA
