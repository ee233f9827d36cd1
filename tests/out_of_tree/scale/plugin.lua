-- A plugin as a stranger would write it. SPDX-License-Identifier: MIT
return {
  id = "example.scale", name = "scale", version = "1.2.3", abi = "1.0", library = "scale",
  license = "MIT", ops = 1
}
