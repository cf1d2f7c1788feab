#include "kernels/cpu/attention/attention.h"

#include "csrc/arrays.h"
#include "kernels/cpu/attention/rotary.h"

namespace minidl {
namespace {

constexpr int64_t FEW = 8;  // queries that share keys, for which keys and values are better read in place

// An array (batch, heads, rows, width) in which the elements of a row lie together.
template <class T>
Heads<T> heads_of(const Checked& check, const char* name, py::handle array, const std::array<int64_t, 4>& sizes) {
  std::array<int64_t, 4> strides;
  float* data = const_cast<float*>(check.strided<float, 4>(name, array, sizes, strides));
  check.require(strides[3] == 1 || sizes[3] == 1, name, "elements of a row that lie together");
  return {data, strides[0], strides[1], strides[2]};
}

// What a call of the op is about, as minidl/kernels/attention.py hands it over.
class Arguments {
 public:
  // pages: keys and values have a first axis of their own.
  Arguments(py::handle q, py::handle k, py::handle v, py::handle bias, py::handle mask, Attention& p,
            bool pages = false) {
    auto [b, h, t, d] = check_.shape<4>("query", q);
    auto [first, g, s, e] = check_.shape<4>("value", v);
    check_.require(b > 0 && h > 0 && t > 0 && d > 0 && s > 0 && e > 0, "query", "no empty axes");
    check_.require(g > 0 && h % g == 0, "key", "a number of heads that divides that of query");
    p.batch = b, p.heads = h, p.groups = g, p.queries = t, p.keys = s, p.width = d, p.value_width = e;
    if (!pages) first = b;
    queries_ = {b, h, t, d}, keys_ = {first, g, s, d}, values_ = {first, g, s, e}, outs_ = {b, h, t, e};
    p.q = rows("query", q, queries_), p.k = rows("key", k, keys_), p.v = rows("value", v, values_);
    p.bias = plane<float>("bias", bias, p);
    p.mask = plane<bool, uint8_t>("mask", mask, p);
  }

  Heads<const float> out(const char* name, py::handle array) const { return rows(name, array, outs_); }
  Heads<float> new_out(py::handle array) const { return writeable("out", array, outs_); }
  Heads<float> like_query(py::handle array) const { return writeable("gq", array, queries_); }
  Heads<float> like_key(py::handle array) const { return writeable("gk", array, keys_); }
  Heads<float> like_value(py::handle array) const { return writeable("gv", array, values_); }
  const Checked& check() const { return check_; }

  // An array with the axes of the scores, each as long as theirs or 1.
  template <class T, class Data = T>
  Plane<const Data> plane(const char* name, py::handle array, const Attention& p) const {
    if (array.is_none()) return {};
    std::array<int64_t, 4> sizes = check_.shape<4>(name, array), strides;
    const std::array<int64_t, 4> full = {p.batch, p.heads, p.queries, p.keys};
    const void* data = check_.strided<T, 4>(name, array, sizes, strides);
    for (size_t i = 0; i < 4; i++) {
      check_.require(sizes[i] == full[i] || sizes[i] == 1, name, "the axes of the scores, or 1");
      if (sizes[i] == 1) strides[i] = 0;
    }
    return {static_cast<const Data*>(data), strides[0], strides[1], strides[2], strides[3]};
  }

 private:
  Heads<const float> rows(const char* name, py::handle array, std::array<int64_t, 4> sizes) const {
    return heads_of<const float>(check_, name, array, sizes);
  }
  Heads<float> writeable(const char* name, py::handle array, std::array<int64_t, 4> sizes) const {
    Heads<const float> found = rows(name, array, sizes);
    check_.require(py::cast<bool>(array.attr("flags").attr("writeable")), name, "an array that may be written");
    return {const_cast<float*>(found.data), found.batch, found.head, found.row};
  }

