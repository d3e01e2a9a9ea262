// Products of two orbitals of the same atom with sparse coefficients, and their sums over atoms:
//
//   out_icn = sum_e v_e w_spn a_ian b_ibn,   table_spn = sum_e v_e sum_(i of s) a_ian b_ibn g_icn
//
// over the entries e = (a, b, c, p) with values v_e (s = element of atom i). Both are linear in each argument, so every
// derivative is again one of them, with other columns of the entries in the roles of a, b and c.

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "coupled.h"

namespace {

using namespace kernels;

constexpr int64_t CHUNK = 32;  // atoms per task; sums over atoms are made per chunk, so they do not depend on threads

struct Inputs {
  Tensor a, b, entries, values;
  int64_t atoms, n, paths, num_species;
  at::IntArrayRef roles;
  std::vector<int64_t> weights;  // offset of the weights of every atom

  Inputs(const Tensor& a_, const Tensor& b_, const std::optional<Tensor>& species, const Tensor& entries_,
         const Tensor& values_, at::IntArrayRef roles_, int64_t num_species_, int64_t num_paths)
      : a(a_.contiguous()), b(b_.contiguous()), entries(entries_.contiguous()), values(values_.contiguous()),
        paths(num_paths), num_species(num_species_), roles(roles_) {
    TORCH_CHECK_VALUE(a.dim() == 3 && b.dim() == 3 && a.size(0) == b.size(0) && a.size(2) == b.size(2),
                      "coupled: expected orbitals [N, lm, n] of the same N and n, got ", a.sizes(), " and ", b.sizes());
    check_entries(entries, values);
    atoms = a.size(0), n = a.size(2);
    weights = weight_offsets(species, atoms, num_species, paths * n);
  }

  template <typename T>
  Table<T> table(int64_t size) const {
    return Table<T>(entries, values, n, {a.size(1), b.size(1), size, paths}, roles);
  }
};

// Calls body(lanes, vectors, first channel) for blocks that make up all n channels.
template <typename T, typename Body>
void each_block(int64_t n, const Body& body) {
  constexpr int full = 64 / sizeof(T);
  int64_t q = 0;
  for (; q + 4 * full <= n; q += 4 * full) body(Constant<full>{}, Constant<4>{}, q);
  for (; q + 2 * full <= n; q += 2 * full) body(Constant<full>{}, Constant<2>{}, q);
  for (; q + full <= n; q += full) body(Constant<full>{}, Constant<1>{}, q);
  for (; q + full / 2 <= n; q += full / 2) body(Constant<full / 2>{}, Constant<1>{}, q);
  for (; q + full / 4 <= n; q += full / 4) body(Constant<full / 4>{}, Constant<1>{}, q);
  for (; q < n; ++q) body(Constant<1>{}, Constant<1>{}, q);
}

// Calls body(offset of the weight, sums) with the sums of v a b of component c and of every path, in U vectors of L
// channels; first: the first of its groups.
template <int L, int U, typename T, typename Body>
inline void each_group(const Table<T>& plan, int64_t c, int64_t first, const T* a, const T* b, const Body& body) {
  using V = typename Vector<T, L>::type;
  const Group* groups = plan.groups.data();
  for (int64_t k = first; k < plan.ends[c]; ++k) {
    V sums[U]{};
    for (int64_t at = groups[k].begin; at < groups[k].end; ++at) {
      const Term<T> term = plan.terms[at];
      for (int u = 0; u < U; ++u)
        sums[u] += term.value * load<V>(a + term.a + u * L) * load<V>(b + term.b + u * L);
    }
    body(groups[k].weight, sums);
  }
}

template <typename T>
void couple(const Inputs& in, const T* weight, int64_t size, T* to) {
  const Table<T> plan = in.table<T>(size);
  const T *a = in.a.const_data_ptr<T>(), *b = in.b.const_data_ptr<T>();
  each_chunk<CHUNK>(in.atoms, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      each_block<T>(in.n, [&](auto lanes, auto vectors, int64_t q) {
        constexpr int L = decltype(lanes)::value, U = decltype(vectors)::value;
        using V = typename Vector<T, L>::type;
        const T *left = a + i * in.a.size(1) * in.n + q, *right = b + i * in.b.size(1) * in.n + q;
        const T* w = weight + in.weights[i] + q;
        T* out = to + i * size * in.n + q;
        for (int64_t c = 0, first = 0; c < size; first = plan.ends[c++], out += in.n) {
          V total[U]{};
          each_group<L, U>(plan, c, first, left, right, [&](int64_t at, const V(&sums)[U]) {
            for (int u = 0; u < U; ++u) total[u] += load<V>(w + at + u * L) * sums[u];
          });
          for (int u = 0; u < U; ++u) store<V>(out + u * L, total[u]);
        }
      });
  });
}

