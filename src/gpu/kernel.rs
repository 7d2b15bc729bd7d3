//! Kernels: WGSL files with a name, and the compiled pipelines and bind groups made from them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::adapter;
use super::pipelines::Pipelines;
use super::unroll::unroll;
use super::{Broken, GpuError, Result, Sources, Span};

/// A `const NAME: u32 = value;` line put before a kernel's source, so that a loop count or an array
/// length is known to the compiler.
pub type Const = (&'static str, u32);

/// A WGSL kernel: binding 0 is its uniform block, bindings 1.. are arrays in order.
#[derive(Debug)]
pub struct Kernel {
    /// The name that counts, profiles and errors show.
    pub name: &'static str,
    /// The whole text of the file under `shaders/`.
    pub source: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// One letter a binding: `r` is a storage array that is read, `w` one that is read and written, `u` a uniform array, which
    /// [`super::Gpu::uniform_limit`] has room for.
    pub access: &'static str,
}

/// How vectors are read, and how they are on a device that reads them by words of 64 bits.
const STORED: &str = include_str!("../../shaders/stored.wgsl");
const WIDE: &str = include_str!("../../shaders/wide.wgsl");

/// How many workgroups to start in each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(pub [u32; 3]);

impl Grid {
    /// Workgroups a dimension that every adapter allows.
    pub const LIMIT: u32 = 65_535;

    /// Enough workgroups of `size` invocations for `count` elements, folded near-square over x and y
    /// where one dimension cannot hold them. Kernels find their index with `group.y * groups.x + group.x`
    /// and must check it against their count.
    pub fn linear(count: usize, size: usize) -> Self {
        let groups = count.div_ceil(size).max(1);
        if groups <= Self::LIMIT as usize {
            return Self([groups as u32, 1, 1]);
        }
        let width = (groups as f64).sqrt().ceil() as usize;
        Self([width as u32, groups.div_ceil(width) as u32, 1])
    }

    /// The same grid with `depth` layers in z.
    pub fn layers(self, depth: usize) -> Self {
        Self([self.0[0], self.0[1], depth as u32])
    }
}

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    layout: Rc<Layout>,
}

impl Pipeline {
    /// A bind group of these parts of buffers (buffer, offset, bytes): binding 0, and those that follow it.
    pub(super) fn bind<'b>(
        &self,
        device: &wgpu::Device,
        parts: impl Iterator<Item = (&'b wgpu::Buffer, u64, u64)>,
    ) -> wgpu::BindGroup {
        let entry = |(binding, (letter, (buffer, offset, bytes))): (usize, (u8, (&'b wgpu::Buffer, u64, u64)))| {
            // A uniform array's last vector may not be full; buffers are as long as that.
            let bytes = if letter == b'u' { bytes.next_multiple_of(VECTOR_BYTES) } else { bytes };
            let size = NonZeroU64::new(bytes);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
            wgpu::BindGroupEntry { binding: binding as u32, resource }
        };
        let letters = std::iter::once(b'u').chain(self.layout.access.bytes());
        let entries: Vec<_> = letters.zip(parts).enumerate().map(entry).collect();
        let layout = &self.layout.group;
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }
}

#[derive(Debug)]
struct Layout {
    group: wgpu::BindGroupLayout,
    pipeline: wgpu::PipelineLayout,
    /// A letter for each binding after binding 0.
    access: &'static str,
    id: usize,
}

type BindingKey = (usize, Vec<(u64, u64, u64)>);

/// Everything that is made once and used at every launch.
#[derive(Debug, Default)]
pub(super) struct Cache {
    layouts: HashMap<&'static str, Rc<Layout>>,
    /// By the kernel's address: several kernels may bear one name.
    pipelines: HashMap<(usize, Vec<u32>), Rc<Pipeline>>,
    bind_groups: HashMap<BindingKey, Rc<wgpu::BindGroup>>,
    broken: Option<Broken>,
    sources: Option<Sources>,
    kept: Option<Pipelines>,
    reads_wide: bool,
    /// What a rehearsal would have launched, in the order of the first launches.
    wanted: Vec<Wanted>,
}

/// What a rehearsal would have launched.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) kernel: &'static Kernel,
    pub(super) consts: Vec<Const>,
    /// The uniform blocks that it would have been launched with.
    pub(super) params: Vec<Vec<u8>>,
}

/// Bytes of a uniform block, the same for every kernel so that they share one ring.
pub(super) const UNIFORM_BYTES: u64 = 256;

/// Bytes of a uniform array at the most.
pub(super) const UNIFORM_ARRAY_BYTES: u64 = 1 << 16;

/// Elements of a uniform array are vectors of so many bytes.
pub(super) const VECTOR_BYTES: u64 = 16;

/// Bind groups kept; a step of the largest model uses a few hundred.
const MAX_BIND_GROUPS: usize = 8192;

impl Cache {
    /// Nothing made yet, for this device.
    pub(super) fn new(
        device: &wgpu::Device,
        broken: Option<Broken>,
        sources: Option<Sources>,
        kept: Option<Pipelines>,
    ) -> Self {
        Self { broken, sources, kept, reads_wide: adapter::reads_wide(device), ..Self::default() }
    }

