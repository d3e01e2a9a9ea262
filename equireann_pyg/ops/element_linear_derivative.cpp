// Derivatives of the linear maps of elements and of their outer products, of every order: each is one of the two again.
// They are small and many, and the way through Python would take as long as most of them.

#include <ATen/ops/einsum.h>
#include <ATen/ops/one_hot.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Whether gradients are batched, or carry tangents: kernels know nothing of these.
bool transformed(const Tensor& tensor) {
  return c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::FuncTorchDynamicLayerFrontMode) ||
         tensor._fw_grad(0).defined();
}

Tensor rows_of(const Tensor& species, int64_t num_species, const Tensor& like) {
  return at::one_hot(species, num_species).to(like.scalar_type());  // -> [N, S]
}

Tensor linear(const Tensor& x, const Tensor& species, const Tensor& weight) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("equireann::element_linear", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&)>();
  if (!transformed(x) && !transformed(weight)) return op.call(x, species, weight);
  return at::einsum("as,ai,sio->ao", {rows_of(species, weight.size(0), x), x, weight});
}

Tensor outer(const Tensor& x, const Tensor& y, const Tensor& species, c10::SymInt num_species) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("equireann::element_outer", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, c10::SymInt)>();
  if (!transformed(x) && !transformed(y)) return op.call(x, y, species, num_species);
  return at::einsum("as,ai,ao->sio", {rows_of(species, num_species.expect_int(), x), x, y});
}

struct Linear : torch::autograd::Function<Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& species, const Tensor& weight) {
    ctx->save_for_backward({x, species, weight});
    const at::AutoDispatchBelowADInplaceOrView guard;
    return linear(x, species, weight);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &species = saved[1], &weight = saved[2], &g = grads[0];
    return {ctx->needs_input_grad(0) ? linear(g, species, weight.transpose(1, 2)) : Tensor(), Tensor(),
            ctx->needs_input_grad(2) ? outer(x, g, species, weight.sym_size(0)) : Tensor()};
  }
};

struct Outer : torch::autograd::Function<Outer> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& y, const Tensor& species,
                        c10::SymInt num_species) {
    ctx->save_for_backward({x, y, species});
    const at::AutoDispatchBelowADInplaceOrView guard;
    return outer(x, y, species, num_species);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &y = saved[1], &species = saved[2], &g = grads[0];
    return {ctx->needs_input_grad(0) ? linear(y, species, g.transpose(1, 2)) : Tensor(),
            ctx->needs_input_grad(1) ? linear(x, species, g) : Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(equireann, AutogradCPU, m) {
  m.impl("element_linear", [](const Tensor& x, const Tensor& species, const Tensor& weight) {
    return Linear::apply(x, species, weight);
  });
  m.impl("element_outer", [](const Tensor& x, const Tensor& y, const Tensor& species, c10::SymInt num_species) {
    return Outer::apply(x, y, species, num_species);
  });
}
