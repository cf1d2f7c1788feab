#pragma once

namespace minidl {

enum class Activation : int { none, relu, gelu, gelu_tanh, silu };
constexpr const char* activation_names[] = {"none", "relu", "gelu", "gelu_tanh", "silu"};

}  // namespace minidl
