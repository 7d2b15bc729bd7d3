//! Matrix products, with either operand transposed (`shaders/matmul*.wgsl`).

use bytemuck::NoUninit;

use super::block::Block;
use super::coop::{self, coop_kernels};
use super::tiles::{self, MATMUL};
use super::{FLAT, dims2, kernel, lanes, launch_flat};
use crate::gpu::{Gpu, GpuError, Grid, Kernel, Result, Tensor};

static NAIVE: Kernel = kernel!("matmul", "matmul", "matmul", "rrrw");
static NN: Kernel = kernel!("matmul_nn", "matmul_nn", "matmul_nn", "rrrw");
static NT: Kernel = kernel!("matmul_nt", "matmul_nt", "matmul_nt", "rrrw");
static TILED: Kernel = kernel!("matmul_tiled", "matmul_tiled", "matmul_tiled", "rrrw");
static REGISTERS: Kernel = kernel!("matmul_blocked", "matmul_blocked", "matmul_blocked", "rrrw");
static SHARED: Kernel = kernel!("matmul_shared", "matmul_shared", "matmul_shared", "rrrw");
static COOP: [Kernel; 2] = coop_kernels!("matmul_coop", "matmul_coop", "matmul_coop", "rrrrw");
static SUBGROUP: Kernel = kernel!("matmul_subgroup", "stored" "matmul_subgroup", "matmul_subgroup", "rrrw");
static NT_SUBGROUP: Kernel = kernel!("matmul_nt_subgroup", "stored" "matmul_nt_subgroup", "matmul_nt_subgroup", "rrrw");
static SPLIT_K: Kernel = kernel!("matmul_split_k", "matmul_split_k", "split_k", "rrw");
static SPLIT_K_FINISH: Kernel = kernel!("matmul_split_k_finish", "matmul_split_k", "finish", "rrw");

/// A matrix, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    tensor: &'a Tensor,
    transposed: bool,
}

/// The matrix as it lies.
pub fn plain(tensor: &Tensor) -> Operand<'_> {
    Operand { tensor, transposed: false }
}

/// The matrix transposed (a matter of strides; nothing is moved).
pub fn transposed(tensor: &Tensor) -> Operand<'_> {
    Operand { tensor, transposed: true }
}

impl Operand<'_> {
    /// Rows and columns as the product sees them.
    fn dims(&self) -> Result<[usize; 2]> {
        let [rows, columns] = dims2("matmul", "an operand", self.tensor)?;
        Ok(if self.transposed { [columns, rows] } else { [rows, columns] })
    }

    /// Distance in elements from row to row, and from column to column.
    fn strides(&self) -> [u32; 2] {
        let width = self.tensor.dims()[1] as u32;
        if self.transposed { [1, width] } else { [width, 1] }
    }
}

/// Which kernel computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// One element an invocation; any shape.
    Naive,
    /// Register blocks, the second operand read as vectors; n (or k, transposed) a multiple of four.
    Blocked,
    /// Tiles in workgroup memory; any shape.
    Tiled,
    /// Register blocks of single values; any shape.
    Registers,
    /// Tiles in workgroup memory, of each a block in registers; any shape.
    Shared,
    /// As the blocked ones, with the first operand shared by the lanes of a subgroup.
    Subgroup,
    /// The inner dimension shared out among workgroups; the second operand not transposed, n a multiple of four.
    SplitK,
    /// Cooperative matrices, f16 in and f32 out; any shape, on devices opened for them.
    Coop,
}

impl Variant {
    /// Every variant, each rung of the ladder above the one before it.
    pub const ALL: [Self; 8] = [
        Self::Naive,
        Self::Tiled,
        Self::Registers,
        Self::Blocked,
        Self::Shared,
        Self::Subgroup,
        Self::SplitK,
        Self::Coop,
    ];

