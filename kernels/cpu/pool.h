// One pool of threads for all kernels.
//
// Tasks are claimed one by one, so a thread that is not scheduled delays at most the task it holds, and the caller
// never waits for a sleeping worker to wake. How work is cut into tasks must depend on the problem only, never on the
// number of threads: results then have the same bits at any number.
#pragma once
#include <cstdint>

namespace minidl::pool {

// Runs task(context, 0) ... task(context, tasks - 1) and returns when all are done. Inside a task, or while another
// thread of the program owns the pool, the caller runs them alone. Throws std::bad_alloc if a task did.
void run(int64_t tasks, void (*task)(const void* context, int64_t index), const void* context);

int threads();          // the caller among them
void set_threads(int);  // at least 1

}  // namespace minidl::pool
