//! The tape's operations: each calls its file in `ops` and records the backward rule beside it.

use super::tape::{Rule, Start, Tape, Var, Wanted};
use super::value::Value;
use crate::gpu::{Gpu, Result, Shape, Tensor, Words};
use crate::ops::activation::{self, Activation};
use crate::ops::batch_norm::{self, Running, Settings};
use crate::ops::conv2d::{self, Window};
use crate::ops::cross_entropy::Upstream;
use crate::ops::dropout::{self, Mask};
use crate::ops::elementwise;
use crate::ops::matmul::{Epilogue, Operand, matmul, matmul_into, plain, transposed};
use crate::ops::normalize::Pending;
use crate::ops::reduce::{self, Reduction};
use crate::ops::{conv2d_max_pool, cross_entropy, kl_divergence, linear, margin, mse, normalize, pool};

/// A batch-norm layer's state and mode.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub running: Running,
    pub settings: Settings,
    pub training: bool,
}

impl Tape {
    /// `a + b`, of one shape.
    pub fn add(&self, a: Var, b: Var) -> Result<Var> {
        let y = elementwise::add(&self.gpu, &self.get("add", a)?, &self.get("add", b)?)?;
        Ok(self.record(y, &[a, b], || Box::new(|_, dy, _| Ok(vec![Some(dy.clone()), Some(dy.clone())]))))
    }

    /// `a b` element by element, of one shape.
    pub fn multiply(&self, a: Var, b: Var) -> Result<Var> {
        let (left, right) = (self.get("multiply", a)?, self.get("multiply", b)?);
        let y = elementwise::multiply(&self.gpu, &left, &right)?;
        Ok(self.record(y, &[a, b], || {
            Box::new(move |gpu, dy, wanted| {
                let mut out = Vec::with_capacity(2);
                for (i, other) in [&right, &left].into_iter().enumerate() {
                    let place = wanted.place(i, dy.shape())?;
                    if let Some(place) = &place {
                        elementwise::multiply_into(gpu, other, dy, place)?;
                    }
                    out.push(place);
                }
                Ok(out)
            })
        }))
    }

    /// `factor x + offset`.
    pub fn scale(&self, x: Var, factor: f32, offset: f32) -> Result<Var> {
        let y = elementwise::scale(&self.gpu, &self.get("scale", x)?, factor, offset)?;
        Ok(self.record(y, &[x], || one(move |gpu, dy, dx| elementwise::scale_into(gpu, dy, factor, 0.0, dx))))
    }

    /// The same elements under another shape.
    pub fn reshape(&self, x: Var, shape: impl Into<Shape>) -> Result<Var> {
        let x_value = self.get("reshape", x)?;
        let before = x_value.shape();
        let y = x_value.reshape(shape)?;
        Ok(self.record(y, &[x], || Box::new(move |_, dy, _| Ok(vec![Some(dy.reshape(before)?)]))))
    }

    /// [N, ...] to [N, everything else].
    pub fn flatten(&self, x: Var) -> Result<Var> {
        let value = self.get("flatten", x)?;
        let rows = value.dims()[0];
        self.reshape(x, [rows, value.count() / rows])
    }

    /// `A B` for matrices; each may be taken transposed.
    pub fn matmul(&self, a: Var, transpose_a: bool, b: Var, transpose_b: bool) -> Result<Var> {
        let (left, right) = (self.get("matmul", a)?, self.get("matmul", b)?);
        let y = matmul(&self.gpu, side(&left, transpose_a), side(&right, transpose_b))?;
        Ok(self.record(y, &[a, b], || {
            Box::new(move |gpu, dy, wanted| {
                let none = Epilogue::default();
                let (da, db) = (wanted.place(0, left.shape())?, wanted.place(1, right.shape())?);
                // C = A B: dA = dC B^T and dB = A^T dC; where an operand was transposed, so is its gradient.
                if let Some(da) = &da {
                    if transpose_a {
                        matmul_into(gpu, side(&right, transpose_b), transposed(dy), none, da)?;
                    } else {
                        matmul_into(gpu, plain(dy), side(&right, !transpose_b), none, da)?;
                    }
                }
                if let Some(db) = &db {
                    if transpose_b {
                        matmul_into(gpu, transposed(dy), side(&left, transpose_a), none, db)?;
                    } else {
                        matmul_into(gpu, side(&left, !transpose_a), plain(dy), none, db)?;
                    }
                }
                Ok(vec![da, db])
            })
        }))
    }

