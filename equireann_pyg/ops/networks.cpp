// One linear map per chemical element: rows of the same element are gathered, multiplied at once and put back.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <vector>

namespace {

using at::Tensor;
using std::int64_t;

struct Groups {
  Tensor order, place;         // rows sorted by element, stable; place of each row in that order
  std::vector<int64_t> start;  // of each element in that order
};

Groups group(const Tensor& species, int64_t num_species) {
  const Tensor contiguous = species.contiguous();
  const int64_t* s = contiguous.const_data_ptr<int64_t>();
  const int64_t rows = species.numel();
  std::vector<int64_t> start(num_species + 1, 0);
  for (int64_t a = 0; a < rows; ++a) {
    TORCH_CHECK_INDEX(0 <= s[a] && s[a] < num_species, "species: expected 0 to ", num_species - 1, ", got ", s[a]);
    ++start[s[a] + 1];
  }
  for (int64_t e = 0; e < num_species; ++e) start[e + 1] += start[e];
  Tensor order = at::empty({rows}, species.options()), place = at::empty_like(order);
  int64_t *row_at = order.mutable_data_ptr<int64_t>(), *place_of = place.mutable_data_ptr<int64_t>();
  std::vector<int64_t> next(start);
  for (int64_t a = 0; a < rows; ++a) {
    place_of[a] = next[s[a]]++;
    row_at[place_of[a]] = a;
  }
  return {order, place, start};
}

Tensor element_linear(const Tensor& x, const Tensor& species, const Tensor& weight) {
  const int64_t num_species = weight.size(0);
  if (num_species == 1) return at::mm(x, weight.select(0, 0));
  const Groups groups = group(species, num_species);
  const Tensor sorted = at::index_select(x, 0, groups.order);
  Tensor product = at::empty({x.size(0), weight.size(2)}, x.options());
  for (int64_t e = 0; e < num_species; ++e) {
    const int64_t begin = groups.start[e], count = groups.start[e + 1] - begin;
    if (count == 0) continue;
    Tensor rows = product.narrow(0, begin, count);
    at::mm_out(rows, sorted.narrow(0, begin, count), weight.select(0, e));
  }
  return at::index_select(product, 0, groups.place);
}

Tensor element_outer(const Tensor& x, const Tensor& y, const Tensor& species, int64_t num_species) {
  if (num_species == 1) return at::mm(x.t(), y).unsqueeze(0);
  const Groups groups = group(species, num_species);
  const Tensor xs = at::index_select(x, 0, groups.order), ys = at::index_select(y, 0, groups.order);
  Tensor out = at::zeros({num_species, x.size(1), y.size(1)}, x.options());
  for (int64_t e = 0; e < num_species; ++e) {
    const int64_t begin = groups.start[e], count = groups.start[e + 1] - begin;
    if (count == 0) continue;
    Tensor product = out.select(0, e);
    at::mm_out(product, xs.narrow(0, begin, count).t(), ys.narrow(0, begin, count));
  }
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(equireann, CPU, m) {
  m.impl("element_linear", element_linear);
  m.impl("element_outer", element_outer);
}
