// What one atom contributes to products of an orbital with itself and to the invariants made of them:
//
//   P_c = sum_e v_e w_spn f_a f_b,   B = f_00, f_l . f_l, f_l . P_l, P_l . P_l
//
// over the entries e = (a, b, c, p) with values v_e, channel by channel (f: an orbital of an atom of element s). Along
// tangents x of f and y of w,  P'_c = sum_e v_e [w (f_a x_b + x_a f_b) + y f_a f_b].
//
// The entries of one c and p make a group, with one sum and one weight. A gradient is gathered component by component from
// the factors of the groups, so that every sum stays in a register.

#pragma once

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "coupled.h"

namespace kernels {

using OptionalTensor = std::optional<Tensor>;

constexpr int64_t CHUNK = 32;  // atoms per task; sums over atoms are made per chunk, so they do not depend on threads

template <typename T>
struct Slope {  // d P_c / d f: of a group, the other component, and its value
  int64_t group;
  int32_t other;  // offset
  T value;
};

// Entries by group, and by each of their components.
template <typename T>
struct ProductTable : Table<T> {
  std::vector<Slope<T>> slopes;
  std::vector<int64_t> slope_ends;  // of every component

  ProductTable(Table<T> by_group, int64_t n, int64_t components) : Table<T>(std::move(by_group)) {
    std::vector<std::vector<Slope<T>>> of(components);
    for (size_t g = 0; g < this->groups.size(); ++g)
      for (int64_t at = this->groups[g].begin; at < this->groups[g].end; ++at) {
        const Term<T> t = this->terms[at];
        if (t.a != t.b) of[t.b / n].push_back({int64_t(g), t.a, t.value});
        of[t.a / n].push_back({int64_t(g), t.b, t.a == t.b ? T(2) * t.value : t.value});
      }
    for (const auto& some : of) {
      slopes.insert(slopes.end(), some.begin(), some.end());
      slope_ends.push_back(slopes.size());
    }
  }
};

struct Inputs {
  Tensor orbital, weight, entries, values;
  int64_t atoms, size, n, num_species, paths;  // size: components of the product
  std::vector<int64_t> weights;

  Inputs(const Tensor& f, const Tensor& w, const OptionalTensor& species, const Tensor& entries_,
         const Tensor& values_, int64_t size_)
      : orbital(f.contiguous()), weight(w.contiguous()), entries(entries_.contiguous()), values(values_.contiguous()),
        size(size_) {
    TORCH_CHECK_VALUE(f.dim() == 3 && w.dim() == 3 && f.size(2) == w.size(2) && f.scalar_type() == w.scalar_type(),
                      "products: expected orbital [N, lm, n] and weight [S, P, n], got ", f.sizes(), " and ", w.sizes());
    check_entries(entries, values);
    atoms = f.size(0), n = f.size(2), num_species = w.size(0), paths = w.size(1);
    weights = weight_offsets(species, atoms, num_species, paths * n);
  }

  template <typename T>
  ProductTable<T> table() const {
    return {{entries, values, n, {orbital.size(1), orbital.size(1), size, paths}, {0, 1, 2}}, n, orbital.size(1)};
  }
  void check(const Tensor& like, at::IntArrayRef shape, const char* what) const {
    TORCH_CHECK_VALUE(like.sizes() == shape && like.scalar_type() == orbital.scalar_type(), "products: expected ", what,
                      " ", orbital.scalar_type(), shape, ", got ", like.scalar_type(), like.sizes());
  }
  Tensor weight_parts() const { return at::zeros({chunks<CHUNK>(atoms), num_species, paths, n}, weight.options()); }
};

// W channels of an atom: its orbital f, its weights w, and their tangents x and y; components are n apart.
template <typename T, int W>
struct Atom {
  using V = typename Vector<T, W>::type;
  const ProductTable<T>& table;
  const T *f, *w, *x = nullptr, *y = nullptr;

