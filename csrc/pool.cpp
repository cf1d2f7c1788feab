#include "kernels/cpu/pool/pool.h"
#include "csrc/arrays.h"
#include "csrc/windows.h"

namespace minidl {
namespace {

Parts parts_of(const Checked& check, const char* name, int64_t size, py::handle start, py::handle end) {
  Parts p{nullptr, nullptr, size, check.size(name, start)};
  p.start = check.input<int64_t>(name, start, {p.count});
  p.end = check.input<int64_t>(name, end, {p.count});
  for (int64_t i = 0; i < p.count; i++)
    check.require(0 <= p.start[i] && p.start[i] < p.end[i] && p.end[i] <= size, name, "parts that are on the axis");
  return p;
}

void bind_max_pool(py::module_& m) {
  m.def("max_pool_forward", [](py::handle x, py::handle y, py::handle position, py::handle rows, py::handle columns) {
    Checked check("max_pool.cpu");
    auto [planes, h, w] = check.shape<3>("x", x);
    MaxPool p{};
    p.planes = planes, p.rows = windows_of(check, "rows", h, rows),
    p.columns = windows_of(check, "columns", w, columns);
    p.x = check.input<float>("x", x, {planes, h, w});
    p.y = check.output<float>("y", y, {planes, p.rows.count, p.columns.count});
    const bool small = !position.is_none() && check.is("position", position, type_number<uint8_t>());
    if (small) check.require(p.rows.kernel * p.columns.kernel <= 256, "position", "int32 for windows of more than 256");
    if (small)
      p.small_position = check.output<uint8_t>("position", position, {planes, p.rows.count, p.columns.count});
    else
      p.position = check.optional_output<int32_t>("position", position, {planes, p.rows.count, p.columns.count});
    launch(max_pool_forward, p);
  });
  m.def("max_pool_backward", [](py::handle g, py::handle position, py::handle gx, py::handle rows, py::handle columns) {
    Checked check("max_pool.cpu");
    auto [planes, h, w] = check.shape<3>("gx", gx);
    MaxPoolBackward p{};
    p.planes = planes, p.rows = windows_of(check, "rows", h, rows),
    p.columns = windows_of(check, "columns", w, columns);
    p.g = check.input<float>("g", g, {planes, p.rows.count, p.columns.count});
    if (check.is("position", position, type_number<uint8_t>()))
      p.small_position = check.input<uint8_t>("position", position, {planes, p.rows.count, p.columns.count});
    else
      p.position = check.input<int32_t>("position", position, {planes, p.rows.count, p.columns.count});
    p.gx = check.output<float>("gx", gx, {planes, h, w});
    launch(max_pool_backward, p);
  });
}

void mean_pool(bool forward, py::handle x, py::handle y, py::handle rows, py::handle columns, py::handle row_divisor,
               py::handle column_divisor) {
  Checked check("avg_pool.cpu");
  auto [planes, h, w] = check.shape<3>(forward ? "x" : "gx", forward ? x : y);
  MeanPool p{};
  p.planes = planes, p.rows = windows_of(check, "rows", h, rows), p.columns = windows_of(check, "columns", w, columns);
  const int64_t q = p.rows.count, r = p.columns.count;
  p.x = forward ? check.input<float>("x", x, {planes, h, w}) : check.input<float>("g", x, {planes, q, r});
  p.y = forward ? check.output<float>("y", y, {planes, q, r}) : check.output<float>("gx", y, {planes, h, w});
  p.row_divisor = check.input<float>("row_divisor", row_divisor, {q});
  p.column_divisor = check.input<float>("column_divisor", column_divisor, {r});
  launch(forward ? mean_pool_forward : mean_pool_backward, p);
}

void parts_pool(bool forward, py::handle x, py::handle y, py::handle row_start, py::handle row_end,
                py::handle column_start, py::handle column_end) {
  Checked check("adaptive_avg_pool.cpu");
  auto [planes, h, w] = check.shape<3>(forward ? "x" : "gx", forward ? x : y);
  PartsPool p{};
  p.planes = planes, p.rows = parts_of(check, "rows", h, row_start, row_end);
  p.columns = parts_of(check, "columns", w, column_start, column_end);
  const int64_t q = p.rows.count, r = p.columns.count;
  p.x = forward ? check.input<float>("x", x, {planes, h, w}) : check.input<float>("g", x, {planes, q, r});
  p.y = forward ? check.output<float>("y", y, {planes, q, r}) : check.output<float>("gx", y, {planes, h, w});
  launch(forward ? parts_pool_forward : parts_pool_backward, p);
}

void plane_mean(bool forward, py::handle x, py::handle y) {
  Checked check("adaptive_avg_pool.cpu");
  auto [planes, size] = check.shape<2>(forward ? "x" : "gx", forward ? x : y);
  PlaneMean p{};
  p.planes = planes, p.size = size;
  p.x = forward ? check.input<float>("x", x, {planes, size}) : check.input<float>("g", x, {planes});
  p.y = forward ? check.output<float>("y", y, {planes}) : check.output<float>("gx", y, {planes, size});
  launch(forward ? plane_mean_forward : plane_mean_backward, p);
}

}  // namespace

void bind_pool(py::module_& m) {
  bind_max_pool(m);
  m.def("mean_pool", &mean_pool);
  m.def("parts_pool", &parts_pool);
  m.def("plane_mean", &plane_mean);
}

}  // namespace minidl
