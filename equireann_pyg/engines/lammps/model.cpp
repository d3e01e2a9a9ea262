#include "model.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/library.h>

#include <sstream>
#include <stdexcept>
#include <unordered_map>

namespace equireann {

namespace {

thread_local Carrier* carrier = nullptr;  // of the evaluation that is going on

// One row for every node: those of the ghosts, whose owners send them, then the own ones.
at::Tensor exchange(const at::Tensor& own, int64_t size, int64_t /* halo */) {
  TORCH_CHECK(carrier, "exchange: nothing carries rows here");
  at::Tensor rows = at::empty({size, own.size(1)}, own.options());
  rows.narrow(0, size - own.size(0), own.size(0)).copy_(own);
  carrier->send(rows);
  return rows;
}

// The transpose: the own rows, to which those of their ghosts everywhere are added.
at::Tensor collect(const at::Tensor& rows, int64_t size, int64_t /* halo */) {
  TORCH_CHECK(carrier, "collect: nothing carries rows here");
  at::Tensor all = rows.clone(at::MemoryFormat::Contiguous);
  carrier->send_back(all);
  return all.narrow(0, rows.size(0) - size, size).clone();
}

void define(torch::Library& library, const char* schema) {
  const std::string text = schema, name = "equireann::" + text.substr(0, text.find('('));
  if (!c10::Dispatcher::singleton().findSchema({name, ""})) library.def(schema);  // Python may have been here
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(equireann, library) {
#include "schemas.inc"
}

TORCH_LIBRARY_IMPL(equireann, CPU, library) {
  library.impl("exchange", exchange);
  library.impl("collect", collect);
}

Model::Model(const std::string& path) {
  std::unordered_map<std::string, std::string> described;
  try {
    loader_ = std::make_unique<torch::inductor::AOTIModelPackageLoader>(path);
    described = loader_->get_metadata();
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    throw std::runtime_error(path + " is no potential of this machine and torch: make one of a checkpoint by equireann export "
                             "CHECKPOINT --lammps true (" + reason.substr(0, reason.find('\n')) + ")");
  }
  if (described["format"] != "equireann_pyg.lammps_potential" || described["version"] != "1")
    throw std::runtime_error(path + " was exported for another program: use equireann export --lammps true");
  cutoff = std::stod(described["cutoff"]);
  std::istringstream numbers(described["elements"]);
  for (int64_t number; numbers >> number;) elements.push_back(number);
  const int width = std::stoi(described["width"]);
  columns = described["dtype"] == "float64" ? width : (width + 1) / 2;
}

Model::~Model() = default;

Evaluation Model::operator()(std::vector<at::Tensor> inputs, Carrier& mine) {
  struct Carrying {  // until the end of this call, however it ends
    explicit Carrying(Carrier& mine) { carrier = &mine; }
    ~Carrying() { carrier = nullptr; }
  } carrying(mine);
  const auto results = loader_->run(inputs);
  return {results.at(0).to(at::kDouble).contiguous(), results.at(1).to(at::kDouble).contiguous()};
}

}  // namespace equireann