  // Sums of all groups without their weights, and their derivatives along x.
  void sums(V* S) const {
    for (const Group& group : table.groups) {
      V s{};
      for (int64_t at = group.begin; at < group.end; ++at) {
        const Term<T> t = table.terms[at];
        s += t.value * load<V>(f + t.a) * load<V>(f + t.b);
      }
      *S++ = s;
    }
  }
  void sums_and_slopes(V* S, V* D) const {
    for (const Group& group : table.groups) {
      V s{}, d{};
      for (int64_t at = group.begin; at < group.end; ++at) {
        const Term<T> t = table.terms[at];
        const V va = t.value * load<V>(f + t.a), fb = load<V>(f + t.b);
        s += va * fb;
        d += va * load<V>(x + t.b) + t.value * load<V>(x + t.a) * fb;
      }
      *S++ = s, *D++ = d;
    }
  }
  void product(const V* S, V* P) const {
    for (const Group& group : table.groups) P[group.component] += load<V>(w + group.weight) * *S++;
  }
  void product_slope(const V* S, const V* D, V* dP) const {
    for (const Group& group : table.groups)
      dP[group.component] += load<V>(w + group.weight) * *D++ + load<V>(y + group.weight) * *S++;
  }
  // Adds the gradient of v . P to that of f and, if wanted, of w; S is made the factors of the groups.
  void pull(const V* v, V* S, V* to_f, T* to_w) const {
    for (size_t g = 0; g < table.groups.size(); ++g) {
      const Group group = table.groups[g];
      if (to_w) add(to_w + group.weight, v[group.component] * S[g]);
      S[g] = v[group.component] * load<V>(w + group.weight);
    }
    each_slope(to_f, [&](const Slope<T>& s) { return s.value * (S[s.group] * load<V>(f + s.other)); });
  }
  // Adds the gradient of v . P + u . P' to those of f and w; S and D are made the factors of the groups.
  void pull(const V* v, const V* u, V* S, V* D, V* to_f, T* to_w) const {
    for (size_t g = 0; g < table.groups.size(); ++g) {
      const Group group = table.groups[g];
      const V weight = load<V>(w + group.weight), of_v = v[group.component], of_u = u[group.component];
      add(to_w + group.weight, of_u * D[g] + of_v * S[g]);
      S[g] = of_v * weight + of_u * load<V>(y + group.weight);
      D[g] = of_u * weight;
    }
    each_slope(to_f, [&](const Slope<T>& s) {
      return s.value * (D[s.group] * load<V>(x + s.other) + S[s.group] * load<V>(f + s.other));
    });
  }
  // Adds the terms of all entries that a component is in to its gradient.
  template <typename Term>
  void each_slope(V* to_f, const Term& term) const {
    const Slope<T>* slope = table.slopes.data();
    for (const int64_t end : table.slope_ends) {
      V sum = *to_f;
      for (; slope != table.slopes.data() + end; ++slope) sum += term(*slope);
      *to_f++ = sum;
    }
  }
  static void add(T* to, V value) { store<V>(to, load<V>(to) + value); }
};

template <typename V>
struct Room {
  V *sums, *slopes;  // one for each group
  V* next;           // zeros

  V* take(int64_t count) { return std::exchange(next, next + count); }
};

// Calls body(atom, i, q, chunk, room) for W channels from q on of every atom i, with room for `zeros` more vectors.
template <typename T, int W, typename Body>
void each_atom(const Inputs& in, int64_t zeros, const Tensor* x, const Tensor* y, const Body& body) {
  using V = typename Vector<T, W>::type;
  const ProductTable<T> table = in.table<T>();
  const T *f = in.orbital.const_data_ptr<T>(), *w = in.weight.const_data_ptr<T>();
  const T *xs = x ? x->const_data_ptr<T>() : nullptr, *ys = y ? y->const_data_ptr<T>() : nullptr;
  const int64_t stride = in.orbital.size(1) * in.n, groups = table.groups.size();
  each_chunk<CHUNK>(in.atoms, [&](int64_t chunk, int64_t begin, int64_t end) {
    std::vector<V> room(2 * groups + zeros);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t q = 0; q < in.n; q += W) {
        const int64_t own = i * stride + q, shared = in.weights[i] + q;
        std::fill_n(room.begin() + 2 * groups, zeros, V{});
        body(Atom<T, W>{table, f + own, w + shared, x ? xs + own : nullptr, y ? ys + shared : nullptr}, i, q, chunk,
             Room<V>{room.data(), room.data() + groups, room.data() + 2 * groups});
      }
  });
}

