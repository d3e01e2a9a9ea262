// Polynomials of the edge vector, such as solid harmonics and Cartesian moments, with their analytic first and second
// derivatives: sums of monomials x^i y^j z^k, i + j + k <= L.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "kernels.h"

namespace {

using namespace kernels;

constexpr int64_t CHUNK = 2048;  // edges per task
constexpr int MAX_DEGREE = 8, MAX_POLYNOMIALS = 165, LANES = 8;  // 165 monomials up to degree 8

struct Exponents {
  int8_t of[3];
};

// Degree by degree; within one degree x falls slowest, then y.
std::vector<Exponents> exponents(int64_t max_degree) {
  TORCH_CHECK_VALUE(0 <= max_degree && max_degree <= MAX_DEGREE, "polynomials: expected a degree of 0 to ", MAX_DEGREE,
                    ", got ", max_degree);
  std::vector<Exponents> all;
  for (int l = 0; l <= max_degree; ++l)
    for (int i = l; i >= 0; --i)
      for (int j = l - i; j >= 0; --j) all.push_back({{int8_t(i), int8_t(j), int8_t(l - i - j)}});
  return all;
}

// Powers of the coordinates of LANES edges, and their derivatives: order[o][axis][p] is the o-th derivative of u^p.
template <typename T>
struct Powers {
  using V = typename Vector<T, LANES>::type;
  V order[3][3][MAX_DEGREE + 1];

  Powers(const T* vec, int64_t lanes, int64_t max_degree, int highest) {
    for (int axis = 0; axis < 3; ++axis) {
      V u{};
      for (int64_t w = 0; w < lanes; ++w) u[w] = vec[3 * w + axis];
      order[0][axis][0] = V{} + T(1);
      for (int p = 1; p <= max_degree; ++p) order[0][axis][p] = order[0][axis][p - 1] * u;
      for (int o = 1; o <= highest; ++o)
        for (int p = 0; p <= max_degree; ++p) order[o][axis][p] = p ? order[o - 1][axis][p - 1] * T(p) : V{};
    }
  }

  // Derivative of a monomial, a times along x, b times along y, c times along z.
  V operator()(const Exponents& q, int a, int b, int c) const {
    return order[a][0][q.of[0]] * order[b][1][q.of[1]] * order[c][2][q.of[2]];
  }
};

template <typename Body>
void each_lanes(int64_t edges, const Body& body) {
  each_chunk<CHUNK>(edges, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t e = begin; e < end; e += LANES) body(e, std::min<int64_t>(LANES, end - e));
  });
}

template <typename V, typename T>
inline V gathered(const T* from, int64_t stride, int64_t lanes) {
  V value{};
  for (int64_t w = 0; w < lanes; ++w) value[w] = from[w * stride];
  return value;
}

template <typename V, typename T>
inline void scatter(T* to, int64_t stride, int64_t lanes, V value) {
  for (int64_t w = 0; w < lanes; ++w) to[w * stride] = value[w];
}

// Polynomial m is the sum of `weight` times monomial q over all terms.
struct Terms {
  struct Term {
    int q, m;
    double weight;
  };
  std::vector<Exponents> monomials;
  std::vector<Term> terms;
  int64_t count;  // of polynomials

  Terms(const Tensor& combination, int64_t max_degree) : monomials(exponents(max_degree)), count(combination.size(1)) {
    const Tensor matrix = combination.contiguous();
    TORCH_CHECK_VALUE(matrix.scalar_type() == at::kDouble && matrix.size(0) == int64_t(monomials.size()) &&
                          count <= MAX_POLYNOMIALS,
                      "polynomials: expected a float64 combination [", monomials.size(), ", up to ", MAX_POLYNOMIALS,
                      "], got ", matrix.sizes());
    const double* weights = matrix.const_data_ptr<double>();
    for (int q = 0; q < matrix.size(0); ++q)
      for (int m = 0; m < count; ++m)
        if (weights[q * count + m] != 0) terms.push_back({q, m, weights[q * count + m]});
  }

  // Gradients with respect to the monomials from those with respect to the polynomials.
  template <typename T, typename V>
  void pull_back(const T* grad, int64_t lanes, V* to) const {
    V g[MAX_POLYNOMIALS];
    for (int64_t m = 0; m < count; ++m) g[m] = gathered<V>(grad + m, count, lanes);
    for (size_t q = 0; q < monomials.size(); ++q) to[q] = V{};
    for (const auto& term : terms) to[term.q] += T(term.weight) * g[term.m];
  }

  // Polynomials from values of the monomials.
  template <typename T, typename V>
  void combine(const V* values, int64_t lanes, T* to) const {
    V sum[MAX_POLYNOMIALS];
    for (int64_t m = 0; m < count; ++m) sum[m] = V{};
    for (const auto& term : terms) sum[term.m] += T(term.weight) * values[term.q];
    for (int64_t m = 0; m < count; ++m) scatter(to + m, count, lanes, sum[m]);
  }
};

