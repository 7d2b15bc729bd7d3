//! How a convolution's forward and backward-data kernels walk over the output: by phases of the stride, in blocks.
//! [`super::conv2d`] checks the shapes; this chooses the kernel and its tile, and launches it.

use bytemuck::NoUninit;

use super::conv2d::Window;
use super::conv2d_ends::{Ends, Twins, both};
use super::subgroup_tile::{Pooling, Walked};
use super::tiles::{self, ConvVariant};
use super::{conv2d_coop, conv2d_gemm as gemm, coop, kernel, table_quads};
use crate::gpu::{Const, Gpu, Grid, Kernel, Result, Tensor};

static DIRECT: [Kernel; 2] = both!("conv2d", "rrrw");
static TAPS: Twins = [both!("table_storage" "conv2d_taps", "rrrw"), both!("table_uniform" "conv2d_taps", "rurw")];
static LANES: [Kernel; 2] = both!("conv2d_lanes", "rrrw");

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    batch: u32,
    input: [u32; 3],
    output: [u32; 3],
    grid: [u32; 2],
    padding: u32,
    first_px: u32,
    phases_x: u32,
    /// Channels of a block; only the kernels with register blocks ask for it.
    channels: u32,
    /// Only the kernels that have all taps at once ask for it.
    first_py: u32,
    /// Length, ball and range of a step along the sums' signs, where one is taken.
    step: [f32; 4],
}

/// A walk: forward, or backward-data by phases.
pub(super) struct Walk {
    padding: usize,
    /// The kernel's extent, and how much of it one phase meets at most.
    kernel: usize,
    taps: usize,
    input_stride: usize,
    output_stride: usize,
    /// Backward-data.
    flip: bool,
    /// The variant, and its tile where that was chosen beforehand.
    choice: (ConvVariant, Option<[usize; 2]>),
    pooling: Pooling,
}

/// What a walk is given beside its ends: weights, bias, and of cooperative matrices the peaks.
type Operands<'a> = (&'a Tensor, Option<&'a Tensor>, Option<&'a Tensor>);

impl Walk {
    /// A convolution's forward pass; a transposed one's backward-data is the same.
    pub fn forward(kernel: usize, window: Window, choice: (ConvVariant, Option<[usize; 2]>)) -> Self {
        let Window { stride, padding } = window;
        Self {
            padding,
            kernel,
            taps: kernel,
            input_stride: stride,
            output_stride: 1,
            flip: false,
            choice,
            pooling: Pooling::None,
        }
    }

    /// Backward-data over weights that `conv2d_pack.wgsl` has put in order, of ceil(kernel / stride) taps a side, unless
    /// [`Self::turns_weights`].
    pub fn backward(kernel: usize, window: Window, choice: (ConvVariant, Option<[usize; 2]>)) -> Self {
        let Window { stride, padding } = window;
        let taps = kernel.div_ceil(stride);
        Self {
            padding,
            kernel,
            taps,
            input_stride: 1,
            output_stride: stride,
            flip: true,
            choice,
            pooling: Pooling::None,
        }
    }

    /// The same walk with a max-pooling of 2 x 2 in it, if its kernel can: of [C, M] channels and [H, W] positions.
    pub fn with(self, pooling: Pooling, gpu: &Gpu, channels: [usize; 2], grid: [usize; 2]) -> Option<Self> {
        let pooling = Self { pooling, ..self };
        pooling.walked(channels, grid)?.tile(gpu, pooling.choice.1)?;
        Some(pooling)
    }

    /// Whether backward-data's weights are read as they lie, without `conv2d_pack.wgsl`.
    pub fn turns_weights(&self) -> bool {
        self.choice.0 == ConvVariant::Subgroup && self.flip && self.output_stride == 1 && !self.takes_few_taps()
    }

    /// What [`super::subgroup_tile`] finds the tile of, where that is its to find.
    fn walked(&self, channels: [usize; 2], grid: [usize; 2]) -> Option<Walked> {
        let kernel = (self.choice.0, self.input_stride * self.output_stride);
        let walked = Walked::of(kernel, channels, grid, self.kernel, (self.flip, self.padding))?;
        Some(Walked { pooling: self.pooling, ..walked })
    }

