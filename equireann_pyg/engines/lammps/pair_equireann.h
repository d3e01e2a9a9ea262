// pair_style equireann: an exported potential, whose coefficients and messages travel by LAMMPS' own communication.

#pragma once

#include <memory>
#include <vector>

#include "model.h"
#include "pair.h"

namespace LAMMPS_NS {

class PairEquiREANN : public Pair, private equireann::Carrier {
 public:
  explicit PairEquiREANN(LAMMPS* lmp);
  ~PairEquiREANN() override;

  void settings(int narg, char** arg) override;
  void coeff(int narg, char** arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  void compute(int eflag, int vflag) override;

  int pack_forward_comm(int count, int* list, double* buffer, int pbc_flag, int* pbc) override;
  void unpack_forward_comm(int count, int first, double* buffer) override;
  int pack_reverse_comm(int count, int first, double* buffer) override;
  void unpack_reverse_comm(int count, int* list, double* buffer) override;

 private:
  struct Edges {  // of one step, in the order of their centres
    std::vector<int64_t> neighbours, centres;  // nodes
    std::vector<double> vectors;               // r_j - r_i
  };

  void allocate();
  void check_special_bonds() const;
  void compare_masses() const;
  Edges find_edges() const;
  std::vector<at::Tensor> inputs(Edges& edges) const;
  void tally_energies(const at::Tensor& energy);
  void tally_forces(const Edges& edges, const double* gradient);
  void add_shares();
  void require_finite(const at::Tensor& energy) const;

  int node(int k) const;   // ghosts are the first nodes
  int columns() const;       // doubles of a row of rows_
  char* row(int k) const;
  void send(at::Tensor& rows) override;
  void send_back(at::Tensor& rows) override;

  std::unique_ptr<equireann::Model> model_;
  std::vector<int64_t> number_;  // atomic number of each type, from one; zero where the pair style has no part in it
  double unit_ = 1.0;            // LAMMPS' unit of energy in an electronvolt
  at::Tensor shares_;            // of all atoms: forces, then virials [g + n, 3 or 9], as nodes
  at::Tensor rows_;              // what travels
};

}  // namespace LAMMPS_NS