    /// A fully connected layer, `x W^T + b`, with or without bias, with ReLU fused if wanted.
    pub fn linear(&self, x: Var, weight: Var, bias: impl Into<Option<Var>>, relu: bool) -> Result<Var> {
        let (input, w) = (self.get("linear", x)?, self.get("linear", weight)?);
        let bias = bias.into();
        let b = bias.map(|bias| self.get("linear", bias)).transpose()?;
        let y = linear::forward(&self.gpu, &input, &w, b.as_ref(), relu)?;
        let output = y.clone();
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        Ok(self.record_relu(y, &inputs, relu, || {
            // Without a bias nothing wants its gradient, whatever its shape would be.
            let bias_shape = b.map_or([1].into(), |b| b.shape());
            Box::new(move |gpu, dy, wanted| {
                let dy = through_relu(gpu, relu, &output, dy, wanted)?;
                let places =
                    [wanted.place(0, input.shape())?, wanted.place(1, w.shape())?, wanted.place(2, bias_shape)?];
                if let Some(dx) = &places[0] {
                    linear::backward_data(gpu, &dy, &w, dx)?;
                }
                if let Some(dw) = &places[1] {
                    linear::backward_weights(gpu, &input, &dy, dw)?;
                }
                if let Some(db) = &places[2] {
                    linear::backward_bias(gpu, &dy, db)?;
                }
                Ok(places.into())
            })
        }))
    }

    /// A convolution with or without bias, with ReLU fused if wanted.
    pub fn conv2d(&self, x: Var, weight: Var, bias: impl Into<Option<Var>>, window: Window, relu: bool) -> Result<Var> {
        let (input, w) = (self.get("conv2d", x)?, self.get("conv2d", weight)?);
        let bias = bias.into();
        let b = bias.map(|bias| self.get("conv2d", bias)).transpose()?;
        let y = conv2d::forward(&self.gpu, &input, &w, b.as_ref(), window, relu)?;
        let output = y.clone();
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        Ok(self.record_relu(y, &inputs, relu, || {
            let operands = Convolved { input: Value::There(input), weight: w, bias: b.map(|b| b.shape()), window };
            Box::new(move |gpu, dy, wanted| {
                operands.gradients(gpu, &through_relu(gpu, relu, &output, dy, wanted)?, wanted)
            })
        }))
    }

    /// A convolution and then a max-pooling, with ReLU fused to that if wanted; in one launch where there is a kernel for it.
    pub fn conv2d_max_pool(
        &self,
        (x, weight, bias, window): (Var, Var, Option<Var>, Window),
        kernel: usize,
        pooling: Window,
        relu: bool,
    ) -> Result<Var> {
        let (input, w) = (self.peek("conv2d", x)?, self.get("conv2d", weight)?);
        let b = bias.map(|bias| self.get("conv2d", bias)).transpose()?;
        let fused = if (kernel, pooling) == conv2d_max_pool::POOLS_BY {
            conv2d_max_pool::forward(&self.gpu, &input, &w, b.as_ref(), window, relu)?
        } else {
            None
        };
        let Some((y, winners)) = fused else {
            let convolved = self.conv2d(x, weight, bias, window, false)?;
            return self.max_pool(convolved, kernel, pooling, relu);
        };
        let inputs: Vec<Var> = [x, weight].into_iter().chain(bias).collect();
        Ok(self.record(y, &inputs, || {
            let operands = Convolved { input, weight: w, bias: b.map(|b| b.shape()), window };
            Box::new(move |gpu, dy, wanted| {
                // Who wants nothing but the input's gradient can do without the gradient of what was pooled.
                if !wanted.wants(1)
                    && !wanted.wants(2)
                    && let Some(gradients) = operands.data_alone(gpu, (dy, &winners), wanted)?
                {
                    return Ok(gradients);
                }
                let dy_there = gpu.empty(operands.output()?)?;
                pool::max_backward(gpu, dy, &winners, kernel, pooling, &dy_there)?;
                operands.gradients(gpu, &dy_there, wanted)
            })
        }))
    }

    /// A transposed convolution with bias, with ReLU fused if wanted.
    pub fn conv_transpose2d(&self, x: Var, weight: Var, bias: Var, window: Window, relu: bool) -> Result<Var> {
        let name = "conv_transpose2d";
        let (input, w, b) = (self.get(name, x)?, self.get(name, weight)?, self.get(name, bias)?);
        let y = conv2d::transpose_forward(&self.gpu, &input, &w, Some(&b), window, relu)?;
        let output = y.clone();
        Ok(self.record_relu(y, &[x, weight, bias], relu, || {
            Box::new(move |gpu, dy, wanted| {
                let dy = through_relu(gpu, relu, &output, dy, wanted)?;
                let places =
                    [wanted.place(0, input.shape())?, wanted.place(1, w.shape())?, wanted.place(2, b.shape())?];
                if let Some(dx) = &places[0] {
                    conv2d::transpose_backward_data(gpu, &dy, &w, window, dx)?;
                }
                if let Some(dw) = &places[1] {
                    conv2d::transpose_backward_weights(gpu, &input, &dy, window, dw)?;
                }
                if let Some(db) = &places[2] {
                    conv2d::backward_bias(gpu, &dy, db)?;
                }
                Ok(places.into())
            })
        }))
    }

