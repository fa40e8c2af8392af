//! The samples of one subject at one moment. A controller keeps those of tens of thousands of containers, so they lie
//! in one piece, in the order of their names.

use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SeriesName;

/// What was measured of one subject at one moment, by series, in the order of their names. Values are finite.
#[derive(Clone, PartialEq, Default)]
pub struct Values(Vec<(SeriesName, f64)>);

impl Values {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a series.
    pub fn get(&self, name: &SeriesName) -> Option<f64> {
        self.find(name).ok().map(|at| self.0[at].1)
    }

    /// Puts a value in, in the place of an earlier one of that series.
    pub fn insert(&mut self, name: SeriesName, value: f64) {
        match self.find(&name) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Leaves out what `keep` says no to.
    pub fn retain(&mut self, keep: impl Fn(&SeriesName, f64) -> bool) {
        self.0.retain(|(name, value)| keep(name, *value));
    }

    /// Every series, in order.
    pub fn keys(&self) -> impl Iterator<Item = &SeriesName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Every series and its value, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (SeriesName, f64)> {
        self.0.iter()
    }

    /// A metric's series: its own, then those of its parts.
    pub fn of(&self, metric: &'static str) -> impl Iterator<Item = &(SeriesName, f64)> {
        // A name sorts before its parts, and those before all other names that begin alike.
        let first = self.0.partition_point(|(name, _)| name.as_str() < metric);
        self.0[first..].iter().take_while(move |(name, _)| name.metric() == metric)
    }

    fn find(&self, name: &SeriesName) -> Result<usize, usize> {
        // They mostly come in order.
        match self.0.last() {
            Some((last, _)) if last < name => Err(self.0.len()),
            _ => self.0.binary_search_by(|(known, _)| known.cmp(name)),
        }
    }
}

impl Extend<(SeriesName, f64)> for Values {
    fn extend<T: IntoIterator<Item = (SeriesName, f64)>>(&mut self, more: T) {
        self.0.extend(more);
        if !self.0.is_sorted_by(|a, b| a.0 < b.0) {
            // Of one series the last is kept: the sort leaves them in their order.
            self.0.sort_by(|a, b| a.0.cmp(&b.0));
            self.0.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    earlier.1 = later.1;
                }
                same
            });
        }
    }
}

impl FromIterator<(SeriesName, f64)> for Values {
    fn from_iter<T: IntoIterator<Item = (SeriesName, f64)>>(all: T) -> Self {
        let mut values = Self::new();
        values.extend(all);
        values
    }
}

impl<const N: usize> From<[(SeriesName, f64); N]> for Values {
    fn from(all: [(SeriesName, f64); N]) -> Self {
        all.into_iter().collect()
    }
}

impl IntoIterator for Values {
    type Item = (SeriesName, f64);
    type IntoIter = std::vec::IntoIter<(SeriesName, f64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a (SeriesName, f64);
    type IntoIter = std::slice::Iter<'a, (SeriesName, f64)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Index<&SeriesName> for Values {
    type Output = f64;

    fn index(&self, name: &SeriesName) -> &f64 {
        let at = self.find(name).expect("an index is of what is there");
        &self.0[at].1
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, value)| (name.as_str(), value))).finish()
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("values by the names of their series")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                let mut values: Values = all.into_iter().collect();
                values.0.shrink_to_fit();
                Ok(values)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_a_map(
            told in proptest::collection::vec(("[a-c]{1,2}", -9..9), 0..12),
            more in proptest::collection::vec(("[a-c]{1,2}", -9..9), 0..12),
        ) {
            let read = |told: &[(String, i32)]| -> Vec<(SeriesName, f64)> {
                told.iter().map(|(name, value)| (name.parse().unwrap(), f64::from(*value))).collect()
            };
            let (told, more) = (read(&told), read(&more));
            let (mut values, mut model) = (Values::new(), BTreeMap::new());
            for (name, value) in told {
                values.insert(name.clone(), value);
                model.insert(name, value);
            }
            values.extend(more.clone());
            model.extend(more);
            prop_assert!(values.iter().map(|(name, value)| (name, value)).eq(&model));
            for name in ["a", "bb", "zz"].map(|name| name.parse().unwrap()) {
                prop_assert_eq!(values.get(&name), model.get(&name).copied());
            }
            let json = serde_json::to_string(&values).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&model).unwrap());
            prop_assert_eq!(serde_json::from_str::<Values>(&json).unwrap(), values);
        }
    }

    #[test]
    fn a_metric_has_its_own_series_and_those_of_its_parts() {
        let names = ["load", "load1", "load1/a", "load1/b", "load15", "load1_", "load2"];
        let values: Values = names.map(|name| (name.parse().unwrap(), 1.0)).into();
        let of = |metric| values.of(metric).map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(of("load1"), ["load1", "load1/a", "load1/b"]);
        assert_eq!((of("load2"), of("load3")), (vec!["load2"], vec![]));
    }

    #[test]
    fn json_may_be_in_any_order_and_the_last_of_a_name_counts() {
        let values: Values = serde_json::from_str(r#"{"pids": 1, "load1": 2, "pids": 3}"#).unwrap();
        assert_eq!(format!("{values:?}"), r#"{"load1": 2.0, "pids": 3.0}"#);
        assert!(serde_json::from_str::<Values>(r#"{"Bad name": 1}"#).is_err());
    }
}
