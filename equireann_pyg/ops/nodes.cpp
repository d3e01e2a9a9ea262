// Functions of single atoms, with their analytic first and second derivatives: the density of contracted orbitals,
//
//   rho_k = sum_m t_mk^2,   t_mk = sum_n psi_mn W_lnk   (l = degree of component m),
//
// and standardised features that grow only logarithmically far outside of their usual range,
//
//   y = L asinh(u / L),   u = (x - mean_s) / scale_s   (s = element of the atom).

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <cmath>
#include <tuple>
#include <vector>

#include "simd.h"

namespace {

using at::Tensor;
using std::int64_t;
using namespace simd;

constexpr int64_t CHUNK = 128;  // atoms per task; sums over atoms are made per chunk, so they do not depend on threads

template <typename Body>
void each_chunk(int64_t atoms, const Body& body) {
  const int64_t chunks = (atoms + CHUNK - 1) / CHUNK;
  at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) body(c, c * CHUNK, std::min(atoms, (c + 1) * CHUNK));
  });
}

template <typename Body>
void with_type_and_width(const Tensor& tensor, int64_t k, const Body& body) {
  const auto of = [&](auto zero) {
    using T = decltype(zero);
    constexpr int lanes = 64 / sizeof(T);
    if (k % lanes == 0) return body(zero, std::integral_constant<int, lanes>{});
    if (k % 4 == 0) return body(zero, std::integral_constant<int, 4>{});
    return body(zero, std::integral_constant<int, 1>{});
  };
  if (tensor.scalar_type() == at::kFloat) return of(float{});
  TORCH_CHECK(tensor.scalar_type() == at::kDouble, "expected float32 or float64, got ", tensor.scalar_type());
  of(double{});
}

// ---- density ----------------------------------------------------------------------------------------------------------

struct Density {
  Tensor orbital, weight;
  std::vector<int64_t> degree;  // of each component
  int64_t atoms, lm, n, k, table;

  Density(const Tensor& psi, const Tensor& W, at::IntArrayRef components)
      : orbital(psi.contiguous()), weight(W.contiguous()) {
    for (size_t l = 0; l < components.size(); ++l) degree.insert(degree.end(), components[l], l);
    TORCH_CHECK_VALUE(psi.dim() == 3 && W.dim() == 3 && psi.size(1) == int64_t(degree.size()) &&
                          W.size(0) == int64_t(components.size()) && psi.size(2) == W.size(1),
                      "density: orbital ", psi.sizes(), " and weight ", W.sizes(), " do not fit ", components);
    atoms = psi.size(0), lm = psi.size(1), n = psi.size(2), k = W.size(2), table = W.numel();
  }
};

constexpr int64_t MAX_RADIAL = 128;  // channels whose sums are kept on the stack

// N > 0 is a number of radial channels known to the compiler, which then keeps their sums in registers.
template <typename Body>
void with_radial(int64_t n, const Body& body) {
  TORCH_CHECK_VALUE(n <= MAX_RADIAL, "density: at most ", MAX_RADIAL, " radial channels, got ", n);
  if (n == 8) return body(std::integral_constant<int, 8>{});
  body(std::integral_constant<int, 0>{});
}

// t_m of W channels from c on.
template <typename V, int N, typename T>
inline V contraction(const T* psi, const T* W, int64_t n, int64_t k, int64_t c) {
  V t{};
  for (int64_t q = 0; q < (N ? N : n); ++q) t += psi[q] * load<V>(W + q * k + c);
  return t;
}

Tensor density(const Tensor& psi, const Tensor& W, at::IntArrayRef components) {
  const Density in(psi, W, components);
  Tensor out = at::empty({in.atoms, in.k}, psi.options());
  with_type_and_width(psi, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    const T *orbital = in.orbital.const_data_ptr<T>(), *weight = in.weight.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    with_radial(in.n, [&](auto radial) {
    constexpr int N = decltype(radial)::value;
    each_chunk(in.atoms, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t a = begin; a < end; ++a)
        for (int64_t c = 0; c < in.k; c += L) {
          V sum{};
          for (int64_t m = 0; m < in.lm; ++m) {
            const V t = contraction<V, N>(orbital + (a * in.lm + m) * in.n, weight + in.degree[m] * in.n * in.k, in.n,
                                          in.k, c);
            sum += t * t;
          }
          store<V>(to + a * in.k + c, sum);
        }
    });
    });
  });
  return out;
}

