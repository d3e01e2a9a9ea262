// One linear map per chemical element, y_a = x_a W_s(a), and its derivative with respect to W, for any order of the atoms.
//
// Rows of one element are multiplied together where they lie. A tile of ROWS x (COLUMNS vectors) of the result stays in
// registers while the sum runs.

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "kernels.h"

namespace {

using namespace kernels;

constexpr int ROWS = 6;
constexpr int64_t GRAIN = 16;  // tiles per task of a thread

template <typename T>
constexpr int LANES = 64 / sizeof(T);

struct Groups {
  std::vector<int64_t> rows;   // sorted by element, stable
  std::vector<int64_t> start;  // of each element in that order

  Groups(const Tensor& species, int64_t num_species) : rows(species.numel()), start(num_species + 1, 0) {
    const Tensor contiguous = species.contiguous();
    const int64_t* s = checked_species(contiguous, num_species);
    const int64_t count = species.numel();
    for (int64_t a = 0; a < count; ++a) ++start[s[a] + 1];
    for (int64_t e = 0; e < num_species; ++e) start[e + 1] += start[e];
    std::vector<int64_t> next(start);
    for (int64_t a = 0; a < count; ++a) rows[next[s[a]]++] = a;
  }
};

// out[r] = sum_t left(r, t) right(t)[...] for `rows` <= ROWS rows and `width` columns.
template <typename T, int COLUMNS, typename Left, typename Right, typename Out>
inline void tile(int64_t rows, int64_t depth, int64_t width, const Left& left, const Right& right, const Out& out) {
  using V = typename Vector<T, LANES<T>>::type;
  V sum[ROWS][COLUMNS];
  for (auto& row : sum)
    for (auto& part : row) part = V{};
  for (int64_t t = 0; t < depth; ++t) {
    const T* from = right(t);
    V b[COLUMNS];
    for (int c = 0; c < COLUMNS; ++c) b[c] = load<V>(from + c * LANES<T>);
    for (int r = 0; r < ROWS; ++r) {
      const T a = left(r, t);
      for (int c = 0; c < COLUMNS; ++c) sum[r][c] += a * b[c];
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    T packed[COLUMNS * LANES<T>];
    for (int c = 0; c < COLUMNS; ++c) store<V>(packed + c * LANES<T>, sum[r][c]);
    std::copy(packed, packed + width, out(r));
  }
}

// Calls body(first column, number of columns, vectors per tile) over all columns.
template <typename T, typename Body>
inline void each_column_block(int64_t columns, const Body& body) {
  for (int64_t c = 0; c < columns; c += 4 * LANES<T>) {
    const int64_t width = std::min<int64_t>(columns - c, 4 * LANES<T>);
    if (width > 2 * LANES<T>) {
      body(c, width, Constant<4>{});
    } else if (width > LANES<T>) {
      body(c, width, Constant<2>{});
    } else {
      body(c, width, Constant<1>{});
    }
  }
}

// Rows that whole tiles can be loaded from: those of the matrix itself, or a copy of it padded by zeros.
template <typename T>
struct Rows {
  const T* first;
  int64_t stride;
  std::vector<T> copy;

  explicit Rows(const Tensor& matrix) {
    const int64_t columns = matrix.size(1), wide = 4 * LANES<T>;
    const int64_t padded = columns <= LANES<T>       ? LANES<T>
                           : columns <= 2 * LANES<T> ? 2 * LANES<T>
                                                     : (columns + wide - 1) / wide * wide;
    first = matrix.const_data_ptr<T>();
    stride = matrix.stride(0);
    if (padded == columns && matrix.stride(1) == 1) return;
    copy.resize(matrix.size(0) * padded);
    for (int64_t i = 0; i < matrix.size(0); ++i)
      for (int64_t j = 0; j < columns; ++j) copy[i * padded + j] = first[i * stride + j * matrix.stride(1)];
    first = copy.data();
    stride = padded;
  }

  const T* operator()(int64_t i) const { return first + i * stride; }
};

Tensor element_linear(const Tensor& x, const Tensor& species, const Tensor& weight) {
  TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(1) && species.numel() == x.size(0),
                    "element_linear: sizes do not fit: x ", x.sizes(), ", species ", species.sizes(), ", weight ",
                    weight.sizes());
  const Tensor in = x.contiguous();
  const Groups groups(species, weight.size(0));
  const int64_t depth = x.size(1), columns = weight.size(2);
  Tensor out = at::empty({x.size(0), columns}, x.options());
  with_type(x, [&]<typename T>(Known<T>) {
    const T* from = in.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    for (int64_t e = 0; e < weight.size(0); ++e) {
      const int64_t begin = groups.start[e], end = groups.start[e + 1];
      if (begin == end) continue;
      const Rows<T> W(weight.select(0, e));
      at::parallel_for(0, (end - begin + ROWS - 1) / ROWS, GRAIN, [&](int64_t first, int64_t last) {
        for (int64_t block = first; block < last; ++block) {
          const int64_t start = begin + block * ROWS, rows = std::min<int64_t>(ROWS, end - start);
          const T* row[ROWS];
          for (int64_t r = 0; r < ROWS; ++r) row[r] = from + groups.rows[start + std::min(r, rows - 1)] * depth;
          each_column_block<T>(columns, [&]<int VECTORS>(int64_t c, int64_t width, Constant<VECTORS>) {
            tile<T, VECTORS>(
                rows, depth, width, [&](int r, int64_t t) { return row[r][t]; },
                [&](int64_t t) { return W(t) + c; },
                [&](int64_t r) { return to + groups.rows[start + r] * columns + c; });
          });
        }
      });
    }
  });
  return out;
}

// sum over the rows a of each element: x_a (x) y_a, [S, in, out].
Tensor element_outer(const Tensor& x, const Tensor& y, const Tensor& species, int64_t num_species) {
  TORCH_CHECK_VALUE(x.dim() == 2 && y.dim() == 2 && x.size(0) == y.size(0) && species.numel() == x.size(0),
                    "element_outer: sizes do not fit: x ", x.sizes(), ", y ", y.sizes(), ", species ", species.sizes());
  const Tensor in = x.contiguous();
  const Groups groups(species, num_species);
  const int64_t depth = x.size(1), columns = y.size(1);
  Tensor out = at::zeros({num_species, depth, columns}, x.options());
  with_type(x, [&]<typename T>(Known<T>) {
    const T* from = in.const_data_ptr<T>();
    const Rows<T> right(y);
    for (int64_t e = 0; e < num_species; ++e) {
      T* to = out.mutable_data_ptr<T>() + e * depth * columns;
      const int64_t* rows_of = groups.rows.data() + groups.start[e];
      const int64_t count = groups.start[e + 1] - groups.start[e];
      if (count == 0) continue;
      at::parallel_for(0, (depth + ROWS - 1) / ROWS, 1, [&](int64_t first, int64_t last) {
        for (int64_t block = first; block < last; ++block) {
          const int64_t start = block * ROWS, rows = std::min<int64_t>(ROWS, depth - start);
          int64_t column[ROWS];
          for (int64_t r = 0; r < ROWS; ++r) column[r] = start + std::min(r, rows - 1);
          each_column_block<T>(columns, [&]<int VECTORS>(int64_t c, int64_t width, Constant<VECTORS>) {
            tile<T, VECTORS>(
                rows, count, width, [&](int r, int64_t t) { return from[rows_of[t] * depth + column[r]]; },
                [&](int64_t t) { return right(rows_of[t]) + c; },
                [&](int64_t r) { return to + (start + r) * columns + c; });
          });
        }
      });
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("element_linear", element_linear);
  m.impl("element_outer", element_outer);
}
