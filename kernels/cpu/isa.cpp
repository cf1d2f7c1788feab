#include "kernels/cpu/isa.h"

#include <atomic>

namespace minidl {
namespace {

bool processor_has(Isa wanted) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
              __builtin_cpu_supports("f16c");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512cd");
  switch (wanted) {
    case Isa::base:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::avx512_vnni:
      return avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  }
#endif
  return wanted == Isa::base;
}

bool built(Isa wanted) {
  bool has[] = {true, false, false, false};
  MINIDL_IF_AVX2(has[1] = true;)
  MINIDL_IF_AVX512(has[2] = true;)
  MINIDL_IF_AVX512_VNNI(has[3] = true;)
  return has[static_cast<int>(wanted)];
}

Isa best() {
  for (Isa i : {Isa::avx512_vnni, Isa::avx512, Isa::avx2})
    if (supports(i)) return i;
  return Isa::base;
}

std::atomic<Isa>& chosen() {
  static std::atomic<Isa> value{best()};
  return value;
}

}  // namespace

bool supports(Isa wanted) { return built(wanted) && processor_has(wanted); }
Isa isa() { return chosen().load(std::memory_order_relaxed); }
void set_isa(Isa wanted) { chosen().store(wanted, std::memory_order_relaxed); }

}  // namespace minidl