  Checked check_{"attention.cpu"};
  std::array<int64_t, 4> queries_, keys_, values_, outs_;
};

// The parameters of a call: scale, softcap, offset, before, behind; dropout as (seed, stream, threshold, kept, number
// of the first weight in the draw, and how many queries and keys a head has there) or None.
void set_parameters(Attention& p, float scale, float softcap, int64_t offset, int64_t before, int64_t behind,
                    py::handle dropout) {
  p.scale = scale, p.softcap = softcap, p.offset = offset, p.before = before, p.behind = behind;
  p.drops = !dropout.is_none();
  if (!p.drops) return;
  auto fields = py::cast<py::tuple>(dropout);
  p.seed = py::cast<uint64_t>(fields[0]), p.stream = py::cast<uint64_t>(fields[1]);
  p.threshold = py::cast<uint32_t>(fields[2]), p.kept = py::cast<float>(fields[3]);
  p.draw_first = py::cast<int64_t>(fields[4]);
  p.draw_queries = py::cast<int64_t>(fields[5]), p.draw_keys = py::cast<int64_t>(fields[6]);
}

// What a cache holds of each sequence: no length and no page that is read may lie outside.
void set_cache(AttentionCached& p, const Checked& check, py::handle lengths, py::handle table, int64_t caches) {
  p.lengths = check.input<int64_t>("lengths", lengths, {p.batch});
  p.table = nullptr, p.pages = 1, p.per_page = p.keys;
  if (!table.is_none()) {
    p.pages = check.shape<2>("page_table", table)[1];
    p.table = check.input<int64_t>("page_table", table, {p.batch, p.pages});
  }
  for (int64_t b = 0; b < p.batch; b++) {
    check.require(p.lengths[b] >= 0 && p.lengths[b] <= p.pages * p.per_page, "lengths", "no more than there is room");
    for (int64_t i = 0; p.table && i * p.per_page < p.lengths[b]; i++) {
      const int64_t page = p.table[b * p.pages + i];
      check.require(page >= 0 && page < caches, "page_table", "numbers of pages");
    }
  }
}

void set_gradients(AttentionGradients& p, const Arguments& a, py::handle g, py::handle out, py::handle logsum) {
  p.g = a.out("g", g), p.out = a.out("out", out);
  p.logsum = a.check().input<float>("logsum", logsum, {p.batch, p.heads, p.queries});
}

void bind_rotary(py::module_& m) {
  m.def("rotary", [](py::handle x, py::handle cos, py::handle sin, py::handle y, bool interleaved) {
    Checked check("rotary.cpu");
    Rotary p;
    const std::array<int64_t, 4> sizes = check.shape<4>("x", x);
    const auto [b, h, t, d] = sizes;
    p.batch = b, p.heads = h, p.rows = t, p.width = d, p.half = check.shape<4>("cos", cos)[3];
    p.interleaved = interleaved;
    check.require(d > 0 && p.half > 0 && 2 * p.half <= d, "cos", "angles for pairs of a row");
    auto angles = [&](const char* name, py::handle array) {
      std::array<int64_t, 4> of = check.shape<4>(name, array), full = {b, h, t, p.half}, strides;
      const float* data = check.strided<float, 4>(name, array, of, strides);
      check.require(strides[3] == 1 || p.half == 1, name, "elements of a row that lie together");
      for (size_t i = 0; i < 4; i++) {
        check.require(of[i] == full[i] || (i < 3 && of[i] == 1), name, "the axes of x, or 1");
        if (of[i] == 1) strides[i] = 0;
      }
      return Plane<const float>{data, strides[0], strides[1], strides[2], 1};
    };
    p.x = heads_of<const float>(check, "x", x, sizes);
    p.cos = angles("cos", cos), p.sin = angles("sin", sin);
    check.require(py::cast<bool>(y.attr("flags").attr("writeable")), "y", "an array that may be written");
    p.y = heads_of<float>(check, "y", y, sizes);
    launch(rotary, p);
  });
}

}  // namespace

void bind_attention(py::module_& m) {
  bind_rotary(m);
  m.def("forward", [](py::handle q, py::handle k, py::handle v, py::handle bias, py::handle mask, py::handle out,
                      py::handle logsum, float scale, float softcap, int64_t offset, int64_t before, int64_t behind,
                      py::handle dropout) {
    AttentionForward p;
    Arguments a(q, k, v, bias, mask, p);
    set_parameters(p, scale, softcap, offset, before, behind, dropout);
    p.out = a.new_out(out);
    p.logsum = a.check().output<float>("logsum", logsum, {p.batch, p.heads, p.queries});
    const bool few = p.heads / p.groups * p.queries <= FEW && !p.drops;
    launch(few ? attention_decode : attention_forward, p);
  });
  m.def("cached", [](py::handle q, py::handle k, py::handle v, py::handle lengths, py::handle table, py::handle out,
                     py::handle logsum, float scale, float softcap, int64_t before) {
    AttentionCached p;
    Arguments a(q, k, v, py::none(), py::none(), p, !table.is_none());
    set_parameters(p, scale, softcap, 0, before, 0, py::none());
    set_cache(p, a.check(), lengths, table, a.check().shape<4>("key", k)[0]);
    p.out = a.new_out(out);
    p.logsum = a.check().output<float>("logsum", logsum, {p.batch, p.heads, p.queries});
    launch(attention_cached, p);
  });
  m.def("backward", [](py::handle q, py::handle k, py::handle v, py::handle bias, py::handle mask, py::handle g,
                       py::handle out, py::handle logsum, py::handle gq, py::handle gk, py::handle gv, float scale,
                       float softcap, int64_t offset, int64_t before, int64_t behind, py::handle dropout) {
    AttentionBackward p;
    Arguments a(q, k, v, bias, mask, p);
    set_parameters(p, scale, softcap, offset, before, behind, dropout);
    set_gradients(p, a, g, out, logsum);
    p.gq = a.like_query(gq), p.gk = a.like_key(gk), p.gv = a.like_value(gv);
    launch(attention_backward, p);
  });
  m.def("backward_bias", [](py::handle q, py::handle k, py::handle v, py::handle bias, py::handle mask, py::handle g,
                            py::handle out, py::handle logsum, py::handle gbias, float scale, float softcap,
                            int64_t offset, int64_t before, int64_t behind, py::handle dropout) {
    AttentionBias p;
    Arguments a(q, k, v, bias, mask, p);
    set_parameters(p, scale, softcap, offset, before, behind, dropout);
    set_gradients(p, a, g, out, logsum);
    auto [sb, sh, st, ss] = a.check().shape<4>("gbias", gbias);
    float* data = a.check().output<float>("gbias", gbias, {sb, sh, st, ss});
    Plane<const float> to = a.plane<float>("gbias", gbias, p);
    p.gbias = {data, to.batch, to.head, to.query, to.key};
    launch(attention_bias, p);
  });
}

}  // namespace minidl
