// Memory for arrays and for kernels' scratch: 64-byte aligned, freed blocks kept by size, large ones in huge pages.
//
// A fresh page costs its first write some 0.25 us per KiB, ten times the arithmetic on it; a block that was used before
// has its pages. What is kept is bounded, counted, and given back on demand.
#pragma once
#include <cstddef>

namespace minidl::memory {

void* allocate(size_t bytes, bool zero = false);  // nullptr: none left
void* reallocate(void* data, size_t bytes);
void release(void* data);  // nullptr is fine

struct Stats {
  size_t in_use, peak, cached, limit;  // bytes
};
Stats stats();
void reset_peak();
void set_limit(size_t bytes);  // of what is kept
void trim();                   // gives back all that is kept

// Scratch of a kernel, for as long as it lives. Throws std::bad_alloc.
void* scratch(size_t bytes);

}  // namespace minidl::memory
