//! Workgroup tiles of the kernels that multiply out of workgroup memory: `matmul_shared.wgsl`, `conv2d_gemm.wgsl` and
//! `conv2d_weights_gemm.wgsl`, which `matmul_shared.wgsl` explains.

use crate::gpu::Const;

/// Invocations of a workgroup, and what each has of the tile: `rows` x `columns` blocks of 4 x 4 elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    x: usize,
    y: usize,
    rows: usize,
    columns: usize,
    /// Values of k to a tile.
    depth: usize,
}

/// Workgroups of 256 invocations that a larger tile must leave: a few for each of a large GPU's cores.
const MANY: usize = 512;

/// Most 4 x 4 blocks to a side of one invocation's: 64 sums in registers, as many as a GPU bears.
const MOST: usize = 2;

impl Block {
    /// For a product of m rows and n columns. `chosen` is the rows and columns of one invocation where they were chosen
    /// beforehand, taken as the next block that there is.
    pub(super) fn new(chosen: Option<[usize; 2]>, [m, n]: [usize; 2]) -> Self {
        // Few rows: a flat tile, so that less of it lies past the edge.
        let (x, y) = if m <= 32 { (32, 8) } else { (16, 16) };
        let with = |rows: usize, columns: usize| {
            // Of the largest tile, a shorter one fits 16 KiB, which is all that some adapters have.
            let depth = if rows * columns < MOST * MOST { 16 } else { 8 };
            Self { x, y, rows, columns, depth }
        };
        if let Some([rows, columns]) = chosen {
            return with(rows.div_ceil(4).min(MOST), columns.div_ceil(4).min(MOST));
        }
        let small = with(1, 1);
        let fits = |block: &Self| {
            block.groups([m, n]).iter().product::<usize>() >= MANY
                && m.next_multiple_of(block.height()) == m.next_multiple_of(small.height())
        };
        [with(2, 2), with(2, 1)].into_iter().find(fits).unwrap_or(small)
    }

    /// Rows of the workgroup's tile.
    pub(super) fn height(&self) -> usize {
        4 * self.y * self.rows
    }

    /// Columns of the workgroup's tile.
    pub(super) fn width(&self) -> usize {
        4 * self.x * self.columns
    }

    /// Workgroups along n and m.
    pub(super) fn groups(&self, [m, n]: [usize; 2]) -> [usize; 2] {
        [n.div_ceil(self.width()), m.div_ceil(self.height())]
    }

    /// The tile as the kernels take it.
    pub(super) fn consts(&self) -> [Const; 7] {
        let Self { x, y, rows, columns, depth } = *self;
        [
            ("X", x),
            ("Y", y),
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("DEPTH", depth),
            ("FETCH_A", (depth * rows).div_ceil(x)),
            ("FETCH_B", (depth * columns).div_ceil(y)),
        ]
        .map(|(name, value)| (name, value as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn tiles_fit_the_product_and_every_adapters_workgroup_memory() {
        let of = |m, n| Block::new(None, [m, n]);
        assert_eq!([of(64, 1000).height(), of(64, 1000).width()], [64, 64], "few workgroups: the small tile");
        assert_eq!([of(16, 1 << 20).height(), of(65, 1 << 20).height(), of(256, 1 << 20).height()], [32, 128, 128]);
        assert_eq!(of(130, 1 << 20).height(), 64, "a third tile of 64 rather than a second of 128");
        for (chosen, m) in [([1, 1], 5), ([8, 8], 5), ([8, 8], 500), ([4, 8], 500), ([500, 1], 500)] {
            let block = Block::new(Some(chosen), [m, 1 << 12]);
            let Block { x, y, rows, columns, depth } = block;
            assert_eq!(x * y, 256);
            assert!(rows <= 2 && columns <= 2);
            // What the kernels rely on, and 16 KiB of workgroup memory.
            assert!((x * y).is_multiple_of(depth) && (x * y).is_multiple_of(x * columns));
            assert!(16 * depth * (y * rows + 1 + x * columns + 1) <= 16 << 10, "{block:?}");
        }
    }
}
