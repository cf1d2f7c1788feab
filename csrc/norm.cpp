#include "csrc/arrays.h"
#include "kernels/cpu/norm/batch_norm.h"
#include "kernels/cpu/norm/group_norm.h"
#include "kernels/cpu/norm/row_norm.h"

namespace minidl {
namespace {

void bind_rows(py::module_& m) {
  m.def("row_norm_forward", [](py::handle x, py::handle weight, py::handle bias, py::handle y, py::handle mean,
                               py::handle rstd, float eps) {
    Checked check("row_norm.cpu");
    auto [rows, columns] = check.shape<2>("x", x);
    RowNormForward p;
    p.x = check.input<float>("x", x, {rows, columns});
    p.weight = check.optional<float>("weight", weight, {columns});
    p.bias = check.optional<float>("bias", bias, {columns});
    p.y = check.output<float>("y", y, {rows, columns});
    p.mean = check.optional_output<float>("mean", mean, {rows});
    p.rstd = check.output<float>("rstd", rstd, {rows});
    p.rows = rows, p.columns = columns, p.eps = eps;
    check.require(columns > 0, "x", "at least one column");
    launch(row_norm_forward, p);
  });
  m.def("row_norm_backward", [](py::handle g, py::handle x, py::handle weight, py::handle mean, py::handle rstd,
                                py::handle gx, py::handle gweight, py::handle gbias) {
    Checked check("row_norm.cpu");
    auto [rows, columns] = check.shape<2>("x", x);
    RowNormBackward p;
    p.g = check.input<float>("g", g, {rows, columns});
    p.x = check.input<float>("x", x, {rows, columns});
    p.weight = check.optional<float>("weight", weight, {columns});
    p.mean = check.optional<float>("mean", mean, {rows});
    p.rstd = check.input<float>("rstd", rstd, {rows});
    p.gx = check.output<float>("gx", gx, {rows, columns});
    p.gweight = check.optional_output<float>("gweight", gweight, {columns});
    p.gbias = check.optional_output<float>("gbias", gbias, {columns});
    p.rows = rows, p.columns = columns;
    check.require(columns > 0, "x", "at least one column");
    launch(row_norm_backward, p);
  });
}

void bind_groups(py::module_& m) {
  m.def("group_norm_forward", [](py::handle x, py::handle weight, py::handle bias, py::handle y, py::handle mean,
                                 py::handle rstd, int64_t groups, float eps) {
    Checked check("group_norm.cpu");
    auto [batch, channels, length] = check.shape<3>("x", x);
    check.require(groups > 0 && channels > 0 && channels % groups == 0 && length > 0, "groups",
                  "a divisor of the channels");
    GroupNormForward p;
    p.x = check.input<float>("x", x, {batch, channels, length});
    p.weight = check.optional<float>("weight", weight, {channels});
    p.bias = check.optional<float>("bias", bias, {channels});
    p.y = check.output<float>("y", y, {batch, channels, length});
    p.mean = check.output<float>("mean", mean, {batch * groups});
    p.rstd = check.output<float>("rstd", rstd, {batch * groups});
    p.batch = batch, p.channels = channels, p.length = length, p.groups = groups, p.eps = eps;
    launch(group_norm_forward, p);
  });
  m.def("group_norm_backward", [](py::handle g, py::handle x, py::handle weight, py::handle mean, py::handle rstd,
                                  py::handle gx, py::handle gweight, py::handle gbias, int64_t groups) {
    Checked check("group_norm.cpu");
    auto [batch, channels, length] = check.shape<3>("x", x);
    check.require(groups > 0 && channels > 0 && channels % groups == 0 && length > 0, "groups",
                  "a divisor of the channels");
    GroupNormBackward p;
    p.g = check.input<float>("g", g, {batch, channels, length});
    p.x = check.input<float>("x", x, {batch, channels, length});
    p.weight = check.optional<float>("weight", weight, {channels});
    p.mean = check.input<float>("mean", mean, {batch * groups});
    p.rstd = check.input<float>("rstd", rstd, {batch * groups});
    p.gx = check.output<float>("gx", gx, {batch, channels, length});
    p.gweight = check.optional_output<float>("gweight", gweight, {channels});
    p.gbias = check.optional_output<float>("gbias", gbias, {channels});
    p.batch = batch, p.channels = channels, p.length = length, p.groups = groups;
    launch(group_norm_backward, p);
  });
}

// (batch, channels, length) of x, none of them 0.
std::array<int64_t, 3> channels_of(const Checked& check, py::handle x) {
  auto sizes = check.shape<3>("x", x);
  check.require(sizes[0] > 0 && sizes[1] > 0 && sizes[2] > 0, "x", "at least one element");
  return sizes;
}

void bind_channels(py::module_& m) {
  m.def("batch_norm_forward", [](py::handle x, py::handle weight, py::handle bias, py::handle y, py::handle mean,
                                 py::handle variance, py::handle rstd, float eps) {
    Checked check("batch_norm.cpu");
    auto [batch, channels, length] = channels_of(check, x);
    BatchNormForward p;
    p.x = check.input<float>("x", x, {batch, channels, length});
    p.weight = check.optional<float>("weight", weight, {channels});
    p.bias = check.optional<float>("bias", bias, {channels});
    p.y = check.output<float>("y", y, {batch, channels, length});
    p.mean = check.output<float>("mean", mean, {channels});
    p.variance = check.output<float>("variance", variance, {channels});
    p.rstd = check.output<float>("rstd", rstd, {channels});
    p.batch = batch, p.channels = channels, p.length = length, p.eps = eps;
    launch(batch_norm_forward, p);
  });
  m.def("batch_norm_backward",
        [](py::handle g, py::handle gmean, py::handle gvariance, py::handle x, py::handle weight, py::handle mean,
           py::handle rstd, py::handle gx, py::handle gweight, py::handle gbias) {
          Checked check("batch_norm.cpu");
          auto [batch, channels, length] = channels_of(check, x);
          BatchNormBackward p;
          p.g = check.input<float>("g", g, {batch, channels, length});
          p.gmean = check.input<float>("gmean", gmean, {channels});
          p.gvariance = check.input<float>("gvariance", gvariance, {channels});
          p.x = check.input<float>("x", x, {batch, channels, length});
          p.weight = check.optional<float>("weight", weight, {channels});
          p.mean = check.input<float>("mean", mean, {channels});
          p.rstd = check.input<float>("rstd", rstd, {channels});
          p.gx = check.output<float>("gx", gx, {batch, channels, length});
          p.gweight = check.output<float>("gweight", gweight, {channels});
          p.gbias = check.output<float>("gbias", gbias, {channels});
          p.batch = batch, p.channels = channels, p.length = length;
          launch(batch_norm_backward, p);
        });
  m.def("channel_affine", [](py::handle x, py::handle mean, py::handle scale, py::handle bias, py::handle y) {
    Checked check("channel_affine.cpu");
    auto [batch, channels, length] = channels_of(check, x);
    ChannelAffine p;
    p.x = check.input<float>("x", x, {batch, channels, length});
    p.mean = check.optional<float>("mean", mean, {channels});
    p.scale = check.input<float>("scale", scale, {channels});
    p.bias = check.optional<float>("bias", bias, {channels});
    p.y = check.output<float>("y", y, {batch, channels, length});
    p.batch = batch, p.channels = channels, p.length = length;
    launch(channel_affine, p);
  });
  m.def("channel_sums",
        [](py::handle g, py::handle x, py::handle mean, py::handle rstd, py::handle total, py::handle product) {
          Checked check("channel_sums.cpu");
          auto [batch, channels, length] = channels_of(check, x);
          ChannelSums p;
          p.g = check.input<float>("g", g, {batch, channels, length});
          p.x = check.input<float>("x", x, {batch, channels, length});
          p.mean = check.input<float>("mean", mean, {channels});
          p.rstd = check.input<float>("rstd", rstd, {channels});
          p.total = check.output<float>("total", total, {channels});
          p.product = check.output<float>("product", product, {channels});
          p.batch = batch, p.channels = channels, p.length = length;
          launch(channel_sums, p);
        });
}

}  // namespace

void bind_norm(py::module_& m) {
  bind_rows(m);
  bind_groups(m);
  bind_channels(m);
}

}  // namespace minidl
