//! The difference of two sorted lists of lines.

use std::cmp::Ordering;

use crate::base::Result;

/// A line that is in one list and not in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    /// Only in the old list.
    Removed(T),
    /// Only in the new list.
    Added(T),
    /// In both, not the same.
    Replaced(T, T),
}

/// Walks two sorted lists together and tells `each` where they differ.
pub fn merge<T: PartialEq>(
    old: impl Iterator<Item = Result<T>>,
    new: impl Iterator<Item = Result<T>>,
    order: impl Fn(&T, &T) -> Ordering,
    mut each: impl FnMut(Change<T>) -> Result<()>,
) -> Result<()> {
    let (mut old, mut new) = (old, new);
    let (mut left, mut right) = (old.next().transpose()?, new.next().transpose()?);
    loop {
        let place = match (&left, &right) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => order(a, b),
        };
        let gone = if place.is_le() { std::mem::replace(&mut left, old.next().transpose()?) } else { None };
        let came = if place.is_ge() { std::mem::replace(&mut right, new.next().transpose()?) } else { None };
        match (gone, came) {
            (Some(gone), Some(came)) if gone == came => {}
            (Some(gone), Some(came)) => each(Change::Replaced(gone, came))?,
            (Some(gone), None) => each(Change::Removed(gone))?,
            (None, Some(came)) => each(Change::Added(came))?,
            (None, None) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let list = |items: &[(char, u8)]| items.iter().map(|&item| Ok(item)).collect::<Vec<Result<_>>>().into_iter();
        let mut told = Vec::new();
        let old = list(&[('a', 1), ('b', 1), ('d', 1)]);
        let new = list(&[('a', 1), ('b', 2), ('c', 1)]);
        let each = |change| {
            told.push(change);
            Ok(())
        };
        merge(old, new, |a, b| a.0.cmp(&b.0), each).unwrap();
        assert_eq!(told, [Change::Replaced(('b', 1), ('b', 2)), Change::Added(('c', 1)), Change::Removed(('d', 1))]);
    }
}
