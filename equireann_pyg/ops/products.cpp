// Products of an orbital with itself, and the invariants made of them (products.h), with their analytic first and second
// derivatives.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

#include "products.h"

namespace {

using namespace kernels;

// Rows of W channels: out of a tensor [N, rows, n], and into one.
template <typename V, typename T>
V* take(const T* from, int64_t rows, int64_t n, V* to) {
  for (int64_t k = 0; k < rows; ++k) to[k] = load<V>(from + k * n);
  return to;
}
template <typename V, typename T>
void put(const V* rows, int64_t count, T* to, int64_t n) {
  for (int64_t k = 0; k < count; ++k) store<V>(to + k * n, rows[k]);
}

template <typename Head>
Tensor values(const Inputs& in, const Head& head) {
  Tensor out = at::empty({in.atoms, head.rows, in.n}, in.orbital.options());
  with_type_and_widths(in.orbital, in.n, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    T* to = out.mutable_data_ptr<T>();
    const auto body = [&](const Atom<T, W>& atom, int64_t i, int64_t q, int64_t, Room<V> room) {
      V *P = room.take(in.size), *made = room.take(head.rows);
      atom.sums(room.sums);
      atom.product(room.sums, P);
      head.values(atom, P, made);
      put(made, head.rows, to + i * head.rows * in.n + q, in.n);
    };
    each_atom<T, W>(in, in.size + head.rows, nullptr, nullptr, body);
  });
  return out;
}

template <typename Head>
std::tuple<Tensor, Tensor> backward(const Inputs& in, const Head& head, const Tensor& grad, bool with_weight) {
  in.check(grad, {in.atoms, head.rows, in.n}, "gradient");
  const Tensor g = grad.contiguous();
  Tensor d_f = at::empty_like(in.orbital), d_w = with_weight ? in.weight_parts() : at::empty({0}, g.options());
  with_type_and_widths(in.orbital, in.n, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    const int64_t lm = in.orbital.size(1), tables = in.num_species * in.paths * in.n;
    T *to_f = d_f.mutable_data_ptr<T>(), *to_w = d_w.mutable_data_ptr<T>();
    const T* from = g.const_data_ptr<T>();
    const auto body = [&](const Atom<T, W>& atom, int64_t i, int64_t q, int64_t chunk, Room<V> room) {
      V *P = room.take(in.size), *df = room.take(lm), *of_P = room.take(in.size);
      V* upstream = take(from + i * head.rows * in.n + q, head.rows, in.n, room.take(head.rows));
      atom.sums(room.sums);
      atom.product(room.sums, P);
      head.back(atom, upstream, P, df, of_P);
      atom.pull(of_P, room.sums, df, with_weight ? to_w + chunk * tables + in.weights[i] + q : nullptr);
      put(df, lm, to_f + i * lm * in.n + q, in.n);
    };
    each_atom<T, W>(in, 2 * in.size + lm + head.rows, nullptr, nullptr, body);
  });
  return {d_f, with_weight ? d_w.sum(0) : d_w};
}

