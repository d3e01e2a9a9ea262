// Sums over the neighbours of an atom, forward, backward and double backward, without any [E, lm, n] tensor.
//
//   psi_i = sum_j [ c_j R_ij (x) Y_ij + f_ij M_j ]
//
// Every loop runs over one atom and the edges that end in it (or leave from it), so that threads never write to the same
// place and the order of every sum is fixed. W channels at a time fill one vector register; LM > 0 is a number of angular
// components known to the compiler, which then keeps a whole orbital in registers.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <tuple>

#include "simd.h"

namespace {

using at::Tensor;
using OptTensor = const std::optional<Tensor>&;
using std::int64_t;
using namespace simd;

constexpr int64_t GRAIN = 16;          // atoms per task of a thread
constexpr int64_t MAX_COMPONENTS = 64;  // of an orbital on the stack

// A filter has one value per edge (stride 0 over the channels) or one per edge and channel (stride 1).
template <typename V, typename T>
inline V load_filter(const T* from, int64_t stride) {
  return stride ? load<V>(from) : V{} + *from;
}

// ---- the arrays of one call -------------------------------------------------------------------------------------------

// Edges that share an atom: those of atom a are perm[start[a]] ... perm[start[a + 1] - 1].
struct Order {
  const int* start;
  const int* perm;
};

Order order_of(const Tensor& order, int64_t row, int64_t num_nodes) {
  const int* base = order.const_data_ptr<int>() + row * order.size(1);
  return {base, base + num_nodes + 1};
}

template <typename T>
struct Fields {  // values, or their tangents; null where there are none
  const T *coefficient, *orbital, *radial, *angular, *filter;
};

template <typename T>
struct Gradients {
  T *coefficient, *orbital, *radial, *angular, *filter;
};

struct Sizes {
  int64_t nodes, lm, n, filter_width;
};

// The tensors of one call, contiguous and of matching shapes.
struct Inputs {
  Tensor coefficient;
  std::optional<Tensor> orbital;
  Tensor edge_index, order, radial, angular, filter;
  Sizes sizes;

  Inputs(const Tensor& c, OptTensor M, const Tensor& edges, const Tensor& sorted, const Tensor& R, const Tensor& Y,
         const Tensor& f)
      : coefficient(c.contiguous()),
        edge_index(edges.contiguous()),
        order(sorted.contiguous()),
        radial(R.contiguous()),
        angular(Y.contiguous()),
        filter(f.contiguous()) {
    if (M) orbital = M->contiguous();
    TORCH_CHECK_VALUE(edges.dim() == 2 && edges.size(0) == 2, "edge_index: expected [2, E], got ", edges.sizes());
    const int64_t E = edges.size(1);
    TORCH_CHECK_VALUE(c.dim() == 2, "coefficient: expected [N, n], got ", c.sizes());
    TORCH_CHECK_VALUE(R.dim() == 2, "radial: expected [E, n], got ", R.sizes());
    TORCH_CHECK_VALUE(Y.dim() == 2, "angular: expected [E, lm], got ", Y.sizes());
    TORCH_CHECK_VALUE(f.dim() == 1 || f.dim() == 2, "envelope: expected [E] or [E, n], got ", f.sizes());
    TORCH_CHECK_VALUE(sorted.dim() == 2 && sorted.size(0) == 2, "order: expected that of edge_order, got ", sorted.sizes());
    sizes = {c.size(0), Y.size(1), c.size(1), f.dim() == 2 ? f.size(1) : 1};
    TORCH_CHECK_VALUE(sizes.lm <= MAX_COMPONENTS, "angular: at most ", MAX_COMPONENTS, " components, got ", sizes.lm);
    TORCH_CHECK_VALUE(order.size(1) == sizes.nodes + 1 + E, "order: made for other edges or another number of atoms");
    TORCH_CHECK_VALUE(R.size(0) == E && R.size(1) == sizes.n, "radial: expected [", E, ", ", sizes.n, "], got ", R.sizes());
    TORCH_CHECK_VALUE(Y.size(0) == E, "angular: expected ", E, " rows, got ", Y.sizes());
    TORCH_CHECK_VALUE(f.size(0) == E && (sizes.filter_width == 1 || sizes.filter_width == sizes.n),
                      "envelope: expected [", E, "] or [", E, ", ", sizes.n, "], got ", f.sizes());
    TORCH_CHECK_VALUE(!M || M->sizes() == at::IntArrayRef({sizes.nodes, sizes.lm, sizes.n}), "orbital: expected [",
                      sizes.nodes, ", ", sizes.lm, ", ", sizes.n, "], got ", M->sizes());
    const int64_t* atom = source();
    for (int64_t e = 0; e < 2 * E; ++e)
      TORCH_CHECK_INDEX(0 <= atom[e] && atom[e] < sizes.nodes, "edge_index: expected atoms 0 to ", sizes.nodes - 1,
                        ", got ", atom[e]);
  }

