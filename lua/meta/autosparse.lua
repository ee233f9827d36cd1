---@meta
-- Made by `make docs` from the schemas of org.quern.autosparse; changes here are lost.
-- SPDX-License-Identifier: MIT

local Tensor = {} ---@class quern.Tensor

local quern = {} ---@class quern

--- A function of two numbers from its table, bilinear in asinh of each.
--- Line i of the grid stands at asinh(x / x_unit) = x_low + x_span i / (A - 1), i from 0, its columns at those of y likewise. Beyond the ends the edge counts. A and B are at least 2.
--- `grid_lookup(x: f[N], y: f[N], grid: f[A,B], *, x_unit: num{1e-30..1e+30} = 1, x_low: num = -4, x_span: num{1e-09..1000000000} = 8, y_unit: num{1e-30..1e+30} = 1, y_low: num = -4, y_span: num{1e-09..1000000000} = 8) -> s: f[N]`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@param grid quern.Tensor|number
---@param options? { x_unit?: number, x_low?: number, x_span?: number, y_unit?: number, y_low?: number, y_span?: number }
---@return quern.Tensor s
function quern.grid_lookup(x, y, grid, options) end

--- A function of two numbers from its table, bilinear in asinh of each.
--- Line i of the grid stands at asinh(x / x_unit) = x_low + x_span i / (A - 1), i from 0, its columns at those of y likewise. Beyond the ends the edge counts. A and B are at least 2.
--- `grid_lookup(x: f[N], y: f[N], grid: f[A,B], *, x_unit: num{1e-30..1e+30} = 1, x_low: num = -4, x_span: num{1e-09..1000000000} = 8, y_unit: num{1e-30..1e+30} = 1, y_low: num = -4, y_span: num{1e-09..1000000000} = 8) -> s: f[N]`
---@param y quern.Tensor|number
---@param grid quern.Tensor|number
---@param options? { x_unit?: number, x_low?: number, x_span?: number, y_unit?: number, y_low?: number, y_span?: number }
---@return quern.Tensor s
function Tensor:grid_lookup(y, grid, options) end

return { quern = quern, Tensor = Tensor }