// Gradients of <(x, y), backward(g, f, w)> with respect to g, f and w.
template <typename Head>
std::tuple<Tensor, Tensor, Tensor> double_backward(const Inputs& in, const Head& head, const Tensor& tangent_f,
                                                   const Tensor& tangent_w, const Tensor& grad) {
  in.check(grad, {in.atoms, head.rows, in.n}, "gradient");
  in.check(tangent_f, in.orbital.sizes(), "tangent of the orbital");
  in.check(tangent_w, in.weight.sizes(), "tangent of the weight");
  const Tensor g = grad.contiguous(), x = tangent_f.contiguous(), y = tangent_w.contiguous();
  Tensor d_g = at::empty_like(g), d_f = at::empty_like(in.orbital), d_w = in.weight_parts();
  with_type_and_widths(in.orbital, in.n, [&]<typename T, int W>(Known<T, W>) {
    using V = typename Vector<T, W>::type;
    const int64_t lm = in.orbital.size(1), tables = in.num_species * in.paths * in.n;
    T *to_g = d_g.mutable_data_ptr<T>(), *to_f = d_f.mutable_data_ptr<T>(), *to_w = d_w.mutable_data_ptr<T>();
    const T* from = g.const_data_ptr<T>();
    const auto body = [&](const Atom<T, W>& atom, int64_t i, int64_t q, int64_t chunk, Room<V> room) {
      V *P = room.take(in.size), *dP = room.take(in.size), *of_P = room.take(in.size), *of_dP = room.take(in.size);
      V *df = room.take(lm), *dg = room.take(head.rows);
      V* upstream = take(from + i * head.rows * in.n + q, head.rows, in.n, room.take(head.rows));
      atom.sums_and_slopes(room.sums, room.slopes);
      atom.product(room.sums, P);
      atom.product_slope(room.sums, room.slopes, dP);
      head.back_along(atom, upstream, P, dP, dg, df, of_P, of_dP);
      atom.pull(of_P, of_dP, room.sums, room.slopes, df, to_w + chunk * tables + in.weights[i] + q);
      put(dg, head.rows, to_g + i * head.rows * in.n + q, in.n);
      put(df, lm, to_f + i * lm * in.n + q, in.n);
    };
    each_atom<T, W>(in, 4 * in.size + lm + 2 * head.rows, &x, &y, body);
  });
  return {d_g, d_f, d_w.sum(0)};
}

Product product_of(const Inputs& in) { return {in.size, in.size}; }

Invariants invariants_of(const Inputs& in, at::IntArrayRef components, bool fourth) {
  const int64_t degrees = components.size();
  int64_t total = 0;
  for (const int64_t count : components) total += count;
  TORCH_CHECK_VALUE(total == in.size && total > 0, "product_invariants: expected components of ", in.size,
                    " rows in all, at least one, got ", components);
  return {1 + degrees * (fourth ? 3 : 2), in.n, components, fourth};
}

using Two = std::tuple<Tensor, Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;

Tensor self_coupled(const Tensor& f, const Tensor& w, const OptionalTensor& species, const Tensor& entries,
                    const Tensor& v, int64_t size) {
  const Inputs in(f, w, species, entries, v, size);
  return values(in, product_of(in));
}
Two self_coupled_backward(const Tensor& grad, const Tensor& f, const Tensor& w, const OptionalTensor& species,
                          const Tensor& entries, const Tensor& v, int64_t size, bool with_weight) {
  const Inputs in(f, w, species, entries, v, size);
  return backward(in, product_of(in), grad, with_weight);
}
Three self_coupled_double_backward(const Tensor& x, const Tensor& y, const Tensor& grad, const Tensor& f,
                                   const Tensor& w, const OptionalTensor& species, const Tensor& entries,
                                   const Tensor& v, int64_t size) {
  const Inputs in(f, w, species, entries, v, size);
  return double_backward(in, product_of(in), x, y, grad);
}

Tensor product_invariants(const Tensor& f, const Tensor& w, const OptionalTensor& species, const Tensor& entries,
                  const Tensor& v, at::IntArrayRef components, bool fourth) {
  const Inputs in(f, w, species, entries, v, f.size(1));
  return values(in, invariants_of(in, components, fourth));
}
Two product_invariants_backward(const Tensor& grad, const Tensor& f, const Tensor& w, const OptionalTensor& species,
                        const Tensor& entries, const Tensor& v, at::IntArrayRef components, bool fourth,
                        bool with_weight) {
  const Inputs in(f, w, species, entries, v, f.size(1));
  return backward(in, invariants_of(in, components, fourth), grad, with_weight);
}
Three product_invariants_double_backward(const Tensor& x, const Tensor& y, const Tensor& grad, const Tensor& f,
                                 const Tensor& w, const OptionalTensor& species, const Tensor& entries,
                                 const Tensor& v, at::IntArrayRef components, bool fourth) {
  const Inputs in(f, w, species, entries, v, f.size(1));
  return double_backward(in, invariants_of(in, components, fourth), x, y, grad);
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(self_coupled)
REGISTER_TWICE_DIFFERENTIABLE(product_invariants)
