//! Names that are used once.

use std::collections::{HashMap, HashSet};

/// The names that are taken.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
    /// Where to look next for a free number after a name.
    next: HashMap<String, usize>,
}

impl Names {
    /// The hint itself if it is free, else with the first number that makes it so.
    pub fn unique(&mut self, hint: &str) -> String {
        let hint = if hint.is_empty() { "value" } else { hint };
        let mut name = hint.to_owned();
        let next = self.next.entry(hint.to_owned()).or_insert(1);
        while !self.taken.insert(name.clone()) {
            name = format!("{hint}_{next}");
            *next += 1;
        }
        name
    }
}
