// Sums over the neighbours of an atom, forward, backward and double backward, without any [E, lm, n] tensor.
//
//   psi_i = sum_j [ c_j R_ij (x) Y_ij + f_ij M_j ],   or both terms in channels of their own, one behind the other

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <climits>
#include <optional>
#include <tuple>
#include <vector>

#include "orbital_sum.h"

namespace {

using namespace kernels;
using OptTensor = const std::optional<Tensor>&;

constexpr int64_t GRAIN = 16;  // atoms per task of a thread

// ---- the arrays of one call -------------------------------------------------------------------------------------------

Order order_of(const Tensor& order, int64_t row, int64_t num_nodes) {
  const int* base = order.const_data_ptr<int>() + row * order.size(1);
  return {base, base + num_nodes + 1};
}

// The tensors of one call, contiguous and of matching shapes.
struct Inputs {
  Tensor coefficient;
  std::optional<Tensor> orbital;
  Tensor edge_index, order, radial, angular, filter;
  Sizes sizes;
  bool apart;  // whether the terms have channels of their own

  Inputs(const Tensor& c, OptTensor M, const Tensor& edges, const Tensor& sorted, const Tensor& R, const Tensor& Y,
         const Tensor& f, bool concat)
      : coefficient(c.contiguous()),
        edge_index(edges.contiguous()),
        order(sorted.contiguous()),
        radial(R.contiguous()),
        angular(Y.contiguous()),
        filter(f.contiguous()),
        apart(M && concat) {
    if (M) orbital = M->contiguous();
    TORCH_CHECK_VALUE(edges.dim() == 2 && edges.size(0) == 2, "edge_index: expected [2, E], got ", edges.sizes());
    const int64_t E = edges.size(1);
    TORCH_CHECK_VALUE(c.dim() == 2, "coefficient: expected [N, n], got ", c.sizes());
    TORCH_CHECK_VALUE(R.dim() == 2, "radial: expected [E, n], got ", R.sizes());
    TORCH_CHECK_VALUE(Y.dim() == 2, "angular: expected [E, lm], got ", Y.sizes());
    TORCH_CHECK_VALUE(f.dim() == 1 || f.dim() == 2, "envelope: expected [E] or [E, n], got ", f.sizes());
    TORCH_CHECK_VALUE(sorted.dim() == 2 && sorted.size(0) == 2, "order: expected that of edge_order, got ",
                      sorted.sizes());
    TORCH_CHECK_VALUE(!M || M->dim() == 3, "orbital: expected [N, lm, n], got ", M->sizes());
    const int64_t n = c.size(1), n_messages = apart ? M->size(2) : n;
    sizes = {c.size(0), Y.size(1), n, n_messages, apart ? n + n_messages : n, f.dim() == 2 ? f.size(1) : 1};
    TORCH_CHECK_VALUE(sizes.lm <= MAX_COMPONENTS, "angular: at most ", MAX_COMPONENTS, " components, got ", sizes.lm);
    TORCH_CHECK_VALUE(order.size(1) == sizes.nodes + 1 + E, "order: made for other edges or another number of atoms");
    TORCH_CHECK_VALUE(R.size(0) == E && R.size(1) == sizes.n, "radial: expected [", E, ", ", sizes.n, "], got ",
                      R.sizes());
    TORCH_CHECK_VALUE(Y.size(0) == E, "angular: expected ", E, " rows, got ", Y.sizes());
    TORCH_CHECK_VALUE(f.size(0) == E && (!M || sizes.filter_width == 1 || sizes.filter_width == n_messages),
                      "envelope: expected [", E, "] or [", E, ", ", n_messages, "], got ", f.sizes());
    TORCH_CHECK_VALUE(!M || M->sizes() == at::IntArrayRef({sizes.nodes, sizes.lm, n_messages}), "orbital: expected [",
                      sizes.nodes, ", ", sizes.lm, ", ", n_messages, "], got ", M->sizes());
    const int64_t* atom = source();
    for (int64_t e = 0; e < 2 * E; ++e)
      TORCH_CHECK_INDEX(0 <= atom[e] && atom[e] < sizes.nodes, "edge_index: expected atoms 0 to ", sizes.nodes - 1,
                        ", got ", atom[e]);
  }

