//! [`Gpu`]: the one handle to the device that everything else is given.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::adapter::{self, AdapterSummary};
use super::check::Checker;
use super::fault::{Fault, note};
use super::kernel::{Cache, UNIFORM_ARRAY_BYTES, UNIFORM_BYTES};
use super::pipelines::Pipelines;
use super::pool::Pool;
use super::precision::{self, Cooperative, Precision};
use super::profile::Work;
use super::stream::Stream;
use super::{Const, GpuError, Grid, Kernel, MemoryStats, Result, Shape, Span, Tensor, Words};

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// An adapter's index or a part of its name; without it the environment variable
    /// `SHADEGRAD_ADAPTER` counts, and without that the best adapter is taken.
    pub adapter: Option<String>,
    /// Fills every fresh tensor with NaN, so that an element that no kernel writes shows (for tests).
    pub poison: bool,
    /// Whether products may be computed from f16; refused by adapters without cooperative matrices.
    pub precision: Precision,
    /// Breaks a kernel on purpose, for the test of the self-test.
    pub broken: Option<Broken>,
    /// Collects each kernel's text.
    pub sources: Option<Sources>,
    /// Folder in which compiled pipelines are kept from one run to the next, where the driver hands them out.
    pub pipelines: Option<PathBuf>,
}

/// A kernel that is to compute wrong numbers: its source is changed before it is compiled. A field of the library's options
/// and not a build feature, so that the one build that is tested is the one that is shipped; no command line, variable or
/// file reaches it, so a program that is run cannot have it.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// The name with which the file under `shaders/` begins.
    pub kernel: &'static str,
    /// What is replaced by what, wherever it stands.
    pub from: &'static str,
    pub to: &'static str,
}

