//! Convolutions of three taps a side at stride 1 and 2 by Winograd's products (`shaders/conv2d_winograd.wgsl`,
//! `shaders/winograd_1.wgsl`, `shaders/winograd_2.wgsl`): planes to coordinates, products of matrices, and back.
//! [`super::conv2d`] checks the shapes and calls these where the table chose them.

use std::ops::RangeInclusive;

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::matmul::{self, Many};
use super::{dims4, kernel, lanes, reduce, value_kernels};
use crate::gpu::{Const, Gpu, Grid, Kernel, Result, Tensor};

/// The two kernels of a pass, each with planes read or written one value at a time, and by fours; and what the products
/// between them are called.
struct Transforms {
    products: &'static str,
    forth: [Kernel; 2],
    back: [Kernel; 2],
}

macro_rules! transforms {
    ($matrices:literal, $name:literal) => {
        Transforms {
            products: concat!($name, "_products"),
            forth: value_kernels!(concat!($name, "_forth"), $matrices "conv2d_winograd", "forth", "rw"),
            back: value_kernels!(concat!($name, "_back"), $matrices "conv2d_winograd", "back", "rrrw"),
        }
    };
}

/// A pass at stride 1 and at stride 2.
macro_rules! by_stride {
    ($name:literal) => {
        [transforms!("winograd_1", $name), transforms!("winograd_2", $name)]
    };
}

static FORWARD: [Transforms; 2] = by_stride!("conv2d");
static BACKWARD_DATA: [Transforms; 2] = by_stride!("conv2d_backward_data");
static WEIGHTS: [Transforms; 2] = by_stride!("conv2d_backward_weights");

/// One of the matrices in `shaders/winograd_1.wgsl` or `winograd_2.wgsl`: its number there, its rows and columns.
#[derive(Clone, Copy)]
struct Matrix(u32, usize, usize);

impl Matrix {
    /// Coordinates in two dimensions, of a matrix that leads to them.
    fn coordinates(self) -> usize {
        self.1 * self.1
    }
}

/// The matrices of a stride, by what they are multiplied with: x and w give y; x and dy give dw.
struct Scheme {
    x: Matrix,
    w: Matrix,
    y: Matrix,
    dy: Matrix,
    dw: Matrix,
}

const STRIDE_1: Scheme =
    Scheme { x: Matrix(0, 6, 6), w: Matrix(1, 6, 3), y: Matrix(2, 4, 6), dy: Matrix(3, 6, 4), dw: Matrix(4, 3, 6) };
const STRIDE_2: Scheme =
    Scheme { x: Matrix(0, 9, 9), w: Matrix(1, 9, 3), y: Matrix(2, 4, 9), dy: Matrix(3, 9, 4), dw: Matrix(4, 3, 9) };
/// Backward-data at stride 2: for dy and dx, by whether the padding is odd.
const SPREAD: [[Matrix; 2]; 2] = [[Matrix(5, 9, 5), Matrix(6, 8, 9)], [Matrix(7, 9, 5), Matrix(8, 8, 9)]];

fn scheme(stride: usize) -> &'static Scheme {
    if stride == 1 { &STRIDE_1 } else { &STRIDE_2 }
}

/// Whether there are matrices for a kernel of this extent at this stride.
pub(super) fn suits(kernel: usize, stride: usize) -> bool {
    kernel == 3 && (1..=2).contains(&stride)
}

/// Rows and columns of a tile of y; of x that many times the stride.
pub(super) const TILE: usize = 4;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    items: u32,
    channels: u32,
    plane: [u32; 2],
    step: u32,
    layer_step: u32,
    shift: i32,
    begin: u32,
    matrix: [u32; 2],
}

/// Planes that are cut into tiles: `step` values from one to the next, the first one beginning at `shift`.
#[derive(Clone, Copy)]
struct Planes<'a> {
    tensor: &'a Tensor,
    matrix: Matrix,
    step: usize,
    shift: i32,
}

/// Coordinates, [channel][coordinate][place] or, turned, [place][coordinate][channel]: `steps` from one coordinate of a tile to
/// the next, and from one to the next of what comes first, multiples of four. What comes last lies side by side.
#[derive(Clone, Copy)]
struct Coordinates<'a> {
    tensor: &'a Tensor,
    turned: bool,
    steps: [usize; 2],
}

/// Pictures that are treated together, and the tiles of each: every tile of every picture is a place.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    images: usize,
    tiles: [usize; 2],
}

impl Part {
    fn places(&self) -> usize {
        self.images * self.tiles[0] * self.tiles[1]
    }
}

/// What is done to a sum before it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Ending<'a> {
    pub bias: Option<&'a Tensor>,
    pub relu: bool,
    /// Times the derivative of the ReLU whose output this is, of the sums' shape.
    pub gate: Option<&'a Tensor>,
}