  const int64_t* source() const { return edge_index.const_data_ptr<int64_t>(); }
  const int64_t* target() const { return source() + edge_index.size(1); }
  Order by_source() const { return order_of(order, 0, sizes.nodes); }
  Order by_target() const { return order_of(order, 1, sizes.nodes); }

  // One part where messages are added to the local orbitals, or there are none.
  std::vector<Part> parts() const {
    const Part local{sizes, 0, sizes.n, true, orbital && !apart};
    if (!apart) return {local};
    return {local, Part{sizes, sizes.n, sizes.n_messages, false, true}};
  }

  template <typename T>
  Fields<T> fields() const {
    return {coefficient.const_data_ptr<T>(), orbital ? orbital->const_data_ptr<T>() : nullptr,
            radial.const_data_ptr<T>(), angular.const_data_ptr<T>(), filter.const_data_ptr<T>()};
  }
};

// ---- loops over atoms, and the choice of W and LM ---------------------------------------------------------------------

template <typename Body>
void each_atom(int64_t nodes, const Body& body) {
  at::parallel_for(0, nodes, GRAIN, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) body(a);
  });
}

template <typename Body>
void with_components(int64_t lm, const Body& body) {
  switch (lm) {
    case 4: return body(Constant<4>{});
    case 9: return body(Constant<9>{});
    case 10: return body(Constant<10>{});
    case 16: return body(Constant<16>{});
    default: return body(Constant<0>{});
  }
}

// Calls body(Known<T, W, LM>, atom, channel) for W channels of a part from the given one on, of every atom.
template <typename T, typename Body>
void each_atom_and_channel(const Part& s, const Body& body) {
  with_components(s.lm, [&]<int LM>(Constant<LM>) {
    with_width<8, 4, 1>(s.count, [&]<int W>(Constant<W>) {
      each_atom(s.nodes, [&](int64_t a) {
        for (int64_t k = 0; k < s.count; k += W) body(Known<T, W, LM>{}, a, k);
      });
    });
  });
}

// ---- operators --------------------------------------------------------------------------------------------------------

// Edges by source (row 0) and by target (row 1), [2, N + 1 + E] int32: a counting sort, stable.
Tensor edge_order(const Tensor& edge_index, int64_t num_nodes) {
  TORCH_CHECK_VALUE(edge_index.dim() == 2 && edge_index.size(0) == 2, "edge_index: expected [2, E], got ",
                    edge_index.sizes());
  TORCH_CHECK_VALUE(num_nodes >= 0, "num_nodes: expected 0 or more, got ", num_nodes);
  const int64_t edges = edge_index.size(1);
  TORCH_CHECK(edges < INT_MAX, "edge_order: at most 2^31 - 1 edges in one call, got ", edges);
  Tensor order = at::empty({2, num_nodes + 1 + edges}, edge_index.options().dtype(at::kInt));
  const Tensor index = edge_index.contiguous();
  for (int64_t row = 0; row < 2; ++row) {
    const int64_t* atom = index.const_data_ptr<int64_t>() + row * edges;
    int* start = order.mutable_data_ptr<int>() + row * order.size(1);
    int* perm = start + num_nodes + 1;
    std::fill(start, perm, 0);
    for (int64_t e = 0; e < edges; ++e) {
      TORCH_CHECK(0 <= atom[e] && atom[e] < num_nodes, "edge_index: expected atoms 0 to ", num_nodes - 1, ", got ",
                  atom[e]);
      ++start[atom[e] + 1];
    }
    for (int64_t a = 0; a < num_nodes; ++a) start[a + 1] += start[a];
    for (int64_t e = 0; e < edges; ++e) perm[start[atom[e]]++] = static_cast<int>(e);
    for (int64_t a = num_nodes; a > 0; --a) start[a] = start[a - 1];
    start[0] = 0;
  }
  return order;
}

Tensor orbital_sum(const Tensor& c, OptTensor M, const Tensor& edge_index, const Tensor& order, const Tensor& R,
                   const Tensor& Y, const Tensor& f, bool concat) {
  const Inputs in(c, M, edge_index, order, R, Y, f, concat);
  Tensor out = at::empty({in.sizes.nodes, in.sizes.lm, in.sizes.n_sum}, c.options());
  with_type(c, [&]<typename T>(Known<T>) {
    const auto x = in.fields<T>();
    T* to = out.mutable_data_ptr<T>();
    const Order by_target = in.by_target();
    const int64_t* source = in.source();
    for (const Part& s : in.parts())
      each_atom_and_channel<T>(s, [&]<int W, int LM>(Known<T, W, LM>, int64_t i, int64_t k) {
        gather<T, W, LM, false>(i, k, s, by_target, source, x, {}, to);
      });
  });
  return out;
}

