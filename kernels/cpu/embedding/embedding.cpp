// Rows of a table by their numbers, and the transpose: rows added into a table.
//
// Adding does not start from a table of zeros: the numbers are sorted (by counting), and each row of the table is
// written once, as the sum of what belongs there in the order in which it came: same bits at any number of threads.
#include "kernels/cpu/embedding/embedding.h"

#include "kernels/cpu/rows.h"

namespace minidl::MINIDL_ISA {
namespace {

// The places of `index` in the order of its numbers: those of r are place[start[r]] ... place[start[r + 1]].
struct Sorted {
  Scratch<int64_t> start, place;

  Sorted(const int64_t* index, int64_t count, int64_t rows, int64_t skipped) : start(rows + 2), place(count) {
    int64_t* next = start.get() + 1;  // shifted by one: filling the places moves them to where they belong
    std::memset(start, 0, static_cast<size_t>(rows + 2) * sizeof(int64_t));
    for (int64_t i = 0; i < count; i++)
      if (index[i] != skipped) next[index[i] + 1]++;
    for (int64_t r = 0; r < rows; r++) next[r + 1] += next[r];
    for (int64_t i = 0; i < count; i++)
      if (index[i] != skipped) place[next[index[i]]++] = i;
  }
};

}  // namespace

void gather_rows(const GatherRows& p) {
  const int64_t n = p.columns;
  const bool streamed = p.count * n * 4 >= 2 * STREAMED;  // (memory is busy with the table)
  parallel_chunks(p.count, GRAIN / n, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; row++) {
      const float* from = p.weight + p.index[row] * n;
      const float* ahead = p.weight + p.index[min(row + 2, p.count - 1)] * n;  // (its place is not to be guessed)
      write_row(p.y + row * n, n, streamed, [&](int64_t i, int64_t lanes) {
        __builtin_prefetch(ahead + i);
        return load_n(from + i, lanes);
      });
    }
    stream_fence();
  });
}

void scatter_rows(const ScatterRows& p) {
  const int64_t n = p.columns;
  const bool streamed = p.rows * n * 4 >= STREAMED;
  const Sorted sorted(p.index, p.count, p.rows, p.skipped);
  const int64_t row_tasks = ceil_div(p.rows, max<int64_t>(1, GRAIN / n));
  const int64_t column_tasks = min(ceil_div(n, 64), ceil_div(16, row_tasks));  // of a table of few rows
  parallel_for(row_tasks * column_tasks, [&](int64_t task) {
    const int64_t rows = task / column_tasks, columns = task % column_tasks;
    const int64_t left = n * columns / column_tasks, width = n * (columns + 1) / column_tasks - left;
    Scratch<float> sum(width);
    for (int64_t r = p.rows * rows / row_tasks; r < p.rows * (rows + 1) / row_tasks; r++) {
      float* out = p.out + r * n + left;
      const int64_t *place = sorted.place + sorted.start[r], *end = sorted.place + sorted.start[r + 1];
      if (place == end) {
        write_row(out, width, streamed, [](int64_t, int64_t) { return vf{}; });
        continue;
      }
      const float* x = p.x + *place * n + left;
      for (const int64_t* later = place + 1; later < end; later++, x = sum) {
        const float* other = p.x + *later * n + left;
        for_vectors(width, [&](int64_t i, int64_t lanes) {
          store_n(sum + i, load_n(x + i, lanes) + load_n(other + i, lanes), lanes);
        });
      }
      write_row(out, width, streamed, [&](int64_t i, int64_t lanes) { return load_n(x + i, lanes); });
    }
    stream_fence();
  });
}

}  // namespace minidl::MINIDL_ISA
