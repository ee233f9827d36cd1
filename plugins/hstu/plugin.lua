-- What this plugin is; read before its library is loaded. SPDX-License-Identifier: MIT
return {
  id = "org.quern.hstu", name = "hstu", version = "1.0.0", abi = "1.0", library = "hstu", ops = 15,
  summary = "HSTU and SASRec for sequential recommendation: models, losses, full ranking, baselines",
  paper = {
    title = "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative Recommendations",
    authors = "Jiaqi Zhai and others", year = 2024, arxiv = "2402.17152",
    equations = { hstu_attention = "2", norm_gate = "3" } },
  license = "MIT",
}