Tensor polynomials(const Tensor& vec, const Tensor& combination, int64_t max_degree) {
  const Tensor in = vec.contiguous();
  const Terms all(combination, max_degree);
  Tensor out = at::empty({vec.size(0), all.count}, vec.options());
  with_type(vec, [&]<typename T>(Known<T>) {
    const T* from = in.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    each_lanes(vec.size(0), [&](int64_t e, int64_t lanes) {
      const Powers<T> at(from + 3 * e, lanes, max_degree, 0);
      typename Powers<T>::V values[MAX_POLYNOMIALS];
      for (size_t q = 0; q < all.monomials.size(); ++q) values[q] = at(all.monomials[q], 0, 0, 0);
      all.combine(values, lanes, to + e * all.count);
    });
  });
  return out;
}

Tensor polynomials_backward(const Tensor& grad, const Tensor& vec, const Tensor& combination, int64_t max_degree) {
  const Tensor in = vec.contiguous(), g = grad.contiguous();
  const Terms all(combination, max_degree);
  Tensor out = at::empty_like(in);
  with_type(vec, [&]<typename T>(Known<T>) {
    using V = typename Powers<T>::V;
    const T *from = in.const_data_ptr<T>(), *weights = g.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    each_lanes(vec.size(0), [&](int64_t e, int64_t lanes) {
      const Powers<T> at(from + 3 * e, lanes, max_degree, 1);
      V w[MAX_POLYNOMIALS], x{}, y{}, z{};
      all.pull_back(weights + e * all.count, lanes, w);
      for (size_t q = 1; q < all.monomials.size(); ++q) {
        x += w[q] * at(all.monomials[q], 1, 0, 0);
        y += w[q] * at(all.monomials[q], 0, 1, 0);
        z += w[q] * at(all.monomials[q], 0, 0, 1);
      }
      scatter(to + 3 * e, 3, lanes, x);
      scatter(to + 3 * e + 1, 3, lanes, y);
      scatter(to + 3 * e + 2, 3, lanes, z);
    });
  });
  return out;
}

// Gradients of <tangent, polynomials_backward(grad, vec)> with respect to grad and vec.
std::tuple<Tensor, Tensor> polynomials_double_backward(const Tensor& tangent, const Tensor& grad, const Tensor& vec,
                                                       const Tensor& combination, int64_t max_degree) {
  const Tensor in = vec.contiguous(), g = grad.contiguous(), h = tangent.contiguous();
  const Terms all(combination, max_degree);
  Tensor d_grad = at::empty_like(g), d_vec = at::empty_like(in);
  with_type(vec, [&]<typename T>(Known<T>) {
    using V = typename Powers<T>::V;
    const T *from = in.const_data_ptr<T>(), *weights = g.const_data_ptr<T>(), *along = h.const_data_ptr<T>();
    T *to_grad = d_grad.mutable_data_ptr<T>(), *to_vec = d_vec.mutable_data_ptr<T>();
    each_lanes(vec.size(0), [&](int64_t e, int64_t lanes) {
      const Powers<T> at(from + 3 * e, lanes, max_degree, 2);
      const V hx = gathered<V>(along + 3 * e, 3, lanes), hy = gathered<V>(along + 3 * e + 1, 3, lanes),
              hz = gathered<V>(along + 3 * e + 2, 3, lanes);
      V w[MAX_POLYNOMIALS], slopes[MAX_POLYNOMIALS], x{}, y{}, z{};
      all.pull_back(weights + e * all.count, lanes, w);
      for (size_t q = 0; q < all.monomials.size(); ++q) {
        const auto& p = all.monomials[q];
        slopes[q] = hx * at(p, 1, 0, 0) + hy * at(p, 0, 1, 0) + hz * at(p, 0, 0, 1);
        const V xy = at(p, 1, 1, 0), xz = at(p, 1, 0, 1), yz = at(p, 0, 1, 1);
        x += w[q] * (hx * at(p, 2, 0, 0) + hy * xy + hz * xz);
        y += w[q] * (hx * xy + hy * at(p, 0, 2, 0) + hz * yz);
        z += w[q] * (hx * xz + hy * yz + hz * at(p, 0, 0, 2));
      }
      all.combine(slopes, lanes, to_grad + e * all.count);
      scatter(to_vec + 3 * e, 3, lanes, x);
      scatter(to_vec + 3 * e + 1, 3, lanes, y);
      scatter(to_vec + 3 * e + 2, 3, lanes, z);
    });
  });
  return {d_grad, d_vec};
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(polynomials)
