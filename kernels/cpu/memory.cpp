#include "kernels/cpu/memory.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace minidl::memory {
namespace {

constexpr size_t HEADER = 64, HUGE_PAGE = size_t(2) << 20;
constexpr int CLASSES = 64 * 8;
#if defined(__SANITIZE_ADDRESS__)
constexpr bool EXACT = true;  // each block as large as asked and never kept: the sanitizer sees its ends
#else
constexpr bool EXACT = false;
#endif

struct Block {  // lives in the 64 bytes before the data
  size_t bytes;
  Block* next;
};

class Lock {  // held for some nanoseconds; frees come from any thread
 public:
  void lock() {
    while (flag_.test_and_set(std::memory_order_acquire))
      while (flag_.test(std::memory_order_relaxed)) {
      }
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag flag_ = ATOMIC_FLAG_INIT;
};

Lock lock;
Block* kept[CLASSES];
size_t in_use = 0, peak = 0, cached = 0;
size_t limit =
    EXACT ? 0 : static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE)) / 4;

struct Guard {
  Guard() { lock.lock(); }
  ~Guard() { lock.unlock(); }
};

// Lists of kept blocks: eight per power of two. Small blocks are as large as their class says; from a huge page up they
// are whole huge pages, and those of one list differ.
int size_class(size_t bytes) {
  int log = 63 - __builtin_clzll(bytes);
  return log * 8 + static_cast<int>(bytes >> (log - 3) & 7);
}
size_t rounded(size_t need) {
  if (EXACT) return need;
  if (need >= HUGE_PAGE) return (need + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
  need = std::max<size_t>(need, 128);
  size_t step = std::max<size_t>(64, (size_t(1) << (63 - __builtin_clzll(need))) >> 3);
  return (need + step - 1) & ~(step - 1);
}

// A kept block that is large enough and wastes a quarter at most; with the lock held.
Block* take(size_t bytes) {
  int first = size_class(bytes), end = std::min(first + 3, CLASSES);
  for (int c = first; c < end; c++)
    for (Block** link = &kept[c]; *link; link = &(*link)->next)
      if (Block* block = *link; block->bytes >= bytes && block->bytes <= bytes + bytes / 4) {
        *link = block->next;
        cached -= block->bytes;
        return block;
      }
  return nullptr;
}

// A new block, of which so many bytes are needed now. A last huge page that would be less than half full is left in
// small pages: what is not touched takes no memory.
Block* fresh(size_t bytes, size_t need) {
  if (EXACT || bytes < HUGE_PAGE) {
    void* data;
    return posix_memalign(&data, 64, bytes) ? nullptr : static_cast<Block*>(data);
  }
  size_t span = bytes + HUGE_PAGE;  // map more, then trim to whole huge pages
  void* mapped = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(mapped), first = (start + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
  if (first > start) munmap(mapped, first - start);
  if (size_t rest = start + span - first - bytes) munmap(reinterpret_cast<void*>(first + bytes), rest);
  if (size_t huge = (need + HUGE_PAGE / 2) & ~(HUGE_PAGE - 1))
    madvise(reinterpret_cast<void*>(first), std::min(huge, bytes), MADV_HUGEPAGE);
  return reinterpret_cast<Block*>(first);
}

void give_back(Block* block) {
  !EXACT && block->bytes >= HUGE_PAGE ? (void)munmap(block, block->bytes) : std::free(block);
}

// All of the list, outside the lock: munmap is slow.
void give_back_all(Block* list) {
  while (list) {
    Block* next = list->next;
    give_back(list);
    list = next;
  }
}

Block* take_kept() {  // everything that is kept, as one list; with the lock held
  Block* all = nullptr;
  for (Block*& head : kept)
    while (Block* block = head) {
      head = block->next;
      block->next = all;
      all = block;
    }
  cached = 0;
  return all;
}

[[maybe_unused]] const int at_fork = pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); }, [] { lock.unlock(); });

}  // namespace

void* allocate(size_t bytes, bool zero) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  size_t whole = rounded(bytes + HEADER);
  Block* block;
  {
    Guard guard;
    block = take(whole);
  }
  bool dirty = EXACT || block || whole < HUGE_PAGE;  // fresh mapped pages are zero
  if (!block) {
    block = fresh(whole, bytes + HEADER);
    if (!block) {  // give back what is kept, and try once more
      trim();
      block = fresh(whole, bytes + HEADER);
    }
    if (!block) return nullptr;
    block->bytes = whole;
  }
  {
    Guard guard;
    in_use += block->bytes;
    peak = std::max(peak, in_use);
  }
  char* data = reinterpret_cast<char*>(block) + HEADER;
  if (zero && dirty) std::memset(data, 0, bytes);
  return data;
}

void release(void* data) {
  if (!data) return;
  auto* block = reinterpret_cast<Block*>(static_cast<char*>(data) - HEADER);
  {
    Guard guard;
    in_use -= block->bytes;
    if (cached + block->bytes <= limit) {
      Block*& head = kept[size_class(block->bytes)];
      block->next = head;
      head = block;
      cached += block->bytes;
      return;
    }
  }
  give_back(block);
}

void* reallocate(void* data, size_t bytes) {
  if (!data) return allocate(bytes);
  auto* block = reinterpret_cast<Block*>(static_cast<char*>(data) - HEADER);
  if (bytes + HEADER <= block->bytes) return data;
  void* moved = allocate(bytes);
  if (moved) {
    std::memcpy(moved, data, block->bytes - HEADER);
    release(data);
  }
  return moved;
}

Stats stats() {
  Guard guard;
  return {in_use, peak, cached, limit};
}

void reset_peak() {
  Guard guard;
  peak = in_use;
}

void set_limit(size_t bytes) {
  Block* list = nullptr;
  {
    Guard guard;
    limit = bytes;
    if (cached > limit) list = take_kept();
  }
  give_back_all(list);
}

void trim() {
  Block* list;
  {
    Guard guard;
    list = take_kept();
  }
  give_back_all(list);
}

void* scratch(size_t bytes) {
  void* data = allocate(bytes);
  if (!data) throw std::bad_alloc();
  return data;
}

}  // namespace minidl::memory