  const int64_t* source() const { return edge_index.const_data_ptr<int64_t>(); }
  const int64_t* target() const { return source() + edge_index.size(1); }
  Order by_source() const { return order_of(order, 0, sizes.nodes); }
  Order by_target() const { return order_of(order, 1, sizes.nodes); }

  template <typename T>
  Fields<T> fields() const {
    return {coefficient.const_data_ptr<T>(), orbital ? orbital->const_data_ptr<T>() : nullptr,
            radial.const_data_ptr<T>(), angular.const_data_ptr<T>(), filter.const_data_ptr<T>()};
  }
};

// ---- kernels: one atom, W channels from channel k on ------------------------------------------------------------------

// The sum over the edges of centre i; with tangents, the derivative of that sum along them.
template <typename T, int W, int LM, bool TANGENT>
void gather(int64_t i, int64_t k, const Sizes& s, Order in, const int64_t* source, const Fields<T>& x,
            const Fields<T>& h, T* out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm, stride = s.filter_width > 1;
  V sum[LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) sum[m] = V{};
  for (int at = in.start[i]; at < in.start[i + 1]; ++at) {
    const int64_t e = in.perm[at], j = source[e];
    const V c = load<V>(x.coefficient + j * s.n + k), R = load<V>(x.radial + e * s.n + k);
    const T* Y = x.angular + e * lm;
    if constexpr (!TANGENT) {
      const V cR = c * R;
      for (int64_t m = 0; m < lm; ++m) sum[m] += Y[m] * cR;
    } else {
      const V hcR = load<V>(h.coefficient + j * s.n + k) * R + c * load<V>(h.radial + e * s.n + k), cR = c * R;
      const T* hY = h.angular + e * lm;
      for (int64_t m = 0; m < lm; ++m) sum[m] += Y[m] * hcR + hY[m] * cR;
    }
    if (!x.orbital) continue;
    const V f = load_filter<V>(x.filter + e * s.filter_width + stride * k, stride);
    const T* M = (TANGENT ? h.orbital : x.orbital) + j * lm * s.n + k;
    for (int64_t m = 0; m < lm; ++m) sum[m] += f * load<V>(M + m * s.n);
    if constexpr (TANGENT) {
      const V hf = load_filter<V>(h.filter + e * s.filter_width + stride * k, stride);
      const T* M0 = x.orbital + j * lm * s.n + k;
      for (int64_t m = 0; m < lm; ++m) sum[m] += hf * load<V>(M0 + m * s.n);
    }
  }
  for (int64_t m = 0; m < lm; ++m) store<V>(out + (i * lm + m) * s.n + k, sum[m]);
}

// Gradients of edge quantities, for the edges of centre i. Adds to `angular` and to a filter of width 1 when k > 0.
// With SCATTER it also adds up the gradient of the coefficients: for one thread, and in the order of node_gradients if the
// edges are sorted by centre.
template <typename T, int W, int LM, bool TANGENT, bool SCATTER>
void edge_gradients(int64_t i, int64_t k, const Sizes& s, Order in, const int64_t* source, const T* grad,
                    const Fields<T>& x, const Fields<T>& h, const Gradients<T>& out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm, stride = s.filter_width > 1;
  V G[LM ? LM : MAX_COMPONENTS];
  T transposed[W][LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) {
    const T* from = grad + (i * lm + m) * s.n + k;
    G[m] = load<V>(from);
    for (int w = 0; w < W; ++w) transposed[w][m] = from[w];
  }
  for (int at = in.start[i]; at < in.start[i + 1]; ++at) {
    const int64_t e = in.perm[at], j = source[e];
    const V c = load<V>(x.coefficient + j * s.n + k);
    const T* Y = x.angular + e * lm;
    const V R = load<V>(x.radial + e * s.n + k);
    V YG{}, weight, dc{};
    if constexpr (SCATTER) dc = load<V>(out.coefficient + j * s.n + k);
    for (int64_t m = 0; m < lm; ++m) YG += Y[m] * G[m];
    if constexpr (!TANGENT) {
      store<V>(out.radial + e * s.n + k, c * YG);
      weight = c * R;
      dc += R * YG;
    } else {
      const V hc = load<V>(h.coefficient + j * s.n + k);
      const T* hY = h.angular + e * lm;
      V hYG{};
      for (int64_t m = 0; m < lm; ++m) hYG += hY[m] * G[m];
      store<V>(out.radial + e * s.n + k, hc * YG + c * hYG);
      const V hR = load<V>(h.radial + e * s.n + k);
      weight = hc * R + c * hR;
      dc += hR * YG + R * hYG;
    }
    if constexpr (SCATTER) store<V>(out.coefficient + j * s.n + k, dc);
    T weights[W], dY[LM ? LM : MAX_COMPONENTS];
    store<V>(weights, weight);
    for (int64_t m = 0; m < lm; ++m) dY[m] = k ? out.angular[e * lm + m] : T(0);
    for (int w = 0; w < W; ++w)
      for (int64_t m = 0; m < lm; ++m) dY[m] += weights[w] * transposed[w][m];
    for (int64_t m = 0; m < lm; ++m) out.angular[e * lm + m] = dY[m];
    if (!x.orbital) continue;
    const T* M = (TANGENT ? h.orbital : x.orbital) + j * lm * s.n + k;
    V MG{};
    for (int64_t m = 0; m < lm; ++m) MG += load<V>(M + m * s.n) * G[m];
    if (s.filter_width > 1) {
      store<V>(out.filter + e * s.filter_width + k, MG);
    } else {
      out.filter[e] = (k ? out.filter[e] : T(0)) + total<T, W>(MG);
    }
  }
}

// Gradients of node quantities: sums over the edges that leave atom j; without COEFFICIENT that of the orbitals only.
template <typename T, int W, int LM, bool TANGENT, bool COEFFICIENT>
void node_gradients(int64_t j, int64_t k, const Sizes& s, Order from, const int64_t* target, const T* grad,
                    const Fields<T>& x, const Fields<T>& h, const Gradients<T>& out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm, stride = s.filter_width > 1;
  const T* filter = TANGENT ? h.filter : x.filter;
  V dc{}, dM[LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) dM[m] = V{};
  for (int at = from.start[j]; at < from.start[j + 1]; ++at) {
    const int64_t e = from.perm[at], i = target[e];
    const T* G = grad + i * lm * s.n + k;
    const V f = x.orbital ? load_filter<V>(filter + e * s.filter_width + stride * k, stride) : V{};
    if constexpr (!COEFFICIENT) {
      for (int64_t m = 0; m < lm; ++m) dM[m] += f * load<V>(G + m * s.n);
      continue;
    }
    const T *Y = x.angular + e * lm, *hY = h.angular + e * lm;
    V YG{}, hYG{};
    for (int64_t m = 0; m < lm; ++m) {
      const V Gm = load<V>(G + m * s.n);
      YG += Y[m] * Gm;
      if constexpr (TANGENT) hYG += hY[m] * Gm;
      dM[m] += f * Gm;
    }
    const V R = load<V>(x.radial + e * s.n + k);
    if constexpr (TANGENT) {
      dc += load<V>(h.radial + e * s.n + k) * YG + R * hYG;
    } else {
      dc += R * YG;
    }
  }
  if constexpr (COEFFICIENT) store<V>(out.coefficient + j * s.n + k, dc);
  if (!x.orbital) return;
  for (int64_t m = 0; m < lm; ++m) store<V>(out.orbital + (j * lm + m) * s.n + k, dM[m]);
}

// ---- loops over atoms, and the choice of W and LM ---------------------------------------------------------------------

template <typename Body>
void each_atom(int64_t nodes, const Body& body) {
  at::parallel_for(0, nodes, GRAIN, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) body(a);
  });
}

