//! The convolutions of the models, layer by layer and pass by pass.

use crate::gpu::{Gpu, Place as Problem, Tensor, Work};
use crate::models;
use crate::nn::Layer;
use crate::ops::choices;
use crate::ops::conv2d::{self, Window};
use crate::ops::{conv2d_max_pool, pool, tiles};

use super::row::Label;
use super::{Bench, LabError, random};

/// A convolution, or a transposed one, somewhere in a model.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub name: String,
    pub transposed: bool,
    pub x: [usize; 4],
    pub y: [usize; 4],
    pub kernel: usize,
    pub window: Window,
    /// Whether a max-pooling of 2 x 2 follows, which a kernel may do as it stores.
    pub pooled: bool,
}

/// The convolutions of a model with their shapes.
pub(super) fn places(model: &str, batch: usize) -> Result<Vec<Place>, LabError> {
    let plan = models::architecture(model)?;
    let mut shape = plan.input;
    let mut found: Vec<Place> = Vec::new();
    for (index, layer) in plan.layers.iter().enumerate() {
        let [channels, height, width] = shape;
        let (next, convolution) = match layer {
            Layer::Conv2d { name, channels: [_, out], kernel, window, .. } => {
                let [h, w] = [height, width].map(|extent| window.output("conv2d", extent, *kernel));
                ([*out, h?, w?], Some((name, false, *kernel, *window)))
            }
            Layer::Whiten { name, kernel, .. } => {
                let (out, window) = (2 * channels * kernel * kernel, Window::new(1, 0));
                let [h, w] = [height, width].map(|extent| window.output("conv2d", extent, *kernel));
                ([out, h?, w?], Some((name, false, *kernel, window)))
            }
            Layer::ConvTranspose2d { name, channels: [_, out], kernel, window, .. } => {
                let extent = |extent: usize| (extent - 1) * window.stride + kernel - 2 * window.padding;
                ([*out, extent(height), extent(width)], Some((name, true, *kernel, *window)))
            }
            Layer::MaxPool { kernel, window, .. } | Layer::AvgPool { kernel, window } => {
                let [h, w] = [height, width].map(|extent| window.output("pool", extent, *kernel));
                ([channels, h?, w?], None)
            }
            // What follows has no planes.
            Layer::Flatten | Layer::GlobalAvgPool => break,
            _ => (shape, None),
        };
        if let Some((name, transposed, kernel, window)) = convolution {
            let dims = |[c, h, w]: [usize; 3]| [batch, c, h, w];
            let (name, x, y) = (format!("{model}.{name}"), dims(shape), dims(next));
            let pooling = layer.pooling(&plan.layers[index + 1..]);
            let pooled = pooling.is_some_and(|(kernel, window, _)| (kernel, window) == conv2d_max_pool::POOLS_BY);
            found.push(Place { name, transposed, x, y, kernel, window, pooled });
        }
        shape = next;
    }
    Ok(found)
}

/// The arrays of a convolution: input, weight, bias and gradients, all random.
pub(super) struct Arrays {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    dy: Tensor,
    dx: Tensor,
    dw: Tensor,
}

/// The passes, in the order of a training step.
pub(super) const PASSES: [&str; 3] = ["forward", "backward-data", "backward-weights"];

impl Place {
    /// Input, output channels, kernel, stride and padding, for people.
    pub(super) fn shape(&self) -> String {
        let ([n, c, h, w], Window { stride, padding }) = (self.x, self.window);
        let arrow = if self.transposed { "=>" } else { "->" };
        format!("{n}x{c}x{h}x{w} {arrow} {} k{} s{stride} p{padding}", self.y[1], self.kernel)
    }

    /// What each pass needs at the least: every pass is a sum over the same products.
    pub(super) fn work(&self) -> Work {
        let ([n, c, h, w], [_, m, out_h, out_w]) = (self.x, self.y);
        let plane = if self.transposed { h * w } else { out_h * out_w };
        let products = n * plane * c * m * self.kernel * self.kernel;
        let values = n * (c * h * w + m * out_h * out_w) + c * m * self.kernel * self.kernel;
        Work { flops: 2 * products as u64, bytes: 4 * values as u64 }
    }

    /// What a pass of [`PASSES`] is to the kernels: a transposed convolution runs another's passes.
    pub(super) fn problem(&self, pass: usize) -> Problem {
        let ([_, from, _, from_w], [_, to, _, to_w]) = (self.x, self.y);
        let (kernel, stride) = (self.kernel, self.window.stride);
        let (name, channels, width) = match (pass, self.transposed) {
            (0, false) => ("forward", [from, to], to_w),
            (0, true) => ("backward-data", [from, to], to_w),
            (1, false) => ("backward-data", [to, from], from_w),
            (1, true) => ("forward", [to, from], from_w),
            (_, false) => ("backward-weights", [from, to], to_w),
            (_, true) => ("backward-weights", [to, from], from_w),
        };
        choices::convolution(name, channels, kernel, stride, width)
    }

    /// The variant that is chosen for a pass of [`PASSES`], with its tile where that was chosen beforehand.
    fn variant(&self, gpu: &Gpu, pass: usize) -> crate::gpu::Result<String> {
        Ok(match tiles::conv2d_at(gpu, self.problem(pass))? {
            (variant, Some([channels, positions])) => format!("{} {channels}x{positions}", variant.name()),
            (variant, None) => variant.name().to_owned(),
        })
    }

    pub(super) fn arrays(&self, gpu: &Gpu) -> crate::gpu::Result<Arrays> {
        let (k, in_c, out_c) = (self.kernel, self.x[1], self.y[1]);
        let weight = if self.transposed { [in_c, out_c, k, k] } else { [out_c, in_c, k, k] };
        Ok(Arrays {
            x: random(gpu, 0, self.x)?,
            weight: random(gpu, 1, weight)?,
            bias: random(gpu, 2, [out_c])?,
            dy: random(gpu, 3, self.y)?,
            dx: gpu.empty(self.x)?,
            dw: gpu.empty(weight)?,
        })
    }

