// Standardised features of single atoms that grow only logarithmically far outside of their usual range, with their
// analytic first and second derivatives:
//
//   y = L asinh(u / L),   u = (x - mean_s) / scale_s   (s = element of the atom).

#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

#include "kernels.h"

namespace {

using namespace kernels;

constexpr int64_t CHUNK = 128;  // atoms per task

struct Features {
  Tensor x, species, mean, scale;
  int64_t atoms, k;

  Features(const Tensor& x_, const Tensor& s, const Tensor& mean_, const Tensor& scale_)
      : x(x_.contiguous()), species(s.contiguous()), mean(mean_.contiguous()), scale(scale_.contiguous()),
        atoms(x_.size(0)), k(x_.size(1)) {
    TORCH_CHECK_VALUE(s.numel() == atoms && mean.sizes() == scale.sizes() && mean.size(1) == k,
                      "soft_standardize: sizes do not fit: x ", x.sizes(), ", species ", s.sizes(), ", mean ", mean.sizes());
    checked_species(species, mean.size(0));
  }
};

// Calls body(position, u / limit, 1 / scale) for every feature of every atom.
template <typename T, int W, typename Body>
void each_feature(const Features& in, double limit, const Body& body) {
  using V = typename Vector<T, W>::type;
  const T *x = in.x.const_data_ptr<T>(), *mean = in.mean.const_data_ptr<T>(), *scale = in.scale.const_data_ptr<T>();
  const int64_t* species = in.species.const_data_ptr<int64_t>();
  each_chunk<CHUNK>(in.atoms, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a)
      for (int64_t c = 0; c < in.k; c += W) {
        const int64_t at = species[a] * in.k + c;
        const V inverse = T(1) / load<V>(scale + at);
        body(a * in.k + c, (load<V>(x + a * in.k + c) - load<V>(mean + at)) * inverse * T(1 / limit), inverse);
      }
  });
}

Tensor soft_standardize(const Tensor& x, const Tensor& species, const Tensor& mean, const Tensor& scale, double limit) {
  const Features in(x, species, mean, scale);
  Tensor out = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    T* to = out.mutable_data_ptr<T>();
    each_feature<T, W>(in, limit, [&](int64_t at, V v, V) { store<V>(to + at, T(limit) * asinh<T, W>(v)); });
  });
  return out;
}

Tensor soft_standardize_backward(const Tensor& grad, const Tensor& x, const Tensor& species, const Tensor& mean,
                     const Tensor& scale, double limit) {
  const Features in(x, species, mean, scale);
  const Tensor g = grad.contiguous();
  Tensor out = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    const T* from = g.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    each_feature<T, W>(in, limit, [&](int64_t at, V v, V inverse) {
      store<V>(to + at, load<V>(from + at) * inverse / root<T, W>(V{} + T(1) + v * v));
    });
  });
  return out;
}

// Gradients of <tangent, soft_standardize_backward(grad, x)> with respect to grad and x.
std::tuple<Tensor, Tensor> soft_standardize_double_backward(const Tensor& tangent, const Tensor& grad, const Tensor& x,
                                                const Tensor& species, const Tensor& mean, const Tensor& scale,
                                                double limit) {
  const Features in(x, species, mean, scale);
  const Tensor g = grad.contiguous(), h = tangent.contiguous();
  Tensor d_grad = at::empty_like(in.x), d_x = at::empty_like(in.x);
  with_type_and_width(x, in.k, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    const T *from = g.const_data_ptr<T>(), *along = h.const_data_ptr<T>();
    T *to_grad = d_grad.mutable_data_ptr<T>(), *to_x = d_x.mutable_data_ptr<T>();
    each_feature<T, W>(in, limit, [&](int64_t at, V v, V inverse) {
      const V square = V{} + T(1) + v * v, slope = inverse / root<T, W>(square), hs = load<V>(along + at) * slope;
      store<V>(to_grad + at, hs);
      store<V>(to_x + at, -load<V>(from + at) * hs * v * inverse * T(1 / limit) / square);
    });
  });
  return {d_grad, d_x};
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(soft_standardize)
