// Rows that are wanted next, asked for while there is arithmetic to do: they are in L2 by then.
#pragma once
#include "kernels/cpu/simd.h"

namespace minidl::MINIDL_ISA {

class Ahead {
 public:
  // `count` rows of `width` floats, `stride` apart.
  void add(const float* rows, int64_t stride, int64_t count, int64_t width) {
    if (parts_ < 5 && bytes_ + count * width * 4 <= MOST) {
      part_[parts_++] = {rows, stride, count, width};
      bytes_ += count * width * 4;
    }
  }
  // Asks for some more lines.
  void step() {
    for (int64_t lines = 0; lines < 32 && at_ < parts_; row_++) {
      const Part& p = part_[at_];
      if (row_ == p.count) {
        at_++, row_ = -1;
        continue;
      }
      const float* row = p.rows + row_ * p.stride;
      for (int64_t i = 0; i < p.width; i += 16, lines++) __builtin_prefetch(row + i, 0, 2);
    }
  }

 private:
  static constexpr int64_t MOST = 3 << 17;  // bytes: of L2, which holds other things, too
  struct Part {
    const float* rows;
    int64_t stride, count, width;
  };
  Part part_[5];
  int parts_ = 0, at_ = 0;
  int64_t row_ = 0, bytes_ = 0;
};

}  // namespace minidl::MINIDL_ISA
