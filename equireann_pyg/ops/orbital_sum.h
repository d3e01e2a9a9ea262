// Kernels of the sum over the neighbours of an atom: values, and gradients of edge and node quantities. With TANGENT
// they are those of the sum's derivative along tangents of the fields.
//
// Every loop runs over one atom and the edges that end in it (or leave from it), so that threads never write to the
// same place and the order of every sum is fixed. W channels at a time fill one vector register; LM > 0 is a number of
// angular components known to the compiler, which then keeps a whole orbital in registers.

#pragma once

#include "kernels.h"

namespace {  // of its own in every source: the compiler then merges kernels and loops

using namespace kernels;

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

template <typename T>
struct Fields {  // values, or their tangents; null where there are none
  const T *coefficient, *orbital, *radial, *angular, *filter;
};

template <typename T>
struct Gradients {
  T *coefficient, *orbital, *radial, *angular, *filter;
};

struct Sizes {
  int64_t nodes, lm, n, n_messages, n_sum, filter_width;  // channels of c and R, of M, of the sum; of the filter
};

// Channels of the sum that are made together, and the terms that they have.
struct Part : Sizes {
  int64_t first, count;
  bool local, messages;
};

// ---- kernels: one atom, W channels from channel k on ------------------------------------------------------------------

// The sum over the edges of centre i; with tangents, the derivative of that sum along them.
template <typename T, int W, int LM, bool TANGENT>
void gather(int64_t i, int64_t k, const Part& s, Order in, const int64_t* source, const Fields<T>& x,
            const Fields<T>& h, T* out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm, stride = s.filter_width > 1;
  V sum[LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) sum[m] = V{};
  for (int at = in.start[i]; at < in.start[i + 1]; ++at) {
    const int64_t e = in.perm[at], j = source[e];
    if (s.local) {
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
    }
    if (!s.messages) continue;
    const V f = load_filter<V>(x.filter + e * s.filter_width + stride * k, stride);
    const T* M = (TANGENT ? h.orbital : x.orbital) + j * lm * s.n_messages + k;
    for (int64_t m = 0; m < lm; ++m) sum[m] += f * load<V>(M + m * s.n_messages);
    if constexpr (TANGENT) {
      const V hf = load_filter<V>(h.filter + e * s.filter_width + stride * k, stride);
      const T* M0 = x.orbital + j * lm * s.n_messages + k;
      for (int64_t m = 0; m < lm; ++m) sum[m] += hf * load<V>(M0 + m * s.n_messages);
    }
  }
  for (int64_t m = 0; m < lm; ++m) store<V>(out + (i * lm + m) * s.n_sum + s.first + k, sum[m]);
}

// Gradients of edge quantities, for the edges of centre i. Adds to `angular` and to a filter of width 1 when k > 0.
// With SCATTER it also adds up the gradient of the coefficients: for one thread, and in the order of node_gradients if the
// edges are sorted by centre.
template <typename T, int W, int LM, bool TANGENT, bool SCATTER>
void edge_gradients(int64_t i, int64_t k, const Part& s, Order in, const int64_t* source, const T* grad,
                    const Fields<T>& x, const Fields<T>& h, const Gradients<T>& out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm;
  V G[LM ? LM : MAX_COMPONENTS];
  T transposed[W][LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) {
    const T* from = grad + (i * lm + m) * s.n_sum + s.first + k;
    G[m] = load<V>(from);
    for (int w = 0; w < W; ++w) transposed[w][m] = from[w];
  }
  for (int at = in.start[i]; at < in.start[i + 1]; ++at) {
    const int64_t e = in.perm[at], j = source[e];
    if (s.local) {
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
    }
    if (!s.messages) continue;
    const T* M = (TANGENT ? h.orbital : x.orbital) + j * lm * s.n_messages + k;
    V MG{};
    for (int64_t m = 0; m < lm; ++m) MG += load<V>(M + m * s.n_messages) * G[m];
    if (s.filter_width > 1) {
      store<V>(out.filter + e * s.filter_width + k, MG);
    } else {
      out.filter[e] = (k ? out.filter[e] : T(0)) + total<T, W>(MG);
    }
  }
}

// Gradients of node quantities: sums over the edges that leave atom j; without COEFFICIENT that of the orbitals only.
template <typename T, int W, int LM, bool TANGENT, bool COEFFICIENT>
void node_gradients(int64_t j, int64_t k, const Part& s, Order from, const int64_t* target, const T* grad,
                    const Fields<T>& x, const Fields<T>& h, const Gradients<T>& out) {
  using V = typename Vector<T, W>::type;
  const int64_t lm = LM ? LM : s.lm, stride = s.filter_width > 1;
  const T* filter = TANGENT ? h.filter : x.filter;
  V dc{}, dM[LM ? LM : MAX_COMPONENTS];
  for (int64_t m = 0; m < lm; ++m) dM[m] = V{};
  for (int at = from.start[j]; at < from.start[j + 1]; ++at) {
    const int64_t e = from.perm[at], i = target[e];
    const T* G = grad + i * lm * s.n_sum + s.first + k;
    const V f = s.messages ? load_filter<V>(filter + e * s.filter_width + stride * k, stride) : V{};
    if constexpr (!COEFFICIENT) {
      for (int64_t m = 0; m < lm; ++m) dM[m] += f * load<V>(G + m * s.n_sum);
      continue;
    }
    const T *Y = x.angular + e * lm, *hY = h.angular + e * lm;
    V YG{}, hYG{};
    for (int64_t m = 0; m < lm; ++m) {
      const V Gm = load<V>(G + m * s.n_sum);
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
  if (!s.messages) return;
  for (int64_t m = 0; m < lm; ++m) store<V>(out.orbital + (j * lm + m) * s.n_messages + k, dM[m]);
}

}  // namespace
