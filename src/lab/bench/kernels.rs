//! Matrix products, pooling, sums and optimisers.

use crate::gpu::{Tensor, Work};
use crate::models;
use crate::ops::conv2d::{self, Window};
use crate::ops::cross_entropy;
use crate::ops::matmul::{Epilogue, matmul_with, plain, transposed};
use crate::ops::optimizer::{self, Adam, Sgd};
use crate::ops::pool;
use crate::ops::reduce::{self, Reduction};
use crate::ops::tiles;

use super::row::Label;
use super::tune::products;
use super::{Bench, LabError, random};

fn label(kernel: &'static str, pass: &'static str, shape: impl Into<String>) -> Label {
    Label { kernel, pass, layer: None, shape: shape.into(), variant: "one".to_owned() }
}

/// Work that is memory traffic: every element of these once.
fn traffic(tensors: &[&Tensor]) -> Work {
    Work { flops: 0, bytes: tensors.iter().map(|tensor| 4 * tensor.count() as u64).sum() }
}

impl Bench<'_> {
    /// Square products, and those of the models' linear layers.
    pub(super) fn matmul(&mut self) -> Result<(), LabError> {
        let gpu = self.gpu;
        let mut cases = Vec::new();
        for size in [512, 1024] {
            cases.push((None, "square", [size, size, size], [false, false]));
        }
        for model in self.options.models() {
            let layers = products(model, self.options.batch(model))?;
            cases.extend(layers.into_iter().map(|(layer, pass, extents, flip)| (Some(layer), pass, extents, flip)));
        }
        for (layer, pass, [m, n, k], flip) in cases {
            let a = random(gpu, 0, if flip[0] { [k, m] } else { [m, k] })?;
            let b = random(gpu, 1, if flip[1] { [n, k] } else { [k, n] })?;
            let out = gpu.empty([m, n])?;
            let variant = tiles::matmul_at(gpu, [m, n, k], flip)?;
            let work = Work { flops: 2 * (m * n * k) as u64, bytes: traffic(&[&a, &b, &out]).bytes };
            let row = Label {
                layer,
                variant: variant.name().to_owned(),
                ..label("matmul", pass, format!("{m}x{k} {k}x{n}"))
            };
            let a = if flip[0] { transposed(&a) } else { plain(&a) };
            let b = if flip[1] { transposed(&b) } else { plain(&b) };
            self.row(row, work, &mut || matmul_with(gpu, variant, a, b, Epilogue::default(), &out))?;
        }
        Ok(())
    }

    /// Lenet's two max-poolings, and average pooling of the same shapes.
    pub(super) fn pool(&mut self) -> Result<(), LabError> {
        let (gpu, window) = (self.gpu, Window::new(2, 0));
        let batch = self.options.batch("lenet");
        for dims in [[batch, 6, 28, 28], [batch, 16, 10, 10]] {
            let (x, dx) = (random(gpu, 0, dims)?, gpu.empty(dims)?);
            let shape = format!("{}x{}x{}x{} k2 s2", dims[0], dims[1], dims[2], dims[3]);
            let (y, winners) = pool::max_forward(gpu, &x, 2, window, true)?;
            let dy = random(gpu, 1, y.shape())?;
            let max = |pass| label("max_pool", pass, &*shape);
            self.row(max("forward"), traffic(&[&x, &y, &y]), &mut || {
                pool::max_forward(gpu, &x, 2, window, true).map(drop)
            })?;
            self.row(max("backward"), traffic(&[&dy, &y, &dx]), &mut || {
                pool::max_backward(gpu, &dy, &winners, 2, window, &dx)
            })?;
            let average = |pass| label("avg_pool", pass, &*shape);
            self.row(average("forward"), traffic(&[&x, &y]), &mut || {
                pool::average_forward(gpu, &x, [2; 2], window).map(drop)
            })?;
            self.row(average("backward"), traffic(&[&dy, &dx]), &mut || {
                pool::average_backward(gpu, &dy, [2; 2], window, &dx)
            })?;
        }
        Ok(())
    }

    /// Sums over rows and columns, the bias gradient, and the loss.
    pub(super) fn reduce(&mut self) -> Result<(), LabError> {
        let gpu = self.gpu;
        let x = random(gpu, 0, [1024, 1024])?;
        let small = gpu.empty([1024])?;
        for (pass, reduction, dim) in [
            ("sum of rows", Reduction::Sum, 1),
            ("sum of columns", Reduction::Sum, 0),
            ("log-sum-exp of rows", Reduction::LogSumExp, 1),
        ] {
            let row = label("reduce", pass, "1024x1024");
            self.row(row, traffic(&[&x, &small]), &mut || reduce::forward(gpu, reduction, &x, dim).map(drop))?;
        }
        let batch = self.options.batch("lab");
        let (dy, db) = (random(gpu, 0, [batch, 128, 32, 32])?, gpu.empty([128])?);
        let bias = Label {
            layer: Some("lab.conv3".to_owned()),
            ..label("conv2d_backward_bias", "backward-bias", format!("{batch}x128x32x32"))
        };
        self.row(bias, traffic(&[&dy, &db]), &mut || conv2d::backward_bias(gpu, &dy, &db))?;
        let batch = self.options.batch("lenet");
        let logits = random(gpu, 0, [batch, 10])?;
        let labels = gpu.words(&(0..batch as u32).map(|index| index % 10).collect::<Vec<_>>())?;
        let row = label("cross_entropy", "forward", format!("{batch}x10"));
        self.row(row, traffic(&[&logits]), &mut || cross_entropy::forward(gpu, &logits, &labels, 0.0).map(drop))
    }

    /// One step of each optimiser over the parameters of each model.
    pub(super) fn optim(&mut self) -> Result<(), LabError> {
        let gpu = self.gpu;
        for model in self.options.models() {
            let count: usize = models::architecture(model)?.specs().iter().map(|spec| spec.shape.count()).sum();
            let [weights, gradient] = [0, 1].map(|item| random(gpu, item, [count]));
            let (weights, gradient) = (weights?, gradient?);
            let (first, second) = (gpu.zeros([count])?, gpu.zeros([count])?);
            let named = |kernel| label(kernel, "step", format!("{model}, {count} parameters"));
            let sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 };
            let moved = [&weights, &weights, &gradient, &first, &first, &second, &second];
            self.row(named("sgd"), traffic(&moved[..5]), &mut || {
                optimizer::sgd(gpu, sgd, 1e-3, &weights, &gradient, &first)
            })?;
            self.row(named("adam"), traffic(&moved), &mut || {
                optimizer::adam(gpu, Adam::default(), 1e-3, 10, &weights, &gradient, [&first, &second])
            })?;
        }
        Ok(())
    }
}