    /// The largest of each k x k window, with ReLU fused if wanted.
    pub fn max_pool(&self, x: Var, kernel: usize, window: Window, relu: bool) -> Result<Var> {
        let input = self.get("max_pool", x)?;
        let shape = input.shape();
        let (y, winners) = pool::max_forward(&self.gpu, &input, kernel, window, relu)?;
        Ok(self.record(y, &[x], || {
            shaped(shape, move |gpu, dy, dx| pool::max_backward(gpu, dy, &winners, kernel, window, dx))
        }))
    }

    /// The mean of each window of [height, width].
    pub fn avg_pool(&self, x: Var, kernel: [usize; 2], window: Window) -> Result<Var> {
        let input = self.get("avg_pool", x)?;
        let shape = input.shape();
        let y = pool::average_forward(&self.gpu, &input, kernel, window)?;
        Ok(self
            .record(y, &[x], || shaped(shape, move |gpu, dy, dx| pool::average_backward(gpu, dy, kernel, window, dx))))
    }

    /// The mean of each plane: [N, C, H, W] to [N, C].
    pub fn global_avg_pool(&self, x: Var) -> Result<Var> {
        let input = self.get("global_avg_pool", x)?;
        let dims = input.dims();
        let kernel = [dims.get(2).copied().unwrap_or(0), dims.get(3).copied().unwrap_or(0)];
        let pooled = self.avg_pool(x, kernel, Window::new(1, 0))?;
        self.flatten(pooled)
    }

    /// ReLU, leaky ReLU, sigmoid, tanh or GELU.
    pub fn activation(&self, x: Var, activation: Activation) -> Result<Var> {
        let input = self.get("activation", x)?;
        let y = activation::forward(&self.gpu, activation, &input)?;
        let saved = if activation.saves_input() { input } else { y.clone() };
        Ok(self.record(y, &[x], || one(move |gpu, dy, dx| activation::backward(gpu, activation, &saved, dy, dx))))
    }

    /// A fixed affine map for each channel; `zeros` has the shape of `offset`. It is made when an operation asks for its value,
    /// which one that can read `x` in its place does not; its backward pass may, so `x` must stay as it is until then.
    pub fn normalize(&self, x: Var, factor: &Tensor, offset: &Tensor, zeros: &Tensor) -> Result<Var> {
        let y = Pending::new(&self.get("normalize", x)?, factor, offset)?;
        let (factor, zeros) = (factor.clone(), zeros.clone());
        Ok(self.record_pending(y, &[x], || one(move |gpu, dy, dx| normalize::backward(gpu, dy, &factor, &zeros, dx))))
    }

    /// Batch normalisation.
    pub fn batch_norm(&self, x: Var, gamma: Var, beta: Var, layer: &BatchNorm) -> Result<Var> {
        let name = "batch_norm";
        let (input, g, b) = (self.get(name, x)?, self.get(name, gamma)?, self.get(name, beta)?);
        let (y, saved) =
            batch_norm::forward(&self.gpu, &input, &g, &b, &layer.running, layer.settings, layer.training)?;
        let training = layer.training;
        Ok(self.record(y, &[x, gamma, beta], || {
            Box::new(move |gpu, dy, wanted| {
                let dx = wanted.place(0, input.shape())?;
                // In evaluation only the weights want the sums.
                let summed = training || wanted.wants(1) || wanted.wants(2);
                let sums = summed.then(|| batch_norm::backward_sums(gpu, &input, &saved, dy)).transpose()?;
                if let Some(dx) = &dx {
                    batch_norm::backward_data(gpu, &input, &saved, &g, dy, sums.as_ref(), dx)?;
                }
                let (dgamma, dbeta) = sums.unzip();
                Ok(vec![dx, dgamma, dbeta])
            })
        }))
    }

    /// Dropout (for training; evaluation leaves it out).
    pub fn dropout(&self, x: Var, mask: Mask) -> Result<Var> {
        let input = self.get("dropout", x)?;
        let y = self.gpu.empty(input.shape())?;
        dropout::apply(&self.gpu, &input, mask, &y)?;
        Ok(self.record(y, &[x], || one(move |gpu, dy, dx| dropout::apply(gpu, dy, mask, dx))))
    }

