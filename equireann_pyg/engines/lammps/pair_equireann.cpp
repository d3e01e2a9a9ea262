#include "pair_equireann.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <string>

#include "atom.h"
#include "comm.h"
#include "elements.inc"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

using namespace LAMMPS_NS;

static constexpr double COINCIDENT = 1e-3;  // Angstrom

PairEquiREANN::PairEquiREANN(LAMMPS* lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;  // a restart file does not hold the potential: pair_style and pair_coeff are given again
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairEquiREANN::~PairEquiREANN() {
  if (allocated) {
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }
}

void PairEquiREANN::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  for (int i = 0; i < n; ++i) std::fill(setflag[i], setflag[i] + n, 0);
  allocated = 1;
}

void PairEquiREANN::settings(int narg, char**) {
  if (narg) error->all(FLERR, "pair_style equireann takes no arguments: the file stands in pair_coeff * * FILE ELEMENTS");
  const std::string units = update->unit_style;
  if (units == "metal") unit_ = 1.0;
  else if (units == "real") unit_ = 23.060547830619026;  // kcal/mol
  else error->all(FLERR, "pair_style equireann needs units metal or real, got {}", units);
}

void PairEquiREANN::coeff(int narg, char** arg) {
  const int types = atom->ntypes;
  if (narg != 3 + types || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR, "pair_coeff of equireann: expected * * FILE and an element for each of the {} atom types", types);
  if (!std::filesystem::is_regular_file(arg[2])) error->all(FLERR, "pair_coeff of equireann: {}: no such file", arg[2]);
  try {
    model_ = std::make_unique<equireann::Model>(arg[2]);
  } catch (const std::exception& problem) {
    error->all(FLERR, "pair_coeff of equireann: {}", problem.what());
  }
  number_.assign(types + 1, 0);
  for (int type = 1; type <= types; ++type) {
    const std::string symbol = arg[2 + type];
    if (symbol == "NULL") continue;
    const auto found = std::find(std::begin(SYMBOLS), std::end(SYMBOLS), symbol);
    number_[type] = found - std::begin(SYMBOLS);
    const auto& known = model_->elements;
    if (found == std::end(SYMBOLS) || std::find(known.begin(), known.end(), number_[type]) == known.end()) {
      std::string names;
      for (const auto element : known) names += std::string(" ") + SYMBOLS[element];
      error->all(FLERR, "pair_coeff of equireann: {} knows{}, not {} (atom type {})", arg[2], names, symbol, type);
    }
  }
  if (!allocated) allocate();
  for (int i = 1; i <= types; ++i)
    for (int j = i; j <= types; ++j) setflag[i][j] = number_[i] && number_[j];
  comm_forward = std::max(1, model_->columns);
  comm_reverse = comm_reverse_off = std::max(9, model_->columns);
}

void PairEquiREANN::init_style() {
  at::set_num_threads(comm->nthreads);
  check_special_bonds();
  compare_masses();
  neighbor->add_request(this, NeighConst::REQ_FULL);
  Pair* outer = force->pair;  // a hybrid has asked for what we send before it was known
  outer->comm_forward = std::max(outer->comm_forward, comm_forward);
  outer->comm_reverse = std::max(outer->comm_reverse, comm_reverse);
  outer->comm_reverse_off = std::max(outer->comm_reverse_off, comm_reverse_off);
}

// LAMMPS would take bonded pairs out of the list of neighbours without a word.
void PairEquiREANN::check_special_bonds() const {
  if (atom->molecular == Atom::ATOMIC) return;
  for (int k = 1; k <= 3; ++k)
    if (force->special_lj[k] != 1.0)
      error->all(FLERR, "pair_style equireann needs all pairs, bonded or not: use special_bonds lj/coul 1.0 1.0 1.0");
}

// Elements in another order than the atom types are wrong numbers; heavy isotopes are not.
void PairEquiREANN::compare_masses() const {
  if (!atom->mass || comm->me) return;
  for (int type = 1; type <= atom->ntypes; ++type) {
    const double expected = MASSES[number_[type]], mass = atom->mass[type];
    if (number_[type] && (mass < 0.8 * expected || mass > std::max(1.2 * expected, 3.1)))
      error->warning(FLERR, "pair_style equireann: atom type {} has the mass {:g}, its element {} has {:g}: does pair_coeff name "
                     "the elements in the order of the atom types?", type, mass, SYMBOLS[number_[type]], expected);
  }
}

