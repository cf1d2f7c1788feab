#include "kernels/cpu/recurrent/recurrent.h"

#include "csrc/arrays.h"

namespace minidl {
namespace {

struct Cell {
  const char* kernel;
  int gates, kept;  // of each hidden unit
  bool lstm, gru;
};

RecurrentForward forward_params(const Cell& cell, py::handle x, py::handle weight_ih, py::handle weight_hh,
                                py::handle packed_ih, py::handle packed_hh, py::handle bias_ih, py::handle bias_hh,
                                py::handle lengths, py::handle gates, py::handle h, py::handle c, py::handle y,
                                bool reverse, bool relu) {
  Checked check(cell.kernel);
  auto [T, N, I] = check.shape<3>("x", x);
  auto [width, H] = check.shape<2>("weight_hh", weight_hh);
  check.require(T > 0 && N > 0 && I > 0 && H > 0, "x", "no empty axis");
  RecurrentForward p{};
  p.x = check.input<float>("x", x, {T, N, I});
  p.weight_ih = check.input<float>("weight_ih", weight_ih, {cell.gates * H, I});
  p.weight_hh = check.input<float>("weight_hh", weight_hh, {cell.gates * H, H});
  p.packed_ih = check.optional<float>("packed_ih", packed_ih, {packed_weight(cell.gates, H, I)});
  p.packed_hh = check.optional<float>("packed_hh", packed_hh, {packed_weight(cell.gates, H, H)});
  p.bias_ih = check.optional<float>("bias_ih", bias_ih, {width});
  p.bias_hh = check.optional<float>("bias_hh", bias_hh, {width});
  p.lengths = check.optional<int64_t>("lengths", lengths, {N});
  p.gates = check.optional_output<float>("gates", gates, {T, N, cell.kept * H});
  p.h = check.output<float>("h", h, {T + 1, N, H});
  if (cell.lstm) p.c = check.output<float>("c", c, {p.gates ? T + 1 : 1, N, H});
  p.y = check.optional_output<float>("y", y, {T, N, H});
  p.steps = T, p.rows = N, p.inputs = I, p.hidden = H, p.reverse = reverse, p.relu = relu;
  return p;
}

RecurrentBackward backward_params(const Cell& cell, py::handle gy, py::handle weight_hh, py::handle lengths,
                                  py::handle gates, py::handle h, py::handle c, py::handle gh, py::handle extra_g,
                                  py::handle ga, bool reverse, bool relu) {
  Checked check(cell.kernel);
  auto [T, N, H] = check.shape<3>("gy", gy);
  const int64_t width = cell.gates * H;
  check.require(T > 0 && N > 0 && H > 0, "gy", "no empty axis");
  RecurrentBackward p{};
  p.gy = check.input<float>("gy", gy, {T, N, H});
  p.weight_hh = check.input<float>("weight_hh", weight_hh, {width, H});
  p.lengths = check.optional<int64_t>("lengths", lengths, {N});
  p.gates = check.input<float>("gates", gates, {T, N, cell.kept * H});
  p.h = check.input<float>("h", h, {T + 1, N, H});
  if (cell.lstm) p.c = check.input<float>("c", c, {T + 1, N, H});
  p.gh = check.output<float>("gh", gh, {N, H});
  if (cell.lstm) p.gc = check.output<float>("gc", extra_g, {N, H});
  if (cell.gru) p.gb = check.output<float>("gb", extra_g, {T, N, H});
  p.ga = check.output<float>("ga", ga, {T, N, width});
  p.steps = T, p.rows = N, p.hidden = H, p.reverse = reverse, p.relu = relu;
  return p;
}

template <class Forward, class Backward>
void bind(py::module_& m, const std::string& name, Cell cell, Forward forward, Backward backward) {
  m.def((name + "_forward").c_str(),
        [=](py::handle x, py::handle weight_ih, py::handle weight_hh, py::handle packed_ih, py::handle packed_hh,
            py::handle bias_ih, py::handle bias_hh, py::handle lengths, py::handle gates, py::handle h, py::handle c,
            py::handle y, bool reverse, bool relu) {
          launch(forward, forward_params(cell, x, weight_ih, weight_hh, packed_ih, packed_hh, bias_ih, bias_hh, lengths,
                                         gates, h, c, y, reverse, relu));
        });
  m.def((name + "_backward").c_str(),
        [=](py::handle gy, py::handle weight_hh, py::handle lengths, py::handle gates, py::handle h, py::handle c,
            py::handle gh, py::handle extra_g, py::handle ga, bool reverse, bool relu) {
          launch(backward, backward_params(cell, gy, weight_hh, lengths, gates, h, c, gh, extra_g, ga, reverse, relu));
        });
}

}  // namespace

void bind_recurrent(py::module_& m) {
  bind(m, "lstm", {"lstm.cpu", 4, 4, true, false}, lstm_forward, lstm_backward);
  bind(m, "gru", {"gru.cpu", 3, 4, false, true}, gru_forward, gru_backward);
  bind(m, "rnn", {"rnn.cpu", 1, 1, false, false}, rnn_forward, rnn_backward);
  m.def("packed_size", packed_weight);  // (gates, hidden, inputs)
  m.def("pack_weight", [](int64_t gates, py::handle weight, py::handle packed) {
    Checked check("recurrent.cpu");
    auto [width, depth] = check.shape<2>("weight", weight);
    check.require(gates > 0 && width % gates == 0, "weight", "as many rows for each gate");
    PackRecurrent p{check.input<float>("weight", weight, {width, depth}), nullptr, gates, width / gates, depth};
    p.packed = check.output<float>("packed", packed, {packed_weight(gates, p.hidden, depth)});
    launch(recurrent_pack, p);
  });
  m.def("sum_rows", [](py::handle x, py::handle y) {
    Checked check("sum_rows.cpu");
    auto [rows, columns] = check.shape<2>("x", x);
    SumRows p{check.input<float>("x", x, {rows, columns}), check.output<float>("y", y, {columns}), rows, columns};
    check.require(rows > 0 && columns > 0, "x", "no empty axis");
    launch(sum_rows, p);
  });
}

}  // namespace minidl