// The product itself. A head says what is made of f and P in rows of n channels, how a gradient g of these goes back to f
// and P, and how the derivative along x and P' does so.
struct Product {
  int64_t rows, size;

  template <typename T, int W, typename V>
  void values(const Atom<T, W>&, const V* P, V* out) const {
    std::copy_n(P, size, out);
  }
  template <typename T, int W, typename V>
  void back(const Atom<T, W>&, const V* g, const V*, V*, V* to_P) const {
    std::copy_n(g, size, to_P);
  }
  template <typename T, int W, typename V>
  void back_along(const Atom<T, W>&, const V* g, const V*, const V* dP, V* to_g, V*, V*, V* to_dP) const {
    std::copy_n(dP, size, to_g);
    std::copy_n(g, size, to_dP);
  }
};

// Invariants f_00, and for every degree f . f, f . P and, in fourth order, P . P.
struct Invariants {
  int64_t rows, n;
  at::IntArrayRef components;
  bool fourth;

  // Calls body(component, row of f . f, row of f . P, row of P . P) for every component.
  template <typename Body>
  void each_component(const Body& body) const {
    const int64_t degrees = components.size();
    for (int64_t l = 0, c = 0; l < degrees; ++l)
      for (const int64_t end = c + components[l]; c < end; ++c) body(c, 1 + l, 1 + degrees + l, 1 + 2 * degrees + l);
  }
  template <typename T, int W, typename V>
  void values(const Atom<T, W>& atom, const V* P, V* out) const {
    out[0] = load<V>(atom.f);
    each_component([&](int64_t c, int64_t two, int64_t three, int64_t four) {
      const V f = load<V>(atom.f + c * n);
      out[two] += f * f;
      out[three] += f * P[c];
      if (fourth) out[four] += P[c] * P[c];
    });
  }
  template <typename T, int W, typename V>
  void back(const Atom<T, W>& atom, const V* g, const V* P, V* to_f, V* to_P) const {
    each_component([&](int64_t c, int64_t two, int64_t three, int64_t four) {
      const V f = load<V>(atom.f + c * n);
      to_f[c] = T(2) * g[two] * f + g[three] * P[c];
      to_P[c] = g[three] * f + (fourth ? T(2) * g[four] * P[c] : V{});
    });
    to_f[0] += g[0];
  }
  template <typename T, int W, typename V>
  void back_along(const Atom<T, W>& atom, const V* g, const V* P, const V* dP, V* to_g, V* to_f, V* to_P,
                  V* to_dP) const {
    to_g[0] = load<V>(atom.x);
    each_component([&](int64_t c, int64_t two, int64_t three, int64_t four) {
      const V f = load<V>(atom.f + c * n), x = load<V>(atom.x + c * n);
      to_g[two] += T(2) * f * x;
      to_g[three] += x * P[c] + f * dP[c];
      to_f[c] = T(2) * g[two] * x + g[three] * dP[c];
      to_P[c] = g[three] * x;
      to_dP[c] = g[three] * f;
      if (!fourth) return;
      to_g[four] += T(2) * P[c] * dP[c];
      to_P[c] += T(2) * g[four] * dP[c];
      to_dP[c] += T(2) * g[four] * P[c];
    });
  }
};

}  // namespace kernels
