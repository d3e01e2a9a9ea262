// Functions of single edges, with their analytic first and second derivatives: Gaussian radial orbitals under an envelope,
//
//   R_n = f exp[-a_n (r - s_n)^2],   (s, a) = one row of a table for each edge,
//
// and polynomials of the edge vector: solid harmonics, Cartesian moments.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "simd.h"

namespace {

using at::Tensor;
using std::int64_t;
using namespace simd;

constexpr int64_t CHUNK = 2048;  // edges per task; sums over edges are made per chunk, so they do not depend on threads

template <typename Body>
void with_type(const Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == at::kFloat) return body(float{});
  TORCH_CHECK(tensor.scalar_type() == at::kDouble, "expected float32 or float64, got ", tensor.scalar_type());
  body(double{});
}

template <typename Body>
void with_width(int64_t n, const Body& body) {
  if (n % 8 == 0) return body(std::integral_constant<int, 8>{});
  if (n % 4 == 0) return body(std::integral_constant<int, 4>{});
  return body(std::integral_constant<int, 1>{});
}

// ---- Gaussian radial orbitals -----------------------------------------------------------------------------------------

template <typename T>
struct Gaussians {  // of one call
  const T *r, *envelope, *centre, *exponent;
  const int64_t* row;
  int64_t n;
};

struct GaussianInputs {
  Tensor r, envelope, row, centre, exponent;

  GaussianInputs(const Tensor& r_, const Tensor& f, const Tensor& row_, const Tensor& s, const Tensor& a)
      : r(r_.contiguous()), envelope(f.contiguous()), row(row_.contiguous()), centre(s.contiguous()),
        exponent(a.contiguous()) {
    TORCH_CHECK_VALUE(envelope.sizes() == r.sizes() && row.sizes() == r.sizes() && r.dim() == 1,
                      "gaussians: r, envelope and row must be of one length, got ", r.sizes(), ", ", envelope.sizes(),
                      ", ", row.sizes());
    TORCH_CHECK_VALUE(centre.sizes() == exponent.sizes() && centre.dim() == 2, "gaussians: centre and exponent differ");
  }

  template <typename T>
  Gaussians<T> of() const {
    return {r.const_data_ptr<T>(), envelope.const_data_ptr<T>(), centre.const_data_ptr<T>(),
            exponent.const_data_ptr<T>(), row.const_data_ptr<int64_t>(), centre.size(1)};
  }
};

template <typename Body>
void each_chunk(int64_t edges, const Body& body) {
  const int64_t chunks = (edges + CHUNK - 1) / CHUNK;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) body(c, c * CHUNK, std::min(edges, (c + 1) * CHUNK));
  });
}

Tensor gaussians(const Tensor& r, const Tensor& f, const Tensor& row, const Tensor& s, const Tensor& a) {
  const GaussianInputs in(r, f, row, s, a);
  Tensor out = at::empty({r.size(0), s.size(1)}, r.options());
  with_type(r, [&](auto zero) {
    using T = decltype(zero);
    const auto x = in.of<T>();
    T* to = out.mutable_data_ptr<T>();
    with_width(x.n, [&](auto width) {
      constexpr int W = decltype(width)::value;
      using V = typename Vector<T, W>::type;
      each_chunk(r.size(0), [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e)
          for (int64_t k = 0; k < x.n; k += W) {
            const int64_t at = x.row[e] * x.n + k;
            const V d = x.r[e] - load<V>(x.centre + at);
            store<V>(to + e * x.n + k, x.envelope[e] * exp_negative<T, W>(-load<V>(x.exponent + at) * d * d));
          }
      });
    });
  });
  return out;
}

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// Sums of both tables' gradients, one pair of tables per chunk.
struct TableSums {
  Tensor parts;  // [chunks, 2, rows, n]

  TableSums(int64_t edges, const Tensor& table, bool wanted)
      : parts(wanted ? at::zeros({(edges + CHUNK - 1) / CHUNK, 2, table.size(0), table.size(1)}, table.options())
                     : Tensor()) {}

  template <typename T>
  T* of(int64_t chunk) {
    return parts.defined() ? parts.mutable_data_ptr<T>() + chunk * parts.stride(0) : nullptr;
  }

  std::pair<Tensor, Tensor> sums(const Tensor& table) const {
    if (!parts.defined()) return {at::empty({0}, table.options()), at::empty({0}, table.options())};
    const Tensor sum = parts.sum(0);
    return {sum.select(0, 0).clone(), sum.select(0, 1).clone()};
  }
};

