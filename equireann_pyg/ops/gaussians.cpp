// Gaussian radial orbitals of single edges under an envelope, with their analytic first and second derivatives:
//
//   R_n = f exp[-a_n (r - s_n)^2],   (s, a) = one row of a table for each edge.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <tuple>
#include <utility>

#include "kernels.h"

namespace {

using namespace kernels;

constexpr int64_t CHUNK = 2048;  // edges per task

// ---- the arrays of one call -------------------------------------------------------------------------------------------

template <typename T>
struct Gaussians {
  const T *r, *envelope, *centre, *exponent;
  const int64_t* row;
  int64_t n, size;  // size of a table
};

struct Inputs {
  Tensor r, envelope, row, centre, exponent;

  Inputs(const Tensor& r_, const Tensor& f, const Tensor& row_, const Tensor& s, const Tensor& a)
      : r(r_.contiguous()), envelope(f.contiguous()), row(row_.contiguous()), centre(s.contiguous()),
        exponent(a.contiguous()) {
    TORCH_CHECK_VALUE(envelope.sizes() == r.sizes() && row.sizes() == r.sizes() && r.dim() == 1,
                      "gaussians: r, envelope and row must be of one length, got ", r.sizes(), ", ", envelope.sizes(),
                      ", ", row.sizes());
    TORCH_CHECK_VALUE(centre.sizes() == exponent.sizes() && centre.dim() == 2, "gaussians: centre and exponent differ");
  }

  template <typename T>
  Gaussians<T> of() const {
    return {r.const_data_ptr<T>(),        envelope.const_data_ptr<T>(), centre.const_data_ptr<T>(),
            exponent.const_data_ptr<T>(), row.const_data_ptr<int64_t>(), centre.size(1),
            centre.numel()};
  }
};

// Sums of both tables' gradients, one pair of tables per chunk.
struct TableSums {
  Tensor parts;  // [chunks, 2, rows, n]