template <typename T>
void couple_weight(const Inputs& in, const Tensor& g, T* tables) {
  const int64_t size = g.size(1), table_size = in.num_species * in.paths * in.n;
  const Table<T> plan = in.table<T>(size);
  const T *a = in.a.const_data_ptr<T>(), *b = in.b.const_data_ptr<T>(), *from = g.const_data_ptr<T>();
  each_chunk<CHUNK>(in.atoms, [&](int64_t chunk, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      each_block<T>(in.n, [&](auto lanes, auto vectors, int64_t q) {
        constexpr int L = decltype(lanes)::value, U = decltype(vectors)::value;
        using V = typename Vector<T, L>::type;
        const T *left = a + i * in.a.size(1) * in.n + q, *right = b + i * in.b.size(1) * in.n + q;
        const T* factor = from + i * size * in.n + q;
        T* table = tables + chunk * table_size + in.weights[i] + q;
        for (int64_t c = 0, first = 0; c < size; first = plan.ends[c++], factor += in.n)
          each_group<L, U>(plan, c, first, left, right, [&](int64_t at, const V(&sums)[U]) {
            for (int u = 0; u < U; ++u) {
              T* slot = table + at + u * L;
              store<V>(slot, load<V>(slot) + load<V>(factor + u * L) * sums[u]);
            }
          });
      });
  });
}

Tensor coupled(const Tensor& a, const Tensor& b, const Tensor& weight, const std::optional<Tensor>& species,
               const Tensor& entries, const Tensor& values, int64_t size, at::IntArrayRef roles) {
  TORCH_CHECK_VALUE(weight.dim() == 3 && weight.size(2) == a.size(-1), "coupled: expected weight [S, P, ", a.size(-1),
                    "], got ", weight.sizes());
  const Inputs in(a, b, species, entries, values, roles, weight.size(0), weight.size(1));
  const Tensor w = weight.contiguous();
  Tensor out = at::empty({in.atoms, size, in.n}, a.options());
  if (a.scalar_type() == at::kFloat)
    couple<float>(in, w.const_data_ptr<float>(), size, out.mutable_data_ptr<float>());
  else
    couple<double>(in, w.const_data_ptr<double>(), size, out.mutable_data_ptr<double>());
  return out;
}

Tensor coupled_weight(const Tensor& a, const Tensor& b, const Tensor& factor, const std::optional<Tensor>& species,
                      const Tensor& entries, const Tensor& values, int64_t num_species, int64_t num_paths,
                      at::IntArrayRef roles) {
  const Inputs in(a, b, species, entries, values, roles, num_species, num_paths);
  const Tensor g = factor.contiguous();
  TORCH_CHECK_VALUE(g.dim() == 3 && g.size(0) == in.atoms && g.size(2) == in.n, "coupled_weight: expected factor [",
                    in.atoms, ", lm, ", in.n, "], got ", g.sizes());
  Tensor parts = at::zeros({chunks<CHUNK>(in.atoms), num_species, num_paths, in.n}, a.options());
  if (a.scalar_type() == at::kFloat)
    couple_weight<float>(in, g, parts.mutable_data_ptr<float>());
  else
    couple_weight<double>(in, g, parts.mutable_data_ptr<double>());
  return parts.sum(0);
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("coupled", coupled);
  m.impl("coupled_weight", coupled_weight);
}
