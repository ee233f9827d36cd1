---@meta
-- Made by `make docs` from the schemas of core; changes here are lost.
-- SPDX-License-Identifier: MIT

---@class quern.Tensor
local Tensor = {}

---@class quern
local quern = {}

--- Absolute value.
--- y = |x|. Gradient: dx = sign(x) dy, 0 at 0.
--- `abs(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.abs(x) end

--- Absolute value.
--- y = |x|. Gradient: dx = sign(x) dy, 0 at 0.
--- `abs(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:abs() end

--- Row-wise Adagrad: one sum of squares for each row of a table.
--- h[r] = h[r] + mean of g^2 over row r; w[r] = w[r] - lr g / (sqrt(h[r]) + eps), on the rows named by ids.
--- `adagrad_rows_(w!: f[N,...], h!: f[N]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, lr: num, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param w quern.Tensor|number
---@param h quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, lr?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function quern.adagrad_rows_(w, h, rows, ids, options) end

--- Row-wise Adagrad: one sum of squares for each row of a table.
--- h[r] = h[r] + mean of g^2 over row r; w[r] = w[r] - lr g / (sqrt(h[r]) + eps), on the rows named by ids.
--- `adagrad_rows_(w!: f[N,...], h!: f[N]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, lr: num, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param h quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, lr?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function Tensor:adagrad_rows_(h, rows, ids, options) end

--- Lazy Adam or AdamW: only the rows named by ids move.
--- adam_step_ on rows ids of w, m and v, with row r of `rows` as the gradient of row ids[r]. Without ids, rows has all rows in order. Bias corrections use the global step.
--- `adam_rows_(w!: f[N,...], m!: f[N,...], v!: f[N,...]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param w quern.Tensor|number
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function quern.adam_rows_(w, m, v, rows, ids, options) end

--- Lazy Adam or AdamW: only the rows named by ids move.
--- adam_step_ on rows ids of w, m and v, with row r of `rows` as the gradient of row ids[r]. Without ids, rows has all rows in order. Bias corrections use the global step.
--- `adam_rows_(w!: f[N,...], m!: f[N,...], v!: f[N,...]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function Tensor:adam_rows_(m, v, rows, ids, options) end

--- Row-wise Adam or AdamW: one second moment for each row of a table.
--- v[r] = beta2 v[r] + (1 - beta2) mean of g^2 over row r; the rest as adam_rows_. Half the state of Adam.
--- `adam_rowwise_(w!: f[N,...], m!: f[N,...], v!: f[N]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param w quern.Tensor|number
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function quern.adam_rowwise_(w, m, v, rows, ids, options) end

--- Row-wise Adam or AdamW: one second moment for each row of a table.
--- v[r] = beta2 v[r] + (1 - beta2) mean of g^2 over row r; the rest as adam_rows_. Half the state of Adam.
--- `adam_rowwise_(w!: f[N,...], m!: f[N,...], v!: f[N]{0..}, rows: f[M,...], ids: i64[M]{0..N-1}? = nil, *, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param rows quern.Tensor|number
---@param ids? quern.Tensor|number
---@param options? { norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function Tensor:adam_rowwise_(m, v, rows, ids, options) end

--- One step of Adam or AdamW, in place, every element moved.
--- m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w = w - lr mh / (sqrt(vh) + eps), mh = m / (1 - beta1^step), vh = v / (1 - beta2^step). decoupled (AdamW): w is multiplied by 1 - lr weight_decay first; else weight_decay w is added to g. Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.
--- `adam_step_(w!: f[...], g: f[...], m!: f[...], v!: f[...]{0..}, *, mask: bool[...]? = nil, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param w quern.Tensor|number
---@param g quern.Tensor|number
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param options? { mask?: quern.Tensor|number, norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function quern.adam_step_(w, g, m, v, options) end

--- One step of Adam or AdamW, in place, every element moved.
--- m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; w = w - lr mh / (sqrt(vh) + eps), mh = m / (1 - beta1^step), vh = v / (1 - beta2^step). decoupled (AdamW): w is multiplied by 1 - lr weight_decay first; else weight_decay w is added to g. Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.
--- `adam_step_(w!: f[...], g: f[...], m!: f[...], v!: f[...]{0..}, *, mask: bool[...]? = nil, norm_sq: f64[]{0..}? = nil, step: int{1..}, lr: num, beta1: num{0..1} = 0.9, beta2: num{0..1} = 0.999, eps: num{0..} = 1e-08, weight_decay: num{0..} = 0, decoupled: bool = true, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param g quern.Tensor|number
---@param m quern.Tensor|number
---@param v quern.Tensor|number
---@param options? { mask?: quern.Tensor|number, norm_sq?: quern.Tensor|number, step?: integer, lr?: number, beta1?: number, beta2?: number, eps?: number, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function Tensor:adam_step_(g, m, v, options) end

--- Means of windows chosen so that the result has the given size.
--- x: [N,C,H,W] or [N,C,L]. Window i of O over I pixels: floor(i I / O) .. ceil((i+1) I / O) - 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `adaptive_avg_pool(x: f[?], *, size: [int], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param x quern.Tensor|number
---@param options? { size?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.adaptive_avg_pool(x, options) end

--- Means of windows chosen so that the result has the given size.
--- x: [N,C,H,W] or [N,C,L]. Window i of O over I pixels: floor(i I / O) .. ceil((i+1) I / O) - 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `adaptive_avg_pool(x: f[?], *, size: [int], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param options? { size?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:adaptive_avg_pool(options) end

--- Sum of two tensors, with broadcasting.
--- y = a + b. Gradient: da = dy, db = dy, each summed over its broadcast dimensions. Both have one element type; a number takes the tensor's.
--- `add(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.add(a, b) end

--- Sum of two tensors, with broadcasting.
--- y = a + b. Gradient: da = dy, db = dy, each summed over its broadcast dimensions. Both have one element type; a number takes the tensor's.
--- `add(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:add(b) end

--- Adds y to x in place.
--- x <- x + y; y is broadcast to x.
--- `add_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@return quern.Tensor x
function quern.add_(x, y) end

--- Adds y to x in place.
--- x <- x + y; y is broadcast to x.
--- `add_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param y quern.Tensor|number
---@return quern.Tensor x
function Tensor:add_(y) end

--- Whether every element is true.
--- y = true if no x is 0; true of nothing. No gradient. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `all(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: bool[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.all(x, dim, keepdim) end

--- Whether every element is true.
--- y = true if no x is 0; true of nothing. No gradient. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `all(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: bool[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:all(dim, keepdim) end

--- Whether some element is true.
--- y = true if some x is not 0. No gradient. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `any(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: bool[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.any(x, dim, keepdim) end

--- Whether some element is true.
--- y = true if some x is not 0. No gradient. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `any(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: bool[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:any(dim, keepdim) end

--- Where the largest element is, counted from 0.
--- i = the first place of the largest x along dim, or in row-major order over all if dim is nil. NaN counts as largest. Places are ids: they count from 0 and fit gather, index_select and class labels.
--- `argmax(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]`
---@param x quern.Tensor|number
---@param dim? integer
---@param keepdim? boolean
---@return quern.Tensor i
function quern.argmax(x, dim, keepdim) end

--- Where the largest element is, counted from 0.
--- i = the first place of the largest x along dim, or in row-major order over all if dim is nil. NaN counts as largest. Places are ids: they count from 0 and fit gather, index_select and class labels.
--- `argmax(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]`
---@param dim? integer
---@param keepdim? boolean
---@return quern.Tensor i
function Tensor:argmax(dim, keepdim) end

--- Where the smallest element is, counted from 0.
--- i = the first place of the smallest x along dim, or in row-major order over all if dim is nil. NaN counts as smallest. Places count from 0.
--- `argmin(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]`
---@param x quern.Tensor|number
---@param dim? integer
---@param keepdim? boolean
---@return quern.Tensor i
function quern.argmin(x, dim, keepdim) end

--- Where the smallest element is, counted from 0.
--- i = the first place of the smallest x along dim, or in row-major order over all if dim is nil. NaN counts as smallest. Places count from 0.
--- `argmin(x: any[?], dim: int? = nil, keepdim: bool = false) -> i: i64[?]`
---@param dim? integer
---@param keepdim? boolean
---@return quern.Tensor i
function Tensor:argmin(dim, keepdim) end

--- The places that would sort a tensor along a dimension, counted from 0.
--- gather(x, i, dim) is sorted; equal values keep their order. No gradient.
--- `argsort(x: t[?], dim: int = -1, descending: bool = false) -> i: i64[?]`
---@param x quern.Tensor|number
---@param dim? integer
---@param descending? boolean
---@return quern.Tensor i
function quern.argsort(x, dim, descending) end

--- The places that would sort a tensor along a dimension, counted from 0.
--- gather(x, i, dim) is sorted; equal values keep their order. No gradient.
--- `argsort(x: t[?], dim: int = -1, descending: bool = false) -> i: i64[?]`
---@param dim? integer
---@param descending? boolean
---@return quern.Tensor i
function Tensor:argsort(dim, descending) end

--- Softmax attention within each sequence of a jagged batch.
--- S = Q K' scale + bias, P = softmax(S) over the keys that a query sees, O = P V; scale is 1 / sqrt(D) unless given. dV = P' dO, dP = dO V', dS = P (dP - rowsum(dO O)), dQ = dS K scale, dK = dS' Q scale, dbias = the sum of dS. causal: query i sees keys up to i. bias is [L,L] or [H,L,L], L at least the longest sequence, indexed by position.
--- `attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], bias: f[?]? = nil, *, causal: bool = true, scale: num? = nil) -> o: f[T@B,H,E]`
---@param q quern.Tensor|number
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param bias? quern.Tensor|number
---@param options? { causal?: boolean, scale?: number }
---@return quern.Tensor o
function quern.attention(q, k, v, bias, options) end

--- Softmax attention within each sequence of a jagged batch.
--- S = Q K' scale + bias, P = softmax(S) over the keys that a query sees, O = P V; scale is 1 / sqrt(D) unless given. dV = P' dO, dP = dO V', dS = P (dP - rowsum(dO O)), dQ = dS K scale, dK = dS' Q scale, dbias = the sum of dS. causal: query i sees keys up to i. bias is [L,L] or [H,L,L], L at least the longest sequence, indexed by position.
--- `attention(q: f[T@B,H,D], k: like q, v: f[T@B,H,E], bias: f[?]? = nil, *, causal: bool = true, scale: num? = nil) -> o: f[T@B,H,E]`
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param bias? quern.Tensor|number
---@param options? { causal?: boolean, scale?: number }
---@return quern.Tensor o
function Tensor:attention(k, v, bias, options) end

--- Softmax attention of a padded batch, with an optional mask and additive bias.
--- As attention. mask (bool or u8, 1 where a query sees a key) and bias are broadcast to [B,H,T,S]; a query that sees no key gives zeros. causal: query i sees keys up to i + S - T, so the last query sees all.
--- `attention_dense(q: f[B,H,T,D], k: f[B,H,S,D], v: f[B,H,S,E], mask: any[?]? = nil, bias: f[?]? = nil, *, causal: bool = false, scale: num? = nil) -> o: f[B,H,T,E]`
---@param q quern.Tensor|number
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param mask? quern.Tensor|number
---@param bias? quern.Tensor|number
---@param options? { causal?: boolean, scale?: number }
---@return quern.Tensor o
function quern.attention_dense(q, k, v, mask, bias, options) end

--- Softmax attention of a padded batch, with an optional mask and additive bias.
--- As attention. mask (bool or u8, 1 where a query sees a key) and bias are broadcast to [B,H,T,S]; a query that sees no key gives zeros. causal: query i sees keys up to i + S - T, so the last query sees all.
--- `attention_dense(q: f[B,H,T,D], k: f[B,H,S,D], v: f[B,H,S,E], mask: any[?]? = nil, bias: f[?]? = nil, *, causal: bool = false, scale: num? = nil) -> o: f[B,H,T,E]`
---@param k quern.Tensor|number
---@param v quern.Tensor|number
---@param mask? quern.Tensor|number
---@param bias? quern.Tensor|number
---@param options? { causal?: boolean, scale?: number }
---@return quern.Tensor o
function Tensor:attention_dense(k, v, mask, bias, options) end

--- Mean of each window.
--- x: [N,C,H,W] or [N,C,L]. The mean is over the window's pixels inside the image: padding does not count. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `avg_pool(x: f[?], *, kernel: [int], stride: [int]? = nil, padding: [int] = [0], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param x quern.Tensor|number
---@param options? { kernel?: integer[], stride?: integer[], padding?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.avg_pool(x, options) end

--- Mean of each window.
--- x: [N,C,H,W] or [N,C,L]. The mean is over the window's pixels inside the image: padding does not count. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `avg_pool(x: f[?], *, kernel: [int], stride: [int]? = nil, padding: [int] = [0], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param options? { kernel?: integer[], stride?: integer[], padding?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:avg_pool(options) end

--- Normalises each channel over batch and space.
--- y = w (x - mean) / sqrt(var + eps) + b. Without mean and var those of the batch are used (training), and returned: the variance is the biased one. x: [N,C], [N,C,L] or [N,C,H,W]. batch_mean and batch_var are the ones used.
--- `batch_norm(x: f[N,C,...], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, var: f[C]? = nil, *, eps: num{0..} = 1e-05) -> y: like x, batch_mean: f[C], batch_var: f[C]`
---@param x quern.Tensor|number
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param mean? quern.Tensor|number
---@param var? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
---@return quern.Tensor batch_mean
---@return quern.Tensor batch_var
function quern.batch_norm(x, w, b, mean, var, options) end

--- Normalises each channel over batch and space.
--- y = w (x - mean) / sqrt(var + eps) + b. Without mean and var those of the batch are used (training), and returned: the variance is the biased one. x: [N,C], [N,C,L] or [N,C,H,W]. batch_mean and batch_var are the ones used.
--- `batch_norm(x: f[N,C,...], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, var: f[C]? = nil, *, eps: num{0..} = 1e-05) -> y: like x, batch_mean: f[C], batch_var: f[C]`
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param mean? quern.Tensor|number
---@param var? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
---@return quern.Tensor batch_mean
---@return quern.Tensor batch_var
function Tensor:batch_norm(w, b, mean, var, options) end

--- Batch normalisation with channels last, a residual and relu in the same passes.
--- y = act(w (x - mean) / sqrt(var + eps) + b + residual). x: [N,C], [N,L,C] or [N,H,W,C]; each channel is normalised over all else. Without mean and var those of the batch are used (training), and returned: the variance is the biased one. batch_norm is the same for channels in the second place.
--- `batch_norm_act(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, var: f[C]? = nil, residual: like x? = nil, *, eps: num{0..} = 1e-05, act: enum{none|relu} = none) -> y: like x, batch_mean: f[C], batch_var: f[C]`
---@param x quern.Tensor|number
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param mean? quern.Tensor|number
---@param var? quern.Tensor|number
---@param residual? quern.Tensor|number
---@param options? { eps?: number, act?: "none"|"relu" }
---@return quern.Tensor y
---@return quern.Tensor batch_mean
---@return quern.Tensor batch_var
function quern.batch_norm_act(x, w, b, mean, var, residual, options) end

--- Batch normalisation with channels last, a residual and relu in the same passes.
--- y = act(w (x - mean) / sqrt(var + eps) + b + residual). x: [N,C], [N,L,C] or [N,H,W,C]; each channel is normalised over all else. Without mean and var those of the batch are used (training), and returned: the variance is the biased one. batch_norm is the same for channels in the second place.
--- `batch_norm_act(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, mean: f[C]? = nil, var: f[C]? = nil, residual: like x? = nil, *, eps: num{0..} = 1e-05, act: enum{none|relu} = none) -> y: like x, batch_mean: f[C], batch_var: f[C]`
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param mean? quern.Tensor|number
---@param var? quern.Tensor|number
---@param residual? quern.Tensor|number
---@param options? { eps?: number, act?: "none"|"relu" }
---@return quern.Tensor y
---@return quern.Tensor batch_mean
---@return quern.Tensor batch_var
function Tensor:batch_norm_act(w, b, mean, var, residual, options) end

--- Binary cross-entropy of scores (logits) against probabilities.
--- l = max(x, 0) - x t + log(1 + exp(-|x|)), times its weight; dx = (sigmoid(x) - t) dl, dt = -x dl. mean divides by the number of elements, weights or not.
--- `bce_with_logits(x: f[...], t: f[...], weights: f[...]? = nil, *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param t quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.bce_with_logits(x, t, weights, options) end

--- Binary cross-entropy of scores (logits) against probabilities.
--- l = max(x, 0) - x t + log(1 + exp(-|x|)), times its weight; dx = (sigmoid(x) - t) dl, dt = -x dl. mean divides by the number of elements, weights or not.
--- `bce_with_logits(x: f[...], t: f[...], weights: f[...]? = nil, *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param t quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:bce_with_logits(t, weights, options) end

--- 1 with probability p, else 0.
--- y = 1 where u < p, else 0; u in [0,1) with 24 random bits. No gradient.
--- `bernoulli(p: f[...]) -> y: f[...]`
---@param p quern.Tensor|number
---@return quern.Tensor y
function quern.bernoulli(p) end

--- 1 with probability p, else 0.
--- y = 1 where u < p, else 0; u in [0,1) with 24 random bits. No gradient.
--- `bernoulli(p: f[...]) -> y: f[...]`
---@return quern.Tensor y
function Tensor:bernoulli() end

--- Bayesian personalised ranking: the positive's score above the negative's.
--- l = -log sigmoid(pos - neg), times its weight; dpos = (sigmoid(pos - neg) - 1) dl, dneg = -dpos. mean divides by the number of elements, weights or not.
--- `bpr(pos: f[...], neg: f[...], weights: f[...]? = nil, *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param pos quern.Tensor|number
---@param neg quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.bpr(pos, neg, weights, options) end

--- Bayesian personalised ranking: the positive's score above the negative's.
--- l = -log sigmoid(pos - neg), times its weight; dpos = (sigmoid(pos - neg) - 1) dl, dneg = -dpos. mean divides by the number of elements, weights or not.
--- `bpr(pos: f[...], neg: f[...], weights: f[...]? = nil, *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param neg quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:bpr(neg, weights, options) end

--- A copy with another element type.
--- y = x as dtype: f32, f64, bf16, i64, i32, u8 or bool. Floating to integer goes toward 0, NaN to 0, what is too large to the largest i64; i32 and u8 keep the low bits; bool is x ~= 0. Gradient: dx = dy.
--- `cast(x: any[?] strided, dtype: str) -> y: any[?]`
---@param x quern.Tensor|number
---@param dtype string
---@return quern.Tensor y
function quern.cast(x, dtype) end

--- A copy with another element type.
--- y = x as dtype: f32, f64, bf16, i64, i32, u8 or bool. Floating to integer goes toward 0, NaN to 0, what is too large to the largest i64; i32 and u8 keep the low bits; bool is x ~= 0. Gradient: dx = dy.
--- `cast(x: any[?] strided, dtype: str) -> y: any[?]`
---@param dtype string
---@return quern.Tensor y
function Tensor:cast(dtype) end

--- Random class ids, from 0, with given log-weights or weights.
--- P(y = k) is e^x[k] / sum e^x, or x[k] / sum x if form is "probs". No gradient.
--- `categorical(x: f[...,C], form: enum{logits|probs} = logits) -> y: i64[...]`
---@param x quern.Tensor|number
---@param form? "logits"|"probs"
---@return quern.Tensor y
function quern.categorical(x, form) end

--- Random class ids, from 0, with given log-weights or weights.
--- P(y = k) is e^x[k] / sum e^x, or x[k] / sum x if form is "probs". No gradient.
--- `categorical(x: f[...,C], form: enum{logits|probs} = logits) -> y: i64[...]`
---@param form? "logits"|"probs"
---@return quern.Tensor y
function Tensor:categorical(form) end

--- Smallest whole number not below x.
--- y = ceil x. No gradient.
--- `ceil(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.ceil(x) end

--- Smallest whole number not below x.
--- y = ceil x. No gradient.
--- `ceil(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:ceil() end

--- x kept between two bounds; either may be left out.
--- y = min(max(x, min), max). Gradient: dx = dy where min <= x <= max, else 0.
--- `clamp(x: t[...] strided, min: num? = nil, max: num? = nil) -> y: t[...]`
---@param x quern.Tensor|number
---@param min? number
---@param max? number
---@return quern.Tensor y
function quern.clamp(x, min, max) end

--- x kept between two bounds; either may be left out.
--- y = min(max(x, min), max). Gradient: dx = dy where min <= x <= max, else 0.
--- `clamp(x: t[...] strided, min: num? = nil, max: num? = nil) -> y: t[...]`
---@param min? number
---@param max? number
---@return quern.Tensor y
function Tensor:clamp(min, max) end

--- A copy with memory of its own.
--- y = x. Gradient: dx = dy.
--- `clone(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.clone(x) end

--- A copy with memory of its own.
--- y = x. Gradient: dx = dy.
--- `clone(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:clone() end

--- Joins tensors along a dimension.
--- y = the tensors one after the other along dim; all other sizes are equal. Gradient: each gets its part of dy.
--- `concat(xs: t[?] strided*, dim: int = 1) -> y: t[?]`
---@param xs quern.Tensor[]
---@param dim? integer
---@return quern.Tensor y
function quern.concat(xs, dim) end

--- A copy whose elements lie in row-major order.
--- y = x. Gradient: dx = dy.
--- `contiguous(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.contiguous(x) end

--- A copy whose elements lie in row-major order.
--- y = x. Gradient: dx = dy.
--- `contiguous(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:contiguous() end

--- Convolution of series [N,C,L].
--- y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]; w has C/groups input channels. stride, padding, dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) - 1) / s) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv1d(x: f[N,C,L], w: f[O,I,K], b: f[O]? = nil, *, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q] where K >= 1`
---@param x quern.Tensor|number
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.conv1d(x, w, b, options) end

--- Convolution of series [N,C,L].
--- y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]; w has C/groups input channels. stride, padding, dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) - 1) / s) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv1d(x: f[N,C,L], w: f[O,I,K], b: f[O]? = nil, *, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q] where K >= 1`
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:conv1d(w, b, options) end

--- The adjoint of the convolution with respect to the kernel.
--- <v, G(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv1d_weight_grad(x: f[N,C,L], g: f[N,P,Q], *, size: [int{1..}], stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> dw: f[O,I,K]`
---@param x quern.Tensor|number
---@param g quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor dw
function quern.conv1d_weight_grad(x, g, options) end

--- The adjoint of the convolution with respect to the kernel.
--- <v, G(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv1d_weight_grad(x: f[N,C,L], g: f[N,P,Q], *, size: [int{1..}], stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> dw: f[O,I,K]`
---@param g quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor dw
function Tensor:conv1d_weight_grad(g, options) end

--- Convolution of images [N,C,H,W].
--- y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]; w has C/groups input channels. stride, padding, dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) - 1) / s) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv2d(x: f[N,C,H,W], w: f[O,I,KH,KW], b: f[O]? = nil, *, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q,R] where KH >= 1, KW >= 1`
---@param x quern.Tensor|number
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.conv2d(x, w, b, options) end

--- Convolution of images [N,C,H,W].
--- y[n,o,p] = b[o] + sum w[o,c,k] x[n,c,p s + k d - pad]; w has C/groups input channels. stride, padding, dilation: one number or one per axis. Result size: floor((I + 2 pad - d (k-1) - 1) / s) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv2d(x: f[N,C,H,W], w: f[O,I,KH,KW], b: f[O]? = nil, *, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q,R] where KH >= 1, KW >= 1`
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:conv2d(w, b, options) end

--- The adjoint of the convolution with respect to the kernel.
--- <v, G(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv2d_weight_grad(x: f[N,C,H,W], g: f[N,P,Q,R], *, size: [int{1..}], stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> dw: f[O,I,KH,KW]`
---@param x quern.Tensor|number
---@param g quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor dw
function quern.conv2d_weight_grad(x, g, options) end

--- The adjoint of the convolution with respect to the kernel.
--- <v, G(x, g)> = <g, conv(x, v)>. size: the kernel's spatial sizes. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv2d_weight_grad(x: f[N,C,H,W], g: f[N,P,Q,R], *, size: [int{1..}], stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> dw: f[O,I,KH,KW]`
---@param g quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor dw
function Tensor:conv2d_weight_grad(g, options) end

--- Transposed convolution: the adjoint with respect to the image.
--- <u, T(x, w)> = <x, conv(u, w)>; x has the kernel's O channels, the result C = I groups. Result size: `size`, or (X - 1) s - 2 pad + d (k-1) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv_transpose1d(x: f[N,C,L], w: f[O,I,K], *, size: [int{1..}]? = nil, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q] where K >= 1`
---@param x quern.Tensor|number
---@param w quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.conv_transpose1d(x, w, options) end

--- Transposed convolution: the adjoint with respect to the image.
--- <u, T(x, w)> = <x, conv(u, w)>; x has the kernel's O channels, the result C = I groups. Result size: `size`, or (X - 1) s - 2 pad + d (k-1) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv_transpose1d(x: f[N,C,L], w: f[O,I,K], *, size: [int{1..}]? = nil, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q] where K >= 1`
---@param w quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:conv_transpose1d(w, options) end

--- Transposed convolution: the adjoint with respect to the image.
--- <u, T(x, w)> = <x, conv(u, w)>; x has the kernel's O channels, the result C = I groups. Result size: `size`, or (X - 1) s - 2 pad + d (k-1) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv_transpose2d(x: f[N,C,H,W], w: f[O,I,KH,KW], *, size: [int{1..}]? = nil, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q,R] where KH >= 1, KW >= 1`
---@param x quern.Tensor|number
---@param w quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.conv_transpose2d(x, w, options) end

--- Transposed convolution: the adjoint with respect to the image.
--- <u, T(x, w)> = <x, conv(u, w)>; x has the kernel's O channels, the result C = I groups. Result size: `size`, or (X - 1) s - 2 pad + d (k-1) + 1. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `conv_transpose2d(x: f[N,C,H,W], w: f[O,I,KH,KW], *, size: [int{1..}]? = nil, stride: [int{1..}] = [1], padding: [int{0..}] = [0], dilation: [int{1..}] = [1], groups: int{1..} = 1, layout: enum{nchw|nhwc} = nchw) -> y: f[N,P,Q,R] where KH >= 1, KW >= 1`
---@param w quern.Tensor|number
---@param options? { size?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], groups?: integer, layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:conv_transpose2d(w, options) end

--- Copies y into x, converting the element type.
--- x <- y; y is broadcast to x.
--- `copy_(x!: any[...] strided, y: any[~...] strided) -> x`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@return quern.Tensor x
function quern.copy_(x, y) end

--- Copies y into x, converting the element type.
--- x <- y; y is broadcast to x.
--- `copy_(x!: any[...] strided, y: any[~...] strided) -> x`
---@param y quern.Tensor|number
---@return quern.Tensor x
function Tensor:copy_(y) end

--- Cosine of x in radians.
--- y = cos x. Gradient: dx = -sin(x) dy.
--- `cos(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.cos(x) end

--- Cosine of x in radians.
--- y = cos x. Gradient: dx = -sin(x) dy.
--- `cos(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:cos() end

--- Cross-entropy of class scores (logits) against labels.
--- l_n = lse(x_n) - (1 - s) x_n,t - s mean(x_n), s = label_smoothing; dx = r_n (softmax(x_n) - q_n). mean divides by the sum of the weights (of rows) that count; it is 0 when none does. Rows whose label is ignore_index do not count. A label outside 0 .. C-1 is an error that names its position.
--- `cross_entropy(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { ignore_index?: integer, label_smoothing?: number, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.cross_entropy(x, target, weights, options) end

--- Cross-entropy of class scores (logits) against labels.
--- l_n = lse(x_n) - (1 - s) x_n,t - s mean(x_n), s = label_smoothing; dx = r_n (softmax(x_n) - q_n). mean divides by the sum of the weights (of rows) that count; it is 0 when none does. Rows whose label is ignore_index do not count. A label outside 0 .. C-1 is an error that names its position.
--- `cross_entropy(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { ignore_index?: integer, label_smoothing?: number, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:cross_entropy(target, weights, options) end

--- Running sums along one dimension.
--- y[r] = x[1] + ... + x[r], or from the end if reverse; integers as i64. Gradient: dx = running sums of dy from the other side.
--- `cumsum(x: any[?], dim: int, reverse: bool = false) -> y: any[?]`
---@param x quern.Tensor|number
---@param dim integer
---@param reverse? boolean
---@return quern.Tensor y
function quern.cumsum(x, dim, reverse) end

--- Running sums along one dimension.
--- y[r] = x[1] + ... + x[r], or from the end if reverse; integers as i64. Gradient: dx = running sums of dy from the other side.
--- `cumsum(x: any[?], dim: int, reverse: bool = false) -> y: any[?]`
---@param dim integer
---@param reverse? boolean
---@return quern.Tensor y
function Tensor:cumsum(dim, reverse) end

--- The same data without history: no gradient flows through.
--- y = x, sharing its memory.
--- `detach(x: t[...] strided) -> y&x: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.detach(x) end

--- The same data without history: no gradient flows through.
--- y = x, sharing its memory.
--- `detach(x: t[...] strided) -> y&x: t[...]`
---@return quern.Tensor y
function Tensor:detach() end

--- Quotient of two floating tensors, with broadcasting.
--- y = a / b. Gradient: da = dy / b, db = -dy a / b^2. For integers see floor_divide.
--- `div(a: f[~...] strided, b: f[~...] strided) -> y: f[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.div(a, b) end

--- Quotient of two floating tensors, with broadcasting.
--- y = a / b. Gradient: da = dy / b, db = -dy a / b^2. For integers see floor_divide.
--- `div(a: f[~...] strided, b: f[~...] strided) -> y: f[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:div(b) end

--- Divides x by y in place.
--- x <- x / y; y is broadcast to x.
--- `div_(x!: f[...] strided, y: f[~...] strided) -> x`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@return quern.Tensor x
function quern.div_(x, y) end

--- Divides x by y in place.
--- x <- x / y; y is broadcast to x.
--- `div_(x!: f[...] strided, y: f[~...] strided) -> x`
---@param y quern.Tensor|number
---@return quern.Tensor x
function Tensor:div_(y) end

--- Zeroes each element with probability p and divides the others by 1 - p.
--- y = keep x / (1 - p) with keep drawn for each element; dx = keep dy / (1 - p), the same draw. training = false gives x. p = 1 gives zeros.
--- `dropout(x: f[...], *, p: num{0..1} = 0.5, training: bool = true) -> y: f[...]`
---@param x quern.Tensor|number
---@param options? { p?: number, training?: boolean }
---@return quern.Tensor y
function quern.dropout(x, options) end

--- Zeroes each element with probability p and divides the others by 1 - p.
--- y = keep x / (1 - p) with keep drawn for each element; dx = keep dy / (1 - p), the same draw. training = false gives x. p = 1 gives zeros.
--- `dropout(x: f[...], *, p: num{0..1} = 0.5, training: bool = true) -> y: f[...]`
---@param options? { p?: number, training?: boolean }
---@return quern.Tensor y
function Tensor:dropout(options) end

--- Exponential linear unit.
--- y = x > 0 ? x : alpha (e^x - 1). Gradient: dx = dy or alpha e^x dy.
--- `elu(x: f[...] strided, alpha: num = 1) -> y: f[...]`
---@param x quern.Tensor|number
---@param alpha? number
---@return quern.Tensor y
function quern.elu(x, alpha) end

--- Exponential linear unit.
--- y = x > 0 ? x : alpha (e^x - 1). Gradient: dx = dy or alpha e^x dy.
--- `elu(x: f[...] strided, alpha: num = 1) -> y: f[...]`
---@param alpha? number
---@return quern.Tensor y
function Tensor:elu(alpha) end

--- Rows of a table by id.
--- y[p] = w[ids[p]]; dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p. sparse gives the gradient as rows of the table (for large tables); padding is an id that stands for zeros and whose row gets no gradient. An id outside 0 .. V-1 is an error that names its position.
--- `embedding(w: f[V,D], ids: i[...]{0..V-1}, *, sparse: bool = false, padding: int? = nil) -> y: f[...,D]`
---@param w quern.Tensor|number
---@param ids quern.Tensor|number
---@param options? { sparse?: boolean, padding?: integer }
---@return quern.Tensor y
function quern.embedding(w, ids, options) end

--- Rows of a table by id.
--- y[p] = w[ids[p]]; dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p. sparse gives the gradient as rows of the table (for large tables); padding is an id that stands for zeros and whose row gets no gradient. An id outside 0 .. V-1 is an error that names its position.
--- `embedding(w: f[V,D], ids: i[...]{0..V-1}, *, sparse: bool = false, padding: int? = nil) -> y: f[...,D]`
---@param ids quern.Tensor|number
---@param options? { sparse?: boolean, padding?: integer }
---@return quern.Tensor y
function Tensor:embedding(ids, options) end

--- Rows added up by id into a table: the gradient of embedding.
--- dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p, 0 where there is none or v is padding.
--- `embedding_grad(dy: f[...,D], ids: i[...]{0..rows-1}, *, rows: int{0..}, padding: int? = nil) -> dw: f[rows,D]`
---@param dy quern.Tensor|number
---@param ids quern.Tensor|number
---@param options? { rows?: integer, padding?: integer }
---@return quern.Tensor dw
function quern.embedding_grad(dy, ids, options) end

--- Rows added up by id into a table: the gradient of embedding.
--- dw[v] = the sum of dy[p] over all p with ids[p] = v, in order of p, 0 where there is none or v is padding.
--- `embedding_grad(dy: f[...,D], ids: i[...]{0..rows-1}, *, rows: int{0..}, padding: int? = nil) -> dw: f[rows,D]`
---@param ids quern.Tensor|number
---@param options? { rows?: integer, padding?: integer }
---@return quern.Tensor dw
function Tensor:embedding_grad(ids, options) end

--- Whether a is equal to b, element by element, with broadcasting.
--- y = (a == b), as bool. A number takes the tensor's element type. No gradient.
--- `eq(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.eq(a, b) end

--- Whether a is equal to b, element by element, with broadcasting.
--- y = (a == b), as bool. A number takes the tensor's element type. No gradient.
--- `eq(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:eq(b) end

--- Error function.
--- y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x. Gradient: dx = 2 / sqrt(pi) e^(-x^2) dy.
--- `erf(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.erf(x) end

--- Error function.
--- y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x. Gradient: dx = 2 / sqrt(pi) e^(-x^2) dy.
--- `erf(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:erf() end

--- Exponential.
--- y = e^x. Gradient: dx = y dy.
--- `exp(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.exp(x) end

--- Exponential.
--- y = e^x. Gradient: dx = y dy.
--- `exp(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:exp() end

--- Repeats dimensions of size 1 without copying; a view.
--- y = x with dimensions of size 1, and new leading ones, repeated; -1 keeps a size. Gradient: dx = sum of dy over the repetitions.
--- `expand(x: any[?] strided, shape: [int]) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param shape integer[]
---@return quern.Tensor y
function quern.expand(x, shape) end

--- Repeats dimensions of size 1 without copying; a view.
--- y = x with dimensions of size 1, and new leading ones, repeated; -1 keeps a size. Gradient: dx = sum of dy over the repetitions.
--- `expand(x: any[?] strided, shape: [int]) -> y&x: any[?]`
---@param shape integer[]
---@return quern.Tensor y
function Tensor:expand(shape) end

--- Sets every element to a number.
--- x <- value.
--- `fill_(x!: t[...] strided, value: num) -> x`
---@param x quern.Tensor|number
---@param value number
---@return quern.Tensor x
function quern.fill_(x, value) end

--- Sets every element to a number.
--- x <- value.
--- `fill_(x!: t[...] strided, value: num) -> x`
---@param value number
---@return quern.Tensor x
function Tensor:fill_(value) end

--- Joins neighbouring dimensions into one.
--- y = x with dimensions first..last as one. Gradient: dx = dy in x's shape.
--- `flatten(x: any[?], first: int = 1, last: int = -1) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param first? integer
---@param last? integer
---@return quern.Tensor y
function quern.flatten(x, first, last) end

--- Joins neighbouring dimensions into one.
--- y = x with dimensions first..last as one. Gradient: dx = dy in x's shape.
--- `flatten(x: any[?], first: int = 1, last: int = -1) -> y&x: any[?]`
---@param first? integer
---@param last? integer
---@return quern.Tensor y
function Tensor:flatten(first, last) end

--- Reverses the order along dimensions.
--- y = x, last position first along each of dims. Gradient: dx = dy, flipped.
--- `flip(x: t[...] strided, dims: [int]) -> y: t[...]`
---@param x quern.Tensor|number
---@param dims integer[]
---@return quern.Tensor y
function quern.flip(x, dims) end

--- Reverses the order along dimensions.
--- y = x, last position first along each of dims. Gradient: dx = dy, flipped.
--- `flip(x: t[...] strided, dims: [int]) -> y: t[...]`
---@param dims integer[]
---@return quern.Tensor y
function Tensor:flip(dims) end

--- Largest whole number not above x.
--- y = floor x. No gradient.
--- `floor(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.floor(x) end

--- Largest whole number not above x.
--- y = floor x. No gradient.
--- `floor(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:floor() end

--- Quotient rounded down, with broadcasting; for integers too.
--- y = floor(a / b). No gradient. An integer divisor of 0 is an error.
--- `floor_divide(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.floor_divide(a, b) end

--- Quotient rounded down, with broadcasting; for integers too.
--- y = floor(a / b). No gradient. An integer divisor of 0 is an error.
--- `floor_divide(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:floor_divide(b) end

--- The f32 master of a bf16 tensor goes along with what others wrote into that.
--- Where master does not round (to the nearest) to w, somebody changed w, and master becomes w; elsewhere it keeps its digits. An optimizer then steps on master and rounds it into w.
--- `follow_bf16_(master!: f[...], w: any[...]) -> master`
---@param master quern.Tensor|number
---@param w quern.Tensor|number
---@return quern.Tensor master
function quern.follow_bf16_(master, w) end

--- The f32 master of a bf16 tensor goes along with what others wrote into that.
--- Where master does not round (to the nearest) to w, somebody changed w, and master becomes w; elsewhere it keeps its digits. An optimizer then steps on master and rounds it into w.
--- `follow_bf16_(master!: f[...], w: any[...]) -> master`
---@param w quern.Tensor|number
---@return quern.Tensor master
function Tensor:follow_bf16_(w) end

--- A new tensor filled with a number.
--- y = value everywhere.
--- `full(shape: [int], value: num = 0, dtype: enum{f32|f64|bf16|i64|i32|u8|bool} = f32) -> y: any[?]`
---@param shape integer[]
---@param value? number
---@param dtype? "f32"|"f64"|"bf16"|"i64"|"i32"|"u8"|"bool"
---@return quern.Tensor y
function quern.full(shape, value, dtype) end

--- Picks one element for each id along a dimension.
--- y[.., i, ..] = x[.., ids[.., i, ..], ..] along dim; y has the shape of ids; ids count from 0. Gradient: scatter_add of dy.
--- `gather(x: t[?], ids: i64[?], dim: int) -> y: t[?]`
---@param x quern.Tensor|number
---@param ids quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function quern.gather(x, ids, dim) end

--- Picks one element for each id along a dimension.
--- y[.., i, ..] = x[.., ids[.., i, ..], ..] along dim; y has the shape of ids; ids count from 0. Gradient: scatter_add of dy.
--- `gather(x: t[?], ids: i64[?], dim: int) -> y: t[?]`
---@param ids quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function Tensor:gather(ids, dim) end

--- Whether a is at least b, element by element, with broadcasting.
--- y = (a >= b), as bool. A number takes the tensor's element type. No gradient.
--- `ge(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.ge(a, b) end

--- Whether a is at least b, element by element, with broadcasting.
--- y = (a >= b), as bool. A number takes the tensor's element type. No gradient.
--- `ge(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:ge(b) end

--- Gaussian error linear unit.
--- y = x Phi(x). Gradient: dx = (Phi(x) + x phi(x)) dy. form = "tanh" takes Phi(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
--- `gelu(x: f[...] strided, form: enum{erf|tanh} = erf) -> y: f[...]`
---@param x quern.Tensor|number
---@param form? "erf"|"tanh"
---@return quern.Tensor y
function quern.gelu(x, form) end

--- Gaussian error linear unit.
--- y = x Phi(x). Gradient: dx = (Phi(x) + x phi(x)) dy. form = "tanh" takes Phi(x) = (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2.
--- `gelu(x: f[...] strided, form: enum{erf|tanh} = erf) -> y: f[...]`
---@param form? "erf"|"tanh"
---@return quern.Tensor y
function Tensor:gelu(form) end

--- Sum of the squares of all elements of all tensors, in double.
--- Summed in chunks of fixed size, added in order: the same bits for any number of workers.
--- `grad_norm_sq(xs: f[?]*) -> s: f64[]`
---@param xs quern.Tensor[]
---@return quern.Tensor s
function quern.grad_norm_sq(xs) end

--- Whether a is greater than b, element by element, with broadcasting.
--- y = (a > b), as bool. A number takes the tensor's element type. No gradient.
--- `gt(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.gt(a, b) end

--- Whether a is greater than b, element by element, with broadcasting.
--- y = (a > b), as bool. A number takes the tensor's element type. No gradient.
--- `gt(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:gt(b) end

--- Adds whole slices to the places that ids name along a dimension.
--- y = x, with slice ids[k] += slice k of src; ids count from 0 and may repeat. Gradient: dx = dy, dsrc = index_select of dy.
--- `index_add(x: t[?], ids: i64[K], src: t[?], dim: int) -> y: t[?]`
---@param x quern.Tensor|number
---@param ids quern.Tensor|number
---@param src quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function quern.index_add(x, ids, src, dim) end

--- Adds whole slices to the places that ids name along a dimension.
--- y = x, with slice ids[k] += slice k of src; ids count from 0 and may repeat. Gradient: dx = dy, dsrc = index_select of dy.
--- `index_add(x: t[?], ids: i64[K], src: t[?], dim: int) -> y: t[?]`
---@param ids quern.Tensor|number
---@param src quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function Tensor:index_add(ids, src, dim) end

--- Picks whole slices along a dimension.
--- y = the slices of x at ids along dim; ids count from 0 and may repeat. Gradient: index_add of dy.
--- `index_select(x: t[?], ids: i64[K], dim: int) -> y: t[?]`
---@param x quern.Tensor|number
---@param ids quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function quern.index_select(x, ids, dim) end

--- Picks whole slices along a dimension.
--- y = the slices of x at ids along dim; ids count from 0 and may repeat. Gradient: index_add of dy.
--- `index_select(x: t[?], ids: i64[K], dim: int) -> y: t[?]`
---@param ids quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function Tensor:index_select(ids, dim) end

--- Absolute error.
--- l = |x - t|; dx = sign(x - t) dl, 0 where x = t; dt = -dx.
--- `l1(x: f[...], t: f[...], *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param t quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.l1(x, t, options) end

--- Absolute error.
--- l = |x - t|; dx = sign(x - t) dl, 0 where x = t; dt = -dx.
--- `l1(x: f[...], t: f[...], *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param t quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:l1(t, options) end

--- Each row divided by its Euclidean norm over the last dimension.
--- y = x / max(|x|, eps); dx = (dy - y sum(dy y)) / |x|, or dy / eps where |x| <= eps.
--- `l2_normalize(x: f[...,C], *, eps: num{0..} = 1e-12) -> y: f[...,C]`
---@param x quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
function quern.l2_normalize(x, options) end

--- Each row divided by its Euclidean norm over the last dimension.
--- y = x / max(|x|, eps); dx = (dy - y sum(dy y)) / |x|, or dy / eps where |x| <= eps.
--- `l2_normalize(x: f[...,C], *, eps: num{0..} = 1e-12) -> y: f[...,C]`
---@param options? { eps?: number }
---@return quern.Tensor y
function Tensor:l2_normalize(options) end

--- Each row to mean 0 and variance 1 over the last dimension, then scaled and shifted.
--- xh = (x - mean) / sqrt(var + eps), y = xh w + b; var divides by C. dx = r (g - mean(g) - xh mean(g xh)), g = dy w, r = 1 / sqrt(var + eps); dw = sum dy xh; db = sum dy. To normalise several dimensions, reshape them into one.
--- `layer_norm(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, *, eps: num{0..} = 1e-05) -> y: f[...,C]`
---@param x quern.Tensor|number
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
function quern.layer_norm(x, w, b, options) end

--- Each row to mean 0 and variance 1 over the last dimension, then scaled and shifted.
--- xh = (x - mean) / sqrt(var + eps), y = xh w + b; var divides by C. dx = r (g - mean(g) - xh mean(g xh)), g = dy w, r = 1 / sqrt(var + eps); dw = sum dy xh; db = sum dy. To normalise several dimensions, reshape them into one.
--- `layer_norm(x: f[...,C], w: f[C]? = nil, b: f[C]? = nil, *, eps: num{0..} = 1e-05) -> y: f[...,C]`
---@param w? quern.Tensor|number
---@param b? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
function Tensor:layer_norm(w, b, options) end

--- Whether a is at most b, element by element, with broadcasting.
--- y = (a <= b), as bool. A number takes the tensor's element type. No gradient.
--- `le(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.le(a, b) end

--- Whether a is at most b, element by element, with broadcasting.
--- y = (a <= b), as bool. A number takes the tensor's element type. No gradient.
--- `le(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:le(b) end

--- x where positive, else slope times x.
--- y = x > 0 ? x : slope x. Gradient: dx = dy or slope dy.
--- `leaky_relu(x: f[...] strided, slope: num = 0.01) -> y: f[...]`
---@param x quern.Tensor|number
---@param slope? number
---@return quern.Tensor y
function quern.leaky_relu(x, slope) end

--- x where positive, else slope times x.
--- y = x > 0 ? x : slope x. Gradient: dx = dy or slope dy.
--- `leaky_relu(x: f[...] strided, slope: num = 0.01) -> y: f[...]`
---@param slope? number
---@return quern.Tensor y
function Tensor:leaky_relu(slope) end

--- Affine map of the last dimension, with an activation and a residual in the same pass.
--- y = act(x W' + b) + r. With g = dy act'(x W' + b): dx = g W, dW = g' x, db = the sum of g's rows, dr = dy. silu(z) = z sigmoid(z); gelu(z) = z Phi(z), the exact form.
--- `linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, r: f[...,O]? = nil, *, act: enum{none|relu|silu|gelu} = none) -> y: f[...,O]`
---@param x quern.Tensor|number
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param r? quern.Tensor|number
---@param options? { act?: "none"|"relu"|"silu"|"gelu" }
---@return quern.Tensor y
function quern.linear(x, w, b, r, options) end

--- Affine map of the last dimension, with an activation and a residual in the same pass.
--- y = act(x W' + b) + r. With g = dy act'(x W' + b): dx = g W, dW = g' x, db = the sum of g's rows, dr = dy. silu(z) = z sigmoid(z); gelu(z) = z Phi(z), the exact form.
--- `linear(x: f[...,I], w: f[O,I], b: f[O]? = nil, r: f[...,O]? = nil, *, act: enum{none|relu|silu|gelu} = none) -> y: f[...,O]`
---@param w quern.Tensor|number
---@param b? quern.Tensor|number
---@param r? quern.Tensor|number
---@param options? { act?: "none"|"relu"|"silu"|"gelu" }
---@return quern.Tensor y
function Tensor:linear(w, b, r, options) end

--- Cross-entropy of all items' scores h w' against the target, without keeping the scores.
--- Z = H W' / temperature, then as cross_entropy; dH = dZ W / temperature, dW = dZ' H / temperature. Rows go through in chunks; forward makes the gradients at the same time, so memory does not grow with N V.
--- `linear_cross_entropy(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, weights: f[N]? = nil, *, temperature: num{0..} = 1, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, reduction: enum{mean|sum} = mean) -> l: f[]`
---@param h quern.Tensor|number
---@param w quern.Tensor|number
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { temperature?: number, ignore_index?: integer, label_smoothing?: number, reduction?: "mean"|"sum" }
---@return quern.Tensor l
function quern.linear_cross_entropy(h, w, target, weights, options) end

--- Cross-entropy of all items' scores h w' against the target, without keeping the scores.
--- Z = H W' / temperature, then as cross_entropy; dH = dZ W / temperature, dW = dZ' H / temperature. Rows go through in chunks; forward makes the gradients at the same time, so memory does not grow with N V.
--- `linear_cross_entropy(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, weights: f[N]? = nil, *, temperature: num{0..} = 1, ignore_index: int? = nil, label_smoothing: num{0..1} = 0, reduction: enum{mean|sum} = mean) -> l: f[]`
---@param w quern.Tensor|number
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { temperature?: number, ignore_index?: integer, label_smoothing?: number, reduction?: "mean"|"sum" }
---@return quern.Tensor l
function Tensor:linear_cross_entropy(w, target, weights, options) end

--- The k best rows of a table for each query, by inner product.
--- s = h w'; y are the k greatest scores of a row, falling, i the rows of w that have them. Rows before `first` are left out (1: row 0 is padding). Equal scores: the smaller row first. The scores of all rows are never in memory at once. No gradient.
--- `linear_topk(h: f[N,D], w: f[V,D], k: int{1..}, *, first: int{0..} = 0) -> y: f[N,k], i: i64[N,k]`
---@param h quern.Tensor|number
---@param w quern.Tensor|number
---@param k integer
---@param options? { first?: integer }
---@return quern.Tensor y
---@return quern.Tensor i
function quern.linear_topk(h, w, k, options) end

--- The k best rows of a table for each query, by inner product.
--- s = h w'; y are the k greatest scores of a row, falling, i the rows of w that have them. Rows before `first` are left out (1: row 0 is padding). Equal scores: the smaller row first. The scores of all rows are never in memory at once. No gradient.
--- `linear_topk(h: f[N,D], w: f[V,D], k: int{1..}, *, first: int{0..} = 0) -> y: f[N,k], i: i64[N,k]`
---@param w quern.Tensor|number
---@param k integer
---@param options? { first?: integer }
---@return quern.Tensor y
---@return quern.Tensor i
function Tensor:linear_topk(w, k, options) end

--- Natural logarithm.
--- y = ln x; -inf at 0, NaN below. Gradient: dx = dy / x.
--- `log(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.log(x) end

--- Natural logarithm.
--- y = ln x; -inf at 0, NaN below. Gradient: dx = dy / x.
--- `log(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:log() end

--- ln(1 + x), exact for small x.
--- y = ln(1 + x). Gradient: dx = dy / (1 + x).
--- `log1p(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.log1p(x) end

--- ln(1 + x), exact for small x.
--- y = ln(1 + x). Gradient: dx = dy / (1 + x).
--- `log1p(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:log1p() end

--- Logarithm of the softmax along one dimension, without its rounding errors.
--- y_c = x_c - max - log sum_c exp(x_c - max); dx_c = dy_c - exp(y_c) sum_c dy_c.
--- `log_softmax(x: f[?], *, dim: int = -1) -> y: like x`
---@param x quern.Tensor|number
---@param options? { dim?: integer }
---@return quern.Tensor y
function quern.log_softmax(x, options) end

--- Logarithm of the softmax along one dimension, without its rounding errors.
--- y_c = x_c - max - log sum_c exp(x_c - max); dx_c = dy_c - exp(y_c) sum_c dy_c.
--- `log_softmax(x: f[?], *, dim: int = -1) -> y: like x`
---@param options? { dim?: integer }
---@return quern.Tensor y
function Tensor:log_softmax(options) end

--- True where both are.
--- y = a and b; all but 0 is true. No gradient.
--- `logical_and(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.logical_and(a, b) end

--- True where both are.
--- y = a and b; all but 0 is true. No gradient.
--- `logical_and(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:logical_and(b) end

--- True where a is 0 or false.
--- y = not a. No gradient.
--- `logical_not(a: any[...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@return quern.Tensor y
function quern.logical_not(a) end

--- True where a is 0 or false.
--- y = not a. No gradient.
--- `logical_not(a: any[...] strided) -> y: bool[...]`
---@return quern.Tensor y
function Tensor:logical_not() end

--- True where at least one is.
--- y = a or b; all but 0 is true. No gradient.
--- `logical_or(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.logical_or(a, b) end

--- True where at least one is.
--- y = a or b; all but 0 is true. No gradient.
--- `logical_or(a: any[~...] strided, b: any[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:logical_or(b) end

--- Logarithm of the sum of exponentials, without overflow.
--- y = ln sum e^x. Gradient: dx = e^(x - y) dy. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `logsumexp(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: f[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.logsumexp(x, dim, keepdim) end

--- Logarithm of the sum of exponentials, without overflow.
--- y = ln sum e^x. Gradient: dx = e^(x - y) dy. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `logsumexp(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: f[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:logsumexp(dim, keepdim) end

--- Whether a is less than b, element by element, with broadcasting.
--- y = (a < b), as bool. A number takes the tensor's element type. No gradient.
--- `lt(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.lt(a, b) end

--- Whether a is less than b, element by element, with broadcasting.
--- y = (a < b), as bool. A number takes the tensor's element type. No gradient.
--- `lt(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:lt(b) end

--- Replaces the elements where mask is true by a number.
--- y = mask ? value : x; the mask is broadcast to x. Gradient: dx = dy where the mask is false.
--- `masked_fill(x: t[...] strided, mask: bool[~...] strided, value: num) -> y: t[...]`
---@param x quern.Tensor|number
---@param mask quern.Tensor|number
---@param value number
---@return quern.Tensor y
function quern.masked_fill(x, mask, value) end

--- Replaces the elements where mask is true by a number.
--- y = mask ? value : x; the mask is broadcast to x. Gradient: dx = dy where the mask is false.
--- `masked_fill(x: t[...] strided, mask: bool[~...] strided, value: num) -> y: t[...]`
---@param mask quern.Tensor|number
---@param value number
---@return quern.Tensor y
function Tensor:masked_fill(mask, value) end

--- Softmax over the last dimension, leaving out masked places.
--- The softmax over the places whose keep (bool or u8) is not 0; the others are 0. A row with nothing kept gives zeros, not NaN. keep may be broadcast over the leading dimensions.
--- `masked_softmax(x: f[...,C], keep: any[~...,C]) -> y: f[...,C]`
---@param x quern.Tensor|number
---@param keep quern.Tensor|number
---@return quern.Tensor y
function quern.masked_softmax(x, keep) end

--- Softmax over the last dimension, leaving out masked places.
--- The softmax over the places whose keep (bool or u8) is not 0; the others are 0. A row with nothing kept gives zeros, not NaN. keep may be broadcast over the leading dimensions.
--- `masked_softmax(x: f[...,C], keep: any[~...,C]) -> y: f[...,C]`
---@param keep quern.Tensor|number
---@return quern.Tensor y
function Tensor:masked_softmax(keep) end

--- Product of two matrices, of batches of matrices, or of vectors.
--- Y = A B over the last two dimensions; dA = dY B', dB = A' dY. Leading dimensions are broadcast. A vector is a row on the left and a column on the right; its dimension is absent from the result. transpose_a and transpose_b swap the last two dimensions first.
--- `matmul(a: f[?] strided, b: f[?] strided, *, transpose_a: bool = false, transpose_b: bool = false) -> y: f[?]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@param options? { transpose_a?: boolean, transpose_b?: boolean }
---@return quern.Tensor y
function quern.matmul(a, b, options) end

--- Product of two matrices, of batches of matrices, or of vectors.
--- Y = A B over the last two dimensions; dA = dY B', dB = A' dY. Leading dimensions are broadcast. A vector is a row on the left and a column on the right; its dimension is absent from the result. transpose_a and transpose_b swap the last two dimensions first.
--- `matmul(a: f[?] strided, b: f[?] strided, *, transpose_a: bool = false, transpose_b: bool = false) -> y: f[?]`
---@param b quern.Tensor|number
---@param options? { transpose_a?: boolean, transpose_b?: boolean }
---@return quern.Tensor y
function Tensor:matmul(b, options) end

--- Largest element over dimensions; for its place too see max_dim.
--- y = max x; NaN wins. Gradient: dy goes to the largest, in equal shares where several are. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `max(x: t[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: t[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.max(x, dim, keepdim) end

--- Largest element over dimensions; for its place too see max_dim.
--- y = max x; NaN wins. Gradient: dy goes to the largest, in equal shares where several are. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `max(x: t[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: t[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:max(dim, keepdim) end

--- Largest element along one dimension, and where it is (from 0).
--- y = max of x along dim, i = its first place. Gradient: dy goes to that place.
--- `max_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]`
---@param x quern.Tensor|number
---@param dim integer
---@param keepdim? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function quern.max_dim(x, dim, keepdim) end

--- Largest element along one dimension, and where it is (from 0).
--- y = max of x along dim, i = its first place. Gradient: dy goes to that place.
--- `max_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]`
---@param dim integer
---@param keepdim? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function Tensor:max_dim(dim, keepdim) end

--- Largest pixel of each window.
--- x: [N,C,H,W] or [N,C,L]. kernel, stride (default: the kernel), padding (at most half of the kernel), dilation: one number or one per axis. The gradient goes to the first maximum. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `max_pool(x: f[?], *, kernel: [int], stride: [int]? = nil, padding: [int] = [0], dilation: [int] = [1], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param x quern.Tensor|number
---@param options? { kernel?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.max_pool(x, options) end

--- Largest pixel of each window.
--- x: [N,C,H,W] or [N,C,L]. kernel, stride (default: the kernel), padding (at most half of the kernel), dilation: one number or one per axis. The gradient goes to the first maximum. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `max_pool(x: f[?], *, kernel: [int], stride: [int]? = nil, padding: [int] = [0], dilation: [int] = [1], layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param options? { kernel?: integer[], stride?: integer[], padding?: integer[], dilation?: integer[], layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:max_pool(options) end

--- The larger of two elements, with broadcasting.
--- y = max(a, b); NaN wins. The gradient goes to the larger, half to each at a tie.
--- `maximum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.maximum(a, b) end

--- The larger of two elements, with broadcasting.
--- y = max(a, b); NaN wins. The gradient goes to the larger, half to each at a tie.
--- `maximum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:maximum(b) end

--- Mean over dimensions.
--- y = sum x / n; NaN for n = 0. Gradient: dx = dy / n. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `mean(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: f[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.mean(x, dim, keepdim) end

--- Mean over dimensions.
--- y = sum x / n; NaN for n = 0. Gradient: dx = dy / n. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `mean(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: f[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:mean(dim, keepdim) end

--- Smallest element over dimensions; for its place too see min_dim.
--- y = min x; NaN wins. Gradient: dy goes to the smallest, in equal shares where several are. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `min(x: t[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: t[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.min(x, dim, keepdim) end

--- Smallest element over dimensions; for its place too see min_dim.
--- y = min x; NaN wins. Gradient: dy goes to the smallest, in equal shares where several are. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `min(x: t[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: t[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:min(dim, keepdim) end

--- Smallest element along one dimension, and where it is (from 0).
--- y = min of x along dim, i = its first place. Gradient: dy goes to that place.
--- `min_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]`
---@param x quern.Tensor|number
---@param dim integer
---@param keepdim? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function quern.min_dim(x, dim, keepdim) end

--- Smallest element along one dimension, and where it is (from 0).
--- y = min of x along dim, i = its first place. Gradient: dy goes to that place.
--- `min_dim(x: t[?], dim: int, keepdim: bool = false) -> y: t[?], i: i64[?]`
---@param dim integer
---@param keepdim? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function Tensor:min_dim(dim, keepdim) end

--- The smaller of two elements, with broadcasting.
--- y = min(a, b); NaN wins. The gradient goes to the smaller, half to each at a tie.
--- `minimum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.minimum(a, b) end

--- The smaller of two elements, with broadcasting.
--- y = min(a, b); NaN wins. The gradient goes to the smaller, half to each at a tie.
--- `minimum(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:minimum(b) end

--- Squared error.
--- l = (x - t)^2; dx = 2 (x - t) dl, dt = -dx. mean divides by the number of elements.
--- `mse(x: f[...], t: f[...], *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param t quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.mse(x, t, options) end

--- Squared error.
--- l = (x - t)^2; dx = 2 (x - t) dl, dt = -dx. mean divides by the number of elements.
--- `mse(x: f[...], t: f[...], *, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param t quern.Tensor|number
---@param options? { reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:mse(t, options) end

--- Product of two tensors element by element, with broadcasting.
--- y = a b. Gradient: da = b dy, db = a dy.
--- `mul(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.mul(a, b) end

--- Product of two tensors element by element, with broadcasting.
--- y = a b. Gradient: da = b dy, db = a dy.
--- `mul(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:mul(b) end

--- Multiplies x by y in place.
--- x <- x y; y is broadcast to x.
--- `mul_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@return quern.Tensor x
function quern.mul_(x, y) end

--- Multiplies x by y in place.
--- x <- x y; y is broadcast to x.
--- `mul_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param y quern.Tensor|number
---@return quern.Tensor x
function Tensor:mul_(y) end

--- A stretch of one dimension; a view.
--- y = positions start .. start + length - 1 of x along dim. Gradient: dx = dy there, 0 elsewhere.
--- `narrow(x: any[?] strided, dim: int, start: int, length: int{0..}) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param dim integer
---@param start integer
---@param length integer
---@return quern.Tensor y
function quern.narrow(x, dim, start, length) end

--- A stretch of one dimension; a view.
--- y = positions start .. start + length - 1 of x along dim. Gradient: dx = dy there, 0 elsewhere.
--- `narrow(x: any[?] strided, dim: int, start: int, length: int{0..}) -> y&x: any[?]`
---@param dim integer
---@param start integer
---@param length integer
---@return quern.Tensor y
function Tensor:narrow(dim, start, length) end

--- Whether a is different from b, element by element, with broadcasting.
--- y = (a ~= b), as bool. A number takes the tensor's element type. No gradient.
--- `ne(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.ne(a, b) end

--- Whether a is different from b, element by element, with broadcasting.
--- y = (a ~= b), as bool. A number takes the tensor's element type. No gradient.
--- `ne(a: t[~...] strided, b: t[~...] strided) -> y: bool[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:ne(b) end

--- Minus x.
--- y = -x. Gradient: dx = -dy.
--- `neg(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.neg(x) end

--- Minus x.
--- y = -x. Gradient: dx = -dy.
--- `neg(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:neg() end

--- Negative log-likelihood of labels under given log-probabilities.
--- l_n = -x_n,t; dx = -r_n at t, 0 elsewhere. Reductions and ignore_index as in cross_entropy.
--- `nll(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: int? = nil, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { ignore_index?: integer, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.nll(x, target, weights, options) end

--- Negative log-likelihood of labels under given log-probabilities.
--- l_n = -x_n,t; dx = -r_n at t, 0 elsewhere. Reductions and ignore_index as in cross_entropy.
--- `nll(x: f[N,C], target: i64[N]{0..C-1}, weights: f[N]? = nil, *, ignore_index: int? = nil, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param target quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { ignore_index?: integer, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:nll(target, weights, options) end

--- Normal random numbers.
--- y = mean + std Phi^-1(u), one u in (0,1) for each, with 32 random bits in f32, 53 in f64.
--- `normal(shape: [int], mean: num = 0, std: num = 1, dtype: enum{f32|f64|bf16} = f32) -> y: any[?]`
---@param shape integer[]
---@param mean? number
---@param std? number
---@param dtype? "f32"|"f64"|"bf16"
---@return quern.Tensor y
function quern.normal(shape, mean, std, dtype) end

--- Ids as rows with a single 1.
--- y[.., k] = 1 if k is the id, else 0; ids run from 0 to n-1. No gradient.
--- `one_hot(ids: i64[?], n: int{1..}, dtype: enum{f32|f64|bf16|i64|i32|u8|bool} = f32) -> y: any[?]`
---@param ids quern.Tensor|number
---@param n integer
---@param dtype? "f32"|"f64"|"bf16"|"i64"|"i32"|"u8"|"bool"
---@return quern.Tensor y
function quern.one_hot(ids, n, dtype) end

--- Ids as rows with a single 1.
--- y[.., k] = 1 if k is the id, else 0; ids run from 0 to n-1. No gradient.
--- `one_hot(ids: i64[?], n: int{1..}, dtype: enum{f32|f64|bf16|i64|i32|u8|bool} = f32) -> y: any[?]`
---@param n integer
---@param dtype? "f32"|"f64"|"bf16"|"i64"|"i32"|"u8"|"bool"
---@return quern.Tensor y
function Tensor:one_hot(n, dtype) end

--- Truth values as bits, eight in a byte.
--- Element i becomes bit i % 8 of byte i / 8, low bit first. Undone by unpack_bits.
--- `pack_bits(x: bool[?]) -> bits: u8[?]`
---@param x quern.Tensor|number
---@return quern.Tensor bits
function quern.pack_bits(x) end

--- Truth values as bits, eight in a byte.
--- Element i becomes bit i % 8 of byte i / 8, low bit first. Undone by unpack_bits.
--- `pack_bits(x: bool[?]) -> bits: u8[?]`
---@return quern.Tensor bits
function Tensor:pack_bits() end

--- Surrounds a tensor with a constant.
--- pad = (before, after) of the last dimension, then of the one before it, and so on. Gradient: dx = the inner part of dy.
--- `pad(x: t[?] strided, pad: [int], value: num = 0) -> y: t[?]`
---@param x quern.Tensor|number
---@param pad integer[]
---@param value? number
---@return quern.Tensor y
function quern.pad(x, pad, value) end

--- Surrounds a tensor with a constant.
--- pad = (before, after) of the last dimension, then of the one before it, and so on. Gradient: dx = the inner part of dy.
--- `pad(x: t[?] strided, pad: [int], value: num = 0) -> y: t[?]`
---@param pad integer[]
---@param value? number
---@return quern.Tensor y
function Tensor:pad(pad, value) end

--- Puts the dimensions into another order; a view.
--- dimension i of y is dimension order[i] of x. Gradient: dx = dy in the inverse order.
--- `permute(x: any[?] strided, order: [int]) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param order integer[]
---@return quern.Tensor y
function quern.permute(x, order) end

--- Puts the dimensions into another order; a view.
--- dimension i of y is dimension order[i] of x. Gradient: dx = dy in the inverse order.
--- `permute(x: any[?] strided, order: [int]) -> y&x: any[?]`
---@param order integer[]
---@return quern.Tensor y
function Tensor:permute(order) end

--- Power, with broadcasting.
--- y = a^b. Gradient: da = dy b a^(b-1), db = dy y log a. A negative base with a fractional exponent gives NaN.
--- `pow(a: f[~...] strided, b: f[~...] strided) -> y: f[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.pow(a, b) end

--- Power, with broadcasting.
--- y = a^b. Gradient: da = dy b a^(b-1), db = dy y log a. A negative base with a fractional exponent gives NaN.
--- `pow(a: f[~...] strided, b: f[~...] strided) -> y: f[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:pow(b) end

--- Product over dimensions.
--- y = product of x; of integers as i64. Gradient: dx = dy times the product of the others. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `prod(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: any[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.prod(x, dim, keepdim) end

--- Product over dimensions.
--- y = product of x; of integers as i64. Gradient: dx = dy times the product of the others. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `prod(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: any[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:prod(dim, keepdim) end

--- Random whole numbers from low to high - 1.
--- y = low + floor(u (high - low)), u with 64 random bits.
--- `randint(shape: [int], low: int, high: int) -> y: i64[?]`
---@param shape integer[]
---@param low integer
---@param high integer
---@return quern.Tensor y
function quern.randint(shape, low, high) end

--- The ids 0 to n-1 in random order.
--- Every order is equally likely (Fisher and Yates).
--- `randperm(n: int{0..}) -> y: i64[?]`
---@param n integer
---@return quern.Tensor y
function quern.randperm(n) end

--- One over x.
--- y = 1 / x. Gradient: dx = -y^2 dy.
--- `reciprocal(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.reciprocal(x) end

--- One over x.
--- y = 1 / x. Gradient: dx = -y^2 dy.
--- `reciprocal(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:reciprocal() end

--- x where positive, else 0.
--- y = max(x, 0). Gradient: dx = dy where x > 0, else 0.
--- `relu(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.relu(x) end

--- x where positive, else 0.
--- y = max(x, 0). Gradient: dx = dy where x > 0, else 0.
--- `relu(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:relu() end

--- What floor_divide leaves over; it has the divisor's sign.
--- y = a - b floor(a / b). Gradient: da = dy, db = -dy floor(a / b). An integer divisor of 0 is an error.
--- `remainder(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.remainder(a, b) end

--- What floor_divide leaves over; it has the divisor's sign.
--- y = a - b floor(a / b). Gradient: da = dy, db = -dy floor(a / b). An integer divisor of 0 is an error.
--- `remainder(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:remainder(b) end

--- Lays copies of a tensor side by side along each dimension.
--- dimension d of y is x's, times[d] times over; more entries than dimensions add dimensions in front. Gradient: dx = sum of dy over the copies.
--- `repeat(x: t[?], times: [int]) -> y: t[?]`
---@param x quern.Tensor|number
---@param times integer[]
---@return quern.Tensor y
quern["repeat"] = function(x, times) end

--- Lays copies of a tensor side by side along each dimension.
--- dimension d of y is x's, times[d] times over; more entries than dimensions add dimensions in front. Gradient: dx = sum of dy over the copies.
--- `repeat(x: t[?], times: [int]) -> y: t[?]`
---@param times integer[]
---@return quern.Tensor y
Tensor["repeat"] = function(self, times) end

--- The same elements in another shape.
--- y = the elements of x in row-major order in the given shape; one size may be -1. A view if x is contiguous. Gradient: dx = dy in x's shape.
--- `reshape(x: any[?], shape: [int]) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param shape integer[]
---@return quern.Tensor y
function quern.reshape(x, shape) end

--- The same elements in another shape.
--- y = the elements of x in row-major order in the given shape; one size may be -1. A view if x is contiguous. Gradient: dx = dy in x's shape.
--- `reshape(x: any[?], shape: [int]) -> y&x: any[?]`
---@param shape integer[]
---@return quern.Tensor y
function Tensor:reshape(shape) end

--- Each row divided by its root mean square over the last dimension, then scaled.
--- xh = x / sqrt(mean(x^2) + eps), y = xh w; dx = r (g - xh mean(g xh)), g = dy w.
--- `rms_norm(x: f[...,C], w: f[C]? = nil, *, eps: num{0..} = 1e-06) -> y: f[...,C]`
---@param x quern.Tensor|number
---@param w? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
function quern.rms_norm(x, w, options) end

--- Each row divided by its root mean square over the last dimension, then scaled.
--- xh = x / sqrt(mean(x^2) + eps), y = xh w; dx = r (g - xh mean(g xh)), g = dy w.
--- `rms_norm(x: f[...,C], w: f[C]? = nil, *, eps: num{0..} = 1e-06) -> y: f[...,C]`
---@param w? quern.Tensor|number
---@param options? { eps?: number }
---@return quern.Tensor y
function Tensor:rms_norm(w, options) end

--- Rotary position embedding: turns pairs of neighbouring elements by their position.
--- (y_2k, y_2k+1) is (x_2k, x_2k+1) turned by (offset + t) theta^(-2k/D), t the position from 0. x is [...,T,D], or jagged [T,D] or [T,H,D], where positions count from each sequence's start. inverse turns back, which is also the gradient.
--- `rope(x: f[?], *, theta: num = 10000, offset: int = 0, inverse: bool = false) -> y: like x`
---@param x quern.Tensor|number
---@param options? { theta?: number, offset?: integer, inverse?: boolean }
---@return quern.Tensor y
function quern.rope(x, options) end

--- Rotary position embedding: turns pairs of neighbouring elements by their position.
--- (y_2k, y_2k+1) is (x_2k, x_2k+1) turned by (offset + t) theta^(-2k/D), t the position from 0. x is [...,T,D], or jagged [T,D] or [T,H,D], where positions count from each sequence's start. inverse turns back, which is also the gradient.
--- `rope(x: f[?], *, theta: num = 10000, offset: int = 0, inverse: bool = false) -> y: like x`
---@param options? { theta?: number, offset?: integer, inverse?: boolean }
---@return quern.Tensor y
function Tensor:rope(options) end

--- Nearest whole number; halves go to the even one.
--- y = round x. No gradient.
--- `round(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.round(x) end

--- Nearest whole number; halves go to the even one.
--- y = round x. No gradient.
--- `round(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:round() end

--- Numbers of f32 into bf16, rounded up or down at random so that they are right on average.
--- Goes up with the probability of the part that is cut off, so that small changes of a moment are not lost. The random bits of element i follow from (i, step, salt). NaN stays NaN.
--- `round_bf16_(y!: any[...], x: f[...], *, step: int{0..} = 0, salt: int{0..} = 0) -> y`
---@param y quern.Tensor|number
---@param x quern.Tensor|number
---@param options? { step?: integer, salt?: integer }
---@return quern.Tensor y
function quern.round_bf16_(y, x, options) end

--- Numbers of f32 into bf16, rounded up or down at random so that they are right on average.
--- Goes up with the probability of the part that is cut off, so that small changes of a moment are not lost. The random bits of element i follow from (i, step, salt). NaN stays NaN.
--- `round_bf16_(y!: any[...], x: f[...], *, step: int{0..} = 0, salt: int{0..} = 0) -> y`
---@param x quern.Tensor|number
---@param options? { step?: integer, salt?: integer }
---@return quern.Tensor y
function Tensor:round_bf16_(x, options) end

--- One over the square root.
--- y = 1 / sqrt x. Gradient: dx = -y^3 dy / 2.
--- `rsqrt(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.rsqrt(x) end

--- One over the square root.
--- y = 1 / sqrt x. Gradient: dx = -y^3 dy / 2.
--- `rsqrt(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:rsqrt() end

--- Running averages of a batch norm's statistics, in place.
--- mean = (1 - momentum) mean + momentum batch_mean, and the same for var with the unbiased variance n / (n - 1) batch_var of n values a channel (n = 1: as it is).
--- `running_stats_(mean!: f[C], var!: f[C], batch_mean: f[C], batch_var: f[C], *, n: int{1..}, momentum: num{0..1} = 0.1) -> mean`
---@param mean quern.Tensor|number
---@param var quern.Tensor|number
---@param batch_mean quern.Tensor|number
---@param batch_var quern.Tensor|number
---@param options? { n?: integer, momentum?: number }
---@return quern.Tensor mean
function quern.running_stats_(mean, var, batch_mean, batch_var, options) end

--- Running averages of a batch norm's statistics, in place.
--- mean = (1 - momentum) mean + momentum batch_mean, and the same for var with the unbiased variance n / (n - 1) batch_var of n values a channel (n = 1: as it is).
--- `running_stats_(mean!: f[C], var!: f[C], batch_mean: f[C], batch_var: f[C], *, n: int{1..}, momentum: num{0..1} = 0.1) -> mean`
---@param var quern.Tensor|number
---@param batch_mean quern.Tensor|number
---@param batch_var quern.Tensor|number
---@param options? { n?: integer, momentum?: number }
---@return quern.Tensor mean
function Tensor:running_stats_(var, batch_mean, batch_var, options) end

--- Cross-entropy of each row's target among sampled negatives.
--- s_j = h . w[id_j] / temperature with id_0 = target; l = lse(s) - s_0; dh = sum a_j w[id_j], dw[id_j] += a_j h, a_j = r (softmax(s)_j - [j = 0]) / temperature. negatives are [N,R], or [R] shared by all rows. drop_hits leaves out negatives equal to the target; sparse gives dw as rows of the table.
--- `sampled_softmax(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, negatives: i64[?]{0..V-1}, weights: f[N]? = nil, *, temperature: num{0..} = 1, drop_hits: bool = true, sparse: bool = false, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param h quern.Tensor|number
---@param w quern.Tensor|number
---@param target quern.Tensor|number
---@param negatives quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { temperature?: number, drop_hits?: boolean, sparse?: boolean, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.sampled_softmax(h, w, target, negatives, weights, options) end

--- Cross-entropy of each row's target among sampled negatives.
--- s_j = h . w[id_j] / temperature with id_0 = target; l = lse(s) - s_0; dh = sum a_j w[id_j], dw[id_j] += a_j h, a_j = r (softmax(s)_j - [j = 0]) / temperature. negatives are [N,R], or [R] shared by all rows. drop_hits leaves out negatives equal to the target; sparse gives dw as rows of the table.
--- `sampled_softmax(h: f[N,D], w: f[V,D], target: i64[N]{0..V-1}, negatives: i64[?]{0..V-1}, weights: f[N]? = nil, *, temperature: num{0..} = 1, drop_hits: bool = true, sparse: bool = false, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param w quern.Tensor|number
---@param target quern.Tensor|number
---@param negatives quern.Tensor|number
---@param weights? quern.Tensor|number
---@param options? { temperature?: number, drop_hits?: boolean, sparse?: boolean, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:sampled_softmax(w, target, negatives, weights, options) end

--- Adds elements to the places that ids name along a dimension.
--- y = x, with y[.., ids[.., i, ..], ..] += src[.., i, ..]; ids count from 0 and may repeat. Gradient: dx = dy, dsrc = gather of dy.
--- `scatter_add(x: t[?], ids: i64[?], src: t[?], dim: int) -> y: t[?]`
---@param x quern.Tensor|number
---@param ids quern.Tensor|number
---@param src quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function quern.scatter_add(x, ids, src, dim) end

--- Adds elements to the places that ids name along a dimension.
--- y = x, with y[.., ids[.., i, ..], ..] += src[.., i, ..]; ids count from 0 and may repeat. Gradient: dx = dy, dsrc = gather of dy.
--- `scatter_add(x: t[?], ids: i64[?], src: t[?], dim: int) -> y: t[?]`
---@param ids quern.Tensor|number
---@param src quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function Tensor:scatter_add(ids, src, dim) end

--- Where values belong in a sorted list: how many elements come before each.
--- i = number of sorted elements below x (at most x if right). sorted is one list, or one for each row of x.
--- `searchsorted(sorted: any[?], x: any[...], right: bool = false) -> i: i64[...]`
---@param sorted quern.Tensor|number
---@param x quern.Tensor|number
---@param right? boolean
---@return quern.Tensor i
function quern.searchsorted(sorted, x, right) end

--- Where values belong in a sorted list: how many elements come before each.
--- i = number of sorted elements below x (at most x if right). sorted is one list, or one for each row of x.
--- `searchsorted(sorted: any[?], x: any[...], right: bool = false) -> i: i64[...]`
---@param x quern.Tensor|number
---@param right? boolean
---@return quern.Tensor i
function Tensor:searchsorted(x, right) end

--- One position of a dimension, which goes away; a view.
--- y = x at position index along dim. Gradient: dx = dy there, 0 elsewhere.
--- `select(x: any[?] strided, dim: int, index: int) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param dim integer
---@param index integer
---@return quern.Tensor y
function quern.select(x, dim, index) end

--- One position of a dimension, which goes away; a view.
--- y = x at position index along dim. Gradient: dx = dy there, 0 elsewhere.
--- `select(x: any[?] strided, dim: int, index: int) -> y&x: any[?]`
---@param dim integer
---@param index integer
---@return quern.Tensor y
function Tensor:select(dim, index) end

--- One step of gradient descent, in place, with momentum if m is given.
--- g' = scale g + weight_decay w; m = momentum m + g'; w = w - lr m. nesterov uses g' + momentum m in place of m. decoupled applies the decay to w directly. Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.
--- `sgd_step_(w!: f[...], g: f[...], m!: f[...]? = nil, *, mask: bool[...]? = nil, norm_sq: f64[]{0..}? = nil, lr: num, momentum: num{0..1} = 0, nesterov: bool = false, weight_decay: num{0..} = 0, decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param w quern.Tensor|number
---@param g quern.Tensor|number
---@param m? quern.Tensor|number
---@param options? { mask?: quern.Tensor|number, norm_sq?: quern.Tensor|number, lr?: number, momentum?: number, nesterov?: boolean, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function quern.sgd_step_(w, g, m, options) end

--- One step of gradient descent, in place, with momentum if m is given.
--- g' = scale g + weight_decay w; m = momentum m + g'; w = w - lr m. nesterov uses g' + momentum m in place of m. decoupled applies the decay to w directly. Elements with mask 0 stay as they are. max_norm with norm_sq (of grad_norm_sq) clips.
--- `sgd_step_(w!: f[...], g: f[...], m!: f[...]? = nil, *, mask: bool[...]? = nil, norm_sq: f64[]{0..}? = nil, lr: num, momentum: num{0..1} = 0, nesterov: bool = false, weight_decay: num{0..} = 0, decoupled: bool = false, scale: num = 1, max_norm: num{0..} = 0) -> w`
---@param g quern.Tensor|number
---@param m? quern.Tensor|number
---@param options? { mask?: quern.Tensor|number, norm_sq?: quern.Tensor|number, lr?: number, momentum?: number, nesterov?: boolean, weight_decay?: number, decoupled?: boolean, scale?: number, max_norm?: number }
---@return quern.Tensor w
function Tensor:sgd_step_(g, m, options) end

--- Logistic function.
--- y = 1 / (1 + e^-x). Gradient: dx = y (1 - y) dy.
--- `sigmoid(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.sigmoid(x) end

--- Logistic function.
--- y = 1 / (1 + e^-x). Gradient: dx = y (1 - y) dy.
--- `sigmoid(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:sigmoid() end

--- -1, 0 or 1 as x is negative, zero or positive.
--- y = sign x. No gradient.
--- `sign(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.sign(x) end

--- -1, 0 or 1 as x is negative, zero or positive.
--- y = sign x. No gradient.
--- `sign(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:sign() end

--- x times its logistic function (swish).
--- y = x sigma(x). Gradient: dx = sigma(x) (1 + x (1 - sigma(x))) dy.
--- `silu(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.silu(x) end

--- x times its logistic function (swish).
--- y = x sigma(x). Gradient: dx = sigma(x) (1 + x (1 - sigma(x))) dy.
--- `silu(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:silu() end

--- Sine of x in radians.
--- y = sin x. Gradient: dx = cos(x) dy.
--- `sin(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.sin(x) end

--- Sine of x in radians.
--- y = sin x. Gradient: dx = cos(x) dy.
--- `sin(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:sin() end

--- Error that is squared near 0 and absolute beyond beta.
--- d = x - t; l = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2; dx = d / beta or sign(d), times dl.
--- `smooth_l1(x: f[...], t: f[...], *, beta: num{0..} = 1, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param x quern.Tensor|number
---@param t quern.Tensor|number
---@param options? { beta?: number, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function quern.smooth_l1(x, t, options) end

--- Error that is squared near 0 and absolute beyond beta.
--- d = x - t; l = d^2 / (2 beta) for |d| < beta, else |d| - beta / 2; dx = d / beta or sign(d), times dl.
--- `smooth_l1(x: f[...], t: f[...], *, beta: num{0..} = 1, reduction: enum{mean|sum|none} = mean) -> l: f[?]`
---@param t quern.Tensor|number
---@param options? { beta?: number, reduction?: "mean"|"sum"|"none" }
---@return quern.Tensor l
function Tensor:smooth_l1(t, options) end

--- Softmax along one dimension.
--- y_c = exp(x_c - max) / sum_c exp(x_c - max); dx_c = y_c (dy_c - sum_c dy_c y_c). dim counts from 1, negative from the end. x may not be a scalar.
--- `softmax(x: f[?], *, dim: int = -1) -> y: like x`
---@param x quern.Tensor|number
---@param options? { dim?: integer }
---@return quern.Tensor y
function quern.softmax(x, options) end

--- Softmax along one dimension.
--- y_c = exp(x_c - max) / sum_c exp(x_c - max); dx_c = y_c (dy_c - sum_c dy_c y_c). dim counts from 1, negative from the end. x may not be a scalar.
--- `softmax(x: f[?], *, dim: int = -1) -> y: like x`
---@param options? { dim?: integer }
---@return quern.Tensor y
function Tensor:softmax(options) end

--- Smooth form of relu.
--- y = ln(1 + e^(beta x)) / beta, without overflow. Gradient: dx = sigma(beta x) dy.
--- `softplus(x: f[...] strided, beta: num = 1) -> y: f[...]`
---@param x quern.Tensor|number
---@param beta? number
---@return quern.Tensor y
function quern.softplus(x, beta) end

--- Smooth form of relu.
--- y = ln(1 + e^(beta x)) / beta, without overflow. Gradient: dx = sigma(beta x) dy.
--- `softplus(x: f[...] strided, beta: num = 1) -> y: f[...]`
---@param beta? number
---@return quern.Tensor y
function Tensor:softplus(beta) end

--- Sorts along a dimension; equal values keep their order.
--- y = x in order along dim, i = where each came from, counted from 0. NaN is greater than everything. Gradient: dx[i] = dy.
--- `sort(x: t[?], dim: int = -1, descending: bool = false) -> y: t[?], i: i64[?]`
---@param x quern.Tensor|number
---@param dim? integer
---@param descending? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function quern.sort(x, dim, descending) end

--- Sorts along a dimension; equal values keep their order.
--- y = x in order along dim, i = where each came from, counted from 0. NaN is greater than everything. Gradient: dx[i] = dy.
--- `sort(x: t[?], dim: int = -1, descending: bool = false) -> y: t[?], i: i64[?]`
---@param dim? integer
---@param descending? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function Tensor:sort(dim, descending) end

--- Rows of smoothed one-hot labels times a number each.
--- q_n,c = r_n ((1 - s) [c = t_n] + s / C); dr_n = (1 - s) dq_n,t + s mean(dq_n). Rows with r_n = 0 may have any label.
--- `spread_labels(r: f[N], target: i64[N]{0..classes-1}, *, classes: int{1..}, smoothing: num{0..1} = 0) -> q: f[N,classes]`
---@param r quern.Tensor|number
---@param target quern.Tensor|number
---@param options? { classes?: integer, smoothing?: number }
---@return quern.Tensor q
function quern.spread_labels(r, target, options) end

--- Rows of smoothed one-hot labels times a number each.
--- q_n,c = r_n ((1 - s) [c = t_n] + s / C); dr_n = (1 - s) dq_n,t + s mean(dq_n). Rows with r_n = 0 may have any label.
--- `spread_labels(r: f[N], target: i64[N]{0..classes-1}, *, classes: int{1..}, smoothing: num{0..1} = 0) -> q: f[N,classes]`
---@param target quern.Tensor|number
---@param options? { classes?: integer, smoothing?: number }
---@return quern.Tensor q
function Tensor:spread_labels(target, options) end

--- Square root.
--- y = sqrt x; NaN below 0. Gradient: dx = dy / (2 y).
--- `sqrt(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.sqrt(x) end

--- Square root.
--- y = sqrt x; NaN below 0. Gradient: dx = dy / (2 y).
--- `sqrt(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:sqrt() end

--- x times x.
--- y = x^2. Gradient: dx = 2 x dy.
--- `square(x: t[...] strided) -> y: t[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.square(x) end

--- x times x.
--- y = x^2. Gradient: dx = 2 x dy.
--- `square(x: t[...] strided) -> y: t[...]`
---@return quern.Tensor y
function Tensor:square() end

--- Drops dimensions of size 1; a view.
--- y = x without dimension dim if its size is 1, or without all such if dim is nil. Gradient: dx = dy in x's shape.
--- `squeeze(x: any[?] strided, dim: int? = nil) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param dim? integer
---@return quern.Tensor y
function quern.squeeze(x, dim) end

--- Drops dimensions of size 1; a view.
--- y = x without dimension dim if its size is 1, or without all such if dim is nil. Gradient: dx = dy in x's shape.
--- `squeeze(x: any[?] strided, dim: int? = nil) -> y&x: any[?]`
---@param dim? integer
---@return quern.Tensor y
function Tensor:squeeze(dim) end

--- Puts tensors of one shape side by side along a new dimension.
--- y[.., i, ..] = tensor i, i being the place in the new dimension dim. Gradient: each gets its layer of dy.
--- `stack(xs: t[?] strided*, dim: int = 1) -> y: t[?]`
---@param xs quern.Tensor[]
---@param dim? integer
---@return quern.Tensor y
function quern.stack(xs, dim) end

--- Standard deviation over dimensions.
--- y = sqrt(var x). Gradient: dx = (x - mean) dy / ((n - correction) y), 0 where y is 0. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `std(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false, correction: int{0..} = 1) -> y: f[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@param correction? integer
---@return quern.Tensor y
function quern.std(x, dim, keepdim, correction) end

--- Standard deviation over dimensions.
--- y = sqrt(var x). Gradient: dx = (x - mean) dy / ((n - correction) y), 0 where y is 0. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `std(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false, correction: int{0..} = 1) -> y: f[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@param correction? integer
---@return quern.Tensor y
function Tensor:std(dim, keepdim, correction) end

--- Difference of two tensors, with broadcasting.
--- y = a - b. Gradient: da = dy, db = -dy.
--- `sub(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.sub(a, b) end

--- Difference of two tensors, with broadcasting.
--- y = a - b. Gradient: da = dy, db = -dy.
--- `sub(a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:sub(b) end

--- Subtracts y from x in place.
--- x <- x - y; y is broadcast to x.
--- `sub_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param x quern.Tensor|number
---@param y quern.Tensor|number
---@return quern.Tensor x
function quern.sub_(x, y) end

--- Subtracts y from x in place.
--- x <- x - y; y is broadcast to x.
--- `sub_(x!: t[...] strided, y: t[~...] strided) -> x`
---@param y quern.Tensor|number
---@return quern.Tensor x
function Tensor:sub_(y) end

--- Sum over dimensions.
--- y = sum x; of integers as i64. Gradient: dx = dy, repeated. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `sum(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: any[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function quern.sum(x, dim, keepdim) end

--- Sum over dimensions.
--- y = sum x; of integers as i64. Gradient: dx = dy, repeated. dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `sum(x: any[?] strided, dim: [int]? = nil, keepdim: bool = false) -> y: any[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@return quern.Tensor y
function Tensor:sum(dim, keepdim) end

--- Sums over dimensions so that the shape becomes a given one; undoes broadcasting.
--- y = sum of x over every leading dimension that `shape` lacks and every dimension that is 1 in it. Gradient: dx = dy, repeated.
--- `sum_to(x: t[?] strided, shape: [int]) -> y: t[?]`
---@param x quern.Tensor|number
---@param shape integer[]
---@return quern.Tensor y
function quern.sum_to(x, shape) end

--- Sums over dimensions so that the shape becomes a given one; undoes broadcasting.
--- y = sum of x over every leading dimension that `shape` lacks and every dimension that is 1 in it. Gradient: dx = dy, repeated.
--- `sum_to(x: t[?] strided, shape: [int]) -> y: t[?]`
---@param shape integer[]
---@return quern.Tensor y
function Tensor:sum_to(shape) end

--- Rows of a table, in the shape of the ids.
--- y[i, ..] = x[ids[i], ..]; ids count from 0. Gradient: index_add of dy (dense; embedding has a row-sparse one).
--- `take(x: t[?], ids: i64[?]) -> y: t[?]`
---@param x quern.Tensor|number
---@param ids quern.Tensor|number
---@return quern.Tensor y
function quern.take(x, ids) end

--- Rows of a table, in the shape of the ids.
--- y[i, ..] = x[ids[i], ..]; ids count from 0. Gradient: index_add of dy (dense; embedding has a row-sparse one).
--- `take(x: t[?], ids: i64[?]) -> y: t[?]`
---@param ids quern.Tensor|number
---@return quern.Tensor y
function Tensor:take(ids) end

--- Hyperbolic tangent.
--- y = tanh x. Gradient: dx = (1 - y^2) dy.
--- `tanh(x: f[...] strided) -> y: f[...]`
---@param x quern.Tensor|number
---@return quern.Tensor y
function quern.tanh(x) end

--- Hyperbolic tangent.
--- y = tanh x. Gradient: dx = (1 - y^2) dy.
--- `tanh(x: f[...] strided) -> y: f[...]`
---@return quern.Tensor y
function Tensor:tanh() end

--- The k largest or smallest elements along a dimension, best first.
--- y = the k best of x, i = their places counted from 0; of equal ones the earlier comes first. Gradient: dx[i] = dy.
--- `topk(x: t[?], k: int{0..}, dim: int = -1, largest: bool = true) -> y: t[?], i: i64[?]`
---@param x quern.Tensor|number
---@param k integer
---@param dim? integer
---@param largest? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function quern.topk(x, k, dim, largest) end

--- The k largest or smallest elements along a dimension, best first.
--- y = the k best of x, i = their places counted from 0; of equal ones the earlier comes first. Gradient: dx[i] = dy.
--- `topk(x: t[?], k: int{0..}, dim: int = -1, largest: bool = true) -> y: t[?], i: i64[?]`
---@param k integer
---@param dim? integer
---@param largest? boolean
---@return quern.Tensor y
---@return quern.Tensor i
function Tensor:topk(k, dim, largest) end

--- Swaps two dimensions; a view.
--- y = x with dimensions a and b swapped. Gradient: dx = dy, swapped back.
--- `transpose(x: any[?] strided, a: int, b: int) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param a integer
---@param b integer
---@return quern.Tensor y
function quern.transpose(x, a, b) end

--- Swaps two dimensions; a view.
--- y = x with dimensions a and b swapped. Gradient: dx = dy, swapped back.
--- `transpose(x: any[?] strided, a: int, b: int) -> y&x: any[?]`
---@param a integer
---@param b integer
---@return quern.Tensor y
function Tensor:transpose(a, b) end

--- The lower triangle of matrices; 0 above it.
--- y[m,n] = x[m,n] where n <= m + diagonal, else 0. Gradient: dx = tril(dy).
--- `tril(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]`
---@param x quern.Tensor|number
---@param diagonal? integer
---@return quern.Tensor y
function quern.tril(x, diagonal) end

--- The lower triangle of matrices; 0 above it.
--- y[m,n] = x[m,n] where n <= m + diagonal, else 0. Gradient: dx = tril(dy).
--- `tril(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]`
---@param diagonal? integer
---@return quern.Tensor y
function Tensor:tril(diagonal) end

--- The upper triangle of matrices; 0 below it.
--- y[m,n] = x[m,n] where n >= m + diagonal, else 0. Gradient: dx = triu(dy).
--- `triu(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]`
---@param x quern.Tensor|number
---@param diagonal? integer
---@return quern.Tensor y
function quern.triu(x, diagonal) end

--- The upper triangle of matrices; 0 below it.
--- y[m,n] = x[m,n] where n >= m + diagonal, else 0. Gradient: dx = triu(dy).
--- `triu(x: t[...,M,N], diagonal: int = 0) -> y: t[...,M,N]`
---@param diagonal? integer
---@return quern.Tensor y
function Tensor:triu(diagonal) end

--- Normal random numbers between two bounds.
--- y = mean + std Phi^-1(Phi(a) + (Phi(b) - Phi(a)) u), a and b being the bounds low and high in units of std from mean.
--- `truncated_normal(shape: [int], mean: num = 0, std: num = 1, low: num = -2, high: num = 2, dtype: enum{f32|f64|bf16} = f32) -> y: any[?]`
---@param shape integer[]
---@param mean? number
---@param std? number
---@param low? number
---@param high? number
---@param dtype? "f32"|"f64"|"bf16"
---@return quern.Tensor y
function quern.truncated_normal(shape, mean, std, low, high, dtype) end

--- Uniform random numbers.
--- y = low + (high - low) u, u in [0,1) with 24 random bits in f32, 53 in f64.
--- `uniform(shape: [int], low: num = 0, high: num = 1, dtype: enum{f32|f64|bf16} = f32) -> y: any[?]`
---@param shape integer[]
---@param low? number
---@param high? number
---@param dtype? "f32"|"f64"|"bf16"
---@return quern.Tensor y
function quern.uniform(shape, low, high, dtype) end

--- Truth values from bits that pack_bits made.
--- shape has at most 8 M elements and more than 8 (M - 1).
--- `unpack_bits(bits: u8[M], shape: [int{0..}]) -> x: bool[?]`
---@param bits quern.Tensor|number
---@param shape integer[]
---@return quern.Tensor x
function quern.unpack_bits(bits, shape) end

--- Truth values from bits that pack_bits made.
--- shape has at most 8 M elements and more than 8 (M - 1).
--- `unpack_bits(bits: u8[M], shape: [int{0..}]) -> x: bool[?]`
---@param shape integer[]
---@return quern.Tensor x
function Tensor:unpack_bits(shape) end

--- Adds a dimension of size 1 at a place; a view.
--- y = x with a new dimension dim of size 1. Gradient: dx = dy in x's shape.
--- `unsqueeze(x: any[?] strided, dim: int) -> y&x: any[?]`
---@param x quern.Tensor|number
---@param dim integer
---@return quern.Tensor y
function quern.unsqueeze(x, dim) end

--- Adds a dimension of size 1 at a place; a view.
--- y = x with a new dimension dim of size 1. Gradient: dx = dy in x's shape.
--- `unsqueeze(x: any[?] strided, dim: int) -> y&x: any[?]`
---@param dim integer
---@return quern.Tensor y
function Tensor:unsqueeze(dim) end

--- Enlarges images by whole factors.
--- x: [N,C,H,W] or [N,C,L]. scale: one factor or one per axis. bilinear: pixel centres are aligned, not corners. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `upsample(x: f[?], *, scale: [int], mode: enum{nearest|bilinear} = nearest, layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param x quern.Tensor|number
---@param options? { scale?: integer[], mode?: "nearest"|"bilinear", layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function quern.upsample(x, options) end

--- Enlarges images by whole factors.
--- x: [N,C,H,W] or [N,C,L]. scale: one factor or one per axis. bilinear: pixel centres are aligned, not corners. layout: nchw, channels before space ([N,C,H,W], [N,C,L]), or nhwc, channels last ([N,H,W,C], [N,L,C]), for x and the result alike.
--- `upsample(x: f[?], *, scale: [int], mode: enum{nearest|bilinear} = nearest, layout: enum{nchw|nhwc} = nchw) -> y: f[?]`
---@param options? { scale?: integer[], mode?: "nearest"|"bilinear", layout?: "nchw"|"nhwc" }
---@return quern.Tensor y
function Tensor:upsample(options) end

--- Variance over dimensions.
--- y = sum (x - mean)^2 / (n - correction). Gradient: dx = 2 (x - mean) dy / (n - correction). dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `var(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false, correction: int{0..} = 1) -> y: f[?]`
---@param x quern.Tensor|number
---@param dim? integer[]
---@param keepdim? boolean
---@param correction? integer
---@return quern.Tensor y
function quern.var(x, dim, keepdim, correction) end

--- Variance over dimensions.
--- y = sum (x - mean)^2 / (n - correction). Gradient: dx = 2 (x - mean) dy / (n - correction). dim nil reduces all dimensions; keepdim leaves them at size 1.
--- `var(x: f[?] strided, dim: [int]? = nil, keepdim: bool = false, correction: int{0..} = 1) -> y: f[?]`
---@param dim? integer[]
---@param keepdim? boolean
---@param correction? integer
---@return quern.Tensor y
function Tensor:var(dim, keepdim, correction) end

--- Picks from a where cond is true, else from b, with broadcasting.
--- y = cond ? a : b. Gradient: da = dy where cond, db = dy elsewhere; what is not picked gets 0.
--- `where(cond: bool[~...] strided, a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param cond quern.Tensor|number
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function quern.where(cond, a, b) end

--- Picks from a where cond is true, else from b, with broadcasting.
--- y = cond ? a : b. Gradient: da = dy where cond, db = dy elsewhere; what is not picked gets 0.
--- `where(cond: bool[~...] strided, a: t[~...] strided, b: t[~...] strided) -> y: t[...]`
---@param a quern.Tensor|number
---@param b quern.Tensor|number
---@return quern.Tensor y
function Tensor:where(a, b) end

--- Sets every element to 0.
--- x <- 0.
--- `zero_(x!: t[...] strided) -> x`
---@param x quern.Tensor|number
---@return quern.Tensor x
function quern.zero_(x) end

--- Sets every element to 0.
--- x <- 0.
--- `zero_(x!: t[...] strided) -> x`
---@return quern.Tensor x
function Tensor:zero_() end

return quern