    /// The name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Tiled => "tiled",
            Self::Registers => "registers",
            Self::Blocked => "vec4",
            Self::Shared => "shared",
            Self::Subgroup => "subgroup",
            Self::SplitK => "split-k",
            Self::Coop => "coop",
        }
    }

    /// The file under `shaders/` that computes a product whose second operand is not transposed.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Naive => "matmul",
            Self::Tiled => "matmul_tiled",
            Self::Registers => "matmul_blocked",
            Self::Blocked => "matmul_nn",
            Self::Shared => "matmul_shared",
            Self::Subgroup => "matmul_subgroup",
            Self::SplitK => "matmul_split_k",
            Self::Coop => "matmul_coop",
        }
    }

    /// Whether the adapter can run it, and does so rightly as far as is known.
    pub fn runs_on(self, gpu: &Gpu) -> bool {
        let able = match self {
            Self::Subgroup => gpu.subgroup_size().is_some(),
            Self::Coop => gpu.cooperative().is_some(),
            _ => true,
        };
        able && !gpu.is_refused(MATMUL, self.name())
    }

    /// The variant of this name, if the adapter can run it.
    pub(super) fn named(gpu: &Gpu, name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name() == name && variant.runs_on(gpu))
    }

    /// Whether the shape lets it: some read the second operand, of [k, n] or its transpose, in vectors of four.
    pub fn fits(self, n: usize, k: usize, transposed: bool) -> bool {
        match self {
            Self::Naive | Self::Tiled | Self::Registers | Self::Shared | Self::Coop => true,
            Self::Blocked | Self::Subgroup => (if transposed { k } else { n }).is_multiple_of(4),
            Self::SplitK => !transposed && n.is_multiple_of(4),
        }
    }

    /// Whether its kernel computes several products of one shape in one launch, a layer of the grid each.
    pub(super) const fn takes_many(self) -> bool {
        matches!(self, Self::Naive | Self::Blocked | Self::Shared | Self::Subgroup)
    }

    /// Refuses a product that this variant cannot compute.
    fn check(self, gpu: &Gpu, n: usize, k: usize, b: Operand<'_>) -> Result<()> {
        let problem = if self.fits(n, k, b.transposed) {
            if self.runs_on(gpu) {
                return Ok(());
            }
            format!("this adapter cannot run the {} kernel, or computes wrong numbers with it", self.name())
        } else if self != Self::SplitK {
            let (name, found) = (self.name(), if b.transposed { k } else { n });
            format!("the {name} kernel needs a multiple of 4, not {found}")
        } else {
            format!("the {} kernel needs rows of a multiple of 4 in the second operand, not {n}", self.name())
        };
        Err(GpuError::operand("matmul", problem))
    }
}

