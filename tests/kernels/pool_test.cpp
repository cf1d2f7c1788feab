// The thread pool by itself, for ThreadSanitizer: callers from several threads, nested jobs, changing counts, forks.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "kernels/cpu/memory.h"
#include "kernels/cpu/pool.h"

using namespace minidl;

#define CHECK(holds)                                                 \
  if (!(holds)) {                                                    \
    std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
    std::_Exit(1);                                                   \
  }

template <class F>
void parallel(int64_t tasks, const F& f) {
  pool::run(tasks, [](const void* c, int64_t i) { (*static_cast<const F*>(c))(i); }, &f);
}

// Every task runs exactly once, and what it wrote is seen afterwards.
void every_task_once(int64_t tasks) {
  std::vector<int> ran(static_cast<size_t>(tasks));
  parallel(tasks, [&](int64_t i) { ran[static_cast<size_t>(i)]++; });
  for (int times : ran) CHECK(times == 1);
}

void nested() {
  std::vector<std::atomic<int>> sums(8);
  parallel(8,
           [&](int64_t i) { parallel(16, [&](int64_t j) { sums[static_cast<size_t>(i)] += static_cast<int>(j); }); });
  for (auto& sum : sums) CHECK(sum == 120);
}

void several_callers() {
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; t++)
    callers.emplace_back([] {
      for (int round = 0; round < 200; round++) every_task_once(1 + round % 37);
    });
  for (auto& caller : callers) caller.join();
}

void a_task_that_fails() {
  bool caught = false;
  try {
    parallel(50, [](int64_t i) {
      if (i == 20) throw std::bad_alloc();
    });
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  CHECK(caught);
  every_task_once(50);
}

void memory_from_all_threads() {
  parallel(500, [](int64_t i) {
    auto* data = static_cast<char*>(memory::allocate(static_cast<size_t>(i * i)));
    for (int64_t j = 0; j < i * i; j += 4096) data[j] = 1;
    memory::release(data);
  });
  CHECK(memory::stats().in_use == 0);
  memory::trim();
  CHECK(memory::stats().cached == 0);
}

#if !defined(__SANITIZE_THREAD__)  // (it does not follow a fork of a program with threads)
void after_a_fork() {
  pid_t child = fork();
  if (child == 0) {
    every_task_once(100);
    nested();
    std::_Exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

void hand_off() {
  auto now = [] { return std::chrono::steady_clock::now(); };
  double best = 1;
  for (int round = 0; round < 2000; round++) {
    auto start = now();
    parallel(2, [](int64_t) {});
    double seconds = std::chrono::duration<double>(now() - start).count();
    best = seconds < best ? seconds : best;
  }
  std::printf("fork and join of two tasks: %.2f us\n", best * 1e6);
}

int main() {
  for (int threads : {1, 2, 3, 5, 2}) {
    pool::set_threads(threads);
    for (int64_t tasks : {0, 1, 2, 3, 100, 5000}) every_task_once(tasks);
    nested();
    several_callers();
    a_task_that_fails();
    memory_from_all_threads();
#if !defined(__SANITIZE_THREAD__)
    after_a_fork();
#endif
    hand_off();
  }
  every_task_once((1 << 20) + 5);                               // more than one job's worth
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // workers park, and wake again
  every_task_once(100);
  std::puts("pool: ok");
}
