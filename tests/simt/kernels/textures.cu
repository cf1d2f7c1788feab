// Textures and surfaces by their objects, for tests/simt/test_textures.py.
#include <cuda_runtime.h>
#define KERNEL extern "C" __global__ void

KERNEL images(cudaTextureObject_t image, const float2* at, float* y) {
  int t = threadIdx.x;
  y[t] = tex2D<float>(image, at[t].x, at[t].y);
}

KERNEL gathers(cudaTextureObject_t image, const float2* at, float4* y) {
  int t = threadIdx.x;
  y[t] = tex2Dgather<float4>(image, at[t].x, at[t].y);
}

KERNEL lines(cudaTextureObject_t line, cudaTextureObject_t colours, const int* at, float* y, uchar4* z) {
  int t = threadIdx.x;
  y[t] = tex1D<float>(line, at[t] + 0.25f);
  z[t] = tex1Dfetch<uchar4>(colours, at[t]);
}

KERNEL volumes(cudaTextureObject_t volume, const float* at, float* y) {
  int t = threadIdx.x;
  y[t] = tex3D<float>(volume, at[3 * t], at[3 * t + 1], at[3 * t + 2]);
}

KERNEL surfaces(cudaSurfaceObject_t from, cudaSurfaceObject_t to, int width) {
  int t = threadIdx.x;
  if (t < width) surf2Dwrite(2 * surf2Dread<float>(from, t * 4, blockIdx.x), to, t * 4, blockIdx.x);
}
