// Vectors of W lanes (GCC and Clang vector extensions), shared by the kernels.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace simd {

template <typename T, int W>
struct Vector {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};

template <typename T>
struct Vector<T, 1> {
  using type = T;
};

template <typename V, typename T>
inline V load(const T* from) {
  V value;
  std::memcpy(&value, from, sizeof(V));
  return value;
}

template <typename V, typename T>
inline void store(T* to, V value) {
  std::memcpy(to, &value, sizeof(V));
}

template <typename T, int W, typename V>
inline T total(V value) {
  if constexpr (W == 1) {
    return value;
  } else {
    T sum = 0;
    for (int w = 0; w < W; ++w) sum += value[w];
    return sum;
  }
}

// exp(x) for x <= 0, one lane after the other.
template <typename T, int W, typename V>
inline V exp_negative(V x) {
  if constexpr (W == 1) {
    return std::exp(x);
  } else if constexpr (sizeof(T) == 8) {
    V y;
    for (int w = 0; w < W; ++w) y[w] = std::exp(x[w]);
    return y;
  } else {
    // float: 2^k exp(r) with |r| <= ln(2)/2 and the Taylor series of exp(r) up to r^7/7!, exact to one unit in the last place
    using I = typename Vector<std::int32_t, W>::type;
    const V low = V{} - 87.0f, clamped = x < low ? low : x;
    const V shifted = clamped * 1.44269504f - 0.5f;  // truncation towards zero then rounds to the nearest
    const I k = __builtin_convertvector(shifted, I);
    const V n = __builtin_convertvector(k, V);
    const V r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln(2) in two parts
    V y = r * (1.0f / 5040) + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    const V scaled = y * load<V>(reinterpret_cast<const float*>(&(const I&)((k + 127) << 23)));
    return x < low ? V{} : scaled;
  }
}

}  // namespace simd
