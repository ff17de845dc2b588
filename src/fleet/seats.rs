//! Every child that is asked for, side by side with its place and what exists of it.
use std::sync::Arc;

use super::generate::{Child, Generated};
use super::inventory::Ours;
use super::order::{Order, Place};
use super::record::Record;
use crate::api::row::ChildView;

/// A child that is asked for, its place, and what exists of it.
#[derive(Clone, Copy)]
pub struct Seat<'a> {
    pub child: &'a Arc<Child>,
    pub place: Place,
    pub ours: Option<(&'a Arc<ChildView>, &'a Record)>,
}

impl<'a> Seat<'a> {
    pub fn name(&self) -> &'a str {
        &self.child.name
    }

    /// Whether it exists with the revision that is asked for.
    pub fn is_as_asked(&self) -> bool {
        let revision = self.ours.and_then(|(_, record)| record.revision.as_ref());
        revision == Some(&self.child.revision)
    }
}

/// The children asked for that have a place, by name. All three maps are in that order, so that they are read side by side:
/// to look thousands of names up takes longer than all that is decided about them.
pub fn seats<'a>(generated: &'a Generated, order: &Order, ours: &'a Ours<'a>) -> Vec<Seat<'a>> {
    let mut places = order.places.iter().peekable();
    let mut ours = ours.iter().peekable();
    let mut seats = Vec::with_capacity(generated.children.len());
    for (name, child) in generated.children.iter() {
        while places.next_if(|(other, _)| *other < name).is_some() {}
        while ours.next_if(|(other, _)| **other < name.as_str()).is_some() {}
        let Some((_, place)) = places.next_if(|(other, _)| *other == name) else {
            continue;
        };
        let found = ours.next_if(|(other, _)| **other == name.as_str());
        seats.push(Seat {
            child,
            place: *place,
            ours: found.map(|(_, (view, record))| (*view, record.as_ref())),
        });
    }
    seats
}
