//! Matrix products, with either operand transposed (`shaders/matmul*.wgsl`).

use bytemuck::NoUninit;

use super::{dims2, kernel, lanes, launch_flat};
use crate::gpu::{Gpu, GpuError, Grid, Kernel, Result, Tensor};

static NAIVE: Kernel = kernel!("matmul", "matmul", "matmul", "rrrw");
static NN: Kernel = kernel!("matmul_nn", "matmul_nn", "matmul_nn", "rrrw");
static NT: Kernel = kernel!("matmul_nt", "matmul_nt", "matmul_nt", "rrrw");

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
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct BlockedParams {
    m: u32,
    n: u32,
    k: u32,
    a: [u32; 2],
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
    let contiguous = if b.transposed { b.dims()?[0] } else { b.dims()?[1] };
    let variant = if contiguous.is_multiple_of(4) { Variant::Blocked } else { Variant::Naive };
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
    // Without a bias something must be bound all the same; the kernel does not read it.
    let bias = epilogue.bias.unwrap_or(b.tensor);
    let spans = [a.tensor.span(), b.tensor.span(), bias.span(), out.span()];
    gpu.next_work(2 * m * n * k, 4 * (m * k + k * n + m * n));
    let flags = [("BIAS", u32::from(epilogue.bias.is_some())), ("RELU", u32::from(epilogue.relu))];
    let (m, n, k) = (m as u32, n as u32, k as u32);
    if variant == Variant::Naive {
        let params = NaiveParams { m, n, k, a: a.strides(), b: b.strides() };
        return launch_flat(gpu, &NAIVE, &flags, &params, &spans, out.count());
    }
    let contiguous = if b.transposed { k } else { n };
    if !contiguous.is_multiple_of(4) {
        return Err(GpuError::operand("matmul", format!("the blocked kernel needs a multiple of 4, not {contiguous}")));
    }
    let params = BlockedParams { m, n, k, a: a.strides() };
    let lanes = lanes(gpu);
    // Columns to a lane: more of them make more of each load, as long as there are enough for all lanes.
    // Software adapters have registers to spill and slow loads; GPUs have the opposite.
    let most = if gpu.adapter().is_software() { [4, 8] } else { [1, 2] };
    if b.transposed {
        let (rows, columns) = (m.min(8), n.div_ceil(lanes).min(most[1]));
        let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), flags[0], flags[1]];
        let grid = Grid([n.div_ceil(lanes * columns), m.div_ceil(rows), 1]);
        return gpu.launch(&NT, &consts, &params, &spans, grid);
    }
    let (rows, columns) = (m.min(16), (n / 4).div_ceil(lanes).min(most[0]));
    let consts = [("ROWS", rows), ("COLUMNS", columns), ("LANES", lanes), flags[0], flags[1]];
    let grid = Grid([(n / 4).div_ceil(lanes * columns), m.div_ceil(rows), 1]);
    gpu.launch(&NN, &consts, &params, &spans, grid)
}
