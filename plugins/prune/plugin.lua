-- What this plugin is; read before its library is loaded. SPDX-License-Identifier: MIT
return {
  id = "org.quern.prune", name = "prune", version = "1.0.0", abi = "1.0", library = "prune", ops = 5,
  summary = "Pruning: masks, scorers behind one interface, exact selection, sparse execution",
  license = "MIT",
}
