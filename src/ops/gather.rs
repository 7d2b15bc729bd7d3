//! A batch from a data set of bytes that stays on the GPU (`shaders/gather.wgsl`).

use bytemuck::NoUninit;

use super::{kernel, launch_flat, table_quads};
use crate::gpu::{Gpu, GpuError, Kernel, Result, Tensor, Words};
use crate::random::Purpose;

/// With the table of values in a storage buffer, and in a uniform one.
static GATHER: [Kernel; 2] = [
    kernel!("gather", "random" "table_storage" "gather", "gather", "rrrrrww"),
    kernel!("gather", "random" "table_uniform" "gather", "gather", "rurrrww"),
];

/// A data set on the device: bytes four to a word, in one or two buffers.
#[derive(Clone, Debug)]
pub struct ByteSet {
    parts: [Words; 2],
    images_in_first: usize,
    labels: Words,
    levels: Tensor,
    /// Channels, height and width of an image.
    pub dims: [usize; 3],
    /// How many images there are.
    pub count: usize,
}

/// Random flips and shifts; a sample's draw depends on its place in the epoch, not on the batch size.
#[derive(Clone, Copy, Debug)]
pub struct Augment {
    /// Mirror half of the images.
    pub flip: bool,
    /// Shift by up to so many pixels each way, reflecting at the border.
    pub shift: usize,
    pub seed: u64,
    pub epoch: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Params {
    batch: u32,
    first: u32,
    images_in_a: u32,
    item: u32,
    purpose: u32,
    seed: [u32; 2],
    flip: u32,
    shift: u32,
}

/// The value of each byte in each channel, k / 255, as an exact table.
fn levels(channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|_| (0..256u32).map(|level| level as f32 / 255.0)).collect()
}

impl ByteSet {
    /// Uploads images (bytes, image after image, planar) and their labels.
    pub fn new(gpu: &Gpu, dims: [usize; 3], bytes: &[u8], labels: &[u8]) -> Result<Self> {
        Self::with_limit(gpu, dims, bytes, labels, gpu.max_binding_bytes() as usize)
    }

    /// The same with at most `limit` bytes in a buffer, so that a small set can lie in two.
    pub fn with_limit(gpu: &Gpu, dims: [usize; 3], bytes: &[u8], labels: &[u8], limit: usize) -> Result<Self> {
        let size: usize = dims.iter().product();
        if size == 0 || !dims[2].is_multiple_of(4) || labels.is_empty() || bytes.len() != size * labels.len() {
            let problem = format!(
                "{} bytes are not {} images of {dims:?}, with a width of a multiple of 4",
                bytes.len(),
                labels.len()
            );
            return Err(GpuError::operand("gather", problem));
        }
        let limit = limit / size;
        let first = labels.len().min(limit);
        if labels.len() - first > limit {
            let problem = format!("{} images need more than two buffers of {limit} images", labels.len());
            return Err(GpuError::operand("gather", problem));
        }
        let upload = |bytes: &[u8]| gpu.words(&bytemuck::pod_collect_to_vec::<u8, u32>(bytes));
        let head = upload(&bytes[..first * size])?;
        // The second buffer must exist even where nothing is in it.
        let tail = if first < labels.len() { upload(&bytes[first * size..])? } else { gpu.words(&[0])? };
        let wide: Vec<u32> = labels.iter().map(|&label| u32::from(label)).collect();
        Ok(Self {
            parts: [head, tail],
            images_in_first: first,
            labels: gpu.words(&wide)?,
            levels: gpu.tensor([dims[0] * 256], &levels(dims[0]))?,
            dims,
            count: labels.len(),
        })
    }

    /// The same images with a value of one's own for each byte of each channel (a normalisation):
    /// `values[256 c + k]` stands for byte k in channel c.
    pub fn with_levels(mut self, gpu: &Gpu, values: &[f32]) -> Result<Self> {
        self.levels = gpu.tensor([self.dims[0] * 256], values)?;
        Ok(self)
    }
}

/// Images `order[first..first + batch]` as a tensor [batch, C, H, W] whose values are the set's levels, and their labels.
pub fn batch(
    gpu: &Gpu,
    set: &ByteSet,
    order: &Words,
    first: usize,
    batch: usize,
    augment: Option<Augment>,
) -> Result<(Tensor, Words)> {
    if batch == 0 || first + batch > order.count() {
        let problem = format!("samples {first}..{} are not among {}", first + batch, order.count());
        return Err(GpuError::operand("gather", problem));
    }
    let [channels, height, width] = set.dims;
    let drawn = augment.unwrap_or(Augment { flip: false, shift: 0, seed: 0, epoch: 0 });
    if drawn.shift >= height.min(width) {
        let problem = format!("a shift by {} pixels is too far for {height} x {width}", drawn.shift);
        return Err(GpuError::operand("gather", problem));
    }
    let params = Params {
        batch: batch as u32,
        first: first as u32,
        images_in_a: set.images_in_first as u32,
        item: drawn.epoch,
        purpose: Purpose::Augment as u32,
        seed: [drawn.seed as u32, (drawn.seed >> 32) as u32],
        flip: u32::from(drawn.flip),
        shift: drawn.shift as u32,
    };
    let (x, labels) = (gpu.empty([batch, channels, height, width])?, gpu.empty_words(batch)?);
    let spans = [
        set.parts[0].span(),
        set.levels.span(),
        set.parts[1].span(),
        set.labels.span(),
        order.span(),
        x.span(),
        labels.span(),
    ];
    // Of the set, only this batch's bytes are read.
    gpu.next_work(0, 5 * x.count() + 12 * batch);
    let quads = table_quads(gpu, &set.levels);
    let consts = [
        ("QUADS", quads.unwrap_or(0)),
        ("PARTS", if set.images_in_first < set.count { 2 } else { 1 }),
        ("AUGMENT", u32::from(augment.is_some())),
        ("CHANNELS", channels as u32),
        ("HEIGHT", height as u32),
        ("WIDTH", width as u32),
    ];
    launch_flat(gpu, &GATHER[usize::from(quads.is_some())], &consts, &params, &spans, x.count() / 4)?;
    Ok((x, labels))
}