/// One launch between planes and coordinates.
struct Launch<'a> {
    planes: Planes<'a>,
    coordinates: Coordinates<'a>,
    part: Part,
    ending: Ending<'a>,
    /// Tiles turned over.
    flip: bool,
}

impl<'a> Launch<'a> {
    fn new(planes: Planes<'a>, coordinates: Coordinates<'a>, part: Part) -> Self {
        Self { planes, coordinates, part, ending: Ending::default(), flip: false }
    }

    /// Weights [rows, channels, 3, 3]: pictures of one tile.
    fn weights(tensor: &'a Tensor, matrix: Matrix, coordinates: Coordinates<'a>, flip: bool) -> Self {
        let planes = Planes { tensor, matrix, step: 3, shift: 0 };
        let part = Part { first: 0, images: tensor.dims()[0], tiles: [1, 1] };
        Self { flip, ..Self::new(planes, coordinates, part) }
    }

    fn forth(self, gpu: &Gpu, by: &'static Transforms) -> Result<()> {
        self.run(gpu, &by.forth, false)
    }

    fn back(self, gpu: &Gpu, by: &'static Transforms) -> Result<()> {
        self.run(gpu, &by.back, true)
    }

    fn run(self, gpu: &Gpu, kernels: &'static [Kernel; 2], is_back: bool) -> Result<()> {
        let Self { planes, coordinates, part, ending, flip } = self;
        let [_, channels, height, width] = dims4("conv2d", "the planes", planes.tensor)?;
        let Matrix(which, rows, columns) = planes.matrix;
        // Tiles that an invocation always finds beside each other.
        let beside = !coordinates.turned && part.tiles[1].is_multiple_of(4);
        let tiles = if beside { 4 } else { 1 };
        let span = (tiles - 1) * planes.step + columns;
        // Values of a line before the first that begins a vector of four.
        let lead = (-planes.shift).rem_euclid(4) as usize;
        let holds = if is_back { lead == 0 } else { span >= lead + 4 };
        let by_fours = holds && width.is_multiple_of(4) && planes.step.is_multiple_of(4);
        let (each, lead, whole) = if by_fours { (4, lead, (span - lead) / 4) } else { (1, 0, 0) };
        let lanes = lanes(gpu);
        let consts: [Const; 23] = [
            ("WHICH", which),
            ("ROWS", rows as u32),
            ("COLUMNS", columns as u32),
            ("HALF", (rows * columns) as u32),
            ("BUT_ONE", (rows * columns - 1) as u32),
            ("BUT_ROWS", (rows * columns - rows) as u32),
            ("BUT_COLUMNS", (rows * columns - columns) as u32),
            ("DOWN", part.tiles[0] as u32),
            ("ACROSS", part.tiles[1] as u32),
            ("STEP", planes.step as u32),
            ("TURNED", u32::from(coordinates.turned)),
            ("TILES", tiles as u32),
            ("SPAN", span as u32),
            ("FLIP", u32::from(flip)),
            ("BIAS", u32::from(ending.bias.is_some())),
            ("RELU", u32::from(ending.relu)),
            ("GATE", u32::from(ending.gate.is_some())),
            ("LANES", lanes),
            ("EACH", each as u32),
            ("LEAD", lead as u32),
            ("WHOLE", whole as u32),
            ("TRAIL", (span - lead - 4 * whole) as u32),
            ("STORES", (rows / each) as u32),
        ];
        let places = part.places();
        let (items, layers) = if coordinates.turned { (channels, places) } else { (places, channels) };
        let [step, layer_step] = coordinates.steps.map(|step| (step / 4) as u32);
        let params = Params {
            items: items as u32,
            channels: channels as u32,
            plane: [height as u32, width as u32],
            step,
            layer_step,
            shift: planes.shift,
            begin: (part.first * channels * height * width) as u32,
            matrix: [rows as u32, columns as u32],
        };
        let grid = Grid::linear(items.div_ceil(4), lanes as usize).layers(layers);
        let bytes = 4 * (part.images * channels * height * width + coordinates.tensor.count());
        let kernel = &kernels[usize::from(by_fours)];
        if !is_back {
            gpu.next_work(0, bytes);
            return gpu.launch(kernel, &consts, &params, &[planes.tensor.span(), coordinates.tensor.span()], grid);
        }
        let gated = ending.gate.map_or(0, |_| 4 * part.images * channels * height * width);
        gpu.next_work(0, bytes + gated);
        // Without a bias or a gate something must be bound all the same; the kernel does not read it.
        let [bias, gate] = [ending.bias, ending.gate].map(|given| given.unwrap_or(coordinates.tensor).span());
        gpu.launch(kernel, &consts, &params, &[coordinates.tensor.span(), bias, gate, planes.tensor.span()], grid)
    }
}