template <int W, int LM>
struct Shape {
  static constexpr int width = W, components = LM;
};

template <typename Body>
void with_components(int64_t lm, const Body& body) {
  switch (lm) {
    case 4: return body(std::integral_constant<int, 4>{});
    case 9: return body(std::integral_constant<int, 9>{});
    case 10: return body(std::integral_constant<int, 10>{});
    case 16: return body(std::integral_constant<int, 16>{});
    default: return body(std::integral_constant<int, 0>{});
  }
}

template <typename Body>
void with_shape(const Sizes& s, const Body& body) {
  with_components(s.lm, [&](auto components) {
    constexpr int LM = decltype(components)::value;
    if (s.n % 8 == 0) return body(Shape<8, LM>{});
    if (s.n % 4 == 0) return body(Shape<4, LM>{});
    return body(Shape<1, LM>{});
  });
}

template <typename Body>
void with_type(const Tensor& tensor, const Body& body) {
  if (tensor.scalar_type() == at::kFloat) return body(float{});
  TORCH_CHECK(tensor.scalar_type() == at::kDouble, "orbital_sum: expected float32 or float64, got ",
              tensor.scalar_type());
  body(double{});
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
                   const Tensor& Y, const Tensor& f) {
  const Inputs in(c, M, edge_index, order, R, Y, f);
  const Sizes& s = in.sizes;
  Tensor out = at::empty({s.nodes, s.lm, s.n}, c.options());
  with_type(c, [&](auto zero) {
    using T = decltype(zero);
    const auto x = in.fields<T>();
    T* to = out.mutable_data_ptr<T>();
    const Order by_target = in.by_target();
    const int64_t* source = in.source();
    with_shape(s, [&](auto shape) {
      constexpr int W = decltype(shape)::width, LM = decltype(shape)::components;
      each_atom(s.nodes, [&](int64_t i) {
        for (int64_t k = 0; k < s.n; k += W) gather<T, W, LM, false>(i, k, s, by_target, source, x, {}, to);
      });
    });
  });
  return out;
}

