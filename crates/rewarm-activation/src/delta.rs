//! What an activation does to an environment, as a value that fits any caller.
//!
//! A [`Delta`] is an ordered list of operations on the variables of a process. List-like variables
//! (`PATH` and its kin) are changed entry by entry, so that one delta serves callers whose `PATH`
//! differs. Everything is bytes: values with newlines, `=` or invalid UTF-8 pass unharmed. All
//! functions are pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

/// The environment of a process: each name once.
pub type Variables = BTreeMap<OsString, OsString>;

/// Collects an environment. Of a name that occurs twice the first one counts, as for `getenv`.
pub fn variables(pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
    let mut variables = Variables::new();
    for (name, value) in pairs {
        variables.entry(name).or_insert(value);
    }
    variables
}

/// Some entries of a list-like variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The variable.
    pub name: OsString,
    /// The byte between entries, `:` for `PATH`.
    pub separator: u8,
    /// The entries, first one first.
    pub entries: Vec<OsString>,
}

impl List {
    /// Entries of a variable like `PATH`.
    pub fn path_like(
        name: impl Into<OsString>,
        entries: impl IntoIterator<Item = OsString>,
    ) -> Self {
        Self { name: name.into(), separator: b':', entries: entries.into_iter().collect() }
    }
}

/// One operation on an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Gives a variable a value.
    Set {
        /// The variable.
        name: OsString,
        /// Its new value.
        value: OsString,
    },
    /// Removes a variable.
    Unset {
        /// The variable.
        name: OsString,
    },
    /// Puts entries in front of a list. Those already in it are moved, not doubled.
    Prepend(List),
    /// Puts entries at the end of a list. Those already in it are moved, not doubled.
    Append(List),
    /// Takes entries out of a list. A list that loses its last entry is unset.
    Remove(List),
    /// Puts text around the value, as a shell does with `NAME="before$NAME:after"`.
    Around {
        /// The variable.
        name: OsString,
        /// What stands before the value, with the separator.
        before: OsString,
        /// What stands behind it, with the separator.
        after: OsString,
    },
    /// Gives a variable the value of another one, if that is set.
    Copy {
        /// The variable.
        name: OsString,
        /// The one whose value it gets.
        from: OsString,
    },
}

impl Op {
    /// The variable that this operation changes.
    pub fn name(&self) -> &OsStr {
        match self {
            Self::Set { name, .. }
            | Self::Unset { name }
            | Self::Around { name, .. }
            | Self::Copy { name, .. } => name,
            Self::Prepend(list) | Self::Append(list) | Self::Remove(list) => &list.name,
        }
    }

    /// Whether the result does not depend on the value before.
    fn replaces(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::Unset { .. })
    }

    /// The value of the variable afterwards; that of a copy is what it is a copy of.
    ///
    /// An absent and an empty list both have no entry; an empty entry of a longer list (the
    /// working directory, to a shell) stays.
    fn result(&self, before: Option<&OsStr>) -> Option<OsString> {
        let (list, put_first, put_last) = match self {
            Self::Set { value, .. } => return Some(value.clone()),
            Self::Unset { .. } => return None,
            Self::Copy { .. } => return before.map(OsStr::to_owned),
            Self::Around { before: first, after: last, .. } => {
                let value = before.unwrap_or_default().as_bytes();
                let text = [first.as_bytes(), value, last.as_bytes()].concat();
                return Some(OsString::from_vec(text));
            }
            Self::Prepend(list) => (list, true, false),
            Self::Append(list) => (list, false, true),
            Self::Remove(list) => (list, false, false),
        };
        let kept = split(before.unwrap_or_default(), list.separator);
        let kept = kept.into_iter().filter(|entry| !list.entries.iter().any(|e| e == entry));
        let new = || list.entries.iter().map(OsString::as_os_str);
        let mut entries = Vec::new();
        entries.extend(put_first.then(new).into_iter().flatten());
        entries.extend(kept);
        entries.extend(put_last.then(new).into_iter().flatten());
        if entries.is_empty() {
            return None;
        }
        Some(join(&entries, list.separator))
    }
}

/// The entries of a list-like value; none if it is empty.
pub(crate) fn split(value: &OsStr, separator: u8) -> Vec<&OsStr> {
    if value.is_empty() {
        return Vec::new();
    }
    value.as_bytes().split(|byte| *byte == separator).map(OsStr::from_bytes).collect()
}

