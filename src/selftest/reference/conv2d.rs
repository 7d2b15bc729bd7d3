//! Convolution and its gradients as their sums are written.

use crate::ops::conv2d::Window;

/// A convolution from the wide side [batch, wide_c, h, w] to the narrow side [batch, narrow_c, h', w'], with
/// a weight of [narrow_c, wide_c, k, k]. A transposed convolution is the same thing run from narrow to wide.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub batch: usize,
    pub wide_c: usize,
    pub narrow_c: usize,
    pub size: [usize; 2],
    pub kernel: usize,
    pub window: Window,
}

impl Case {
    pub fn new(channels: [usize; 3], size: [usize; 2], kernel: usize, stride: usize, padding: usize) -> Self {
        let [batch, wide_c, narrow_c] = channels;
        Self { batch, wide_c, narrow_c, size, kernel, window: Window::new(stride, padding) }
    }

    pub fn wide(&self) -> [usize; 4] {
        [self.batch, self.wide_c, self.size[0], self.size[1]]
    }

    pub fn narrow(&self) -> [usize; 4] {
        let extent = |size: usize| (size + 2 * self.window.padding - self.kernel) / self.window.stride + 1;
        [self.batch, self.narrow_c, extent(self.size[0]), extent(self.size[1])]
    }

    pub fn weight(&self) -> [usize; 4] {
        [self.narrow_c, self.wide_c, self.kernel, self.kernel]
    }

    /// The same convolution over the largest extents that a transposed one makes from the narrow side: pixels
    /// that no window reaches are gone. `None` where nothing is left.
    pub fn without_rest(&self) -> Option<Self> {
        let [_, _, h, w] = self.narrow();
        let extent = |size: usize| ((size - 1) * self.window.stride + self.kernel).checked_sub(2 * self.window.padding);
        let size = [extent(h)?, extent(w)?];
        size.iter().all(|&extent| extent > 0).then_some(Self { size, ..*self })
    }

    /// Calls `visit(wide, weight, narrow)` with the indices of each product that the convolution sums. All
    /// passes are sums over the same triples: each of the three arrays from the products of the other two.
    pub fn each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([_, wide_c, h, w], [_, narrow_c, out_h, out_w]) = (self.wide(), self.narrow());
        let (k, Window { stride, padding }) = (self.kernel, self.window);
        for n in 0..self.batch {
            for m in 0..narrow_c {
                for oy in 0..out_h {
                    for ox in 0..out_w {
                        let narrow = ((n * narrow_c + m) * out_h + oy) * out_w + ox;
                        for c in 0..wide_c {
                            for ky in 0..k {
                                for kx in 0..k {
                                    let (y, x) = (oy * stride + ky, ox * stride + kx);
                                    if y < padding || x < padding || y - padding >= h || x - padding >= w {
                                        continue;
                                    }
                                    let wide = ((n * wide_c + c) * h + y - padding) * w + x - padding;
                                    visit(wide, ((m * wide_c + c) * k + ky) * k + kx, narrow);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// The convolution of `wide`.
    pub fn sum_narrow(&self, wide: &[f32], weight: &[f32]) -> Vec<f64> {
        let mut narrow = vec![0.0; self.narrow().iter().product()];
        self.each_product(|x, w, y| narrow[y] += f64::from(wide[x]) * f64::from(weight[w]));
        narrow
    }

    /// Its transpose.
    pub fn sum_wide(&self, narrow: &[f32], weight: &[f32]) -> Vec<f64> {
        let mut wide = vec![0.0; self.wide().iter().product()];
        self.each_product(|x, w, y| wide[x] += f64::from(narrow[y]) * f64::from(weight[w]));
        wide
    }

    pub fn sum_weight(&self, wide: &[f32], narrow: &[f32]) -> Vec<f64> {
        let mut weight = vec![0.0; self.weight().iter().product()];
        self.each_product(|x, w, y| weight[w] += f64::from(wide[x]) * f64::from(narrow[y]));
        weight
    }
}

/// `values` of [N, C, H, W] plus a bias for each channel.
pub fn biased(dims: [usize; 4], values: Vec<f64>, bias: &[f32]) -> Vec<f64> {
    let plane = dims[2] * dims[3];
    values.into_iter().enumerate().map(|(index, value)| value + f64::from(bias[index / plane % dims[1]])).collect()
}

/// The sum over batch and plane for each channel.
pub fn channel_sums(dims: [usize; 4], values: &[f32]) -> Vec<f64> {
    let plane = dims[2] * dims[3];
    let mut sums = vec![0.0; dims[1]];
    values.iter().enumerate().for_each(|(index, &value)| sums[index / plane % dims[1]] += f64::from(value));
    sums
}

pub fn relu(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.max(0.0)).collect()
}