/// The length of a line of coordinates that lie side by side: an odd multiple of 16 values, a cache line, so that the
/// coordinates of a tile, which lie a line apart, do not all meet in one set of a cache. Up to the next multiple of four, what is
/// past the count is a copy of the last, as `forth` makes it; the rest are gaps.
fn line(count: usize) -> usize {
    16 * (count.div_ceil(16) | 1)
}

/// How a batch is cut into parts.
struct Cut {
    batch: usize,
    /// The extents of what is cut into tiles, and a tile's.
    extents: [usize; 2],
    tile: usize,
    /// Channels of both sides, and coordinates of a tile.
    channels: usize,
    count: usize,
}

impl Cut {
    fn tiles(&self) -> [usize; 2] {
        self.extents.map(|extent| extent.div_ceil(self.tile))
    }

    /// Parts of so many pictures. Scratch memory is not to grow with the batch; and of a software adapter, the
    /// processor's caches are to hold most of it.
    fn parts(&self, gpu: &Gpu, images: RangeInclusive<usize>) -> impl Iterator<Item = Part> {
        let bytes: usize = if gpu.adapter().is_software() { 16 << 20 } else { 64 << 20 };
        let (batch, tiles) = (self.batch, self.tiles());
        let fitting = bytes / (4 * self.count * self.channels * tiles[0] * tiles[1]);
        let most = fitting.max(*images.start()).min(*images.end());
        let images = batch.div_ceil(batch.div_ceil(most));
        (0..batch).step_by(images).map(move |first| Part { first, images: images.min(batch - first), tiles })
    }
}

/// Whether every array and every grid is one that the adapter takes, for `w` of [outer, inner] channels and the narrow
/// side's extents: a picture is never cut in two.
pub(super) fn fits(gpu: &Gpu, [outer, inner]: [usize; 2], [height, width]: [usize; 2], window: Window) -> bool {
    let count = scheme(window.stride).x.coordinates();
    // Backward-data cuts dx into tiles, which without padding has the most of them.
    let tiles = |extent: usize| ((extent - 1) * window.stride + 3).div_ceil(TILE * window.stride);
    let places = tiles(height) * tiles(width);
    let most = outer.max(inner);
    let largest = (most * line(places)).max(outer * line(inner)).max(inner * line(outer)).max(places * line(most));
    4 * (count * largest) as u64 <= gpu.max_binding_bytes() && places.max(most) <= Grid::LIMIT as usize
}

/// The weights' coordinates, [m, coordinates, c], of `weight` [m, c, 3, 3], or of [c, m, 3, 3] turned over.
fn weights(gpu: &Gpu, by: &'static Transforms, weight: &Tensor, matrix: Matrix, flip: bool) -> Result<Tensor> {
    let [outer, inner, ..] = dims4("conv2d", "the weight", weight)?;
    let [m, c] = if flip { [inner, outer] } else { [outer, inner] };
    let count = matrix.coordinates();
    let out = gpu.empty([m, count, line(c)])?.with_gaps();
    let steps = [line(c), count * line(c)];
    Launch::weights(weight, matrix, Coordinates { tensor: &out, turned: !flip, steps }, flip).forth(gpu, by)?;
    Ok(out)
}

/// `x` [N, C, H, W], `weight` [M, C, 3, 3] to `out` [N, M, oH, oW].
pub(super) fn forward(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    ending: Ending<'_>,
    window: Window,
    out: &Tensor,
) -> Result<()> {
    let (by, scheme) = (&FORWARD[window.stride - 1], scheme(window.stride));
    let weights = weights(gpu, by, weight, scheme.w, false)?;
    let from = Planes { tensor: x, matrix: scheme.x, step: TILE * window.stride, shift: -(window.padding as i32) };
    let to = Planes { tensor: out, matrix: scheme.y, step: TILE, shift: 0 };
    convolve(gpu, by, [from, to], &weights, ending)
}

/// Backward-data: `dy` [N, C, h, w] and `weight` [C, M, 3, 3] to `out` [N, M, H, W].
pub(super) fn backward_data(
    gpu: &Gpu,
    dy: &Tensor,
    weight: &Tensor,
    ending: Ending<'_>,
    window: Window,
    out: &Tensor,
) -> Result<()> {
    let by = &BACKWARD_DATA[window.stride - 1];
    let padding = window.padding as i32;
    let (w, [from, to], shift) = if window.stride == 1 {
        // The same as forward, with the kernel turned over and the padding that is left.
        (STRIDE_1.w, [STRIDE_1.x, STRIDE_1.y], padding - 2)
    } else {
        // Of the window that begins at row 2 i - padding, row 0 of dx is the first or, where the padding is odd, the second.
        (STRIDE_2.w, SPREAD[window.padding % 2], if padding % 2 == 0 { padding / 2 - 1 } else { padding / 2 })
    };
    let weights = weights(gpu, by, weight, w, true)?;
    let from = Planes { tensor: dy, matrix: from, step: TILE, shift };
    let to = Planes { tensor: out, matrix: to, step: TILE * window.stride, shift: 0 };
    convolve(gpu, by, [from, to], &weights, ending)
}