// Gradients with respect to orbital and weight; that of the weight is empty unless wanted.
std::tuple<Tensor, Tensor> density_backward(const Tensor& grad, const Tensor& psi, const Tensor& W,
                                            at::IntArrayRef components, bool with_weight) {
  const Density in(psi, W, components);
  const Tensor g = grad.contiguous();
  Tensor d_psi = at::empty_like(in.orbital), parts;
  if (with_weight) parts = at::zeros({(in.atoms + CHUNK - 1) / CHUNK, W.size(0), in.n, in.k}, W.options());
  with_type_and_width(psi, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    const T *orbital = in.orbital.const_data_ptr<T>(), *weight = in.weight.const_data_ptr<T>(),
            *from = g.const_data_ptr<T>();
    T *to = d_psi.mutable_data_ptr<T>(), *tables = with_weight ? parts.mutable_data_ptr<T>() : nullptr;
    with_radial(in.n, [&](auto radial) {
    constexpr int N = decltype(radial)::value;
    const int64_t n = N ? N : in.n;
    each_chunk(in.atoms, [&](int64_t chunk, int64_t begin, int64_t end) {
      V sums[N ? N : MAX_RADIAL];
      for (int64_t a = begin; a < end; ++a)
        for (int64_t m = 0; m < in.lm; ++m) {
          const T *p = orbital + (a * in.lm + m) * in.n, *w = weight + in.degree[m] * in.n * in.k;
          T* table = tables ? tables + chunk * in.table + in.degree[m] * in.n * in.k : nullptr;
          for (int64_t q = 0; q < n; ++q) sums[q] = V{};
          for (int64_t c = 0; c < in.k; c += L) {
            const V u = T(2) * load<V>(from + a * in.k + c) * contraction<V, N>(p, w, in.n, in.k, c);
            for (int64_t q = 0; q < n; ++q) {
              const int64_t at = q * in.k + c;
              sums[q] += u * load<V>(w + at);
              if (table) store<V>(table + at, load<V>(table + at) + p[q] * u);
            }
          }
          for (int64_t q = 0; q < n; ++q) to[(a * in.lm + m) * in.n + q] = total<T, L>(sums[q]);
        }
    });
    });
  });
  return {d_psi, with_weight ? parts.sum(0) : at::empty({0}, W.options())};
}

// Gradients of <tangents, density_backward(grad, psi, W)> with respect to grad, psi and W.
std::tuple<Tensor, Tensor, Tensor> density_double_backward(const Tensor& h_psi, const Tensor& h_W, const Tensor& grad,
                                                           const Tensor& psi, const Tensor& W,
                                                           at::IntArrayRef components) {
  const Density in(psi, W, components), h(h_psi, h_W, components);
  const Tensor g = grad.contiguous();
  Tensor d_grad = at::zeros_like(g), d_psi = at::empty_like(in.orbital);
  Tensor parts = at::zeros({(in.atoms + CHUNK - 1) / CHUNK, W.size(0), in.n, in.k}, W.options());
  with_type_and_width(psi, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    const T *orbital = in.orbital.const_data_ptr<T>(), *weight = in.weight.const_data_ptr<T>(),
            *h_orbital = h.orbital.const_data_ptr<T>(), *h_weight = h.weight.const_data_ptr<T>(),
            *from = g.const_data_ptr<T>();
    T *to_grad = d_grad.mutable_data_ptr<T>(), *to_psi = d_psi.mutable_data_ptr<T>(),
      *tables = parts.mutable_data_ptr<T>();
    with_radial(in.n, [&](auto radial) {
    constexpr int N = decltype(radial)::value;
    const int64_t n = N ? N : in.n;
    each_chunk(in.atoms, [&](int64_t chunk, int64_t begin, int64_t end) {
      V sums[N ? N : MAX_RADIAL];
      for (int64_t a = begin; a < end; ++a)
        for (int64_t m = 0; m < in.lm; ++m) {
          const int64_t row = (a * in.lm + m) * in.n, start = in.degree[m] * in.n * in.k;
          const T *p = orbital + row, *hp = h_orbital + row, *w = weight + start, *hw = h_weight + start;
          T* table = tables + chunk * in.table + start;
          for (int64_t q = 0; q < n; ++q) sums[q] = V{};
          for (int64_t c = 0; c < in.k; c += L) {
            const V t = contraction<V, N>(p, w, in.n, in.k, c);
            const V ht = contraction<V, N>(hp, w, in.n, in.k, c) + contraction<V, N>(p, hw, in.n, in.k, c);
            T* slot = to_grad + a * in.k + c;
            store<V>(slot, load<V>(slot) + T(2) * t * ht);
            const V g2 = T(2) * load<V>(from + a * in.k + c), gt = g2 * t, ght = g2 * ht;
            for (int64_t q = 0; q < n; ++q) {
              const int64_t at = q * in.k + c;
              sums[q] += ght * load<V>(w + at) + gt * load<V>(hw + at);
              store<V>(table + at, load<V>(table + at) + p[q] * ght + hp[q] * gt);
            }
          }
          for (int64_t q = 0; q < n; ++q) to_psi[row + q] = total<T, L>(sums[q]);
        }
    });
    });
  });
  return {d_grad, d_psi, parts.sum(0)};
}