    /// What is specialised: [`Self::text`], with vectors read by words of 64 bits if this device does.
    fn source(&self, kernel: &'static Kernel) -> Cow<'static, str> {
        let text = self.text(kernel);
        if self.reads_wide { Cow::Owned(text.replace(STORED, WIDE)) } else { text }
    }

    /// The kernel's text, or what a test made of it.
    fn text(&self, kernel: &'static Kernel) -> Cow<'static, str> {
        let meant = |broken: &Broken| {
            let name = format!("// {}", broken.kernel);
            let beginning = |rest: &str| !rest.starts_with(|next: char| next == '_' || next.is_alphanumeric());
            kernel.source.lines().any(|line| line.strip_prefix(&name).is_some_and(beginning))
        };
        match self.broken.filter(meant) {
            Some(Broken { from, to, .. }) => Cow::Owned(kernel.source.replace(from, to)),
            None => Cow::Borrowed(kernel.source),
        }
    }

    pub(super) fn pipeline(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static Kernel,
        consts: &[Const],
    ) -> Result<Rc<Pipeline>> {
        let key = key(kernel, consts);
        if let Some(found) = self.pipelines.get(&key) {
            return Ok(found.clone());
        }
        let layout = self.layout(device, kernel.access);
        let kept = self.kept.as_ref().map(Pipelines::cache);
        let text = specialise(kernel, &self.source(kernel), consts, self.sources.as_ref())?;
        let pipeline = compile(device, (&layout.pipeline, kept), kernel, text)?;
        let made = Rc::new(Pipeline { pipeline, layout });
        self.pipelines.insert(key, made.clone());
        Ok(made)
    }

    /// How many pipelines were made.
    pub(super) fn count(&self) -> usize {
        self.pipelines.len()
    }

    /// Notes what a rehearsal would launch.
    pub(super) fn want(&mut self, kernel: &'static Kernel, consts: &[Const], params: &[u8]) {
        let is_it = |known: &&mut Wanted| std::ptr::eq(known.kernel, kernel) && known.consts == consts;
        match self.wanted.iter_mut().find(is_it) {
            None => self.wanted.push(Wanted { kernel, consts: consts.to_vec(), params: vec![params.to_vec()] }),
            Some(known) if known.params.iter().all(|block| block != params) => known.params.push(params.to_vec()),
            Some(_) => {}
        }
    }

    /// What a rehearsal would have launched.
    pub(super) fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Makes the pipelines that a rehearsal noted, on as many threads as the processor has cores.
    pub(super) fn prepare(&mut self, device: &wgpu::Device, rehearsal: &Self) -> Result<()> {
        let missing = rehearsal.wanted.iter().filter(|it| !self.pipelines.contains_key(&key(it.kernel, &it.consts)));
        let missing: Vec<&Wanted> = missing.collect();
        let layouts: Vec<Rc<Layout>> = missing.iter().map(|it| self.layout(device, it.kernel.access)).collect();
        // Layouts are counted without locks, so threads see only what wgpu made.
        let work: Vec<(&wgpu::PipelineLayout, Cow<'static, str>)> =
            layouts.iter().zip(&missing).map(|(layout, it)| (&layout.pipeline, self.source(it.kernel))).collect();
        let (kept, sources) = (self.kept.as_ref().map(Pipelines::cache), self.sources.as_ref());
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut made = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let (Some(it), Some((layout, source))) = (missing.get(index), work.get(index)) else {
                    return made;
                };
                let text = specialise(it.kernel, source, &it.consts, sources);
                made.push((index, text.and_then(|text| compile(device, (layout, kept), it.kernel, text))));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(missing.len());
        let made: Vec<(usize, Result<wgpu::ComputePipeline>)> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            started.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        for (index, pipeline) in made {
            let &Wanted { kernel, ref consts, .. } = missing[index];
            let made = Rc::new(Pipeline { pipeline: pipeline?, layout: layouts[index].clone() });
            self.pipelines.insert(key(kernel, consts), made);
        }
        Ok(())
    }

    fn layout(&mut self, device: &wgpu::Device, access: &'static str) -> Rc<Layout> {
        let id = self.layouts.len();
        let make = || {
            let entry = |binding: usize, ty, has_dynamic_offset, bytes| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: bytes },
                count: None,
            };
            let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true, None)];
            for (index, letter) in access.bytes().enumerate() {
                let ty = match letter {
                    b'u' => wgpu::BufferBindingType::Uniform,
                    _ => wgpu::BufferBindingType::Storage { read_only: letter == b'r' },
                };
                entries.push(entry(index + 1, ty, false, None));
            }
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: Some(access), entries: &entries };
            let group = device.create_bind_group_layout(&descriptor);
            let pipeline = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(access),
                bind_group_layouts: &[Some(&group)],
                immediate_size: 0,
            });
            Rc::new(Layout { group, pipeline, access, id })
        };
        self.layouts.entry(access).or_insert_with(make).clone()
    }

    pub(super) fn bind_group(
        &mut self,
        device: &wgpu::Device,
        pipeline: &Pipeline,
        uniforms: &wgpu::Buffer,
        spans: &[&Span],
    ) -> Rc<wgpu::BindGroup> {
        let parts = spans.iter().map(|span| (span.storage.id, span.offset, span.bytes)).collect();
        let key = (pipeline.layout.id, parts);
        if let Some(found) = self.bind_groups.get(&key) {
            return found.clone();
        }
        if self.bind_groups.len() >= MAX_BIND_GROUPS {
            self.bind_groups.clear();
        }
        let storages = spans.iter().map(|span| (&span.storage.buffer, span.offset, span.bytes));
        let made = Rc::new(pipeline.bind(device, std::iter::once((uniforms, 0, UNIFORM_BYTES)).chain(storages)));
        self.bind_groups.insert(key, made.clone());
        made
    }

    /// Forgets bind groups, which keep their buffers alive.
    pub(super) fn drop_bind_groups(&mut self) {
        self.bind_groups.clear();
    }
}