    /// Sum, mean, maximum or log-sum-exp over a dimension, which is dropped.
    pub fn reduce(&self, x: Var, reduction: Reduction, dim: usize) -> Result<Var> {
        let input = self.get("reduce", x)?;
        let y = reduce::forward(&self.gpu, reduction, &input, dim)?;
        let output = y.clone();
        Ok(self.record(y, &[x], || {
            let shape = input.shape();
            shaped(shape, move |gpu, dy, dx| reduce::backward(gpu, reduction, &input, &output, dim, dy, dx))
        }))
    }

    /// Cross-entropy of each row: [N].
    pub fn cross_entropy(&self, logits: Var, labels: &Words, smoothing: f32) -> Result<Var> {
        let z = self.get("cross_entropy", logits)?;
        let loss = cross_entropy::forward(&self.gpu, &z, labels, smoothing)?;
        let labels = labels.clone();
        Ok(self.record(loss, &[logits], || {
            let shape = z.shape();
            shaped(shape, move |gpu, dy, dz| {
                cross_entropy::backward(gpu, &z, &labels, smoothing, Upstream::Each(dy), dz)
            })
        }))
    }

    /// Cross-entropy, the mean over the rows: [1].
    pub fn cross_entropy_mean(&self, logits: Var, labels: &Words, smoothing: f32) -> Result<Var> {
        let z = self.get("cross_entropy", logits)?;
        let each = cross_entropy::forward(&self.gpu, &z, labels, smoothing)?;
        let loss = reduce::forward(&self.gpu, Reduction::Mean, &each, 0)?;
        let labels = labels.clone();
        Ok(self.record(loss, &[logits], || {
            let shape = z.shape();
            shaped(shape, move |gpu, dy, dz| {
                cross_entropy::backward(gpu, &z, &labels, smoothing, Upstream::Mean(dy), dz)
            })
        }))
    }

    /// Where a walk back begins whose loss is the sum over the rows of [`Tape::cross_entropy`], for who does not ask what the
    /// loss is: it is not computed.
    pub fn cross_entropy_start(&self, logits: Var, labels: &Words, smoothing: f32) -> Result<Start> {
        let z = self.get("cross_entropy", logits)?;
        let gradient = self.gpu.empty(z.shape())?;
        cross_entropy::backward(&self.gpu, &z, labels, smoothing, Upstream::Sum, &gradient)?;
        Ok(Start::given(logits, gradient))
    }

    /// How far each row is from being taken for another class (`sign` 1), or for its label (-1): [N].
    pub fn margin(&self, logits: Var, labels: &Words, sign: f32) -> Result<Var> {
        let z = self.get("margin", logits)?;
        let margins = margin::forward(&self.gpu, &z, labels, sign)?;
        let labels = labels.clone();
        Ok(self.record(margins, &[logits], || {
            let shape = z.shape();
            shaped(shape, move |gpu, dy, dz| margin::backward(gpu, &z, &labels, sign, dy, dz))
        }))
    }

    /// KL(softmax(a) || softmax(b)) of each row: [N].
    pub fn kl_divergence(&self, a: Var, b: Var) -> Result<Var> {
        let (first, second) = (self.get("kl_divergence", a)?, self.get("kl_divergence", b)?);
        let each = kl_divergence::forward(&self.gpu, &first, &second)?;
        Ok(self.record(each, &[a, b], || {
            Box::new(move |gpu, dk, wanted| {
                let places = [wanted.place(0, first.shape())?, wanted.place(1, first.shape())?];
                for (is_second, place) in [false, true].into_iter().zip(&places) {
                    if let Some(place) = place {
                        kl_divergence::backward(gpu, &first, &second, dk, is_second, place)?;
                    }
                }
                Ok(places.into())
            })
        }))
    }

    /// Mean squared error of each image: [N].
    pub fn mse(&self, a: Var, b: Var) -> Result<Var> {
        let each = mse::forward(&self.gpu, &self.get("mse", a)?, &self.get("mse", b)?)?;
        self.record_mse(each, a, b, false)
    }

    /// Mean squared error over everything: [1].
    pub fn mse_mean(&self, a: Var, b: Var) -> Result<Var> {
        let each = mse::forward(&self.gpu, &self.get("mse", a)?, &self.get("mse", b)?)?;
        let loss = reduce::forward(&self.gpu, Reduction::Mean, &each, 0)?;
        self.record_mse(loss, a, b, true)
    }

