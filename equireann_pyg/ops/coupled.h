// Tables of sparse products of two orbitals, shared by the kernels:
//
//   out_c = sum_e v_e w_p a_a b_b   over the entries e = (a, b, c, p) with values v_e.

#pragma once

#include <optional>
#include <vector>

#include "kernels.h"

namespace kernels {

template <typename T>
struct Term {
  int32_t a, b;  // offsets of the components
  T value;
};

struct Group {  // terms of one component c and one path p
  int64_t weight, component, begin, end;  // weight: offset
};

// The terms in the order of c, and within c in the order of the entries.
template <typename T>
struct Table {
  std::vector<Term<T>> terms;
  std::vector<Group> groups;
  std::vector<int64_t> ends;  // of the groups of every c

  // n: channels; sizes: number of components a, b, c and of paths; roles: columns of the entries that are a, b and c.
  Table(const Tensor& entries, const Tensor& values, int64_t n, const int64_t (&sizes)[4], at::IntArrayRef roles)
      : terms(entries.size(0)) {
    const int32_t* entry = entries.const_data_ptr<int32_t>();
    const double* value = values.const_data_ptr<double>();
    const int64_t count = terms.size(), size = sizes[2], columns[4] = {roles[0], roles[1], roles[2], 3};
    std::vector<int64_t> start(size + 1), path(count);
    for (int64_t e = 0; e < count; ++e) {
      for (int k = 0; k < 4; ++k) {
        const int64_t index = entry[4 * e + columns[k]];
        TORCH_CHECK_INDEX(0 <= index && index < sizes[k], "coupled: entry ", e, " has ", index, " in column ",
                          columns[k], ", expected 0 to ", sizes[k] - 1);
      }
      ++start[entry[4 * e + columns[2]] + 1];
    }
    for (int64_t c = 0; c < size; ++c) start[c + 1] += start[c];
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (int64_t e = 0; e < count; ++e) {
      const int32_t* row = entry + 4 * e;
      const int64_t at = next[row[columns[2]]]++;
      terms[at] = {int32_t(row[columns[0]] * n), int32_t(row[columns[1]] * n), T(value[e])};
      path[at] = row[3];
    }
    for (int64_t c = 0; c < size; ++c) {
      for (int64_t at = start[c]; at < start[c + 1]; ++at) {
        if (at == start[c] || path[at] != path[at - 1]) groups.push_back({path[at] * n, c, at, at});
        groups.back().end = at + 1;
      }
      ends.push_back(groups.size());
    }
  }
};

inline void check_entries(const Tensor& entries, const Tensor& values) {
  TORCH_CHECK_VALUE(entries.dim() == 2 && entries.size(1) == 4 && entries.scalar_type() == at::kInt &&
                        values.dim() == 1 && values.size(0) == entries.size(0) && values.scalar_type() == at::kDouble,
                    "coupled: expected int32 entries [E, 4] and float64 values [E], got ", entries.scalar_type(),
                    entries.sizes(), " and ", values.scalar_type(), values.sizes());
}

// Offset of the weights [P, n] of every atom in weights [S, P, n].
inline std::vector<int64_t> weight_offsets(const std::optional<Tensor>& species, int64_t atoms, int64_t num_species,
                                           int64_t stride) {
  TORCH_CHECK_VALUE(species || num_species == 1, "coupled: weights of ", num_species, " elements need species [N]");
  std::vector<int64_t> offset(atoms, 0);
  if (!species || num_species == 1) return offset;
  const Tensor elements = species->contiguous();
  TORCH_CHECK_VALUE(elements.numel() == atoms, "coupled: expected species of ", atoms, " atoms, got ", elements.sizes());
  const int64_t* s = checked_species(elements, num_species);
  for (int64_t i = 0; i < atoms; ++i) offset[i] = s[i] * stride;
  return offset;
}

}  // namespace kernels