using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Five empty_gradients(const Inputs& in) {
  const auto none = [&] { return at::empty({0}, in.coefficient.options()); };
  return {at::empty_like(in.coefficient), in.orbital ? at::empty_like(*in.orbital) : none(), at::empty_like(in.radial),
          at::empty_like(in.angular), in.orbital ? at::empty_like(in.filter) : none()};
}

template <bool TANGENT, typename T>
void all_gradients(const Inputs& in, const T* grad, const Fields<T>& x, const Fields<T>& h, const Five& out,
                   T* forward) {
  const auto& [c, M, R, Y, f] = out;
  const Gradients<T> to{c.template mutable_data_ptr<T>(), M.template mutable_data_ptr<T>(),
                        R.template mutable_data_ptr<T>(), Y.template mutable_data_ptr<T>(),
                        f.template mutable_data_ptr<T>()};
  const Sizes& s = in.sizes;
  const Order by_source = in.by_source(), by_target = in.by_target();
  const int64_t *source = in.source(), *target = in.target();
  const bool alone = at::get_num_threads() == 1 || at::in_parallel_region();
  if (alone) c.zero_();
  with_shape(s, [&](auto shape) {
    constexpr int W = decltype(shape)::width, LM = decltype(shape)::components;
    each_atom(s.nodes, [&](int64_t a) {
      for (int64_t k = 0; k < s.n; k += W) {
        if constexpr (TANGENT) gather<T, W, LM, true>(a, k, s, by_target, source, x, h, forward);
        if (alone) {
          edge_gradients<T, W, LM, TANGENT, true>(a, k, s, by_target, source, grad, x, h, to);
          if (x.orbital) node_gradients<T, W, LM, TANGENT, false>(a, k, s, by_source, target, grad, x, h, to);
        } else {
          edge_gradients<T, W, LM, TANGENT, false>(a, k, s, by_target, source, grad, x, h, to);
          node_gradients<T, W, LM, TANGENT, true>(a, k, s, by_source, target, grad, x, h, to);
        }
      }
    });
  });
}

Five orbital_sum_backward(const Tensor& grad, const Tensor& c, OptTensor M, const Tensor& edge_index,
                          const Tensor& order, const Tensor& R, const Tensor& Y, const Tensor& f) {
  const Inputs in(c, M, edge_index, order, R, Y, f);
  const Tensor G = grad.contiguous();
  const Five out = empty_gradients(in);
  with_type(c, [&](auto zero) {
    using T = decltype(zero);
    all_gradients<false, T>(in, G.const_data_ptr<T>(), in.fields<T>(), {}, out, nullptr);
  });
  return out;
}

using Six = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Gradients of <tangents, orbital_sum_backward(grad, fields)> with respect to grad and the fields.
Six orbital_sum_double_backward(const Tensor& hc, OptTensor hM, const Tensor& hR, const Tensor& hY, const Tensor& hf,
                                const Tensor& grad, const Tensor& c, OptTensor M, const Tensor& edge_index,
                                const Tensor& order, const Tensor& R, const Tensor& Y, const Tensor& f) {
  const Inputs in(c, M, edge_index, order, R, Y, f), tangents(hc, hM, edge_index, order, hR, hY, hf);
  const Tensor G = grad.contiguous();
  const Five out = empty_gradients(in);
  Tensor forward = at::empty_like(G);
  with_type(c, [&](auto zero) {
    using T = decltype(zero);
    all_gradients<true, T>(in, G.const_data_ptr<T>(), in.fields<T>(), tangents.fields<T>(), out,
                           forward.mutable_data_ptr<T>());
  });
  return std::tuple_cat(std::make_tuple(forward), out);
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("edge_order", edge_order);
  m.impl("orbital_sum", orbital_sum);
  m.impl("orbital_sum_backward", orbital_sum_backward);
  m.impl("orbital_sum_double_backward", orbital_sum_double_backward);
}
