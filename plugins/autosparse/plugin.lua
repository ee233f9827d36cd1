-- What this plugin is; read before its library is loaded. SPDX-License-Identifier: MIT
return {
  id = "org.quern.autosparse", name = "autosparse", version = "1.0.0", abi = "1.0", library = "autosparse", ops = 1,
  summary = "AutoSparse: pruning at initialization by a score learned from iterative rewind pruning",
  paper = {
    title = "Learning effective pruning at initialization from iterative pruning",
    authors = "Shengkai Liu, Yaofeng Cheng and others", year = 2024, arxiv = "2408.14757" },
  license = "MIT",
}