/// What is added and applied in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Added to every row, shape [n].
    pub bias: Option<&'a Tensor>,
    /// max(x, 0) at the end.
    pub relu: bool,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct NaiveParams {
    m: u32,
    n: u32,
    k: u32,
    a: [u32; 2],
    b: [u32; 2],
    out_row: u32,
    steps: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct BlockedParams {
    m: u32,
    n: u32,
    k: u32,
    a: [u32; 2],
    rows: u32,
    /// These of b and out in vectors of four.
    b_row: u32,
    out_row: u32,
    steps: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct SplitParams {
    m: u32,
    n: u32,
    k: u32,
    a: [u32; 2],
    chunk: u32,
    splits: u32,
}

/// `A B` for `A` of [m, k] and `B` of [k, n].
pub fn matmul(gpu: &Gpu, a: Operand<'_>, b: Operand<'_>) -> Result<Tensor> {
    let (rows, columns) = (a.dims()?[0], b.dims()?[1]);
    let out = gpu.empty([rows, columns])?;
    matmul_into(gpu, a, b, Epilogue::default(), &out)?;
    Ok(out)
}

/// `out = A B + bias`, then ReLU if wanted, with the variant that fits the shape.
pub fn matmul_into(gpu: &Gpu, a: Operand<'_>, b: Operand<'_>, epilogue: Epilogue<'_>, out: &Tensor) -> Result<()> {
    let ([m, k], [_, n]) = (a.dims()?, b.dims()?);
    let variant = tiles::matmul_at(gpu, [m, n, k], [a.transposed, b.transposed])?;
    matmul_with(gpu, variant, a, b, epilogue, out)
}

/// The same with a given variant.
pub fn matmul_with(
    gpu: &Gpu,
    variant: Variant,
    a: Operand<'_>,
    b: Operand<'_>,
    epilogue: Epilogue<'_>,
    out: &Tensor,
) -> Result<()> {
    let ([m, k], [k_of_b, n]) = (a.dims()?, b.dims()?);
    if k != k_of_b {
        return Err(GpuError::operand("matmul", format!("[{m}, {k}] times [{k_of_b}, {n}] has no inner dimension")));
    }
    GpuError::expect_shape("matmul", "the output", out.shape(), [m, n].into())?;
    if let Some(bias) = epilogue.bias {
        GpuError::expect_shape("matmul", "the bias", bias.shape(), [n].into())?;
    }
    variant.check(gpu, n, k, b)?;
    let peaks = if variant == Variant::Coop { Some(coop::peaks(gpu, [a.tensor, b.tensor])?) } else { None };
    let product = Product {
        count: 1,
        extents: [m, n, k].map(|extent| extent as u32),
        strides: [a.strides(), b.strides()],
        transposed: [a.transposed, b.transposed],
        out_row: n as u32,
        steps: [0; 3],
    };
    launch(gpu, variant, product, (a.tensor, b.tensor, peaks.as_ref()), epilogue, out)
}

/// Where many matrices of one shape lie in a tensor: how far it is from one to the next, and from row to row.
#[derive(Clone, Copy)]
pub(super) struct Many<'a> {
    pub tensor: &'a Tensor,
    pub step: usize,
    pub row: usize,
}

/// `count` products in one launch, each of [m, k] and [k, n]. Rows of all three, and the distances between, are multiples
/// of four, and columns up to the next multiple of four are computed, too. It is counted under `name`.
pub(super) fn each(
    gpu: &Gpu,
    name: &'static str,
    count: usize,
    [m, n, k]: [usize; 3],
    [a, b, out]: [Many<'_>; 3],
) -> Result<()> {
    let n = n.next_multiple_of(4);
    let variant = tiles::matmul_each(gpu)?;
    let product = Product {
        count: count as u32,
        extents: [m, n, k].map(|extent| extent as u32),
        strides: [[a.row as u32, 1], [b.row as u32, 1]],
        transposed: [false; 2],
        out_row: out.row as u32,
        steps: [a.step, b.step, out.step].map(|step| step as u32),
    };
    gpu.next_named(name);
    launch(gpu, variant, product, (a.tensor, b.tensor, None), Epilogue::default(), out.tensor)
}

/// Rows that `matmul_subgroup.wgsl` stores before the others move down: more of them compile more slowly.
const MOST_AT_A_TURN: u32 = 4;

/// What a launch computes.
#[derive(Clone, Copy)]
struct Product {
    /// Products of one shape. More than one only where [`Variant::takes_many`].
    count: u32,
    extents: [u32; 3],
    /// Of the operands, as [`Operand::strides`].
    strides: [[u32; 2]; 2],
    transposed: [bool; 2],
    /// From row to row of the output.
    out_row: u32,
    /// From one product's operands and output to the next one's.
    steps: [u32; 3],
}

/// Operands, and of cooperative matrices their peaks.
type Operands<'a> = (&'a Tensor, &'a Tensor, Option<&'a Tensor>);

fn launch(
    gpu: &Gpu,
    variant: Variant,
    product: Product,
    (a, b, peaks): Operands<'_>,
    epilogue: Epilogue<'_>,
    out: &Tensor,
) -> Result<()> {
    let Product { count, extents: [m, n, k], strides: [a_strides, b_strides], .. } = product;
    let [flip_a, flip_b] = product.transposed;
    // Without a bias something must be bound all the same; the kernel does not read it.
    let bias = epilogue.bias.unwrap_or(b);
    let spans = [a.span(), b.span(), bias.span(), out.span()];
    let [large_m, large_n, large_k] = [m, n, k].map(|extent| extent as usize);
    let values = large_m * large_k + large_k * large_n + large_m * large_n;
    gpu.next_work(2 * count as usize * large_m * large_n * large_k, 4 * count as usize * values);
    let flags = [("BIAS", u32::from(epilogue.bias.is_some())), ("RELU", u32::from(epilogue.relu))];
    let strided = NaiveParams { m, n, k, a: a_strides, b: b_strides, out_row: product.out_row, steps: product.steps };
    let params = |rows| BlockedParams {
        m,
        n,
        k,
        a: a_strides,
        rows,
        b_row: b_strides[0] / 4,
        out_row: product.out_row / 4,
        steps: [product.steps[0], product.steps[1] / 4, product.steps[2] / 4],
    };
    let flips = [("FLIP_A", u32::from(flip_a)), ("FLIP_B", u32::from(flip_b))];
    let lanes = lanes(gpu);
    let llvmpipe = gpu.adapter().is_llvmpipe();
    // Columns to a lane: more of them make more of each load, as long as there are enough for all lanes.
    // llvmpipe has registers to spill and slow loads; GPUs have the opposite.
    let most = if llvmpipe { [4, 8] } else { [1, 2] };
    // Where lanes share the first operand, rows are cheaper: more of them. Rows and columns for a transposed one beside it.
    let most_shared = if llvmpipe { [16, 4] } else { [8, 2] };
    match variant {
        Variant::Naive => {
            let grid = Grid::linear(large_m * large_n, FLAT).layers(count as usize);
            gpu.launch(&NAIVE, &flags, &strided, &spans, grid)
        }
        Variant::Tiled => {
            let tile = if llvmpipe { 8 } else { 16 };
            let grid = Grid([n.div_ceil(tile), m.div_ceil(tile), 1]);
            gpu.launch(&TILED, &[("T", tile), flags[0], flags[1]], &strided, &spans, grid)
        }
        Variant::Registers => {
            let (rows, columns) = (m.min(8), n.div_ceil(lanes).min(if llvmpipe { 8 } else { 4 }));
            let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), flags[0], flags[1]];
            let grid = Grid([n.div_ceil(lanes * columns), m.div_ceil(rows), 1]);
            gpu.launch(&REGISTERS, &consts, &strided, &spans, grid)
        }
        Variant::Blocked if flip_b => {
            let (rows, columns) = (m.min(8), n.div_ceil(lanes).min(most[1]));
            let rest = ("REST", (rows - 1) * columns);
            let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), rest, flags[0], flags[1]];
            let grid = Grid([n.div_ceil(lanes * columns), m.div_ceil(rows), 1]);
            gpu.launch(&NT, &consts, &params(rows), &spans, grid)
        }
        Variant::Blocked => {
            let (rows, columns) = (m.min(16), (n / 4).div_ceil(lanes).min(most[0]));
            let rest = ("REST", (rows - 1) * columns);
            let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), rest, flags[0], flags[1]];
            let grid = Grid([(n / 4).div_ceil(lanes * columns), m.div_ceil(rows), count]);
            gpu.launch(&NN, &consts, &params(rows), &spans, grid)
        }
        Variant::Subgroup if flip_b => {
            let lanes = gpu.subgroup_size().unwrap_or(lanes);
            let (rows, columns) = (m.min(most_shared[0]), n.div_ceil(lanes).min(most_shared[1]));
            let (held, rest) = (("HELD", (4 * rows).div_ceil(lanes)), ("REST", (rows - 1) * columns));
            let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), held, rest, flags[0], flags[1]];
            let grid = Grid([n.div_ceil(lanes * columns), m.div_ceil(rows), 1]);
            gpu.launch(&NT_SUBGROUP, &consts, &params(rows), &spans, grid)
        }
        Variant::Shared => {
            let extents = [m as usize, n as usize];
            let block = Block::new(None, extents);
            let consts = [&block.consts()[..], &flips, &flags].concat();
            let [across, down] = block.groups(extents).map(|groups| groups as u32);
            gpu.launch(&SHARED, &consts, &strided, &spans, Grid([across, down, count]))
        }
        Variant::Subgroup => {
            let lanes = gpu.subgroup_size().unwrap_or(lanes);
            let [rows, columns, steps] = tiles::shared_tile(gpu, count, [m, n, k]);
            let (rows, columns) = (m.min(rows), (n / 4).div_ceil(lanes).min(columns));
            let steps = (lanes / rows).max(steps);
            let turn = (1..=MOST_AT_A_TURN).rev().find(|turn| rows.is_multiple_of(*turn)).unwrap_or(1);
            let consts = [
                ("ROWS", rows),
                ("COLUMNS", columns),
                ("STEPS", steps),
                ("LANES", lanes),
                ("HELD", (rows * steps).div_ceil(lanes)),
                ("LINES", columns * steps),
                ("RAGGED", u32::from(!k.is_multiple_of(steps))),
                ("TURN", turn),
                ("REST", (rows - turn) * columns),
                flags[0],
                flags[1],
            ];
            let grid = Grid([(n / 4).div_ceil(lanes * columns), m.div_ceil(rows), count]);
            gpu.launch(&SUBGROUP, &consts, &params(rows), &spans, grid)
        }
        Variant::Coop => {
            let tile = coop::Tile::on(gpu, MATMUL)?;
            let consts = [&tile.consts()[..], &flips, &flags].concat();
            let [across, down] = [n, m].map(|extent| extent.div_ceil(tile.side() as u32));
            let mut spans = spans.to_vec();
            if let Some(peaks) = peaks {
                spans.insert(3, peaks.span());
            }
            gpu.launch(tile.of(&COOP), &consts, &strided, &spans, Grid([across, down, 1]))
        }
        Variant::SplitK => {
            let (rows, columns) = (m.min(16), (n / 4).div_ceil(lanes).min(most[0]));
            let grid = [(n / 4).div_ceil(lanes * columns), m.div_ceil(rows)];
            // Enough workgroups to keep the device busy, and two at the least, or nothing would be split; but no
            // split so short that the second pass has as much to do as the first.
            let wanted: u32 = if gpu.adapter().is_software() { 16 } else { 1024 };
            let splits = wanted.div_ceil(grid[0] * grid[1]).max(2).min(k.div_ceil(32));
            let chunk = k.div_ceil(splits);
            let splits = k.div_ceil(chunk);
            let params = SplitParams { m, n, k, a: a_strides, chunk, splits };
            let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), flags[0], flags[1]];
            let partial = gpu.empty([splits as usize, out.count()])?;
            let spans = [spans[0], spans[1], partial.span()];
            gpu.launch(&SPLIT_K, &consts, &params, &spans, Grid([grid[0], grid[1], splits]))?;
            let spans = [partial.span(), bias.span(), out.span()];
            launch_flat(gpu, &SPLIT_K_FINISH, &consts, &params, &spans, out.count() / 4)
        }
    }
}
