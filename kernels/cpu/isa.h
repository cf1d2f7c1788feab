// Which instruction sets this build has, and which of them runs.
//
// Kernel files are compiled once per instruction set, into a namespace of its name (MINIDL_ISA), so that the linker can
// never give a baseline caller the AVX-512 copy of an inline function. Their entry points are declared by
//
//     MINIDL_KERNEL(layer_norm_forward, LayerNormForward)     // void layer_norm_forward(const LayerNormForward&)
//
// which outside of kernel files also defines the caller that asks, at every call, which instruction set runs.
#pragma once
namespace minidl {

enum class Isa { base, avx2, avx512, avx512_vnni };
constexpr const char* isa_names[] = {"base", "avx2", "avx512", "avx512_vnni"};

Isa isa();           // the one that runs: MINIDL_ISA of the environment, or the best
bool supports(Isa);  // is it in this build, and does this processor have it?
void set_isa(Isa);   // one that is supported

}  // namespace minidl

#ifdef MINIDL_HAS_AVX2
#define MINIDL_IF_AVX2(...) __VA_ARGS__
#else
#define MINIDL_IF_AVX2(...)
#endif
#ifdef MINIDL_HAS_AVX512
#define MINIDL_IF_AVX512(...) __VA_ARGS__
#else
#define MINIDL_IF_AVX512(...)
#endif
#ifdef MINIDL_HAS_AVX512_VNNI
#define MINIDL_IF_AVX512_VNNI(...) __VA_ARGS__
#else
#define MINIDL_IF_AVX512_VNNI(...)
#endif

#define MINIDL_DECLARE(name, Params)                           \
  namespace base {                                             \
  void name(const Params&);                                    \
  }                                                            \
  MINIDL_IF_AVX2(namespace avx2 { void name(const Params&); }) \
  MINIDL_IF_AVX512(namespace avx512 { void name(const Params&); })
#ifdef MINIDL_ISA
#define MINIDL_KERNEL(name, Params) MINIDL_DECLARE(name, Params)
#define MINIDL_KERNEL_VNNI(name, Params) \
  MINIDL_DECLARE(name, Params)           \
  MINIDL_IF_AVX512_VNNI(namespace avx512_vnni { void name(const Params&); })
#else
#define MINIDL_KERNEL(name, Params)                                                        \
  MINIDL_DECLARE(name, Params)                                                             \
  inline void name(const Params& p) {                                                      \
    switch (isa()) {                                                                       \
      MINIDL_IF_AVX512(case Isa::avx512_vnni : case Isa::avx512 : return avx512::name(p);) \
      MINIDL_IF_AVX2(case Isa::avx2 : return avx2::name(p);)                               \
      default:                                                                             \
        return base::name(p);                                                              \
    }                                                                                      \
  }
#define MINIDL_KERNEL_VNNI(name, Params) /* for files named *_vnni.cpp */         \
  MINIDL_DECLARE(name, Params)                                                    \
  MINIDL_IF_AVX512_VNNI(namespace avx512_vnni { void name(const Params&); })      \
  inline void name(const Params& p) {                                             \
    switch (isa()) {                                                              \
      MINIDL_IF_AVX512_VNNI(case Isa::avx512_vnni : return avx512_vnni::name(p);) \
      MINIDL_IF_AVX512(case Isa::avx512 : return avx512::name(p);)                \
      MINIDL_IF_AVX2(case Isa::avx2 : return avx2::name(p);)                      \
      default:                                                                    \
        return base::name(p);                                                     \
    }                                                                             \
  }
#endif
