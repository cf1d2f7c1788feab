extern "C" __global__ void row_sum(const float* x, float* y, int n) {
  __shared__ float s[128];
  float t = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) t += x[blockIdx.x * n + i];
  s[threadIdx.x] = t;
  __syncthreads();
  for (int k = 64; k; k >>= 1) {
    if (threadIdx.x < k) s[threadIdx.x] += s[threadIdx.x + k];
    __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = s[0];
}
