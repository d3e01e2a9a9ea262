// What the kernels share: the tasks of threads, and the choice of what the compiler knows of a call.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "simd.h"

// Registers NAME, NAME_backward and NAME_double_backward of the file.
#define REGISTER_TWICE_DIFFERENTIABLE(NAME)                   \
  TORCH_LIBRARY_IMPL(equireann, CPU, m) {                     \
    m.impl(#NAME, NAME);                                      \
    m.impl(#NAME "_backward", NAME##_backward);               \
    m.impl(#NAME "_double_backward", NAME##_double_backward); \
  }

namespace kernels {

using at::Tensor;
using std::int64_t;
using namespace simd;

template <int VALUE>
using Constant = std::integral_constant<int, VALUE>;

// A type of arithmetic and sizes that the compiler knows.
template <typename T, int... SIZES>
struct Known {};

// Calls body(Known<T>) with the type of a tensor.
template <typename Body>
void with_type(const Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == at::kFloat) return body(Known<float>{});
  TORCH_CHECK(tensor.scalar_type() == at::kDouble, "expected float32 or float64, got ", tensor.scalar_type());
  body(Known<double>{});
}

// Calls body(Constant<W>) with the first of the widths that divides n; the last must be 1.
template <int W, int... OTHERS, typename Body>
void with_width(int64_t n, const Body& body) {
  if constexpr (sizeof...(OTHERS) == 0) {
    static_assert(W == 1);
    body(Constant<W>{});
  } else if (n % W == 0) {
    body(Constant<W>{});
  } else {
    with_width<OTHERS...>(n, body);
  }
}

// Calls body(Known<T, W>) with the type of a tensor and the width of a vector: 64 bytes where n channels fill them.
template <typename Body>
void with_type_and_width(const Tensor& tensor, int64_t n, const Body& body) {
  with_type(tensor, [&]<typename T>(Known<T>) {
    with_width<64 / sizeof(T), 4, 1>(n, [&]<int W>(Constant<W>) { body(Known<T, W>{}); });
  });
}

// The same with two vectors at a time where n channels fill them.
template <typename Body>
void with_type_and_widths(const Tensor& tensor, int64_t n, const Body& body) {
  with_type(tensor, [&]<typename T>(Known<T>) {
    with_width<128 / sizeof(T), 64 / sizeof(T), 4, 1>(n, [&]<int W>(Constant<W>) { body(Known<T, W>{}); });
  });
}

template <int64_t SIZE>
constexpr int64_t chunks(int64_t count) {
  return (count + SIZE - 1) / SIZE;
}

// Calls body(chunk, begin, end) for every SIZE of `count` items: sums made per chunk do not depend on the threads.
template <int64_t SIZE, typename Body>
void each_chunk(int64_t count, const Body& body) {
  at::parallel_for(0, chunks<SIZE>(count), 1, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) body(c, c * SIZE, std::min(count, (c + 1) * SIZE));
  });
}

// The elements of atoms, all of them smaller than num_species.
inline const int64_t* checked_species(const Tensor& species, int64_t num_species) {
  const int64_t* s = species.const_data_ptr<int64_t>();
  for (int64_t a = 0; a < species.numel(); ++a)
    TORCH_CHECK_INDEX(0 <= s[a] && s[a] < num_species, "species: expected 0 to ", num_species - 1, ", got ", s[a]);
  return s;
}

}  // namespace kernels
