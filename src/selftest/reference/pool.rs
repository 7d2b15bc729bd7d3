//! The windows of poolings.

use crate::ops::conv2d::Window;

/// The input's dimensions, the window's height and width, its stride and padding.
#[derive(Clone, Copy, Debug)]
pub struct Pooling {
    pub dims: [usize; 4],
    pub kernel: [usize; 2],
    pub window: Window,
}

impl Pooling {
    pub fn new(dims: [usize; 4], kernel: [usize; 2], stride: usize, padding: usize) -> Self {
        Self { dims, kernel, window: Window::new(stride, padding) }
    }

    pub fn output(&self) -> [usize; 4] {
        let [n, c, h, w] = self.dims;
        let extent = |input: usize, kernel: usize| (input + 2 * self.window.padding - kernel) / self.window.stride + 1;
        [n, c, extent(h, self.kernel[0]), extent(w, self.kernel[1])]
    }

    /// For each output, in order: the places in `x` that its window covers, in row order.
    pub fn windows(&self) -> Vec<Vec<usize>> {
        let ([n, c, h, w], [_, _, out_h, out_w]) = (self.dims, self.output());
        let Window { stride, padding } = self.window;
        let mut windows = Vec::new();
        for (plane, oy, ox) in (0..n * c).flat_map(|p| (0..out_h).flat_map(move |y| (0..out_w).map(move |x| (p, y, x))))
        {
            let mut covered = Vec::new();
            for (ky, kx) in (0..self.kernel[0]).flat_map(|ky| (0..self.kernel[1]).map(move |kx| (ky, kx))) {
                // Coordinates in the padded plane, and what remains without the padding.
                let (y, x) = (oy * stride + ky, ox * stride + kx);
                if (padding..h + padding).contains(&y) && (padding..w + padding).contains(&x) {
                    covered.push((plane * h + y - padding) * w + x - padding);
                }
            }
            windows.push(covered);
        }
        windows
    }
}

/// The place of the largest of a window, which covers one pixel at the least; the first of equals.
pub fn winner(covered: &[usize], x: &[f32]) -> usize {
    covered.iter().fold(covered[0], |best, &place| if x[place] > x[best] { place } else { best })
}
