// What LAMMPS calls when it loads the plug-in, by the interface of its PLUGIN package.

#include "lammps.h"
#include "pair_equireann.h"

namespace {

struct Plugin {
  const char *version, *style, *name, *info, *author;
  void* create;  // from an instance of LAMMPS to a new pair style
  void* handle;
};

void* create(LAMMPS_NS::LAMMPS* lmp) { return new LAMMPS_NS::PairEquiREANN(lmp); }

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lmp, void* handle, void* registry) {
  Plugin plugin{LAMMPS_VERSION, "pair", "equireann", "EquiREANN potentials, pair_coeff * * FILE ELEMENTS",
                "the authors of equireann_pyg", reinterpret_cast<void*>(create), handle};
  reinterpret_cast<void (*)(Plugin*, void*)>(registry)(&plugin, lmp);
}
