#include "csrc/arrays.h"
#include "kernels/cpu/optim/step.h"

#include <pybind11/stl.h>

#include <vector>

namespace minidl {
namespace {

// Lists of arrays and numbers, one entry for each parameter, as the kernels take them.
class Tensors {
 public:
  explicit Tensors(const char* kernel, const py::list& g) : check_(kernel), all_(g.size()) {
    check_.require(!all_.empty(), "g", "at least one array");
    for (size_t i = 0; i < all_.size(); i++) {
      all_[i].g = check_.packed<float>("g", g[i], g[i]);
      all_[i].size = check_.size("g", g[i]);
      all_[i].task = i ? all_[i - 1].task + step_tasks(all_[i - 1].size) : 0;
    }
  }
  // Arrays of the same shapes, in the same order of memory, that are written; an empty list: none.
  void outputs(const char* name, const py::list& arrays, const py::list& g, float* StepTensor::* field) {
    if (arrays.empty()) return;
    check_.require(arrays.size() == all_.size(), name, "as many arrays as gradients");
    for (size_t i = 0; i < all_.size(); i++) all_[i].*field = check_.packed_output<float>(name, arrays[i], g[i]);
  }
  void numbers(const char* name, const std::vector<float>& values, float StepTensor::* field) {
    check_.require(values.size() == all_.size(), name, "as many numbers as gradients");
    for (size_t i = 0; i < all_.size(); i++) all_[i].*field = values[i];
  }
  int64_t tasks() const { return all_.back().task + step_tasks(all_.back().size); }
  template <class Params>
  void fill(Params& p) const {
    p.tensors = all_.data();
    p.count = static_cast<int64_t>(all_.size());
  }

 private:
  Checked check_;
  std::vector<StepTensor> all_;
};

void adam(const py::list& p, const py::list& g, const py::list& mean, const py::list& square, const py::list& largest,
          const std::vector<float>& rate, const std::vector<float>& correction, float beta1, float rest1, float beta2,
          float rest2, float eps, float decay, float shrink) {
  Tensors tensors("adam.cpu", g);
  tensors.outputs("p", p, g, &StepTensor::p);
  tensors.outputs("mean", mean, g, &StepTensor::first);
  tensors.outputs("square", square, g, &StepTensor::second);
  tensors.outputs("largest", largest, g, &StepTensor::third);
  tensors.numbers("rate", rate, &StepTensor::rate);
  tensors.numbers("correction", correction, &StepTensor::correction);
  AdamStep step{};
  tensors.fill(step);
  step.beta1 = beta1, step.rest1 = rest1, step.beta2 = beta2, step.rest2 = rest2, step.eps = eps;
  step.decay = decay, step.shrink = shrink;
  launch(adam_step, step);
}

void sgd(const py::list& p, const py::list& g, const py::list& velocity, const std::vector<float>& rate,
         const std::vector<float>& share, float momentum, bool nesterov, float decay) {
  Tensors tensors("sgd.cpu", g);
  tensors.outputs("p", p, g, &StepTensor::p);
  tensors.outputs("velocity", velocity, g, &StepTensor::first);
  tensors.numbers("rate", rate, &StepTensor::rate);
  tensors.numbers("share", share, &StepTensor::correction);
  SgdStep step{};
  tensors.fill(step);
  step.momentum = momentum, step.nesterov = nesterov, step.decay = decay;
  launch(sgd_step, step);
}

double squared_norm(const py::list& g) {
  Tensors tensors("global_norm.cpu", g);
  std::vector<double> sums(static_cast<size_t>(tensors.tasks()));
  SquaredSums p;
  tensors.fill(p);
  p.sums = sums.data();
  launch(squared_sums, p);
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

void scale(const py::list& y, const py::list& g, float by) {
  Tensors tensors("scale.cpu", g);
  tensors.outputs("y", y, g, &StepTensor::p);
  ScaleAll p;
  tensors.fill(p);
  p.scale = by;
  launch(scale_all, p);
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("adam_step", &adam);
  m.def("sgd_step", &sgd);
  m.def("squared_norm", &squared_norm);
  m.def("scale", &scale);
}

}  // namespace minidl