fn convolve(
    gpu: &Gpu,
    by: &'static Transforms,
    [from, to]: [Planes<'_>; 2],
    weights: &Tensor,
    ending: Ending<'_>,
) -> Result<()> {
    let [batch, c, ..] = dims4("conv2d", "the input", from.tensor)?;
    let [_, m, height, width] = dims4("conv2d", "the output", to.tensor)?;
    let count = from.matrix.coordinates();
    let cut = Cut { batch, extents: [height, width], tile: to.step, channels: c + m, count };
    for part in cut.parts(gpu, 1..=batch) {
        let places = part.places();
        let long = line(places);
        let (input, output) = (gpu.empty([c, count, long])?.with_gaps(), gpu.empty([m, count, long])?.with_gaps());
        let along_places = |tensor| Coordinates { tensor, turned: false, steps: [long, count * long] };
        Launch::new(from, along_places(&input), part).forth(gpu, by)?;
        let many = |tensor, step| Many { tensor, step, row: count * step };
        let operands = [many(weights, line(c)), many(&input, long), many(&output, long)];
        matmul::each(gpu, by.products, count, [m, places, c], operands)?;
        Launch { ending, ..Launch::new(to, along_places(&output), part) }.back(gpu, by)?;
    }
    Ok(())
}

/// `dw` [M, C, 3, 3] from `x` [N, C, H, W] and `dy` [N, M, oH, oW].
pub(super) fn backward_weights(gpu: &Gpu, x: &Tensor, dy: &Tensor, window: Window, dw: &Tensor) -> Result<()> {
    let [batch, c, ..] = dims4("conv2d", "the input", x)?;
    let [_, m, height, width] = dims4("conv2d", "the gradient", dy)?;
    let (by, scheme) = (&WEIGHTS[window.stride - 1], scheme(window.stride));
    let count = scheme.x.coordinates();
    let of_x = Planes { tensor: x, matrix: scheme.x, step: TILE * window.stride, shift: -(window.padding as i32) };
    let of_dy = Planes { tensor: dy, matrix: scheme.dy, step: TILE, shift: 0 };
    let cut = Cut { batch, extents: [height, width], tile: TILE, channels: c + m, count };
    let [down, across] = cut.tiles();
    // Slices of a tensor begin at multiples of 64, and one tensor is to hold all parts' gradients.
    let size = dw.count().next_multiple_of(64);
    let most_parts = (gpu.max_binding_bytes() as usize / (4 * size)).max(1);
    // Places are layers of the grid here.
    let images = batch.div_ceil(most_parts)..=Grid::LIMIT as usize / (down * across);
    let parts: Vec<Part> = cut.parts(gpu, images).collect();
    let partial =
        if parts.len() == 1 { dw.reshape([dw.count()])? } else { gpu.empty([parts.len(), size])?.with_gaps() };
    for (index, &part) in parts.iter().enumerate() {
        let places = part.places();
        let long = line(places);
        let (x_there, dy_there) =
            (gpu.empty([places, count, line(c)])?.with_gaps(), gpu.empty([m, count, long])?.with_gaps());
        let along_channels = Coordinates { tensor: &x_there, turned: true, steps: [line(c), count * line(c)] };
        let along_places = Coordinates { tensor: &dy_there, turned: false, steps: [long, count * long] };
        Launch::new(of_x, along_channels, part).forth(gpu, by)?;
        Launch::new(of_dy, along_places, part).forth(gpu, by)?;
        let sums = gpu.empty([m, count, line(c)])?.with_gaps();
        let many = |tensor, step| Many { tensor, step, row: count * step };
        let operands = [many(&dy_there, long), many(&x_there, line(c)), many(&sums, line(c))];
        matmul::each(gpu, by.products, count, [m, c, places], operands)?;
        let planes = partial.slice(index * size, [m, c, 3, 3])?;
        let there = Coordinates { tensor: &sums, turned: true, steps: [line(c), count * line(c)] };
        Launch::weights(&planes, scheme.dw, there, false).back(gpu, by)?;
    }
    if parts.len() == 1 {
        return Ok(());
    }
    let view = [1, parts.len(), size];
    if size == dw.count() {
        return reduce::sum_into(gpu, &partial, view, dw);
    }
    let all = gpu.empty([size])?.with_gaps();
    reduce::sum_into(gpu, &partial, view, &all)?;
    gpu.copy(&all.slice(0, dw.shape())?, dw)
}
