-- What this plugin is; read before its library is loaded. SPDX-License-Identifier: MIT
return {
  id = "org.quern.perflaw", name = "perflaw", version = "1.0.0", abi = "1.0", library = "perflaw", ops = 5,
  summary = "The Performance Law: metrics as a function of depth, width and data quality; entropies of sequences",
  paper = {
    title = "Predictive Models in Sequential Recommendations: Bridging Performance Laws with Data Quality Insights",
    authors = "Tingjia Shen and others", year = 2024, arxiv = "2412.00430" },
  license = "MIT",
}
