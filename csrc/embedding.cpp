#include "kernels/cpu/embedding/embedding.h"
#include "csrc/arrays.h"
#include "kernels/cpu/embedding/philox.h"

namespace minidl {
namespace {

const int64_t* index_of(const Checked& check, py::handle index, int64_t rows) {
  const int64_t count = check.size("index", index), *of = check.input<int64_t>("index", index, {count});
  bool fit = true;
  for (int64_t i = 0; i < count; i++) fit &= of[i] >= 0 && of[i] < rows;
  check.require(fit, "index", "numbers of the table's rows");
  return of;
}

void bind_rows(py::module_& m) {
  m.def("gather_rows", [](py::handle weight, py::handle index, py::handle y) {
    Checked check("embedding.cpu");
    GatherRows p;
    auto [rows, columns] = check.shape<2>("weight", weight);
    p.rows = rows, p.columns = columns, p.count = check.size("index", index);
    check.require(columns > 0, "weight", "at least one column");
    p.weight = check.input<float>("weight", weight, {rows, columns});
    p.index = index_of(check, index, rows);
    p.y = check.output<float>("y", y, {p.count, columns});
    launch(gather_rows, p);
  });
  m.def("scatter_rows", [](py::handle x, py::handle index, py::handle out, int64_t skipped) {
    Checked check("embedding.cpu");
    ScatterRows p;
    auto [rows, columns] = check.shape<2>("out", out);
    p.rows = rows, p.columns = columns, p.count = check.size("index", index), p.skipped = skipped;
    check.require(rows > 0 && columns > 0, "out", "at least one element");
    p.x = check.input<float>("x", x, {p.count, columns});
    p.index = index_of(check, index, rows);
    p.out = check.output<float>("out", out, {rows, columns});
    launch(scatter_rows, p);
  });
}

void bind_random(py::module_& m) {
  m.def("philox", [](uint64_t seed, uint64_t stream, uint64_t first, py::handle words) {
    Checked check("philox.cpu");
    PhiloxWords p{{seed, stream}, first, nullptr, check.shape<2>("words", words)[0]};
    p.words = check.output<uint32_t>("words", words, {p.count, 4});
    launch(philox_words, p);
  });
  m.def("dropout", [](uint64_t seed, uint64_t stream, py::handle x, py::handle y, int64_t threshold, float scale) {
    Checked check("dropout.cpu");
    Dropout p{{seed, stream}, nullptr, nullptr, check.size("x", x), threshold, scale};
    p.x = check.input<float>("x", x, {p.count});
    p.y = check.output<float>("y", y, {p.count});
    check.require(threshold >= 0 && threshold <= int64_t(1) << 31, "threshold", "a number in [0, 2**31]");
    launch(dropout, p);
  });
}

}  // namespace

void bind_embedding(py::module_& m) {
  bind_rows(m);
  bind_random(m);
}

}  // namespace minidl