fn join(entries: &[&OsStr], separator: u8) -> OsString {
    let parts: Vec<&[u8]> = entries.iter().map(|entry| entry.as_bytes()).collect();
    OsString::from_vec(parts.join(&separator))
}

/// An ordered list of operations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    ops: Vec<Op>,
}

/// What became of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The variable.
    pub name: OsString,
    /// Its value before, `None` if it was not set.
    pub before: Option<OsString>,
    /// Its value after, `None` if it is not set.
    pub after: Option<OsString>,
}

impl Delta {
    /// Adds an operation after those that are there.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The environment that results for this caller.
    pub fn apply(&self, caller: impl IntoIterator<Item = (OsString, OsString)>) -> Variables {
        let mut result = variables(caller);
        for op in &self.ops {
            let before = match op {
                Op::Copy { name, from } => result.get(from).or(result.get(name)),
                op => result.get(op.name()),
            };
            match op.result(before.map(OsString::as_os_str)) {
                Some(value) => result.insert(op.name().to_owned(), value),
                None => result.remove(op.name()),
            };
        }
        result
    }

    /// Of which variable another one is a copy.
    pub(crate) fn copied(&self, name: &OsStr) -> Option<&OsStr> {
        self.ops.iter().rev().find_map(|op| match op {
            Op::Copy { name: copy, from } if copy == name => Some(from.as_os_str()),
            _ => None,
        })
    }

    /// The value of one variable after all operations, for a caller that has it as `before`.
    /// Copies of other variables are passed over.
    pub fn value(&self, name: &OsStr, before: Option<&OsStr>) -> Option<OsString> {
        let mut value = before.map(OsStr::to_owned);
        for op in self.ops.iter().filter(|op| op.name() == name) {
            value = op.result(value.as_deref());
        }
        value
    }

    /// Whether the result for this variable is the same for every caller.
    pub fn replaces(&self, name: &OsStr) -> bool {
        self.ops.iter().any(|op| op.name() == name && op.replaces())
    }

    /// The delta that leads from one environment to the other: `diff(a, b).apply(a) == b`.
    ///
    /// Where a list-like variable only gained, lost or moved entries, the delta says so instead of
    /// giving the whole value; it then fits callers with other entries as well.
    pub fn diff(before: &Variables, after: &Variables) -> Self {
        let mut delta = Self::default();
        for Change { name, before, after } in changes(before, after) {
            match (before, after) {
                (_, None) => delta.push(Op::Unset { name }),
                (Some(before), Some(after)) if is_list(&name) => {
                    delta.ops.extend(list_ops(&name, &before, after));
                }
                (_, Some(value)) => delta.push(Op::Set { name, value }),
            }
        }
        delta
    }
}

/// The variables that differ, by name. Swapping `before` and `after` of each undoes the change.
pub fn changes(before: &Variables, after: &Variables) -> Vec<Change> {
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let names = after.keys().chain(gone);
    let mut changes: Vec<Change> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| Change {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect();
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}

/// Whether a variable is by convention a list with `:` between its entries.
pub(crate) fn is_list(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b"PATH") || name.as_bytes().ends_with(b"_DIRS")
}

/// Longer lists are taken whole: looking for their common middle is not worth the time.
const MAX_LIST: usize = 64;

