//! What stands in for the loader in a build without programs: it says so, and does nothing.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::cut::{Counts, Settings};
use super::net::{
    Count, DropKey, EpochKey, FlowKey, LatencyCounts, LostCounts, NetSettings, OwnerId, PairKey, StampCounts,
    Tap, TcpCounts, TcpKey, TrafficCounts,
};
use super::{EbpfError, Stale, Switch};
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

/// Programs that cannot be loaded.
pub(crate) enum NetPrograms {}

impl NetPrograms {
    pub(crate) fn load(_: u32, _: u32) -> Result<Self, EbpfError> {
        Err(super::not_built())
    }

    pub(crate) fn failed(&self) -> &BTreeMap<Tap, EbpfError> {
        match *self {}
    }

    pub(crate) fn take_failure(&mut self, _: Tap) -> Option<EbpfError> {
        match *self {}
    }

    pub(crate) fn switch(&mut self, _: Tap, _: Switch) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(crate) fn set(&mut self, _: NetSettings) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(crate) fn select(&mut self, _: &[OwnerId]) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(crate) fn watch_cgroups(&mut self, _: &[u64]) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(crate) fn want_ports(&mut self, _: &[u16]) -> Result<(), EbpfError> {
        match *self {}
    }

    pub(crate) fn flows(&self) -> Result<HashMap<FlowKey, TrafficCounts>, EbpfError> {
        match *self {}
    }

    pub(crate) fn latency(&self) -> Result<HashMap<PairKey, LatencyCounts>, EbpfError> {
        match *self {}
    }

    pub(crate) fn tcp(&self) -> Result<HashMap<TcpKey, TcpCounts>, EbpfError> {
        match *self {}
    }

    pub(crate) fn drops(&self) -> Result<HashMap<DropKey, Count>, EbpfError> {
        match *self {}
    }

    pub(crate) fn stamps(&self) -> Result<HashMap<EpochKey, StampCounts>, EbpfError> {
        match *self {}
    }

    pub(crate) fn lost(&self) -> Result<LostCounts, EbpfError> {
        match *self {}
    }

    pub(crate) fn forget(&mut self, _: &Stale<'_>) -> Result<(), EbpfError> {
        match *self {}
    }
}

/// Programs that cannot be loaded.
pub(crate) enum CountPrograms {}

impl CountPrograms {
    pub(crate) fn load() -> Result<Self, EbpfError> {
        Err(super::not_built())
    }

    pub(crate) fn descriptor(&self, _: Direction) -> BorrowedFd<'_> {
        match *self {}
    }

    pub(crate) fn flows(&self) -> Result<HashMap<FlowKey, TrafficCounts>, EbpfError> {
        match *self {}
    }

    pub(crate) fn forget(&mut self, _: &dyn Fn(&FlowKey) -> bool) -> Result<(), EbpfError> {
        match *self {}
    }
}