    /// Launches the forward pass and the max-pooling that follows, together where the chosen kernel can: whether it could.
    pub(super) fn launch_pooled(&self, gpu: &Gpu, arrays: &Arrays) -> crate::gpu::Result<bool> {
        let Arrays { x, weight, bias, .. } = arrays;
        if conv2d_max_pool::forward(gpu, x, weight, Some(bias), self.window, true)?.is_some() {
            return Ok(true);
        }
        let convolved = conv2d::forward(gpu, x, weight, Some(bias), self.window, false)?;
        let (kernel, pooling) = conv2d_max_pool::POOLS_BY;
        pool::max_forward(gpu, &convolved, kernel, pooling, true)?;
        Ok(false)
    }

    /// Launches pass number `pass` of [`PASSES`] and returns what it computed.
    pub(super) fn launch(&self, gpu: &Gpu, arrays: &Arrays, pass: usize) -> crate::gpu::Result<Tensor> {
        let Arrays { x, weight, bias, dy, dx, dw } = arrays;
        let window = self.window;
        match (pass, self.transposed) {
            (0, false) => return conv2d::forward(gpu, x, weight, Some(bias), window, true),
            (0, true) => return conv2d::transpose_forward(gpu, x, weight, Some(bias), window, true),
            (1, false) => conv2d::backward_data(gpu, dy, weight, window, dx)?,
            (1, true) => conv2d::transpose_backward_data(gpu, dy, weight, window, dx)?,
            (_, false) => conv2d::backward_weights(gpu, x, dy, window, dw)?,
            (_, true) => conv2d::transpose_backward_weights(gpu, x, dy, window, dw)?,
        }
        Ok(if pass == 1 { dx.clone() } else { dw.clone() })
    }
}

impl Bench<'_> {
    /// Every convolution of the models, forward, backward-data and backward-weights.
    pub(super) fn convolutions(&mut self) -> Result<(), LabError> {
        let gpu = self.gpu;
        for model in self.options.models() {
            for place in places(model, self.options.batch(model))? {
                let arrays = place.arrays(gpu)?;
                for (pass, name) in PASSES.into_iter().enumerate() {
                    let kernel = if place.transposed { "conv_transpose2d" } else { "conv2d" };
                    let (layer, shape) = (Some(place.name.clone()), place.shape());
                    let variant = place.variant(gpu, pass)?;
                    let label = Label { kernel, pass: name, layer, shape, variant };
                    self.row(label, place.work(), &mut || place.launch(gpu, &arrays, pass).map(drop))?;
                }
                self.pooled(&place, &arrays)?;
            }
        }
        Ok(())
    }

    /// The forward pass with the max-pooling that follows, and backward-data with that pooling's, where the chosen kernels do
    /// both.
    fn pooled(&mut self, place: &Place, arrays: &Arrays) -> Result<(), LabError> {
        if !place.pooled {
            return Ok(());
        }
        let (gpu, window) = (self.gpu, place.window);
        let Arrays { x, weight, dx, .. } = arrays;
        // Half of the output: a quarter of its values, and as many places.
        let [n, m, height, width] = place.y;
        let Work { flops, bytes } = place.work();
        let work = Work { flops, bytes: bytes - 2 * (n * m * height * width) as u64 };
        let label = |pass, variant| {
            let (layer, shape) = (Some(place.name.clone()), place.shape());
            Label { kernel: "conv2d_max_pool", pass, layer, shape, variant }
        };
        if conv2d_max_pool::has_forward(gpu, x, weight, window)? {
            let label = label("forward + max_pool", place.variant(gpu, 0)?);
            self.row(label, work, &mut || place.launch_pooled(gpu, arrays).map(drop))?;
        }
        if conv2d_max_pool::has_backward_data(gpu, dx, weight, window)? {
            let label = label("max_pool + backward", place.variant(gpu, 1)?);
            let (kernel, pooling) = conv2d_max_pool::POOLS_BY;
            let (y, winners) = pool::max_forward(gpu, &arrays.dy, kernel, pooling, true)?;
            self.row(label, work, &mut || {
                conv2d_max_pool::backward_data(gpu, (&y, &winners), weight, window, None, dx).map(drop)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn shapes_follow_the_models() {
        let lab = places("lab", 2).unwrap();
        let shapes: Vec<String> = lab.iter().map(super::Place::shape).collect();
        assert_eq!(shapes[2], "2x64x32x32 -> 128 k3 s1 p1");
        assert_eq!(shapes[4], "2x128x16x16 -> 256 k3 s2 p1");
        assert_eq!(lab[2].work().flops, 2 * 2 * 1024 * 64 * 128 * 9);
        let lenet = places("lenet", 1).unwrap();
        assert_eq!(lenet.iter().map(|place| place.y).collect::<Vec<_>>(), [[1, 6, 28, 28], [1, 16, 10, 10]]);
        assert!(lenet.iter().all(|place| place.pooled) && !lab.iter().any(|place| place.pooled));
        let fast: Vec<String> = places("fast", 1).unwrap().iter().map(super::Place::shape).collect();
        assert_eq!((&*fast[0], &*fast[4]), ("1x3x32x32 -> 24 k2 s1 p0", "1x256x7x7 -> 256 k3 s1 p1"));
        let ae3 = places("ae3", 1).unwrap();
        assert_eq!(ae3.last().unwrap().y, [1, 3, 32, 32]);
        assert!(ae3.iter().filter(|place| place.transposed).count() == 3 && ae3.len() == 6);
    }
}
