// The density of the contracted orbitals of single atoms, with its analytic first and second derivatives:
//
//   rho_k = sum_m t_mk^2,   t_mk = sum_n psi_mn W_lnk   (l = degree of component m).

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "kernels.h"

namespace {

using namespace kernels;

constexpr int64_t CHUNK = 128;       // atoms per task
constexpr int64_t MAX_RADIAL = 128;  // channels whose sums are kept on the stack

// ---- the arrays of one call -------------------------------------------------------------------------------------------

template <typename T>
struct Orbitals {
  const T *psi, *W;
  const int64_t* degree;  // of each component
  int64_t lm, n, k;
};

struct Inputs {
  Tensor orbital, weight;
  std::vector<int64_t> degree;  // of each component
  int64_t atoms, lm, n, k;

  Inputs(const Tensor& psi, const Tensor& W, at::IntArrayRef components)
      : orbital(psi.contiguous()), weight(W.contiguous()) {
    for (size_t l = 0; l < components.size(); ++l) degree.insert(degree.end(), components[l], l);
    TORCH_CHECK_VALUE(psi.dim() == 3 && W.dim() == 3 && psi.size(1) == int64_t(degree.size()) &&
                          W.size(0) == int64_t(components.size()) && psi.size(2) == W.size(1),
                      "density: orbital ", psi.sizes(), " and weight ", W.sizes(), " do not fit ", components);
    atoms = psi.size(0), lm = psi.size(1), n = psi.size(2), k = W.size(2);
  }

  template <typename T>
  Orbitals<T> of() const {
    return {orbital.const_data_ptr<T>(), weight.const_data_ptr<T>(), degree.data(), lm, n, k};
  }

