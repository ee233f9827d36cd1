-- One thing of each kind beside ops, as a stranger would write them. SPDX-License-Identifier: MIT
return {
  id = "example.toolbox", name = "toolbox", version = "1.0.0", abi = "1.0", library = "toolbox",
  license = "MIT", ops = 0, summary = "A sampler, a hook, a data set, a metric, a file format, a scorer.",
  needs = { "qn.store/1", "qn.object/1", "qn.hook/1", "qn.dataset/1", "qn.metric/1", "qn.codec/1", "qn.scorer/1" }
}
