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
constexpr int64_t GRAIN = 16;    // tiles per task of a thread
constexpr int64_t CACHED = 128;  // rows of an outer product that are worked through at a time

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

  // Calls body(element, its rows, their number) for every element that has any.
  template <typename Body>
  void each(const Body& body) const {
    for (size_t e = 0; e + 1 < start.size(); ++e)
      if (start[e] < start[e + 1]) body(e, rows.data() + start[e], start[e + 1] - start[e]);
  }
};

// put(r, c, vector c of sum_t left(r, t) right(t)) for `rows` <= ROWS rows and COLUMNS vectors.
template <typename T, int COLUMNS, typename Left, typename Right, typename Put>
inline void tile(int64_t rows, int64_t depth, const Left& left, const Right& right, const Put& put) {
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
  for (int64_t r = 0; r < rows; ++r)
    for (int c = 0; c < COLUMNS; ++c) put(r, c * LANES<T>, sum[r][c]);
}

// Calls body(first column, vectors per tile) over all columns, the last vector of which need not be full.
template <typename T, typename Body>
inline void each_column_block(int64_t columns, const Body& body) {
  int64_t c = 0;
  for (; c + 4 * LANES<T> <= columns; c += 4 * LANES<T>) body(c, Constant<4>{});
  switch ((columns - c + LANES<T> - 1) / LANES<T>) {
    case 1: return body(c, Constant<1>{});
    case 2: return body(c, Constant<2>{});
    case 3: return body(c, Constant<3>{});
    case 4: return body(c, Constant<4>{});
  }
}

// Puts as many lanes as there are columns left at a place, or adds them to what is there.
template <bool ADD, typename T, typename V>
inline void put(T* to, V value, int64_t left) {
  if (left >= LANES<T>) return store<V>(to, ADD ? load<V>(to) + value : value);
  for (int64_t c = 0; c < left; ++c) to[c] = ADD ? to[c] + value[c] : value[c];
}

// Rows that whole vectors can be loaded from: those of the matrix itself, or a copy of it padded by zeros.
template <typename T>
struct Rows {
  const T* first;
  int64_t stride;
  std::vector<T> copy;

  explicit Rows(const Tensor& matrix) : first(matrix.const_data_ptr<T>()), stride(matrix.stride(0)) {
    const int64_t rows = matrix.size(0), columns = matrix.size(1), step = matrix.stride(1);
    const int64_t padded = (columns + LANES<T> - 1) / LANES<T> * LANES<T>;
    if (padded == columns && step == 1) return;
    copy.resize(rows * padded);
    int64_t i = 0;
    if (stride == 1)
      for (; i + LANES<T> <= rows; i += LANES<T>)
        for (int64_t j = 0; j < columns; j += LANES<T>)
          block(first + i + j * step, step, std::min<int64_t>(LANES<T>, columns - j), copy.data() + i * padded + j, padded);
    for (; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) copy[i * padded + j] = first[i * stride + j * step];
    first = copy.data();
    stride = padded;
  }

  const T* operator()(int64_t i) const { return first + i * stride; }

  // LANES rows of up to LANES columns out of a matrix that is stored by columns.
  static void block(const T* from, int64_t step, int64_t columns, T* to, int64_t stride) {
    using V = typename Vector<T, LANES<T>>::type;
    V rows[LANES<T>];
    for (int64_t j = 0; j < LANES<T>; ++j) rows[j] = j < columns ? load<V>(from + j * step) : V{};
    transpose<T, LANES<T>>(rows);
    for (int64_t i = 0; i < LANES<T>; ++i) store<V>(to + i * stride, rows[i]);
  }
};

// x . y of `count` numbers.
template <typename T>
T dot(const T* x, const T* y, int64_t count) {
  using V = typename Vector<T, LANES<T>>::type;
  V sums[4]{};
  int64_t k = 0;
  for (; k + 4 * LANES<T> <= count; k += 4 * LANES<T>)
    for (int u = 0; u < 4; ++u) sums[u] += load<V>(x + k + u * LANES<T>) * load<V>(y + k + u * LANES<T>);
  T rest = 0;
  for (; k < count; ++k) rest += x[k] * y[k];
  return total<T, LANES<T>>(V((sums[0] + sums[1]) + (sums[2] + sums[3]))) + rest;
}

// One column for each element: scalar products.
template <typename T>
void one_column(const Tensor& in, const Tensor& species, const Tensor& weight, T* to) {
  const Tensor columns = weight.contiguous();
  const int64_t depth = in.size(1), *s = checked_species(species, weight.size(0));
  const T *from = in.const_data_ptr<T>(), *W = columns.const_data_ptr<T>();
  at::parallel_for(0, in.size(0), ROWS * GRAIN, [&](int64_t begin, int64_t end) {
    for (int64_t a = begin; a < end; ++a) to[a] = dot(from + a * depth, W + s[a] * depth, depth);
  });
}