  // Gradients of the weights, one table for each task.
  Tensor tables() const { return at::zeros({chunks<CHUNK>(atoms), weight.size(0), n, k}, weight.options()); }
};

// ---- kernels: one atom ------------------------------------------------------------------------------------------------
// N > 0 is a number of radial channels known to the compiler, which then keeps their sums in registers.

// t_m of W channels from c on.
template <typename V, int N, typename T>
inline V contraction(const T* psi, const T* W, int64_t n, int64_t k, int64_t c) {
  V t{};
  for (int64_t q = 0; q < (N ? N : n); ++q) t += psi[q] * load<V>(W + q * k + c);
  return t;
}

template <typename T, int W, int N>
inline void densities(Orbitals<T> x, int64_t a, T* to) {
  using V = typename Vector<T, W>::type;
  for (int64_t c = 0; c < x.k; c += W) {
    V sum{};
    for (int64_t m = 0; m < x.lm; ++m) {
      const V t = contraction<V, N>(x.psi + (a * x.lm + m) * x.n, x.W + x.degree[m] * x.n * x.k, x.n, x.k, c);
      sum += t * t;
    }
    store<V>(to + a * x.k + c, sum);
  }
}

// Gradient with respect to psi; that of W is added up, unless `tables` is null.
template <typename T, int W, int N>
inline void first_derivatives(Orbitals<T> x, int64_t a, const T* grad, T* to_psi, T* tables) {
  using V = typename Vector<T, W>::type;
  const int64_t n = N ? N : x.n;
  V sums[N ? N : MAX_RADIAL];
  for (int64_t m = 0; m < x.lm; ++m) {
    const int64_t row = (a * x.lm + m) * x.n, start = x.degree[m] * x.n * x.k;
    const T *p = x.psi + row, *w = x.W + start;
    T* table = tables ? tables + start : nullptr;
    for (int64_t q = 0; q < n; ++q) sums[q] = V{};
    for (int64_t c = 0; c < x.k; c += W) {
      const V u = T(2) * load<V>(grad + a * x.k + c) * contraction<V, N>(p, w, x.n, x.k, c);
      for (int64_t q = 0; q < n; ++q) {
        const int64_t at = q * x.k + c;
        sums[q] += u * load<V>(w + at);
        if (table) store<V>(table + at, load<V>(table + at) + p[q] * u);
      }
    }
    for (int64_t q = 0; q < n; ++q) to_psi[row + q] = total<T, W>(sums[q]);
  }
}

// Gradients of <h, first derivatives> with respect to grad, psi and W; those of grad and W are added up.
template <typename T, int W, int N>
inline void second_derivatives(Orbitals<T> x, Orbitals<T> h, int64_t a, const T* grad, T* to_grad, T* to_psi,
                               T* tables) {
  using V = typename Vector<T, W>::type;
  const int64_t n = N ? N : x.n;
  V sums[N ? N : MAX_RADIAL];
  for (int64_t m = 0; m < x.lm; ++m) {
    const int64_t row = (a * x.lm + m) * x.n, start = x.degree[m] * x.n * x.k;
    const T *p = x.psi + row, *hp = h.psi + row, *w = x.W + start, *hw = h.W + start;
    T* table = tables + start;
    for (int64_t q = 0; q < n; ++q) sums[q] = V{};
    for (int64_t c = 0; c < x.k; c += W) {
      const V t = contraction<V, N>(p, w, x.n, x.k, c);
      const V ht = contraction<V, N>(hp, w, x.n, x.k, c) + contraction<V, N>(p, hw, x.n, x.k, c);
      T* slot = to_grad + a * x.k + c;
      store<V>(slot, load<V>(slot) + T(2) * t * ht);
      const V g2 = T(2) * load<V>(grad + a * x.k + c), gt = g2 * t, ght = g2 * ht;
      for (int64_t q = 0; q < n; ++q) {
        const int64_t at = q * x.k + c;
        sums[q] += ght * load<V>(w + at) + gt * load<V>(hw + at);
        store<V>(table + at, load<V>(table + at) + p[q] * ght + hp[q] * gt);
      }
    }
    for (int64_t q = 0; q < n; ++q) to_psi[row + q] = total<T, W>(sums[q]);
  }
}

// ---- operators --------------------------------------------------------------------------------------------------------

template <typename Body>
void with_radial(int64_t n, const Body& body) {
  TORCH_CHECK_VALUE(n <= MAX_RADIAL, "density: at most ", MAX_RADIAL, " radial channels, got ", n);
  if (n == 8) return body(Constant<8>{});
  body(Constant<0>{});
}

// Calls body(Known<T, W, N>, arrays, chunk, begin, end) for every chunk of atoms.
template <typename Body>
void each_task(const Inputs& in, const Body& body) {
  with_type_and_width(in.orbital, in.k, [&]<typename T, int W>(Known<T, W>) {
    with_radial(in.n, [&]<int N>(Constant<N>) {
      each_chunk<CHUNK>(in.atoms, [&](int64_t chunk, int64_t begin, int64_t end) {
        body(Known<T, W, N>{}, in.of<T>(), chunk, begin, end);
      });
    });
  });
}

Tensor density(const Tensor& psi, const Tensor& weight, at::IntArrayRef components) {
  const Inputs in(psi, weight, components);
  Tensor out = at::empty({in.atoms, in.k}, psi.options());
  each_task(in, [&]<typename T, int W, int N>(Known<T, W, N>, auto x, int64_t, int64_t begin, int64_t end) {
    T* to = out.mutable_data_ptr<T>();
    for (int64_t a = begin; a < end; ++a) densities<T, W, N>(x, a, to);
  });
  return out;
}

// Gradients with respect to orbital and weight; that of the weight is empty unless wanted.
std::tuple<Tensor, Tensor> density_backward(const Tensor& grad, const Tensor& psi, const Tensor& weight,
                                            at::IntArrayRef components, bool with_weight) {
  const Inputs in(psi, weight, components);
  const Tensor g = grad.contiguous();
  Tensor d_psi = at::empty_like(in.orbital), tables = with_weight ? in.tables() : Tensor();
  each_task(in, [&]<typename T, int W, int N>(Known<T, W, N>, auto x, int64_t chunk, int64_t begin, int64_t end) {
    const T* from = g.const_data_ptr<T>();
    T *to = d_psi.mutable_data_ptr<T>(), *sums = nullptr;
    if (with_weight) sums = tables.mutable_data_ptr<T>() + chunk * in.weight.numel();
    for (int64_t a = begin; a < end; ++a) first_derivatives<T, W, N>(x, a, from, to, sums);
  });
  return {d_psi, with_weight ? tables.sum(0) : at::empty({0}, weight.options())};
}

// Gradients of <tangents, density_backward(grad, psi, W)> with respect to grad, psi and W.
std::tuple<Tensor, Tensor, Tensor> density_double_backward(const Tensor& h_psi, const Tensor& h_weight,
                                                           const Tensor& grad, const Tensor& psi, const Tensor& weight,
                                                           at::IntArrayRef components) {
  const Inputs in(psi, weight, components), tangents(h_psi, h_weight, components);
  const Tensor g = grad.contiguous();
  Tensor d_grad = at::zeros_like(g), d_psi = at::empty_like(in.orbital), tables = in.tables();
  each_task(in, [&]<typename T, int W, int N>(Known<T, W, N>, auto x, int64_t chunk, int64_t begin, int64_t end) {
    const auto h = tangents.of<T>();
    const T* from = g.const_data_ptr<T>();
    T *to_grad = d_grad.mutable_data_ptr<T>(), *to_psi = d_psi.mutable_data_ptr<T>(),
      *sums = tables.mutable_data_ptr<T>() + chunk * in.weight.numel();
    for (int64_t a = begin; a < end; ++a) second_derivatives<T, W, N>(x, h, a, from, to_grad, to_psi, sums);
  });
  return {d_grad, d_psi, tables.sum(0)};
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(density)
