//! The difference of two sorted lists of lines. One that is not sorted is damaged: it could go on
//! without an end.

use std::cmp::Ordering;

use crate::base::{Error, Result};

/// A line that is in one list and not in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListChange<T> {
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
    mut each: impl FnMut(ListChange<T>) -> Result<()>,
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
        let gone = if place.is_le() { advance(&mut left, &mut old, &order)? } else { None };
        let came = if place.is_ge() { advance(&mut right, &mut new, &order)? } else { None };
        match (gone, came) {
            (Some(gone), Some(came)) if gone == came => {}
            (Some(gone), Some(came)) => each(ListChange::Replaced(gone, came))?,
            (Some(gone), None) => each(ListChange::Removed(gone))?,
            (None, Some(came)) => each(ListChange::Added(came))?,
            (None, None) => return Ok(()),
        }
    }
}

/// Goes on to the next line of a list. The one that was there.
fn advance<T>(
    line: &mut Option<T>,
    list: &mut impl Iterator<Item = Result<T>>,
    order: &impl Fn(&T, &T) -> Ordering,
) -> Result<Option<T>> {
    let before = std::mem::replace(line, list.next().transpose()?);
    match (&before, &*line) {
        (Some(before), Some(line)) if order(before, line).is_ge() => {
            Err(Error::damaged("a list of a snapshot is out of order"))
        }
        _ => Ok(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let list = |items: &[(char, u8)]| {
            items.iter().map(|&item| Ok(item)).collect::<Vec<Result<_>>>().into_iter()
        };
        let mut told = Vec::new();
        let old = list(&[('a', 1), ('b', 1), ('d', 1)]);
        let new = list(&[('a', 1), ('b', 2), ('c', 1)]);
        let each = |change| {
            told.push(change);
            Ok(())
        };
        merge(old, new, |a, b| a.0.cmp(&b.0), each).unwrap();
        let twice = merge(list(&[]), list(&[('a', 1), ('a', 2)]), |a, b| a.0.cmp(&b.0), |_| Ok(()));
        let backwards =
            merge(list(&[('b', 1), ('a', 1)]), list(&[]), |a, b| a.0.cmp(&b.0), |_| Ok(()));
        assert!(twice.is_err() && backwards.is_err());
        assert_eq!(
            told,
            [
                ListChange::Replaced(('b', 1), ('b', 2)),
                ListChange::Added(('c', 1)),
                ListChange::Removed(('d', 1))
            ]
        );
    }
}
