//! The tape itself: nodes, leaves and the backward walk.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::value::Value;
use crate::gpu::{Gpu, GpuError, Result, Shape, Tensor};
use crate::ops::elementwise;
use crate::ops::normalize::Pending;
use crate::ops::perturb::Step;

/// A value on a tape. Copying it copies a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var {
    index: usize,
    graph: u64,
}

/// Where a walk back begins: at a loss, the sum of whose elements is what is differentiated, or at a variable by which the gradient
/// is known already.
#[derive(Clone, Debug)]
pub struct Start {
    at: Var,
    gradient: Option<Tensor>,
}

impl Start {
    /// At a variable whose gradient, of its shape, is known.
    pub fn given(at: Var, gradient: Tensor) -> Self {
        Self { at, gradient: Some(gradient) }
    }
}

impl From<Var> for Start {
    fn from(loss: Var) -> Self {
        Self { at: loss, gradient: None }
    }
}

/// What a backward rule is told: which inputs want a gradient, and where to put it.
pub(super) struct Wanted<'a> {
    gpu: &'a Gpu,
    slots: Vec<Option<Option<Tensor>>>,
    /// See [`Wanted::is_through_own_relu`].
    through_own_relu: bool,
    /// See [`Wanted::has_input_relu`].
    input_relu: bool,
    passed_input_relu: Cell<bool>,
    /// See [`Wanted::step`].
    step: Option<(Step<'a>, &'a Tensor)>,
    took_step: Cell<bool>,
}

impl<'a> Wanted<'a> {
    /// Whether the output's gradient has been through the ReLU that is fused to the operation.
    pub(super) fn is_through_own_relu(&self) -> bool {
        self.through_own_relu
    }

    /// Whether a ReLU is fused to the operation that made the first input: a rule may take that input's gradient through it,
    /// too, and then says so by [`Wanted::passed_input_relu`].
    pub(super) fn has_input_relu(&self) -> bool {
        self.input_relu
    }

    pub(super) fn passed_input_relu(&self) {
        self.passed_input_relu.set(true);
    }

    /// The step along the signs of the first input's gradient that is all that is wanted of it, and where to put what is moved:
    /// a rule may take it, and then says so by [`Wanted::took_step`] and gives no gradient.
    pub(super) fn step(&self) -> Option<(Step<'a>, &'a Tensor)> {
        self.step
    }

    pub(super) fn took_step(&self) {
        self.took_step.set(true);
    }

    /// Whether input `i` wants a gradient.
    pub(super) fn wants(&self, i: usize) -> bool {
        matches!(self.slots.get(i), Some(Some(_)))
    }

    /// A tensor to write input `i`'s gradient to, if it wants one: its own place if it has one and
    /// nothing is there yet, else a fresh one.
    pub(super) fn place(&self, i: usize, shape: Shape) -> Result<Option<Tensor>> {
        match self.slots.get(i) {
            Some(Some(Some(slot))) => Ok(Some(slot.clone())),
            Some(Some(None)) => self.gpu.empty(shape).map(Some),
            _ => Ok(None),
        }
    }
}

/// Computes the inputs' gradients from the output's. Inputs that want none get `None`.
pub(super) type Rule = Box<dyn Fn(&Gpu, &Tensor, &Wanted<'_>) -> Result<Vec<Option<Tensor>>>>;

/// The step of [`Tape::backward_step`], of which variable, and where to put what is moved.
#[derive(Clone, Copy)]
struct Move<'a> {
    index: usize,
    step: Step<'a>,
    out: &'a Tensor,
}

struct Node {
    value: Value,
    inputs: Vec<usize>,
    rule: Option<Rule>,
    /// Where the gradient of this leaf belongs (a parameter's part of the flat gradient buffer).
    slot: Option<Tensor>,
    /// The value has been through a ReLU, and the rule asks [`Wanted::is_through_own_relu`].
    relu: bool,
}

/// A gradient on its way, and whether all of it has been through its node's ReLU.
#[derive(Clone)]
struct Arrived(Tensor, bool);

/// Records operations. One tape serves one step; [`Tape::reset`] makes it ready for the next.
pub struct Tape {
    pub(super) gpu: Gpu,
    nodes: RefCell<Vec<Node>>,
    graph: Cell<u64>,
    recording: bool,
}

thread_local! {
    /// Graphs so far, so that a variable of one tape or step is never taken for another's.
    static GRAPHS: Cell<u64> = const { Cell::new(0) };
}

fn new_graph() -> u64 {
    GRAPHS.with(|graphs| {
        graphs.set(graphs.get() + 1);
        graphs.get()
    })
}

