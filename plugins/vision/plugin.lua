-- What this plugin is. SPDX-License-Identifier: MIT
return {
  id = "org.quern.vision", name = "vision", version = "1.0.0", abi = "1.0",
  summary = "Image classifiers: LeNet-300-100, ResNet-18, ResNet-20/32, VGG-16/19 with batch norm",
  paper = {
    title = "Deep Residual Learning for Image Recognition", authors = "Kaiming He and others", year = 2016,
    arxiv = "1512.03385" },
  license = "MIT",
}
