// A potential exported for LAMMPS, and how rows of atoms come to those who need them.

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace torch::inductor {
class AOTIModelPackageLoader;
}

namespace equireann {

// What carries rows between processes: rows [g + n, w] of all nodes, of which the g ghosts come first.
class Carrier {
 public:
  virtual void send(at::Tensor& rows) = 0;       // fills the rows of the ghosts from those of their owners
  virtual void send_back(at::Tensor& rows) = 0;  // adds the rows of the ghosts to those of their owners

 protected:
  ~Carrier() = default;
};

struct Evaluation {
  at::Tensor energy;    // of the own atoms [n], eV, float64
  at::Tensor gradient;  // with respect to the edge vectors [E, 3], eV/Angstrom, float64
};

class Model {
 public:
  explicit Model(const std::string& path);  // throws std::runtime_error for a file of another kind
  ~Model();

  // Ghosts [g] and own atoms [n] by atomic number, edges [2, E] between the nodes, r_j - r_i in Angstrom [E, 3].
  Evaluation operator()(std::vector<at::Tensor> inputs, Carrier& carrier);

  double cutoff;                  // Angstrom
  std::vector<int64_t> elements;  // atomic numbers
  int columns;                    // doubles that hold what an atom sends at once

 private:
  std::unique_ptr<torch::inductor::AOTIModelPackageLoader> loader_;
};

}  // namespace equireann