impl Tape {
    /// A tape that records.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), nodes: RefCell::default(), graph: Cell::new(new_graph()), recording: true }
    }

    /// A tape for evaluation: it computes values and keeps nothing for a backward pass.
    pub fn evaluation(gpu: &Gpu) -> Self {
        Self { recording: false, ..Self::new(gpu) }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Drops the graph; its variables can no longer be used.
    pub fn reset(&self) {
        self.nodes.borrow_mut().clear();
        self.graph.set(new_graph());
    }

    /// A leaf: an input, or anything that may want a gradient.
    pub fn leaf(&self, value: &Tensor) -> Var {
        let value = Value::There(value.clone());
        self.push(Node { value, inputs: Vec::new(), rule: None, slot: None, relu: false })
    }

    /// A leaf whose gradient is to be written to `slot`, which has its shape.
    pub fn parameter(&self, value: &Tensor, slot: &Tensor) -> Var {
        let value = Value::There(value.clone());
        self.push(Node { value, inputs: Vec::new(), rule: None, slot: Some(slot.clone()), relu: false })
    }

    fn push(&self, node: Node) -> Var {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        Var { index: nodes.len() - 1, graph: self.graph.get() }
    }

    /// Records an operation's result. The rule is made only when the tape records.
    pub(super) fn record(&self, value: Tensor, inputs: &[Var], rule: impl FnOnce() -> Rule) -> Var {
        self.record_relu(value, inputs, false, rule)
    }

    /// The same, of an operation that ReLU is fused to or not.
    pub(super) fn record_relu(&self, value: Tensor, inputs: &[Var], relu: bool, rule: impl FnOnce() -> Rule) -> Var {
        self.record_value(Value::There(value), inputs, relu, rule)
    }

    /// The same, of a normalisation that nobody may ask for.
    pub(super) fn record_pending(&self, value: Pending, inputs: &[Var], rule: impl FnOnce() -> Rule) -> Var {
        self.record_value(Value::Normalized(value), inputs, false, rule)
    }

    fn record_value(&self, value: Value, inputs: &[Var], relu: bool, rule: impl FnOnce() -> Rule) -> Var {
        let rule = self.recording.then(rule);
        let inputs = inputs.iter().map(|input| input.index).collect();
        self.push(Node { value, inputs, rule, slot: None, relu })
    }

    fn check(&self, operation: &'static str, var: Var) -> Result<()> {
        if var.graph == self.graph.get() { Ok(()) } else { Err(GpuError::StaleVariable { operation }) }
    }

    pub(super) fn get(&self, operation: &'static str, var: Var) -> Result<Tensor> {
        self.check(operation, var)?;
        let value = &mut self.nodes.borrow_mut()[var.index].value;
        if let Value::Normalized(pending) = value {
            // So that who asks next finds it.
            *value = Value::There(pending.make(&self.gpu)?);
        }
        value.tensor(&self.gpu)
    }

    /// What it stands for, without making it.
    pub(super) fn peek(&self, operation: &'static str, var: Var) -> Result<Value> {
        self.check(operation, var)?;
        Ok(self.nodes.borrow()[var.index].value.clone())
    }

    /// The value of a variable.
    pub fn value(&self, var: Var) -> Result<Tensor> {
        self.get("value", var)
    }

    /// The gradients of a loss (summed, if it has more than one element), or as they go on from `start`, with respect to the
    /// `wanted` variables: leaves, or what was made of them.
    ///
    /// Only nodes between the start and a wanted variable are visited. A parameter that the loss does not depend
    /// on gets zeros in its slot.
    pub fn backward(&self, start: impl Into<Start>, wanted: &[Var]) -> Result<Gradients> {
        self.walk(start.into(), wanted, None).map(|(gradients, _)| gradients)
    }

    /// Takes a step along the signs of the gradient, as of [`Tape::backward`], with respect to `variable`, and writes what it
    /// moves to `out`, which has the variable's shape and is not the memory of the step's own tensors. The operation that makes
    /// the gradient may take the step as it stores.
    pub fn backward_step(&self, start: impl Into<Start>, variable: Var, step: Step<'_>, out: &Tensor) -> Result<()> {
        let (gradients, is_taken) =
            self.walk(start.into(), &[variable], Some(Move { index: variable.index, step, out }))?;
        if is_taken {
            return Ok(());
        }
        let Some(gradient) = gradients.of(variable) else {
            return Err(GpuError::operand("backward", "the loss does not depend on what is to be moved"));
        };
        step.along_into(&self.gpu, gradient, out)
    }

    /// The walk itself. Whether an operation took the step, if there is one.
    fn walk(&self, start: Start, wanted: &[Var], step: Option<Move<'_>>) -> Result<(Gradients, bool)> {
        let Start { at: loss, gradient } = start;
        self.check("backward", loss)?;
        if !self.recording {
            return Err(GpuError::operand("backward", "an evaluation tape keeps no graph to walk"));
        }
        let nodes = self.nodes.borrow();
        let mut is_wanted = vec![false; nodes.len()];
        for &variable in wanted {
            self.check("backward", variable)?;
            is_wanted[variable.index] = true;
        }
        // Inputs come before their results, so one pass forward marks all that lead to a wanted variable.
        let mut reaches = is_wanted.clone();
        for index in 0..nodes.len() {
            reaches[index] |= nodes[index].inputs.iter().any(|&input| reaches[input]);
        }
        // A step can be taken where all of the gradient is made, by the only operation that the variable goes into. A parameter's
        // gradient belongs in its slot.
        let step = step.filter(|step| nodes[step.index].slot.is_none()).filter(|step| {
            let uses = (0..=loss.index).filter(|&index| reaches[index]).flat_map(|index| &nodes[index].inputs);
            uses.filter(|&&input| input == step.index).count() == 1
        });
        let mut is_taken = false;

        let mut gradients: Vec<Option<Arrived>> = vec![None; nodes.len()];
        // A loss that is itself a parameter has a slot, too.
        let shape = nodes[loss.index].value.shape();
        let gradient = match gradient {
            Some(gradient) => {
                GpuError::expect_shape("backward", "the gradient to begin with", gradient.shape(), shape)?;
                gradient
            }
            None => self.gpu.filled(shape, 1.0)?,
        };
        let slot = nodes[loss.index].slot.as_ref().filter(|_| reaches[loss.index]);
        gradients[loss.index] = Some(Arrived(self.join(None, gradient, slot)?, false));
        let mut found = HashMap::new();
        for index in (0..=loss.index).rev() {
            let node = &nodes[index];
            let Some(Arrived(gradient, through_own_relu)) = gradients[index].take().filter(|_| reaches[index]) else {
                continue;
            };
            if is_wanted[index] {
                found.insert(index, gradient.clone());
            }
            // A wanted variable may be the end of the way.
            if let Some(rule) = node.rule.as_ref().filter(|_| node.inputs.iter().any(|&input| reaches[input])) {
                let slots = node.inputs.iter().enumerate().map(|(place, &input)| {
                    reaches[input].then(|| {
                        // Only the first gradient to arrive may be written straight to the slot.
                        let repeated = node.inputs[..place].contains(&input);
                        nodes[input].slot.clone().filter(|_| gradients[input].is_none() && !repeated)
                    })
                });
                let slots = slots.collect();
                // Whoever wants a variable's gradient wants it before that has been through a ReLU.
                let input_relu = node.inputs.first().is_some_and(|&input| nodes[input].relu && !is_wanted[input]);
                let step = step.filter(|step| node.inputs.first() == Some(&step.index));
                let asked = Wanted {
                    gpu: &self.gpu,
                    slots,
                    through_own_relu,
                    input_relu,
                    passed_input_relu: Cell::new(false),
                    step: step.map(|Move { step, out, .. }| (step, out)),
                    took_step: Cell::new(false),
                };
                let arrived = rule(&self.gpu, &gradient, &asked)?;
                is_taken |= asked.took_step.get();
                for (place, (&input, arriving)) in node.inputs.iter().zip(arrived).enumerate() {
                    let Some(arriving) = arriving.filter(|_| reaches[input]) else { continue };
                    let slot = nodes[input].slot.as_ref();
                    let passed = place == 0 && asked.passed_input_relu.get();
                    let (present, before) =
                        gradients[input].take().map_or((None, true), |Arrived(sum, gated)| (Some(sum), gated));
                    gradients[input] = Some(Arrived(self.join(present, arriving, slot)?, before && passed));
                }
            }
        }
        for &leaf in wanted {
            if let (None, Some(slot)) = (found.get(&leaf.index), &nodes[leaf.index].slot) {
                self.gpu.fill(slot, 0.0)?;
            }
        }
        Ok((Gradients { found, graph: self.graph.get() }, is_taken))
    }

    /// Adds an arriving gradient to what is there.
    fn join(&self, present: Option<Tensor>, arriving: Tensor, slot: Option<&Tensor>) -> Result<Tensor> {
        match (present, slot) {
            // A slot is this leaf's alone, so it can be added to in place. A gradient elsewhere may be
            // shared (the two sides of an addition have the same one), so the sum needs a new tensor.
            (Some(present), Some(_)) => {
                elementwise::accumulate(&self.gpu, &present, &arriving)?;
                Ok(present)
            }
            (Some(present), None) => elementwise::add(&self.gpu, &present, &arriving),
            (None, Some(slot)) => {
                if !slot.is_same_memory(&arriving) {
                    self.gpu.copy(&arriving, slot)?;
                }
                Ok(slot.clone())
            }
            (None, None) => Ok(arriving),
        }
    }
}

/// What a backward pass found.
#[derive(Debug)]
pub struct Gradients {
    found: HashMap<usize, Tensor>,
    graph: u64,
}

impl Gradients {
    /// The gradient of a wanted variable; `None` if the loss does not depend on it.
    pub fn of(&self, variable: Var) -> Option<&Tensor> {
        if variable.graph == self.graph { self.found.get(&variable.index) } else { None }
    }
}