    /// Launches the kernels for all that is to be made; those of the naive variant are launched elsewhere.
    pub fn launch(
        &self,
        gpu: &Gpu,
        ends: &Ends<'_>,
        weights: &Tensor,
        (bias, relu): (Option<&Tensor>, bool),
    ) -> Result<()> {
        let is_coop = self.choice.0 == ConvVariant::Coop;
        let peaks = if is_coop { Some(coop::peaks(gpu, [weights, ends.read()])?) } else { None };
        let operands = (weights, bias, peaks.as_ref());
        for columns in self.groups() {
            if self.takes_all_taps() {
                for rows in self.groups() {
                    self.phases(gpu, [rows, columns], ends, operands, relu)?;
                }
            } else {
                // The other kernels begin at the first row of taps that a phase has.
                let rows = Phases { first: 0, count: self.output_stride, met: self.taps };
                self.phases(gpu, [rows, columns], ends, operands, relu)?;
            }
        }
        Ok(())
    }

    /// Taps of a row that the phase of output columns `px` meets, or of a column for rows: every stride-th one from
    /// (px + padding) mod stride. At least one: a phase that meets none (a stride beyond the kernel) has a tap of
    /// weight zero.
    fn met(&self, px: usize) -> usize {
        self.kernel.saturating_sub((px + self.padding) % self.output_stride).div_ceil(self.output_stride).max(1)
    }

    /// Phases of one direction that meet equally many taps, from `first`.
    fn alike(&self, first: usize) -> Phases {
        let met = self.met(first);
        let count = (first..self.output_stride).take_while(|&phase| self.met(phase) == met).count();
        Phases { first, count, met }
    }

    /// The phases of one direction, by how many taps they meet.
    fn groups(&self) -> impl Iterator<Item = Phases> {
        let next = move |first| (first < self.output_stride).then(|| self.alike(first));
        std::iter::successors(next(0), move |last: &Phases| next(last.first + last.count))
    }

    /// Whether a turn has all taps of a channel, and a launch the phases that meet equally many.
    fn takes_all_taps(&self) -> bool {
        self.choice.0 == ConvVariant::Lanes || self.takes_few_taps()
    }

    fn takes_few_taps(&self) -> bool {
        self.choice.0 == ConvVariant::Subgroup && tiles::has_few_taps(self.kernel, self.output_stride)
    }

    /// One launch, for the output's rows and columns of these phases.
    fn phases(
        &self,
        gpu: &Gpu,
        [rows_of, columns]: [Phases; 2],
        ends: &Ends<'_>,
        (weights, bias, peaks): Operands<'_>,
        relu: bool,
    ) -> Result<()> {
        let direction = usize::from(self.flip);
        let [[batch, in_c, in_h, in_w], [_, out_c, out_h, out_w]] = ends.dims()?;
        let (variant, chosen) = self.choice;
        let stride = self.output_stride;
        let (grid_h, grid_w) = (out_h.div_ceil(stride), out_w.div_ceil(stride));
        let phases = rows_of.count * columns.count;
        let extents = [out_c, batch * grid_h * grid_w];
        // Kernels that do not read them so are to stay the same whatever the number of weights.
        let quads = if variant == ConvVariant::Subgroup { table_quads(gpu, weights) } else { None };
        let mut consts: Vec<Const> = vec![
            ("KERNEL", self.kernel as u32),
            ("PACKED", self.taps as u32),
            ("KH", rows_of.met as u32),
            ("KW", columns.met as u32),
            ("S", self.input_stride as u32),
            ("SO", stride as u32),
            ("FLIP", u32::from(self.flip)),
            ("TURNED", u32::from(self.flip && stride == 1)),
            ("BIAS", u32::from(bias.is_some())),
            ("RELU", u32::from(relu)),
        ];
        consts.extend(quads.map(|quads| ("QUADS", quads)));
        let (step_consts, step) = ends.step();
        consts.extend(step_consts);
        let (launched, grid, channels) = match variant {
            ConvVariant::Coop => {
                let (launched, tile, grid) = conv2d_coop::tile(gpu, self.flip, extents, phases)?;
                consts.extend(tile);
                (launched, grid, 0)
            }
            ConvVariant::Gemm => {
                let (tile, grid) = gemm::tile(chosen, extents, phases);
                consts.extend(tile);
                (if self.flip { &gemm::BACKWARD_DATA } else { &gemm::FORWARD }, grid, 0)
            }
            _ => {
                let (tile, grid, (channels, each)) =
                    self.tile(gpu, [rows_of, columns], (batch, [in_c, out_c, grid_h, grid_w]), phases);
                consts.extend(tile);
                let launched = match variant {
                    ConvVariant::Lanes => &LANES[direction],
                    ConvVariant::Subgroup if self.takes_few_taps() => &TAPS[usize::from(quads.is_some())][direction],
                    ConvVariant::Subgroup => ends.kernel(each, self.flip, quads.is_some()),
                    _ => &DIRECT[direction],
                };
                (launched, grid, channels)
            }
        };
        let params = Params {
            batch: batch as u32,
            input: [in_c as u32, in_h as u32, in_w as u32],
            output: [out_c as u32, out_h as u32, out_w as u32],
            grid: [grid_h as u32, grid_w as u32],
            padding: self.padding as u32,
            first_px: columns.first as u32,
            phases_x: columns.count as u32,
            channels,
            first_py: rows_of.first as u32,
            step,
        };
        // All rows of phases together meet every row of the kernel once.
        let met = if rows_of.count == stride { self.kernel } else { rows_of.count * rows_of.met };
        let outputs = batch * out_c * grid_h * grid_w * columns.count;
        let [read, written] = ends.values();
        let bytes = 4 * (read + weights.count() + written * phases / (stride * stride));
        gpu.next_work(2 * outputs * in_c * met * columns.met, bytes);
        let bias = bias.unwrap_or(weights);
        let mut spans = vec![ends.read().span(), weights.span(), bias.span()];
        spans.extend(peaks.map(Tensor::span));
        spans.extend(ends.spans());
        gpu.launch(launched, &consts, &params, &spans, grid)
    }