// ---- bent, standardised features --------------------------------------------------------------------------------------

struct Bent {
  Tensor x, species, mean, scale;
  int64_t atoms, k;

  Bent(const Tensor& x_, const Tensor& s, const Tensor& mean_, const Tensor& scale_)
      : x(x_.contiguous()), species(s.contiguous()), mean(mean_.contiguous()), scale(scale_.contiguous()),
        atoms(x_.size(0)), k(x_.size(1)) {
    TORCH_CHECK_VALUE(s.numel() == atoms && mean.sizes() == scale.sizes() && mean.size(1) == k,
                      "bent: sizes do not fit: x ", x.sizes(), ", species ", s.sizes(), ", mean ", mean.sizes());
    const int64_t* e = species.const_data_ptr<int64_t>();
    for (int64_t a = 0; a < atoms; ++a)
      TORCH_CHECK_INDEX(0 <= e[a] && e[a] < mean.size(0), "species: expected 0 to ", mean.size(0) - 1, ", got ", e[a]);
  }
};

// Calls body(position, u / limit, 1 / scale) for every feature of every atom.
template <typename T, int L, typename Body>
void each_feature(const Bent& in, double limit, const Body& body) {
  using V = typename Vector<T, L>::type;
  const T *x = in.x.const_data_ptr<T>(), *mean = in.mean.const_data_ptr<T>(), *scale = in.scale.const_data_ptr<T>();
  const int64_t* species = in.species.const_data_ptr<int64_t>();
  each_chunk(in.atoms, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a)
      for (int64_t c = 0; c < in.k; c += L) {
        const int64_t at = species[a] * in.k + c;
        const V inverse = T(1) / load<V>(scale + at);
        body(a * in.k + c, (load<V>(x + a * in.k + c) - load<V>(mean + at)) * inverse * T(1 / limit), inverse);
      }
  });
}

Tensor bent(const Tensor& x, const Tensor& species, const Tensor& mean, const Tensor& scale, double limit) {
  const Bent in(x, species, mean, scale);
  Tensor out = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    T* to = out.mutable_data_ptr<T>();
    each_feature<T, L>(in, limit, [&](int64_t at, V v, V) { store<V>(to + at, T(limit) * asinh<T, L>(v)); });
  });
  return out;
}

Tensor bent_backward(const Tensor& grad, const Tensor& x, const Tensor& species, const Tensor& mean,
                     const Tensor& scale, double limit) {
  const Bent in(x, species, mean, scale);
  const Tensor g = grad.contiguous();
  Tensor out = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    const T* from = g.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    each_feature<T, L>(in, limit, [&](int64_t at, V v, V inverse) {
      store<V>(to + at, load<V>(from + at) * inverse / root<T, L>(V{} + T(1) + v * v));
    });
  });
  return out;
}

// Gradients of <tangent, bent_backward(grad, x)> with respect to grad and x.
std::tuple<Tensor, Tensor> bent_double_backward(const Tensor& tangent, const Tensor& grad, const Tensor& x,
                                                const Tensor& species, const Tensor& mean, const Tensor& scale,
                                                double limit) {
  const Bent in(x, species, mean, scale);
  const Tensor g = grad.contiguous(), h = tangent.contiguous();
  Tensor d_grad = at::empty_like(in.x), d_x = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&](auto zero, auto width) {
    using T = decltype(zero);
    constexpr int L = decltype(width)::value;
    using V = typename Vector<T, L>::type;
    const T *from = g.const_data_ptr<T>(), *along = h.const_data_ptr<T>();
    T *to_grad = d_grad.mutable_data_ptr<T>(), *to_x = d_x.mutable_data_ptr<T>();
    each_feature<T, L>(in, limit, [&](int64_t at, V v, V inverse) {
      const V square = V{} + T(1) + v * v, slope = inverse / root<T, L>(square), hs = load<V>(along + at) * slope;
      store<V>(to_grad + at, hs);
      store<V>(to_x + at, -load<V>(from + at) * hs * v * inverse * T(1 / limit) / square);
    });
  });
  return {d_grad, d_x};
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("density", density);
  m.impl("density_backward", density_backward);
  m.impl("density_double_backward", density_double_backward);
  m.impl("bent", bent);
  m.impl("bent_backward", bent_backward);
  m.impl("bent_double_backward", bent_double_backward);
}
