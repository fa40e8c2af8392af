//! Which machine the defaults are for.

use super::parse::word;
use super::{Resolver, table};

/// What a setting's default is taken from when it was given nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    /// Servers.
    #[default]
    Default,
    /// Single-board computers: little memory, a slow core, a memory card that writing wears out.
    Edge,
}

impl Profile {
    /// What the settings say.
    pub(super) fn read(r: &mut Resolver) -> Self {
        r.get(&table::PROFILE, word(&[("default", Self::Default), ("edge", Self::Edge)]))
    }
}
