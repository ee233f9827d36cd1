-- What this plugin is; read before anything of it runs. SPDX-License-Identifier: MIT
return {
  id = "org.quern.backbones", name = "backbones", version = "1.0.0",
  summary = "Backbones of large recommendation models behind one interface: HSTU, SASRec, LLaMA- and GPT-style",
  paper = {
    title = "Scaling New Frontiers: Insights into Large Recommendation Models",
    authors = "Wei Guo, Hao Wang, Luankang Zhang and others", year = 2024, arxiv = "2412.00714" },
  license = "MIT",
}