using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Five empty_gradients(const Inputs& in) {
  const Tensor none = at::empty({0}, in.coefficient.options());
  const bool messages = in.orbital && in.sizes.n_messages > 0;
  return {at::empty_like(in.coefficient), in.orbital ? at::empty_like(*in.orbital) : none, at::empty_like(in.radial),
          at::empty_like(in.angular), messages ? at::empty_like(in.filter) : at::zeros_like(in.filter)};
}

template <bool TANGENT, typename T>
void all_gradients(const Inputs& in, const T* grad, const Fields<T>& x, const Fields<T>& h, const Five& out,
                   T* forward) {
  const auto& [c, M, R, Y, f] = out;
  const Gradients<T> to{c.template mutable_data_ptr<T>(), M.template mutable_data_ptr<T>(),
                        R.template mutable_data_ptr<T>(), Y.template mutable_data_ptr<T>(),
                        f.template mutable_data_ptr<T>()};
  const Order by_source = in.by_source(), by_target = in.by_target();
  const int64_t *source = in.source(), *target = in.target();
  const bool alone = at::get_num_threads() == 1 || at::in_parallel_region();
  if (alone) c.zero_();
  for (const Part& s : in.parts())
    each_atom_and_channel<T>(s, [&]<int W, int LM>(Known<T, W, LM>, int64_t a, int64_t k) {
      if constexpr (TANGENT) gather<T, W, LM, true>(a, k, s, by_target, source, x, h, forward);
      if (alone) {
        edge_gradients<T, W, LM, TANGENT, true>(a, k, s, by_target, source, grad, x, h, to);
        if (s.messages) node_gradients<T, W, LM, TANGENT, false>(a, k, s, by_source, target, grad, x, h, to);
      } else {
        edge_gradients<T, W, LM, TANGENT, false>(a, k, s, by_target, source, grad, x, h, to);
        if (s.local) node_gradients<T, W, LM, TANGENT, true>(a, k, s, by_source, target, grad, x, h, to);
        else node_gradients<T, W, LM, TANGENT, false>(a, k, s, by_source, target, grad, x, h, to);
      }
    });
}

Five orbital_sum_backward(const Tensor& grad, const Tensor& c, OptTensor M, const Tensor& edge_index,
                          const Tensor& order, const Tensor& R, const Tensor& Y, const Tensor& f, bool concat) {
  const Inputs in(c, M, edge_index, order, R, Y, f, concat);
  const Tensor G = grad.contiguous();
  const Five out = empty_gradients(in);
  with_type(c, [&]<typename T>(Known<T>) {
    all_gradients<false, T>(in, G.const_data_ptr<T>(), in.fields<T>(), {}, out, nullptr);
  });
  return out;
}

using Six = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Gradients of <tangents, orbital_sum_backward(grad, fields)> with respect to grad and the fields.
Six orbital_sum_double_backward(const Tensor& hc, OptTensor hM, const Tensor& hR, const Tensor& hY, const Tensor& hf,
                                const Tensor& grad, const Tensor& c, OptTensor M, const Tensor& edge_index,
                                const Tensor& order, const Tensor& R, const Tensor& Y, const Tensor& f, bool concat) {
  const Inputs in(c, M, edge_index, order, R, Y, f, concat);
  const Inputs tangents(hc, hM, edge_index, order, hR, hY, hf, concat);
  const Tensor G = grad.contiguous();
  const Five out = empty_gradients(in);
  Tensor forward = at::empty_like(G);
  with_type(c, [&]<typename T>(Known<T>) {
    all_gradients<true, T>(in, G.const_data_ptr<T>(), in.fields<T>(), tangents.fields<T>(), out,
                           forward.mutable_data_ptr<T>());
  });
  return std::tuple_cat(std::make_tuple(forward), out);
}

}  // namespace

REGISTER_TWICE_DIFFERENTIABLE(orbital_sum)
TORCH_LIBRARY_IMPL(equireann, CPU, m) { m.impl("edge_order", edge_order); }