fn key(kernel: &'static Kernel, consts: &[Const]) -> (usize, Vec<u32>) {
    (std::ptr::from_ref(kernel) as usize, consts.iter().map(|&(_, value)| value).collect())
}

/// What the driver is given: a kernel's text with its constants before it and its loops written out.
fn specialise(kernel: &Kernel, source: &str, consts: &[Const], collected: Option<&Sources>) -> Result<String> {
    let head: String = consts.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
    let body = unroll(source, consts).map_err(|reason| GpuError::Kernel { kernel: kernel.name, reason })?;
    // Extensions stand before everything else.
    let (enabled, body): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| line.starts_with("enable "));
    let text = [&enabled.join("\n"), "\n", &head, &body.join("\n")].concat();
    if let Some(collected) = collected {
        collected.lock().unwrap_or_else(PoisonError::into_inner).insert((kernel.name, text.clone()));
    }
    Ok(text)
}

/// One pipeline from a specialised text.
fn compile(
    device: &wgpu::Device,
    (layout, kept): (&wgpu::PipelineLayout, Option<&wgpu::PipelineCache>),
    kernel: &Kernel,
    text: String,
) -> Result<wgpu::ComputePipeline> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor =
        wgpu::ShaderModuleDescriptor { label: Some(kernel.name), source: wgpu::ShaderSource::Wgsl(text.into()) };
    let module = device.create_shader_module(descriptor);
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(kernel.name),
        layout: Some(layout),
        module: &module,
        entry_point: Some(kernel.entry),
        // Every kernel writes what it reads of workgroup memory, so it need not be zeroed first.
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: kept,
    });
    match pollster::block_on(scope.pop()) {
        Some(error) => Err(GpuError::Kernel { kernel: kernel.name, reason: error.to_string() }),
        None => Ok(pipeline),
    }
}

#[cfg(test)]
mod tests {
    use super::Grid;

    #[test]
    fn grids_cover_and_stay_below_the_limit() {
        for count in [0usize, 1, 64, 65, 65_535 * 64, 65_535 * 64 + 1, 1 << 30] {
            let Grid([x, y, z]) = Grid::linear(count, 64);
            assert!(x <= Grid::LIMIT && y <= Grid::LIMIT && z == 1);
            let groups = x as usize * y as usize;
            assert!(groups * 64 >= count);
            assert!(groups <= count.div_ceil(64).max(1) + x as usize, "near-square, little waste");
        }
    }
}
