// Flow of control: divergence, loops, switches, calls by name and by pointer, recursion, structs by value, printf,
// asserts.
#include <cassert>
#include <cstdio>
#define KERNEL extern "C" __global__ void

__device__ __noinline__ int collatz(int n) {
  int steps = 0;
  while (n != 1) {
    n = n % 2 ? 3 * n + 1 : n / 2;
    steps++;
  }
  return steps;
}
KERNEL loops(int* y) { y[threadIdx.x] = collatz(threadIdx.x + 1); }

KERNEL nested(int* y, int n) {  // breaks, continues, an early return, a loop whose exits differ
  int t = threadIdx.x, sum = 0;
  for (int i = 0; i < n; i++) {
    if ((i + t) % 3 == 0) continue;
    for (int j = i; j < n; j++) {
      if (i * j > 40 + t) break;
      sum += i * j;
      if (sum > 1000) {
        y[t] = -sum;
        return;
      }
    }
  }
  y[t] = sum;
}

KERNEL jump(int* y) {  // a loop with two entries
  int t = threadIdx.x, i = 0, sum = 0;
  if (t % 2) goto middle;
top:
  sum += 10;
middle:
  sum += i;
  if (++i < t % 7) goto top;
  y[t] = sum;
}

KERNEL choose(const int* x, int* y) {
  int v = x[threadIdx.x];
  switch (v) {
    case 0:
      v = 5;
      break;
    case 1:
      v *= 7;
      break;
    case 2:
      v -= 8;
    case 3:
      v ^= 5;
      break;
    case 4:
      v = v << 3;
      break;
    case 5:
      v /= 2;
      break;
    case 6:
      v %= 4;
      break;
    case 7:
      v = -v;
      break;
    case 8:
      v = ~v;
      break;
    case 9:
      v = v * v * v;
      break;
    default:
      v = 99;
  }
  y[threadIdx.x] = v;
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ int odd(int n);
__device__ __noinline__ int even(int n) { return n == 0 ? 1 : odd(n - 1); }
__device__ __noinline__ int odd(int n) { return n == 0 ? 0 : even(n - 1); }
__device__ __noinline__ int sum_of(int* values, int n, int depth) {  // recursion with an array in each frame
  int mine[8];
  for (int i = 0; i < n; i++) mine[i] = values[i] + depth;
  if (n == 0) return 0;
  int rest = sum_of(mine, n - 1, depth + 1);
  return mine[n - 1] + rest * 2;
}
KERNEL recursion(int* y) {
  int t = threadIdx.x, start[8];
  for (int i = 0; i < 8; i++) start[i] = i * t;
  y[t] = fibonacci(t % 9);
  y[t + 32] = even(t);
  y[t + 64] = sum_of(start, t % 8, 1);
}

struct Shape {
  __device__ virtual float area() const { return 0; }
  __device__ virtual float scaled(float s) const { return s * area(); }
};
struct Square : Shape {
  float side;
  __device__ Square(float s) : side(s) {}
  __device__ float area() const override { return side * side; }
};
struct Circle : Shape {
  float r;
  __device__ Circle(float r) : r(r) {}
  __device__ float area() const override { return 3.0f * r * r; }
  __device__ float scaled(float s) const override { return s + area(); }
};
KERNEL virtuals(float* y) {
  int t = threadIdx.x;
  Square square(t);
  Circle circle(t);
  Shape* shape = t % 2 ? (Shape*)&square : (Shape*)&circle;
  if (t % 5 == 0) {
    Shape plain;
    y[t] = plain.scaled(2) + shape->scaled(3);
  } else {
    y[t] = shape->scaled(3);
  }
}

typedef float (*Function)(float);
__device__ __noinline__ float add_one(float x) { return x + 1; }
__device__ __noinline__ float twice(float x) { return x * 2; }
__device__ __noinline__ float square(float x) { return x * x; }
__device__ Function functions[3] = {add_one, twice, square};
KERNEL pointers(const float* x, float* y, int n) {
  int t = threadIdx.x;
  Function f = functions[(t + n) % 3];
  y[t] = f(functions[t % 2](x[t]));
}

struct Record {
  int a;
  float b[5];
  double c;
  char d;
};
__device__ __noinline__ Record changed(Record r, int i) {
  r.a += i;
  r.b[i % 5] = i;
  r.c *= 2;
  return r;
}
KERNEL records(Record r, double* y) {
  Record s = changed(r, threadIdx.x);
  y[threadIdx.x] = s.a + s.b[threadIdx.x % 5] + s.c + s.d;
}

KERNEL print(int n, double d) {
  if (threadIdx.x % 2 == 0 && threadIdx.x < 4)
    printf("%d: %5.2f %s %c %u %lld %x %% %*d %.*f %e %hhd\n", threadIdx.x, d, "text", 'c', 7u, 1ll << 40, 255, 4, n, 1,
           d, d, 300);
}
KERNEL checked(int n) { assert(n < 3 && "n is small"); }
KERNEL trapped(int n) {
  if (threadIdx.x == n) __trap();
}
KERNEL heap(int* y, int n, int mistake) {
  int t = threadIdx.x, sum = 0;
  int* p = (int*)malloc(n * sizeof(int));
  for (int k = 0; k < n; k++) p[k] = k * t;
  for (int k = 0; k < n + (mistake == 1); k++) sum += p[k];
  free(p);
  y[t] = sum + (mistake == 2 ? p[0] : 0);
  if (mistake == 3) free(p);
}

KERNEL barriers(int* y, int n) {  // barriers that also count and combine
  int count = __syncthreads_count(threadIdx.x < n), any = __syncthreads_or(threadIdx.x == n),
      all = __syncthreads_and(n > 0);
  y[threadIdx.x] = count + any * 1000 + all * 10000;
}
KERNEL exits(int* y, int n) {  // threads that leave early are not waited for
  __shared__ int s[128];
  int t = threadIdx.x;
  if (t >= n) return;
  s[t] = t;
  __syncthreads();
  y[t] = s[n - 1 - t];
}
KERNEL divergent_barrier(float* y) {
  if (threadIdx.x < 64) {
    __syncthreads();
    y[threadIdx.x] = 1;
  } else {
    y[threadIdx.x] = 2;
    __syncthreads();
  }
}
KERNEL stuck(float* y) {  // half a warp waits for a vote that the other half never takes
  if (threadIdx.x < 16)
    y[threadIdx.x] = __any_sync(~0u, 1);
  else
    while (*(volatile float*)y == 0) {
    }
}
KERNEL endless(volatile int* y) {
  while (y[0] == 0) {
  }
}