double PairEquiREANN::init_one(int, int) {
  if (!model_) error->all(FLERR, "pair_style equireann: pair_coeff * * FILE ELEMENTS is missing");
  return model_->cutoff;
}

void PairEquiREANN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  Edges edges = find_edges();
  equireann::Evaluation found;
  try {
    found = (*model_)(inputs(edges), *this);
  } catch (const std::exception& problem) {
    const std::string reason = problem.what();  // torch adds where it was
    error->one(FLERR, "pair_style equireann: {}", reason.substr(0, reason.find('\n')));
  }
  require_finite(found.energy);
  tally_energies(found.energy);
  tally_forces(edges, found.gradient.const_data_ptr<double>());
  add_shares();
}

PairEquiREANN::Edges PairEquiREANN::find_edges() const {
  Edges edges;
  const size_t most = std::accumulate(list->ilist, list->ilist + list->inum, size_t{0},
                                      [this](size_t sum, int i) { return sum + list->numneigh[i]; });
  for (auto* numbers : {&edges.neighbours, &edges.centres}) numbers->reserve(most);
  edges.vectors.reserve(3 * most);
  const double square = model_->cutoff * model_->cutoff;
  double** x = atom->x;
  for (int k = 0; k < list->inum; ++k) {
    const int i = list->ilist[k];
    for (int m = 0; m < list->numneigh[i]; ++m) {
      const int j = list->firstneigh[i][m] & NEIGHMASK;
      const double d[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      const double distance = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
      if (distance >= square || !number_[atom->type[j]]) continue;
      if (distance < COINCIDENT * COINCIDENT)
        error->one(FLERR, "pair_style equireann: atoms {} and {} coincide", atom->tag[i], atom->tag[j]);
      edges.neighbours.push_back(node(j));
      edges.centres.push_back(node(i));
      edges.vectors.insert(edges.vectors.end(), d, d + 3);
    }
  }
  return edges;
}

std::vector<at::Tensor> PairEquiREANN::inputs(Edges& edges) const {
  const int64_t ghosts = atom->nghost, count = edges.centres.size();
  at::Tensor z = at::empty({ghosts + atom->nlocal}, at::kLong), index = at::empty({2, count}, at::kLong);
  for (int k = 0; k < z.size(0); ++k) {  // what the pair style has no part in has no edges: any element
    const int64_t number = number_[atom->type[k]];
    z.mutable_data_ptr<int64_t>()[node(k)] = number ? number : model_->elements[0];
  }
  std::copy(edges.neighbours.begin(), edges.neighbours.end(), index.mutable_data_ptr<int64_t>());
  std::copy(edges.centres.begin(), edges.centres.end(), index.mutable_data_ptr<int64_t>() + count);
  return {z.narrow(0, 0, ghosts).clone(), z.narrow(0, ghosts, atom->nlocal).clone(), index,
          at::from_blob(edges.vectors.data(), {count, 3}, at::kDouble).clone()};
}

void PairEquiREANN::require_finite(const at::Tensor& energy) const {
  const double* e = energy.const_data_ptr<double>();
  for (int i = 0; i < atom->nlocal; ++i)
    if (!std::isfinite(e[i]))
      error->one(FLERR, "pair_style equireann: the energy of atom {} is not finite: atoms are too close", atom->tag[i]);
}

void PairEquiREANN::tally_energies(const at::Tensor& energy) {
  const double* e = energy.const_data_ptr<double>();
  for (int k = 0; k < list->inum; ++k) {
    const int i = list->ilist[k];
    if (eflag_global) eng_vdwl += unit_ * e[i];
    if (eflag_atom) eatom[i] += unit_ * e[i];
  }
}

// F_i = sum_j (dE/dr_ij - dE/dr_ji); an edge's share in the virial, -r_ij (x) dE/dr_ij, belongs to its ends by halves.
void PairEquiREANN::tally_forces(const Edges& edges, const double* gradient) {
  const int64_t nodes = atom->nghost + atom->nlocal, width = vflag_atom ? 9 : 3;
  shares_ = at::zeros({nodes, width}, at::kDouble);
  double* shares = shares_.mutable_data_ptr<double>();
  for (size_t e = 0; e < edges.centres.size(); ++e) {
    const double *r = &edges.vectors[3 * e], *d = gradient + 3 * e;
    const double g[3] = {unit_ * d[0], unit_ * d[1], unit_ * d[2]};
    double *at_i = shares + width * edges.centres[e], *at_j = shares + width * edges.neighbours[e];
    for (int a = 0; a < 3; ++a) {
      at_i[a] += g[a];
      at_j[a] -= g[a];
    }
    if (!vflag_either) continue;
    const double v[6] = {-r[0] * g[0], -r[1] * g[1], -r[2] * g[2], -0.5 * (r[0] * g[1] + r[1] * g[0]),
                         -0.5 * (r[0] * g[2] + r[2] * g[0]), -0.5 * (r[1] * g[2] + r[2] * g[1])};
    for (int a = 0; a < 6; ++a) {
      if (vflag_global) virial[a] += v[a];
      if (!vflag_atom) continue;
      at_i[3 + a] += 0.5 * v[a];
      at_j[3 + a] += 0.5 * v[a];
    }
  }
}

// Shares of ghosts go to their owners, by ourselves: with newton off LAMMPS would not do it.
void PairEquiREANN::add_shares() {
  send_back(shares_);
  const int64_t width = shares_.size(1);
  for (int i = 0; i < atom->nlocal; ++i) {
    const double* share = shares_.const_data_ptr<double>() + width * node(i);
    for (int a = 0; a < 3; ++a) atom->f[i][a] += share[a];
    if (vflag_atom)
      for (int a = 0; a < 6; ++a) vatom[i][a] += share[3 + a];
  }
}

// Communication.

int PairEquiREANN::node(int k) const { return k < atom->nlocal ? k + atom->nghost : k - atom->nlocal; }

int PairEquiREANN::columns() const { return (rows_.size(1) * rows_.element_size() + sizeof(double) - 1) / sizeof(double); }

char* PairEquiREANN::row(int k) const {
  return static_cast<char*>(rows_.mutable_data_ptr()) + node(k) * rows_.size(1) * rows_.element_size();
}

void PairEquiREANN::send(at::Tensor& rows) {
  rows_ = rows;
  comm->forward_comm(this, columns());
  rows_.reset();
}

void PairEquiREANN::send_back(at::Tensor& rows) {
  rows_ = rows;
  comm->reverse_comm(this, columns());
  rows_.reset();
}

int PairEquiREANN::pack_forward_comm(int count, int* list, double* buffer, int, int*) {
  const size_t bytes = rows_.size(1) * rows_.element_size();
  for (int k = 0; k < count; ++k) std::memcpy(buffer + k * columns(), row(list[k]), bytes);
  return count * columns();
}

void PairEquiREANN::unpack_forward_comm(int count, int first, double* buffer) {
  const size_t bytes = rows_.size(1) * rows_.element_size();
  for (int k = 0; k < count; ++k) std::memcpy(row(first + k), buffer + k * columns(), bytes);
}

int PairEquiREANN::pack_reverse_comm(int count, int first, double* buffer) {
  const size_t bytes = rows_.size(1) * rows_.element_size();
  for (int k = 0; k < count; ++k) std::memcpy(buffer + k * columns(), row(first + k), bytes);
  return count * columns();
}

namespace {

template <typename T>
void add(void* row, const double* sent, int64_t width) {
  const T* values = reinterpret_cast<const T*>(sent);
  for (int64_t w = 0; w < width; ++w) static_cast<T*>(row)[w] += values[w];
}

}  // namespace

void PairEquiREANN::unpack_reverse_comm(int count, int* list, double* buffer) {
  const auto sum = rows_.scalar_type() == at::kFloat ? add<float> : add<double>;
  for (int k = 0; k < count; ++k) sum(row(list[k]), buffer + k * columns(), rows_.size(1));
}