// Gradients with respect to r, envelope, centre, exponent; those of the tables are empty unless wanted.
Four gaussians_backward(const Tensor& grad, const Tensor& r, const Tensor& f, const Tensor& row, const Tensor& s,
                        const Tensor& a, bool tables) {
  const GaussianInputs in(r, f, row, s, a);
  const Tensor g = grad.contiguous();
  Tensor dr = at::empty_like(in.r), df = at::empty_like(in.r);
  TableSums sums(r.size(0), in.centre, tables);
  with_type(r, [&](auto zero) {
    using T = decltype(zero);
    const auto x = in.of<T>();
    const T* from = g.const_data_ptr<T>();
    T *to_r = dr.mutable_data_ptr<T>(), *to_f = df.mutable_data_ptr<T>();
    with_width(x.n, [&](auto width) {
      constexpr int W = decltype(width)::value;
      using V = typename Vector<T, W>::type;
      each_chunk(r.size(0), [&](int64_t chunk, int64_t begin, int64_t end) {
        T* table = sums.of<T>(chunk);
        const int64_t size = x.n * in.centre.size(0);
        for (int64_t e = begin; e < end; ++e) {
          T sum_r = 0, sum_f = 0;
          for (int64_t k = 0; k < x.n; k += W) {
            const int64_t at = x.row[e] * x.n + k;
            const V d = x.r[e] - load<V>(x.centre + at), a = load<V>(x.exponent + at);
            const V gG = load<V>(from + e * x.n + k) * exp_negative<T, W>(-a * d * d), gR = x.envelope[e] * gG;
            const V slope = gR * a * d * T(-2);
            sum_r += total<T, W>(slope);
            sum_f += total<T, W>(gG);
            if (!table) continue;
            store<V>(table + at, load<V>(table + at) - slope);
            store<V>(table + size + at, load<V>(table + size + at) - gR * d * d);
          }
          to_r[e] = sum_r;
          to_f[e] = sum_f;
        }
      });
    });
  });
  const auto [ds, da] = sums.sums(in.centre);
  return {dr, df, ds, da};
}

// Gradients of <tangents, gaussians_backward(grad, ...)> with respect to grad, r, envelope, centre, exponent.
Five gaussians_double_backward(const Tensor& h_r, const Tensor& h_f, const Tensor& h_s, const Tensor& h_a,
                               const Tensor& grad, const Tensor& r, const Tensor& f, const Tensor& row,
                               const Tensor& s, const Tensor& a) {
  const GaussianInputs in(r, f, row, s, a), tangents(h_r, h_f, row, h_s, h_a);
  const Tensor g = grad.contiguous();
  Tensor dg = at::empty_like(g), dr = at::empty_like(in.r), df = at::empty_like(in.r);
  TableSums sums(r.size(0), in.centre, true);
  with_type(r, [&](auto zero) {
    using T = decltype(zero);
    const auto x = in.of<T>(), h = tangents.of<T>();
    const T* from = g.const_data_ptr<T>();
    T *to_g = dg.mutable_data_ptr<T>(), *to_r = dr.mutable_data_ptr<T>(), *to_f = df.mutable_data_ptr<T>();
    with_width(x.n, [&](auto width) {
      constexpr int W = decltype(width)::value;
      using V = typename Vector<T, W>::type;
      each_chunk(r.size(0), [&](int64_t chunk, int64_t begin, int64_t end) {
        T* table = sums.of<T>(chunk);
        const int64_t size = x.n * in.centre.size(0);
        for (int64_t e = begin; e < end; ++e) {
          T sum_r = 0, sum_f = 0;
          const T hr = h.r[e], hf = h.envelope[e], f = x.envelope[e];
          for (int64_t k = 0; k < x.n; k += W) {
            const int64_t at = x.row[e] * x.n + k;
            const V d = x.r[e] - load<V>(x.centre + at), a = load<V>(x.exponent + at);
            const V hs = load<V>(h.centre + at), ha = load<V>(h.exponent + at);
            const V G = exp_negative<T, W>(-a * d * d), gG = load<V>(from + e * x.n + k) * G;
            const V u_r = a * d * T(-2), u_a = -d * d, hd = hr - hs;        // derivatives of log G; tangent of r - s
            const V D = hd * u_r + ha * u_a;                                 // tangent of log G
            const V by_r = gG * (hf * u_r + f * (D * u_r - T(2) * (a * hd + d * ha)));
            const V by_a = gG * (hf * u_a + f * (D * u_a - T(2) * d * hd));
            store<V>(to_g + e * x.n + k, G * (hf + f * D));
            sum_r += total<T, W>(by_r);
            sum_f += total<T, W>(gG * D);
            store<V>(table + at, load<V>(table + at) - by_r);
            store<V>(table + size + at, load<V>(table + size + at) + by_a);
          }
          to_r[e] = sum_r;
          to_f[e] = sum_f;
        }
      });
    });
  });
  const auto [ds, da] = sums.sums(in.centre);
  return {dg, dr, df, ds, da};
}

// ---- polynomials of the edge vector: sums of monomials x^i y^j z^k, i + j + k <= L ---------------------------------------

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
  each_chunk(edges, [&](int64_t, int64_t begin, int64_t end) {
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
  with_type(vec, [&](auto zero) {
    using T = decltype(zero);
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
  with_type(vec, [&](auto zero) {
    using T = decltype(zero);
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
  with_type(vec, [&](auto zero) {
    using T = decltype(zero);
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

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("gaussians", gaussians);
  m.impl("gaussians_backward", gaussians_backward);
  m.impl("gaussians_double_backward", gaussians_double_backward);
  m.impl("polynomials", polynomials);
  m.impl("polynomials_backward", polynomials_backward);
  m.impl("polynomials_double_backward", polynomials_double_backward);
}
