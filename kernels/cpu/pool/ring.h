// What both directions of every pooling share.
#pragma once
#include "kernels/cpu/phases.h"

namespace minidl::MINIDL_ISA {

constexpr int64_t POOL_GRAIN = 32768;  // elements of x of one task

// Which rows are held in so many slots: rows that are nearer to each other than that do not displace each other.
class Ring {
 public:
  explicit Ring(int64_t slots) : slots_(slots), held_(slots) {
    for (int64_t i = 0; i < slots; i++) held_[i] = -1;
  }
  int64_t slot(int64_t row) const { return row % slots_; }
  bool missing(int64_t row) {  // true once: the caller then fills the slot
    int64_t& held = held_[slot(row)];
    return held != row && (held = row, true);
  }

 private:
  int64_t slots_;
  Scratch<int64_t> held_;
};

}  // namespace minidl::MINIDL_ISA
