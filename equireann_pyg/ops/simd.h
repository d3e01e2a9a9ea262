// Vectors of W lanes (GCC and Clang vector extensions), shared by the kernels.

#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace simd {

constexpr int MAX_BYTES = 64;  // of one vector
#ifdef __AVX512F__
constexpr int REGISTER = 64;  // bytes of a register
#else
constexpr int REGISTER = 32;
#endif

template <typename T, int W>
struct Pair;

// W lanes; beyond MAX_BYTES two vectors, so that two sums run at a time.
template <typename T, int W, bool ONE = (W * sizeof(T) <= MAX_BYTES)>
struct Vector {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};

template <typename T>
struct Vector<T, 1, true> {
  using type = T;
};

template <typename T, int W>
struct Vector<T, W, false> {
  using type = Pair<T, W>;
};

template <typename T, int W>
struct Pair {
  using Half = typename Vector<T, W / 2>::type;
  static constexpr int HALF = W / 2;
  Half a, b;

  friend Pair operator+(Pair x, Pair y) { return {x.a + y.a, x.b + y.b}; }
  friend Pair operator*(Pair x, Pair y) { return {x.a * y.a, x.b * y.b}; }
  friend Pair operator*(T x, Pair y) { return {x * y.a, x * y.b}; }
  Pair& operator+=(Pair x) { return *this = *this + x; }
};

template <typename V, typename T>
inline V load(const T* from) {
  if constexpr (requires { V::HALF; }) {
    return {load<typename V::Half>(from), load<typename V::Half>(from + V::HALF)};
  } else {
    V value;
    std::memcpy(&value, from, sizeof(V));
    return value;
  }
}

template <typename V, typename T>
inline void store(T* to, V value) {
  if constexpr (requires { V::HALF; }) {
    store<typename V::Half>(to, value.a);
    store<typename V::Half>(to + V::HALF, value.b);
  } else {
    std::memcpy(to, &value, sizeof(V));
  }
}

// Lanes of a and b, numbered one behind the other, in another order: lane t is number(t).
template <typename T, int W, typename V, typename Number>
inline V shuffled(V a, V b, Number) {
  return [&]<int... LANE>(std::integer_sequence<int, LANE...>) -> V {
#ifdef __clang__
    return __builtin_shufflevector(a, b, Number{}(LANE)...);
#else
    using I = typename Vector<std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>, W>::type;
    return __builtin_shuffle(a, b, I{Number{}(LANE)...});
#endif
  }(std::make_integer_sequence<int, W>{});
}

// Rows and columns of W vectors exchanged, by blocks of half the size each time.
template <typename T, int W, int BLOCK = W / 2, typename V>
inline void transpose(V (&rows)[W]) {
  if constexpr (BLOCK > 0) {
    for (int i = 0; i < W; ++i) {
      if (i & BLOCK) continue;
      const V a = rows[i], b = rows[i + BLOCK];
      rows[i] = shuffled<T, W>(a, b, [](int t) { return t & BLOCK ? W + t - BLOCK : t; });
      rows[i + BLOCK] = shuffled<T, W>(a, b, [](int t) { return t & BLOCK ? W + t : t + BLOCK; });
    }
    transpose<T, W, BLOCK / 2>(rows);
  }
}

// Sum of the lanes, by halves.
template <typename T, int W, typename V>
inline T total(V value) {
  if constexpr (W == 1) {
    return value;
  } else if constexpr (W == 2) {
    return value[0] + value[1];
  } else {
    using Half = typename Vector<T, W / 2>::type;
    Half parts[2];
    std::memcpy(parts, &value, sizeof(V));
    return total<T, W / 2>(Half(parts[0] + parts[1]));
  }
}

// Sums of the lanes of each of W vectors: halves of two vectors are added side by side, and so on.
template <typename T, int W, int BLOCK = W, typename V>
inline V totals(const V* rows) {
  if constexpr (BLOCK == 1) {
    return *rows;
  } else {
    V sums[BLOCK / 2];
    for (int i = 0; i < BLOCK / 2; ++i)
      sums[i] = shuffled<T, W>(rows[2 * i], rows[2 * i + 1], [](int t) { return 2 * t - t % (BLOCK / 2); }) +
                shuffled<T, W>(rows[2 * i], rows[2 * i + 1], [](int t) { return 2 * t - t % (BLOCK / 2) + BLOCK / 2; });
    return totals<T, W, BLOCK / 2>(sums);
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
    const V scaled = y * std::bit_cast<V>(I((k + 127) << 23));
    return x < low ? V{} : scaled;
  }
}

template <typename T, int W, typename V>
inline V root(V x) {
  if constexpr (W == 1) {
    return std::sqrt(x);
  } else {
    V y;
    for (int w = 0; w < W; ++w) y[w] = std::sqrt(x[w]);  // becomes one instruction
    return y;
  }
}

// asinh(x), one lane after the other.
template <typename T, int W, typename V>
inline V asinh(V x) {
  if constexpr (W == 1) {
    return std::asinh(x);
  } else if constexpr (sizeof(T) == 8) {
    V y;
    for (int w = 0; w < W; ++w) y[w] = std::asinh(x[w]);
    return y;
  } else {
    // float: |x| <= 0.4 by the series of asinh, beyond by log(|x| + sqrt(1 + x^2))
    using I = typename Vector<std::int32_t, W>::type;
    const V x2 = x * x, size = x < V{} ? -x : x;
    V near = x2 * -0.01735276442f + 0.0223721591f;
    near = near * x2 - 0.03038194444f;
    near = near * x2 + 0.04464285714f;
    near = near * x2 - 0.075f;
    near = near * x2 + 0.1666666667f;
    near = x - x * x2 * near;
    const V z = size + root<T, W>(x2 + 1.0f);  // log(z) = k log(2) + log(m), m in [sqrt(1/2), sqrt(2))
    const I bits = std::bit_cast<I>(z), shifted = bits - 0x3f3504f3;
    const V k = __builtin_convertvector(shifted >> 23, V);
    const V m = std::bit_cast<V>(I((shifted & 0x007fffff) + 0x3f3504f3));
    const V q = (m - 1.0f) / (m + 1.0f), q2 = q * q;  // log(m) = 2 artanh(q)
    V series = q2 * (2.0f / 9) + 2.0f / 7;
    series = series * q2 + 2.0f / 5;
    series = series * q2 + 2.0f / 3;
    const V far = k * 0.693147181f + (2.0f * q + q * q2 * series);
    const V signed_far = x < V{} ? -far : far;
    return size < V{} + 0.4f ? near : signed_far;
  }
}

}  // namespace simd