    /// Constants, grid, channels of a block and how many values it reads at a time, for the kernels with register blocks,
    /// input channels and a grid of [channels, height, width].
    fn tile(
        &self,
        gpu: &Gpu,
        [rows_of, columns]: [Phases; 2],
        (batch, [in_c, out_c, grid_h, grid_w]): (usize, [usize; 4]),
        phases: usize,
    ) -> (Vec<Const>, Grid, (u32, usize)) {
        let (variant, chosen) = self.choice;
        let lanes = tiles::lanes(gpu, variant);
        let (height, width) = (rows_of.met, columns.met);
        let walked = self.walked([in_c, out_c], [grid_h, grid_w]);
        let [rows, positions, channels] = match walked.and_then(|walked| walked.tile(gpu, chosen)) {
            Some(tile) => tile,
            None => tiles::tile(gpu, variant, [out_c, grid_h, grid_w], [height, width], self.input_stride, chosen),
        };
        let each = walked.map_or(1, |walked| walked.at_a_time(positions));
        let whole = walked.and_then(|walked| walked.whole(positions));
        let span = whole.unwrap_or((positions - 1) * self.input_stride + width);
        let lines = (rows - 1) * self.input_stride + height;
        let at_once = if self.takes_few_taps() { height * width } else { width };
        let tall = if self.pooling == Pooling::Stored { 2 } else { 1 };
        let consts = [
            ("MB", channels),
            ("RB", rows),
            ("SHARED", rows - 1),
            ("LINES", lines),
            ("REST", (channels - 1) * rows * positions),
            ("XB", positions),
            ("SPAN", span),
            ("LAST", positions - 1),
            ("SLID", if self.input_stride == 1 { span } else { 0 }),
            ("PAIRED", if self.input_stride == 1 { 0 } else { positions }),
            ("BESIDE", if whole.is_some() { width - 1 } else { 0 }),
            ("EACH", each),
            ("READS", span / each),
            ("STORES", positions / each),
            ("KEPT", (span / 2).div_ceil(8)),
            ("SHIFTED", usize::from(whole.is_none())),
            ("TALL", tall),
            ("BELOW", tall - 1),
            ("STRIPS", rows / tall),
            ("LANES", lanes as usize),
            ("WEIGHTS", (channels * at_once).div_ceil(lanes as usize)),
            ("WINDOW", (span * lines).div_ceil(lanes as usize)),
            ("TAPS", height * width),
        ];
        let blocks = batch * grid_h.div_ceil(rows) * grid_w.div_ceil(positions);
        // With lanes over channels a workgroup has one block of positions, without one for each lane.
        let (blocks_of, channels_of) =
            if variant == ConvVariant::Lanes { (1, channels * lanes as usize) } else { (lanes as usize, channels) };
        let grid = Grid::linear(blocks, blocks_of).layers(phases * out_c.div_ceil(channels_of));
        (consts.map(|(name, value)| (name, value as u32)).to_vec(), grid, (channels as u32, each))
    }
}

/// Neighbouring phases of the output's rows or columns, which meet equally many taps.
#[derive(Clone, Copy)]
struct Phases {
    first: usize,
    count: usize,
    met: usize,
}