  TableSums(int64_t edges, const Tensor& table, bool wanted)
      : parts(wanted ? at::zeros({chunks<CHUNK>(edges), 2, table.size(0), table.size(1)}, table.options())
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

// ---- kernels: one edge ------------------------------------------------------------------------------------------------

template <typename T, int W>
void orbitals(Gaussians<T> x, int64_t e, T* out) {
  using V = typename Vector<T, W>::type;
  for (int64_t k = 0; k < x.n; k += W) {
    const int64_t at = x.row[e] * x.n + k;
    const V d = x.r[e] - load<V>(x.centre + at);
    store<V>(out + e * x.n + k, x.envelope[e] * exp_negative<T, W>(-load<V>(x.exponent + at) * d * d));
  }
}

// Gradients with respect to r and f; those of the tables are added up, unless `tables` is null.
template <typename T, int W>
void first_derivatives(Gaussians<T> x, int64_t e, const T* grad, T* to_r, T* to_f, T* tables) {
  using V = typename Vector<T, W>::type;
  T sum_r = 0, sum_f = 0;
  for (int64_t k = 0; k < x.n; k += W) {
    const int64_t at = x.row[e] * x.n + k;
    const V d = x.r[e] - load<V>(x.centre + at), a = load<V>(x.exponent + at);
    const V gG = load<V>(grad + e * x.n + k) * exp_negative<T, W>(-a * d * d), gR = x.envelope[e] * gG;
    const V slope = gR * a * d * T(-2);
    sum_r += total<T, W>(slope);
    sum_f += total<T, W>(gG);
    if (!tables) continue;
    store<V>(tables + at, load<V>(tables + at) - slope);
    store<V>(tables + x.size + at, load<V>(tables + x.size + at) - gR * d * d);
  }
  to_r[e] = sum_r;
  to_f[e] = sum_f;
}

// Gradients of <h, first derivatives> with respect to grad, r, f and the tables.
template <typename T, int W>
void second_derivatives(Gaussians<T> x, Gaussians<T> h, int64_t e, const T* grad, T* to_g, T* to_r, T* to_f,
                        T* tables) {
  using V = typename Vector<T, W>::type;
  T sum_r = 0, sum_f = 0;
  const T hr = h.r[e], hf = h.envelope[e], f = x.envelope[e];
  for (int64_t k = 0; k < x.n; k += W) {
    const int64_t at = x.row[e] * x.n + k;
    const V d = x.r[e] - load<V>(x.centre + at), a = load<V>(x.exponent + at);
    const V hs = load<V>(h.centre + at), ha = load<V>(h.exponent + at);
    const V G = exp_negative<T, W>(-a * d * d), gG = load<V>(grad + e * x.n + k) * G;
    const V u_r = a * d * T(-2), u_a = -d * d, hd = hr - hs;  // derivatives of log G; tangent of r - s
    const V D = hd * u_r + ha * u_a;                           // tangent of log G
    const V by_r = gG * (hf * u_r + f * (D * u_r - T(2) * (a * hd + d * ha)));
    const V by_a = gG * (hf * u_a + f * (D * u_a - T(2) * d * hd));
    store<V>(to_g + e * x.n + k, G * (hf + f * D));
    sum_r += total<T, W>(by_r);
    sum_f += total<T, W>(gG * D);
    store<V>(tables + at, load<V>(tables + at) - by_r);
    store<V>(tables + x.size + at, load<V>(tables + x.size + at) + by_a);
  }
  to_r[e] = sum_r;
  to_f[e] = sum_f;
}

// ---- operators --------------------------------------------------------------------------------------------------------

// Calls body(Known<T, W>, arrays, chunk, begin, end) for every chunk of edges.
template <typename Body>
void each_task(const Inputs& in, const Body& body) {
  with_type(in.r, [&]<typename T>(Known<T>) {
    const auto x = in.of<T>();
    with_width<8, 4, 1>(x.n, [&]<int W>(Constant<W>) {
      each_chunk<CHUNK>(in.r.size(0), [&](int64_t chunk, int64_t begin, int64_t end) {
        body(Known<T, W>{}, x, chunk, begin, end);
      });
    });
  });
}

Tensor gaussians(const Tensor& r, const Tensor& f, const Tensor& row, const Tensor& s, const Tensor& a) {
  const Inputs in(r, f, row, s, a);
  Tensor out = at::empty({r.size(0), s.size(1)}, r.options());
  each_task(in, [&]<typename T, int W>(Known<T, W>, auto x, int64_t, int64_t begin, int64_t end) {
    T* to = out.mutable_data_ptr<T>();
    for (int64_t e = begin; e < end; ++e) orbitals<T, W>(x, e, to);
  });
  return out;
}

// Gradients with respect to r, envelope, centre, exponent; those of the tables are empty unless wanted.
std::tuple<Tensor, Tensor, Tensor, Tensor> gaussians_backward(const Tensor& grad, const Tensor& r, const Tensor& f,
                                                              const Tensor& row, const Tensor& s, const Tensor& a,
                                                              bool tables) {
  const Inputs in(r, f, row, s, a);
  const Tensor g = grad.contiguous();
  Tensor dr = at::empty_like(in.r), df = at::empty_like(in.r);
  TableSums sums(r.size(0), in.centre, tables);
  each_task(in, [&]<typename T, int W>(Known<T, W>, auto x, int64_t chunk, int64_t begin, int64_t end) {
    const T* from = g.const_data_ptr<T>();
    T *to_r = dr.mutable_data_ptr<T>(), *to_f = df.mutable_data_ptr<T>(), *to = sums.of<T>(chunk);
    for (int64_t e = begin; e < end; ++e) first_derivatives<T, W>(x, e, from, to_r, to_f, to);
  });
  const auto [ds, da] = sums.sums(in.centre);
  return {dr, df, ds, da};
}

// Gradients of <tangents, gaussians_backward(grad, ...)> with respect to grad, r, envelope, centre, exponent.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gaussians_double_backward(
    const Tensor& h_r, const Tensor& h_f, const Tensor& h_s, const Tensor& h_a, const Tensor& grad, const Tensor& r,
    const Tensor& f, const Tensor& row, const Tensor& s, const Tensor& a) {
  const Inputs in(r, f, row, s, a), tangents(h_r, h_f, row, h_s, h_a);
  const Tensor g = grad.contiguous();
  Tensor dg = at::empty_like(g), dr = at::empty_like(in.r), df = at::empty_like(in.r);
  TableSums sums(r.size(0), in.centre, true);
  each_task(in, [&]<typename T, int W>(Known<T, W>, auto x, int64_t chunk, int64_t begin, int64_t end) {
    const auto h = tangents.of<T>();
    const T* from = g.const_data_ptr<T>();
    T *to_g = dg.mutable_data_ptr<T>(), *to_r = dr.mutable_data_ptr<T>(), *to_f = df.mutable_data_ptr<T>(),
      *to = sums.of<T>(chunk);
    for (int64_t e = begin; e < end; ++e) second_derivatives<T, W>(x, h, e, from, to_g, to_r, to_f, to);
  });
  const auto [ds, da] = sums.sums(in.centre);
  return {dg, dr, df, ds, da};
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(gaussians)