    fn record_mse(&self, loss: Tensor, a: Var, b: Var, mean: bool) -> Result<Var> {
        let (left, right) = (self.get("mse", a)?, self.get("mse", b)?);
        Ok(self.record(loss, &[a, b], || {
            Box::new(move |gpu, dy, wanted| {
                let places = [wanted.place(0, left.shape())?, wanted.place(1, right.shape())?];
                for (second, place) in [false, true].into_iter().zip(&places) {
                    if let Some(place) = place {
                        mse::backward(gpu, &left, &right, dy, mean, second, place)?;
                    }
                }
                Ok(places.into())
            })
        }))
    }
}

/// What a convolution's backward pass needs.
struct Convolved {
    input: Value,
    weight: Tensor,
    /// The bias's shape, if there is one.
    bias: Option<Shape>,
    window: Window,
}

impl Convolved {
    /// The output's shape.
    fn output(&self) -> Result<Shape> {
        conv2d_max_pool::convolved(&self.input, &self.weight, self.window)
    }

    /// What is wanted of the input's gradient, of what the output was pooled to by 2 x 2, in one launch where there is a kernel for
    /// it: as [`Self::gradients`] then, where nothing else is wanted.
    fn data_alone(
        &self,
        gpu: &Gpu,
        pooled: (&Tensor, &Words),
        wanted: &Wanted<'_>,
    ) -> Result<Option<Vec<Option<Tensor>>>> {
        let (step, place) = match wanted.step() {
            Some((step, out)) => (Some(step), Some(out.clone())),
            None => (None, wanted.place(0, self.input.shape())?),
        };
        // The rule is asked for one gradient at the least, and this is the one.
        let Some(place) = place else { return Ok(None) };
        if !conv2d_max_pool::backward_data(gpu, pooled, &self.weight, self.window, step, &place)? {
            return Ok(None);
        }
        if step.is_none() {
            return Ok(Some(vec![Some(place), None, None]));
        }
        wanted.took_step();
        Ok(Some(vec![None; 3]))
    }

    /// What is wanted of the gradients of input, weight and bias.
    fn gradients(&self, gpu: &Gpu, dy: &Tensor, wanted: &Wanted<'_>) -> Result<Vec<Option<Tensor>>> {
        let Self { input, weight, window, .. } = self;
        // Without a bias nothing wants its gradient, whatever its shape would be.
        let bias = self.bias.unwrap_or([1].into());
        let places = [wanted.place(0, input.shape())?, wanted.place(1, weight.shape())?, wanted.place(2, bias)?];
        if let Some(dx) = &places[0] {
            if !wanted.has_input_relu() {
                conv2d::backward_data(gpu, dy, weight, *window, dx)?;
            } else if conv2d::backward_data_relu(gpu, dy, weight, *window, &input.tensor(gpu)?, dx)? {
                wanted.passed_input_relu();
            }
        }
        if let Some(dw) = &places[1] {
            conv2d::backward_weights(gpu, &input.tensor(gpu)?, dy, *window, dw)?;
        }
        if let Some(db) = &places[2] {
            conv2d::backward_bias(gpu, dy, db)?;
        }
        Ok(places.into())
    }
}

/// The gradient before the ReLU that is fused to an operation, if one is: at once where whoever it came from took it there.
fn through_relu(gpu: &Gpu, relu: bool, y: &Tensor, dy: &Tensor, wanted: &Wanted<'_>) -> Result<Tensor> {
    if relu && !wanted.is_through_own_relu() { linear::backward_relu(gpu, y, dy) } else { Ok(dy.clone()) }
}

/// A matrix, transposed if `flip`.
fn side(tensor: &Tensor, flip: bool) -> Operand<'_> {
    if flip { transposed(tensor) } else { plain(tensor) }
}

/// The rule of an operation with one input of its output's shape.
fn one(write: impl Fn(&Gpu, &Tensor, &Tensor) -> Result<()> + 'static) -> Rule {
    Box::new(move |gpu, dy, wanted| {
        let dx = wanted.place(0, dy.shape())?;
        if let Some(dx) = &dx {
            write(gpu, dy, dx)?;
        }
        Ok(vec![dx])
    })
}

/// The rule of an operation with one input of the given shape.
fn shaped(shape: Shape, write: impl Fn(&Gpu, &Tensor, &Tensor) -> Result<()> + 'static) -> Rule {
    Box::new(move |gpu, dy, wanted| {
        let dx = wanted.place(0, shape)?;
        if let Some(dx) = &dx {
            write(gpu, dy, dx)?;
        }
        Ok(vec![dx])
    })
}
