//! What stands in for the loader in a build without programs: it says so, and does nothing.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::EbpfError;
use super::cut::{Counts, Settings};
use crate::netlink::Direction;

/// A program that cannot be loaded.
pub(super) enum CutProgram {}

impl CutProgram {
    pub(super) fn load() -> Result<Self, EbpfError> {
        Err(super::not_built())
    }

    pub(super) fn set(&mut self, _: Settings) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(super) fn cut_off(&mut self, _: &[IpAddr]) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(super) fn counts(&self) -> Result<Counts, EbpfError> {
        match *self {}
    }

    pub(super) fn link(&mut self, _: &str, _: Direction) -> Result<bool, EbpfError> {
        match *self {}
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match *self {}
    }

    pub(super) fn unlink(&mut self) -> Result<(), EbpfError> {
        match *self {}
    }
}
