//! Several sorted streams as one.

use std::iter::Peekable;

use super::{FoundEntry, Item};

/// Sorted streams whose entries come out in order; of equal paths the one of the stream that was
/// added first. Problems come out as soon as they are met.
#[derive(Default)]
pub(super) struct MergedWalk {
    streams: Vec<Peekable<Box<dyn Iterator<Item = Item> + Send>>>,
}

impl MergedWalk {
    pub(super) fn add(&mut self, stream: impl Iterator<Item = Item> + Send + 'static) {
        let stream: Box<dyn Iterator<Item = Item> + Send> = Box::new(stream);
        self.streams.push(stream.peekable());
    }

    /// The next problem if one stands at the head of a stream, else the stream with the smallest
    /// path.
    fn first(&mut self) -> Option<usize> {
        let mut best: Option<(usize, &FoundEntry)> = None;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            match stream.peek() {
                None => {}
                Some(Err(_)) => return Some(index),
                Some(Ok(found)) if best.is_none_or(|(_, least)| found.path < least.path) => {
                    best = Some((index, found))
                }
                Some(Ok(_)) => {}
            }
        }
        best.map(|(index, _)| index)
    }
}

impl Iterator for MergedWalk {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let first = self.first()?;
        let item = self.streams[first].next()?;
        if let Ok(found) = &item {
            for stream in &mut self.streams {
                while stream
                    .next_if(|other| other.as_ref().is_ok_and(|other| other.path == found.path))
                    .is_some()
                {}
            }
        }
        Some(item)
    }
}