/// Kernels' names and texts as drivers are given them, constants before them and loops written out. Clones are one collection,
/// which several devices may share.
pub type Sources = Arc<Mutex<BTreeSet<(&'static str, String)>>>;

/// A problem that kernels are chosen for: what is computed, and its extents.
pub type Place = (&'static str, [usize; 5]);

/// A kernel variant, and its tile where that is fixed, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub variant: &'static str,
    pub tile: Option<[usize; 2]>,
}

/// A device with its memory pool, kernels and command stream. Clones are the same device.
#[derive(Clone)]
pub struct Gpu(pub(super) Rc<Inner>);

pub(super) struct Inner {
    pub(super) adapter: wgpu::Adapter,
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) summary: AdapterSummary,
    pub(super) limits: wgpu::Limits,
    pub(super) subgroup_size: Option<u32>,
    pub(super) cooperative: Option<Cooperative>,
    pub(super) precision: Cell<Precision>,
    pub(super) forced: RefCell<BTreeMap<&'static str, String>>,
    /// Operations and variants that are not to be used, since they compute wrong numbers here.
    pub(super) refused: RefCell<BTreeSet<(&'static str, String)>>,
    /// Chosen beforehand: by a tuner, or by an earlier run that is repeated.
    pub(super) choices: RefCell<BTreeMap<Place, Choice>>,
    pub(super) pool: Pool,
    pub(super) cache: RefCell<Cache>,
    pub(super) stream: RefCell<Stream>,
    pub(super) poison: Cell<bool>,
    pub(super) work: Cell<Work>,
    /// What the next dispatch is counted as, if not by its kernel's name.
    pub(super) name: Cell<Option<&'static str>>,
    pub(super) fault: Arc<Mutex<Option<Fault>>>,
    /// Present while every written array is checked.
    pub(super) checker: Cell<Option<Checker>>,
    /// Memory is counted, and nothing else happens.
    pub(super) rehearses: bool,
}

static FILL: Kernel =
    Kernel { name: "fill", source: include_str!("../../shaders/fill.wgsl"), entry: "fill", access: "w" };

impl Gpu {
    /// Opens the wanted adapter, or the best one.
    pub fn open(options: &GpuOptions) -> Result<Self> {
        let adapter = adapter::choose(options.adapter.as_deref())?;
        let summary = AdapterSummary::of(&adapter);
        let cooperative = match options.precision {
            Precision::F32 => None,
            Precision::F16 => Some(precision::choose(&adapter)?),
        };
        let (device, queue) = adapter::connect(&adapter, cooperative.is_some())?;
        let info = adapter.get_info();
        let fixed = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size > 0;
        let subgroup_size =
            (fixed && device.features().contains(wgpu::Features::SUBGROUP)).then_some(info.subgroup_min_size);
        let fault = Arc::new(Mutex::new(None));
        let seen = fault.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&seen, Fault::of(&error))));
        let seen = fault.clone();
        device.set_device_lost_callback(move |reason, message| {
            note(&seen, Fault::Lost(format!("{reason:?} {message}").trim().to_owned()));
        });
        let stream = RefCell::new(Stream::new(&device));
        let kept = options.pipelines.as_deref().and_then(|folder| Pipelines::open(&device, &summary, folder));
        let cache = Cache::new(&device, options.broken, options.sources.clone(), kept);
        Ok(Self(Rc::new(Inner {
            limits: adapter.limits(),
            adapter,
            device,
            queue,
            summary,
            subgroup_size,
            cooperative,
            precision: Cell::new(options.precision),
            forced: RefCell::default(),
            refused: RefCell::default(),
            choices: RefCell::default(),
            pool: Pool::default(),
            cache: RefCell::new(cache),
            stream,
            poison: Cell::new(options.poison),
            work: Cell::default(),
            name: Cell::default(),
            fault,
            checker: Cell::new(None),
            rehearses: false,
        })))
    }

    /// What this device is.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.0.summary
    }

    /// Bytes that one binding may span.
    pub fn max_binding_bytes(&self) -> u64 {
        self.0.limits.max_storage_buffer_binding_size.min(self.0.limits.max_buffer_size) & !3
    }

    /// Bytes that a kernel's uniform array may have.
    pub fn uniform_limit(&self) -> u64 {
        self.0.limits.max_uniform_buffer_binding_size.min(UNIFORM_ARRAY_BYTES)
    }

    /// Invocations of a subgroup, where the device has subgroup operations and all subgroups have one size.
    pub fn subgroup_size(&self) -> Option<u32> {
        self.0.subgroup_size
    }

    /// The device's cooperative matrices, if it was opened for them.
    pub fn cooperative(&self) -> Option<Cooperative> {
        self.0.cooperative
    }

    /// What products are computed from, where a kernel is not chosen by name.
    pub fn precision(&self) -> Precision {
        self.0.precision.get()
    }

    /// Changes that, for whoever compares the two. Without cooperative matrices it stays f32 all the same.
    pub fn prefer(&self, precision: Precision) {
        self.0.precision.set(precision);
    }

    /// Makes `operation` use the kernel variant of this name rather than the one that suits the adapter best.
    pub fn force_variant(&self, operation: &'static str, variant: Option<&str>) {
        let mut forced = self.0.forced.borrow_mut();
        match variant {
            Some(variant) => forced.insert(operation, variant.to_owned()),
            None => forced.remove(operation),
        };
    }

    /// The variant that `operation` must use, if one was forced.
    pub fn forced_variant(&self, operation: &str) -> Option<String> {
        self.0.forced.borrow().get(operation).cloned()
    }

    /// Keeps `operation` from this variant: it computes wrong numbers on this adapter.
    pub fn refuse_variant(&self, operation: &'static str, variant: &str) {
        self.0.refused.borrow_mut().insert((operation, variant.to_owned()));
    }

    /// Whether the variant was refused.
    pub fn is_refused(&self, operation: &'static str, variant: &str) -> bool {
        self.0.refused.borrow().contains(&(operation, variant.to_owned()))
    }

    /// Chooses kernels beforehand, and forgets what was chosen before.
    pub fn set_choices(&self, choices: impl IntoIterator<Item = (Place, Choice)>) {
        *self.0.choices.borrow_mut() = choices.into_iter().collect();
    }

    /// Takes over what was chosen and refused on another device.
    pub fn choose_like(&self, other: &Self) {
        *self.0.choices.borrow_mut() = other.0.choices.borrow().clone();
        *self.0.refused.borrow_mut() = other.0.refused.borrow().clone();
    }

    /// What was chosen for this problem.
    pub fn choice(&self, place: Place) -> Option<Choice> {
        self.0.choices.borrow().get(&place).copied()
    }

    /// All that was chosen beforehand.
    pub fn choices(&self) -> Vec<(Place, Choice)> {
        self.0.choices.borrow().iter().map(|(&place, &choice)| (place, choice)).collect()
    }

    /// GPU memory held now and at the most.
    pub fn memory(&self) -> MemoryStats {
        self.0.pool.stats()
    }

    /// Gives unused buffers back rather than hold more than so many bytes, if there is such a limit. What is in use may be more
    /// all the same.
    pub fn limit_memory(&self, bytes: Option<u64>) {
        self.0.pool.limit(bytes);
    }

    /// Gives unused memory back and counts the most that was held from here on.
    pub fn restart_memory_peaks(&self) -> Result<()> {
        self.wait()?;
        self.0.cache.borrow_mut().drop_bind_groups();
        self.0.pool.trim();
        self.0.pool.restart_peaks();
        Ok(())
    }

    /// Dispatches so far, by kernel name.
    pub fn dispatch_counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.stream.borrow().counts()
    }

    /// Dispatches so far, of all kernels together.
    pub fn dispatches(&self) -> u64 {
        self.0.stream.borrow().counts().values().sum()
    }

    /// Submits to the queue so far.
    pub fn submits(&self) -> u64 {
        self.0.stream.borrow().submits()
    }

    /// Memory for a tensor. Every tensor comes from here, so that none is without elements: operations divide by
    /// extents.
    fn allocate(&self, shape: Shape) -> Result<Tensor> {
        if shape.count() == 0 {
            return Err(GpuError::operand("allocation", format!("shape {shape} has no elements")));
        }
        Ok(Tensor::new(self.take(shape.count())?, shape))
    }

    /// A tensor whose elements are whatever the memory held.
    pub fn empty(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let tensor = self.allocate(shape.into())?;
        if self.0.poison.get() {
            self.fill_bits(tensor.span(), f32::NAN.to_bits())?;
        }
        Ok(tensor)
    }

    /// A tensor of zeros.
    pub fn zeros(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.filled(shape, 0.0)
    }

    /// A tensor whose elements all are `value`.
    pub fn filled(&self, shape: impl Into<Shape>, value: f32) -> Result<Tensor> {
        let tensor = self.allocate(shape.into())?;
        self.fill_bits(tensor.span(), value.to_bits())?;
        Ok(tensor)
    }

    /// Sets every element to `value`.
    pub fn fill(&self, tensor: &Tensor, value: f32) -> Result<()> {
        self.fill_bits(tensor.span(), value.to_bits())
    }

    fn fill_bits(&self, span: &Span, bits: u32) -> Result<()> {
        let count = (span.bytes / 4) as u32;
        self.launch(&FILL, &[], &[count, bits], &[span], Grid::linear(count as usize, 64))
    }

    /// A tensor with the given elements.
    pub fn tensor(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor> {
        let shape = shape.into();
        if shape.count() != values.len() {
            return Err(GpuError::operand("upload", format!("{} values do not fill {shape}", values.len())));
        }
        let tensor = self.allocate(shape)?;
        self.upload(tensor.span(), bytemuck::cast_slice(values))?;
        Ok(tensor)
    }

    /// Words with the given values.
    pub fn words(&self, values: &[u32]) -> Result<Words> {
        let words = Words::new(self.take(values.len())?, values.len());
        self.upload(words.span(), bytemuck::cast_slice(values))?;
        Ok(words)
    }

    /// Words whose values are whatever the memory held.
    pub fn empty_words(&self, count: usize) -> Result<Words> {
        Ok(Words::new(self.take(count)?, count))
    }

    /// Overwrites a tensor's elements.
    pub fn write(&self, tensor: &Tensor, values: &[f32]) -> Result<()> {
        if tensor.count() != values.len() {
            let problem = format!("{} values do not fill {}", values.len(), tensor.shape());
            return Err(GpuError::operand("upload", problem));
        }
        self.upload(tensor.span(), bytemuck::cast_slice(values))
    }

    fn take(&self, elements: usize) -> Result<Rc<super::pool::Storage>> {
        // Cached bind groups and commands that are collected or under way hold buffers too.
        let forget = || {
            self.wait()?;
            self.0.cache.borrow_mut().drop_bind_groups();
            Ok(())
        };
        let take = || self.0.pool.take(&self.0.device, self.max_binding_bytes(), 4 * elements as u64, forget);
        let taken = take();
        if !matches!(taken, Err(GpuError::OutOfMemory { .. })) {
            return taken;
        }
        forget()?;
        self.0.pool.trim();
        take()
    }

    fn upload(&self, span: &Span, bytes: &[u8]) -> Result<()> {
        if self.0.rehearses {
            return Ok(());
        }
        // A queue write overtakes commands that are collected but not yet submitted, and one of those
        // may still use this memory under its former owner.
        self.flush()?;
        self.0.queue.write_buffer(&span.storage.buffer, span.offset, bytes);
        Ok(())
    }

    /// Appends one dispatch to the stream. `params` is the kernel's uniform block.
    pub fn launch<P: bytemuck::NoUninit>(
        &self,
        kernel: &'static Kernel,
        consts: &[Const],
        params: &P,
        spans: &[&Span],
        grid: Grid,
    ) -> Result<()> {
        let name = self.0.name.take().unwrap_or(kernel.name);
        let params = bytemuck::bytes_of(params);
        if params.len() as u64 > UNIFORM_BYTES || spans.len() != kernel.access.len() {
            let problem = format!("{} bindings and {} uniform bytes do not fit", spans.len(), params.len());
            return Err(GpuError::operand(kernel.name, problem));
        }
        if grid.0.iter().any(|&groups| groups == 0 || groups > Grid::LIMIT) {
            return Err(GpuError::operand(kernel.name, format!("a grid of {:?} workgroups is not possible", grid.0)));
        }
        if self.0.rehearses {
            self.0.cache.borrow_mut().want(kernel, consts, params);
            return Ok(());
        }
        if self.0.stream.borrow().is_full() {
            self.flush()?;
        }
        {
            let mut cache = self.0.cache.borrow_mut();
            let pipeline = cache.pipeline(&self.0.device, kernel, consts)?;
            let mut work = self.0.work.take();
            if work == Work::default() {
                // Most kernels meet every byte that they bind once.
                work.bytes = spans.iter().map(|span| span.bytes).sum();
            }
            let mut stream = self.0.stream.borrow_mut();
            let bind_group = cache.bind_group(&self.0.device, &pipeline, &stream.uniforms, spans);
            stream.dispatch(name, work, pipeline, bind_group, params, grid);
        }
        self.check_written(kernel, spans)
    }

    /// Copies all elements of `from` over those of `to`.
    pub fn copy(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        if from.count() != to.count() {
            return Err(GpuError::operand("copy", format!("{} does not fit {}", from.shape(), to.shape())));
        }
        self.copy_span(from.span(), to.span(), to.span().offset);
        Ok(())
    }

    /// The words, `times` over.
    pub fn repeated_words(&self, words: &Words, times: usize) -> Result<Words> {
        let all = self.empty_words(words.count() * times)?;
        let (from, to) = (words.span(), all.span());
        for start in (0..times as u64).map(|time| to.offset + time * from.bytes) {
            self.copy_span(from, to, start);
        }
        Ok(all)
    }

    /// Copies all of `from` to `start` in the buffer of `to`.
    fn copy_span(&self, from: &Span, to: &Span, start: u64) {
        if self.0.rehearses {
            return;
        }
        let (source, target) = ((&from.storage.buffer, from.offset), (&to.storage.buffer, start));
        self.0.stream.borrow_mut().copy(source, target, from.bytes);
    }

    /// Sends collected work to the device without waiting for it.
    pub fn flush(&self) -> Result<()> {
        let outcome = self.0.stream.borrow_mut().submit(&self.0.device, &self.0.queue);
        self.check_fault()?;
        outcome.map_err(|error| GpuError::Device { reason: error.to_string() })
    }

    pub(super) fn check_fault(&self) -> Result<()> {
        let slot = self.0.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        slot.as_ref().map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Destroys the device, as a driver that crashes would: whatever is asked of it from here on is
    /// [`GpuError::DeviceLost`]. For tests of what survives that.
    pub fn destroy(&self) {
        self.0.device.destroy();
    }

    /// Waits until all work is done.
    pub fn wait(&self) -> Result<()> {
        self.flush()?;
        let outcome = self.0.device.poll(wgpu::PollType::wait_indefinitely());
        self.check_fault()?;
        outcome.map(|_| ()).map_err(|error| GpuError::Device { reason: error.to_string() })
    }

    /// A tensor's elements.
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.download(tensor.span())?))
    }

    /// The values of words.
    pub fn read_words(&self, words: &Words) -> Result<Vec<u32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.download(words.span())?))
    }

    pub(super) fn download(&self, span: &Span) -> Result<Vec<u8>> {
        if self.0.rehearses {
            return Ok(vec![0; span.bytes as usize]);
        }
        let staging = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size: span.bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.0.stream.borrow_mut().copy((&span.storage.buffer, span.offset), (&staging, 0), span.bytes);
        self.flush()?;
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.wait()?;
        let view = staging.get_mapped_range(..).map_err(|error| GpuError::Device { reason: error.to_string() })?;
        Ok(view.to_vec())
    }
}
