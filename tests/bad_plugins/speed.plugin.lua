-- The manifest of the broken plugin speed. SPDX-License-Identifier: MIT
return { id = "bad.speed", name = "speed", version = "1.0.0", abi = "1.0", library = "speed", ops = 1,
         speed = { twice = 10 } }