/// The fewest new entries at both ends that make `after` out of `before`; else the whole value.
fn list_ops(name: &OsStr, before: &OsStr, after: OsString) -> Vec<Op> {
    let wanted = split(&after, b':');
    let lost: Vec<OsString> = split(before, b':')
        .into_iter()
        .filter(|entry| !wanted.contains(entry))
        .map(OsStr::to_owned)
        .collect();
    let list =
        |entries: &[&OsStr]| List::path_like(name, entries.iter().map(|entry| (*entry).to_owned()));
    let count = if wanted.len() <= MAX_LIST { wanted.len() } else { 0 };
    for moved in 0..count {
        for last in 0..=moved {
            let (front, rest) = wanted.split_at(moved - last);
            let back = &rest[rest.len() - last..];
            let mut delta = Delta::default();
            if !lost.is_empty() {
                delta.push(Op::Remove(List::path_like(name, lost.clone())));
            }
            if !front.is_empty() {
                delta.push(Op::Prepend(list(front)));
            }
            if !back.is_empty() {
                delta.push(Op::Append(list(back)));
            }
            if delta.value(name, Some(before)).as_ref() == Some(&after) {
                return delta.ops;
            }
        }
    }
    vec![Op::Set { name: name.to_owned(), value: after }]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn prepend(entries: &[&str]) -> Delta {
        let entries = entries.iter().map(OsString::from);
        Delta { ops: vec![Op::Prepend(List::path_like("PATH", entries))] }
    }

    fn path_after(delta: &Delta, path: Option<&str>) -> Option<OsString> {
        delta.value("PATH".as_ref(), path.map(OsStr::new))
    }

    #[test]
    fn entries_already_present_are_moved_not_doubled() {
        let delta = prepend(&["/v/bin", "/w"]);
        assert_eq!(path_after(&delta, Some("/a:/v/bin:/b")), Some("/v/bin:/w:/a:/b".into()));
        let again = path_after(&delta, Some("/v/bin:/w:/a:/b"));
        assert_eq!(again, Some("/v/bin:/w:/a:/b".into()));
    }

    #[test]
    fn an_empty_or_absent_list_gets_no_empty_entry() {
        let delta = prepend(&["/v/bin"]);
        assert_eq!(path_after(&delta, None), Some("/v/bin".into()));
        assert_eq!(path_after(&delta, Some("")), Some("/v/bin".into()));
        assert_eq!(path_after(&delta, Some("/a::/b:")), Some("/v/bin:/a::/b:".into()));
    }

    #[test]
    fn list_that_loses_its_last_entry_is_unset() {
        let list = List::path_like("PATH", ["/a".into()]);
        let delta = Delta { ops: vec![Op::Remove(list)] };
        assert_eq!(path_after(&delta, Some("/a")), None);
        assert_eq!(path_after(&delta, Some("/a:/b:/a")), Some("/b".into()));
    }

    #[test]
    fn first_of_two_equal_names_counts() {
        let pairs = [("A", "1"), ("A", "2")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(variables(pairs), env(&[("A", "1")]));
    }

    #[test]
    fn diff_of_a_list_fits_other_callers() {
        let before = env(&[("PATH", "/old/bin:/usr/bin:/bin")]);
        let after = env(&[("PATH", "/new/bin:/usr/bin:/bin:/last")]);
        let delta = Delta::diff(&before, &after);
        let other = env(&[("PATH", "/home/me:/old/bin:/bin")]);
        let expected = env(&[("PATH", "/new/bin:/home/me:/bin:/last")]);
        assert_eq!(delta.apply(other), expected);
    }

    #[test]
    fn diff_of_a_variable_that_was_absent_is_its_value() {
        let delta = Delta::diff(&env(&[]), &env(&[("LD_LIBRARY_PATH", "/v/lib")]));
        assert!(delta.replaces("LD_LIBRARY_PATH".as_ref()));
    }

    fn environment() -> impl Strategy<Value = Variables> {
        let name = prop_oneof![
            Just("PATH".to_owned()),
            Just("PYTHONPATH".to_owned()),
            Just("XDG_DATA_DIRS".to_owned()),
            "[A-C]",
        ];
        let list = prop::collection::vec("/?[a-d]?", 0..6).prop_map(|e| e.join(":").into_bytes());
        let value = prop_oneof![list, prop::collection::vec(1_u8.., 0..8)];
        let pair = (name, value).prop_map(|(n, v)| (n.into(), OsString::from_vec(v)));
        prop::collection::vec(pair, 0..6).prop_map(variables)
    }

    proptest! {
        #[test]
        fn applying_a_difference_gives_the_other_environment(
            before in environment(),
            after in environment(),
        ) {
            prop_assert_eq!(Delta::diff(&before, &after).apply(before), after);
        }

        #[test]
        fn swapped_changes_restore_the_environment(
            before in environment(),
            after in environment(),
        ) {
            let mut restored = after.clone();
            for change in changes(&before, &after) {
                prop_assert_eq!(restored.get(&change.name), change.after.as_ref());
                match change.before {
                    Some(value) => restored.insert(change.name, value),
                    None => restored.remove(&change.name),
                };
            }
            prop_assert_eq!(restored, before);
        }

        #[test]
        fn activating_twice_is_activating_once(caller in environment(), to in environment()) {
            let delta = Delta::diff(&Variables::new(), &to);
            let once = delta.apply(caller);
            prop_assert_eq!(delta.apply(once.clone()), once);
        }
    }
}
