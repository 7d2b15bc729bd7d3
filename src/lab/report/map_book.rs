//! A map's summary as its page asks for it: by kind of run, epoch, set and score.

use crate::lab::axis::in_255ths;
use crate::lab::map::{CellResult, Line, Merged, Plan};

use super::groups::class;

pub(super) fn eps_text(eps: Option<f64>) -> String {
    eps.map_or_else(|| "–".to_owned(), |eps| format!("{}/255", in_255ths(eps)))
}

/// One model, defence and epsilon.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) model: &'a str,
    pub(super) defence: &'a str,
    pub(super) eps: Option<f64>,
}

/// A map and how to look things up in it.
pub(super) struct Book<'a> {
    pub(super) merged: &'a Merged,
    pub(super) plan: &'a Plan,
    pub(super) last: u32,
}

impl<'a> Book<'a> {
    pub(super) fn kinds(&self) -> Vec<Kind<'a>> {
        let plan = self.plan;
        let mut kinds = Vec::new();
        for model in &plan.models {
            for defence in &plan.defences {
                kinds.extend(plan.strengths(defence).into_iter().map(|eps| Kind { model, defence, eps }));
            }
        }
        kinds
    }

    pub(super) fn line(
        &self,
        kind: Kind<'_>,
        epoch: u32,
        quantity: &str,
        more: impl Fn(&Line) -> bool,
    ) -> Option<&'a Line> {
        self.merged.summary.iter().find(|line| {
            line.model == kind.model
                && line.defence == kind.defence
                && line.eps == kind.eps
                && line.epoch == epoch
                && line.quantity == quantity
                && more(line)
        })
    }

    pub(super) fn detection(
        &self,
        kind: Kind<'_>,
        epoch: u32,
        quantity: &str,
        ood: &str,
        score: &str,
    ) -> Option<&'a Line> {
        self.line(kind, epoch, quantity, |line| {
            line.ood.as_deref() == Some(ood) && line.score.as_deref() == Some(score)
        })
    }

    pub(super) fn attacked(&self, kind: Kind<'_>, quantity: &str, eps: f64) -> Option<&'a Line> {
        self.line(kind, self.last, quantity, |line| line.attack_eps.map(in_255ths) == Some(in_255ths(eps)))
    }

    pub(super) fn runs(&self, kind: Kind<'_>) -> Vec<&'a CellResult> {
        let is = |result: &&CellResult| {
            let cell = &result.cell;
            cell.model == kind.model && cell.defence == kind.defence && cell.eps == kind.eps
        };
        self.merged.cells.iter().filter(is).collect()
    }

    /// The defence's colour.
    pub(super) fn class(&self, defence: &str) -> String {
        class(self.plan.defences.iter().position(|one| one == defence).unwrap_or(0))
    }

    /// Names of models are left out where there is but one.
    pub(super) fn titled(&self, model: &str, rest: &str) -> String {
        if self.plan.models.len() > 1 { format!("{model}, {rest}") } else { rest.to_owned() }
    }
}