// The rows of one element times its matrix.
template <typename T>
void multiply(const T* from, const int64_t* rows_of, int64_t count, const Tensor& matrix, T* to) {
  const int64_t depth = matrix.size(0), columns = matrix.size(1);
  const Rows<T> W(matrix);
  at::parallel_for(0, (count + ROWS - 1) / ROWS, GRAIN, [&](int64_t first, int64_t last) {
    for (int64_t start = first * ROWS; start < std::min(count, last * ROWS); start += ROWS) {
      const int64_t rows = std::min<int64_t>(ROWS, count - start);
      const T* row[ROWS];
      for (int64_t r = 0; r < ROWS; ++r) row[r] = from + rows_of[start + std::min(r, rows - 1)] * depth;
      each_column_block<T>(columns, [&]<int VECTORS>(int64_t c, Constant<VECTORS>) {
        tile<T, VECTORS>(
            rows, depth, [&](int r, int64_t t) { return row[r][t]; }, [&](int64_t t) { return W(t) + c; },
            [&](int64_t r, int64_t at, auto value) {
              put<false>(to + rows_of[start + r] * columns + c + at, value, columns - c - at);
            });
      });
    }
  });
}

Tensor element_linear(const Tensor& x, const Tensor& species, const Tensor& weight) {
  TORCH_CHECK_VALUE(x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(1) && species.numel() == x.size(0),
                    "element_linear: sizes do not fit: x ", x.sizes(), ", species ", species.sizes(), ", weight ",
                    weight.sizes());
  const Tensor in = x.contiguous(), elements = species.contiguous();
  Tensor out = at::empty({x.size(0), weight.size(2)}, x.options());
  with_type(x, [&]<typename T>(Known<T>) {
    T* to = out.mutable_data_ptr<T>();
    if (weight.size(2) == 1) return one_column<T>(in, elements, weight, to);
    Groups(elements, weight.size(0)).each([&](int64_t e, const int64_t* rows, int64_t count) {
      multiply<T>(in.const_data_ptr<T>(), rows, count, weight.select(0, e), to);
    });
  });
  return out;
}

// Adds x_a (x) y_a of the rows of one element to a matrix [depth, columns], some rows at a time: they stay in the cache.
template <typename T>
void add_outer(const T* from, const Rows<T>& right, const int64_t* rows_of, int64_t count, int64_t depth,
               int64_t columns, T* to) {
  at::parallel_for(0, (depth + ROWS - 1) / ROWS, 1, [&](int64_t first, int64_t last) {
    for (int64_t begin = 0; begin < count; begin += CACHED)
      for (int64_t start = first * ROWS; start < std::min(depth, last * ROWS); start += ROWS) {
        const int64_t *row = rows_of + begin, rows = std::min<int64_t>(ROWS, depth - start);
        int64_t column[ROWS];
        for (int64_t r = 0; r < ROWS; ++r) column[r] = start + std::min(r, rows - 1);
        each_column_block<T>(columns, [&]<int VECTORS>(int64_t c, Constant<VECTORS>) {
          tile<T, VECTORS>(
              rows, std::min(CACHED, count - begin),
              [&](int r, int64_t t) { return from[row[t] * depth + column[r]]; },
              [&](int64_t t) { return right(row[t]) + c; },
              [&](int64_t r, int64_t at, auto value) {
                put<true>(to + (start + r) * columns + c + at, value, columns - c - at);
              });
        });
      }
  });
}

// sum over the rows a of each element: x_a (x) y_a, [S, in, out].
Tensor element_outer(const Tensor& x, const Tensor& y, const Tensor& species, int64_t num_species) {
  TORCH_CHECK_VALUE(x.dim() == 2 && y.dim() == 2 && x.size(0) == y.size(0) && species.numel() == x.size(0),
                    "element_outer: sizes do not fit: x ", x.sizes(), ", y ", y.sizes(), ", species ", species.sizes());
  const int64_t depth = x.size(1), columns = y.size(1);
  if (columns == 1 && depth > 1) return element_outer(y, x, species, num_species).view({num_species, depth, 1});
  const Tensor in = x.contiguous();
  Tensor out = at::zeros({num_species, depth, columns}, x.options());
  with_type(x, [&]<typename T>(Known<T>) {
    const Rows<T> right(y);
    Groups(species, num_species).each([&](int64_t e, const int64_t* rows, int64_t count) {
      add_outer<T>(in.const_data_ptr<T>(), right, rows, count, depth, columns,
                   out.mutable_data_ptr<T>() + e * depth * columns);
    });
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("element_linear", element_linear);
  m.impl("element_outer", element_outer);
}
