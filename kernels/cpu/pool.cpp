#include "kernels/cpu/pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace minidl::pool {
namespace {

constexpr int64_t MOST_TASKS = (1 << 20) - 1;  // of one job: the width of a ticket's fields
constexpr int SPINS = 4000;                    // some 200 us, then a worker parks
thread_local bool inside = false;              // of a task, or of a worker

inline void pause(int spin) {  // another thread may need this core: let it have its turn
  if (spin % 512 == 511) {
    sched_yield();
  } else {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    asm volatile("yield" ::: "memory");
#endif
  }
}

// ticket = job << 40 | tasks << 20 | next index. A successful exchange proves that run_ and context_ are this job's.
constexpr bool any_left(uint64_t ticket) { return (ticket & MOST_TASKS) < (ticket >> 20 & MOST_TASKS); }

class Pool {
 public:
  Pool() {
    CPU_ZERO(&allowed_);
    sched_getaffinity(0, sizeof allowed_, &allowed_);
    limit_ = std::max(1, CPU_COUNT(&allowed_));
  }

  int threads() const { return limit_.load(std::memory_order_relaxed); }
  void set_threads(int n) { limit_ = n; }

  void run(int64_t tasks, void (*task)(const void*, int64_t), const void* context) {
    if (tasks <= 1 || threads() <= 1 || inside || busy_.exchange(true)) {
      for (int64_t i = 0; i < tasks; i++) task(context, i);
      return;
    }
    start_workers();
    run_ = task;
    context_ = context;
    done_ = 0;
    failed_ = false;
    uint64_t job = (ticket_.load() >> 40) + 1;
    ticket_.store(job << 40 | static_cast<uint64_t>(tasks) << 20);
    if (sleepers_.load()) {
      keep_off_callers_core();
      wake_.fetch_add(1);
      wake_.notify_all();
    }
    inside = true;
    drain();
    inside = false;
    for (int spin = 0; done_.load(std::memory_order_acquire) != tasks; spin++) pause(spin);
    bool failed = failed_;
    busy_ = false;
    if (failed) throw std::bad_alloc();
  }

  // Threads do not survive a fork: forget them, and start others when they are needed.
  void after_fork() {
    new (&workers_) std::vector<std::thread>;
    new (&starting_) std::mutex;
    started_ = sleepers_ = 0;
    busy_ = false;
    excluded_ = -1;
    ticket_ = 0;
  }

 private:
  void start_workers() {
    int wanted = threads() - 1;
    if (started_.load(std::memory_order_relaxed) >= wanted) return;
    std::lock_guard<std::mutex> guard(starting_);
    while (static_cast<int>(workers_.size()) < wanted) {
      int id = static_cast<int>(workers_.size()) + 1;
      workers_.emplace_back([this, id] { work(id); });
      excluded_ = -1;
    }
    started_ = static_cast<int>(workers_.size());
  }

  // Linux likes to wake a thread on its waker's core, where it would queue behind the very caller that waits for it.
  void keep_off_callers_core() {
    int core = sched_getcpu();
    if (core == excluded_) return;
    cpu_set_t others = allowed_;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0) return;
    for (auto& worker : workers_) pthread_setaffinity_np(worker.native_handle(), sizeof others, &others);
    excluded_ = core;
  }

  void drain() {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    while (any_left(ticket)) {
      auto run = run_.load(std::memory_order_relaxed);
      auto context = context_.load(std::memory_order_relaxed);
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      try {
        run(context, static_cast<int64_t>(ticket & MOST_TASKS));
      } catch (...) {
        failed_ = true;
      }
      done_.fetch_add(1, std::memory_order_release);
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  void work(int id) {
    inside = true;
    for (;;) {
      for (int spin = 0; spin < SPINS; spin++) {
        if (id < threads() && any_left(ticket_.load(std::memory_order_relaxed))) {
          drain();
          spin = 0;
        }
        pause(spin);
      }
      uint32_t seen = wake_.load();
      sleepers_.fetch_add(1);
      if (id >= threads() || !any_left(ticket_.load())) wake_.wait(seen);  // (looked again: no wake-up is lost)
      sleepers_.fetch_sub(1);
    }
  }

  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int64_t> done_{0};
  alignas(64) std::atomic<void (*)(const void*, int64_t)> run_{nullptr};
  std::atomic<const void*> context_{nullptr};
  std::atomic<bool> busy_{false}, failed_{false};
  std::atomic<int> limit_{1}, started_{0}, sleepers_{0};
  std::atomic<uint32_t> wake_{0};
  std::mutex starting_;
  std::vector<std::thread> workers_;
  cpu_set_t allowed_;
  int excluded_ = -1;
};

Pool& the_pool() {
  static Pool* pool = [] {  // never destroyed: workers may outlive static objects
    auto* made = new Pool;
    pthread_atfork(nullptr, nullptr, [] { the_pool().after_fork(); });
    return made;
  }();
  return *pool;
}

}  // namespace

void run(int64_t tasks, void (*task)(const void*, int64_t), const void* context) {
  struct Part {
    void (*task)(const void*, int64_t);
    const void* context;
    int64_t first;
  };
  for (int64_t first = 0; first < tasks; first += MOST_TASKS) {
    int64_t count = std::min(tasks - first, MOST_TASKS);
    if (first == 0) {
      the_pool().run(count, task, context);
    } else {
      Part part{task, context, first};
      the_pool().run(
          count,
          [](const void* c, int64_t i) {
            auto& p = *static_cast<const Part*>(c);
            p.task(p.context, p.first + i);
          },
          &part);
    }
  }
}

int threads() { return the_pool().threads(); }
void set_threads(int n) { the_pool().set_threads(n); }

}  // namespace minidl::pool
