//! Objects in memory, for the unit tests of this room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::object::{Object, ObjectDraft};
use crate::base::{Error, Result};

/// Named bytes.
#[derive(Debug, Default, Clone)]
pub struct MemoryFiles(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl MemoryFiles {
    pub fn draft(&self) -> Box<dyn ObjectDraft> {
        Box::new(MemoryDraft { bytes: Vec::new(), memory: self.clone() })
    }

    pub fn open(&self, name: &str) -> Box<dyn Object> {
        Box::new(MemoryObject(self.bytes(name)))
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap()[name].clone()
    }

    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.0.lock().unwrap().insert(name.to_owned(), bytes);
    }
}

#[derive(Debug)]
struct MemoryObject(Vec<u8>);

impl Object for MemoryObject {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let begin = usize::try_from(offset).ok();
        let bytes = begin.and_then(|begin| self.0.get(begin..begin.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or_else(|| Error::damaged("it is shorter than it was"))?);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryDraft {
    bytes: Vec<u8>,
    memory: MemoryFiles,
}

impl ObjectDraft for MemoryDraft {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn rewrite(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.bytes.truncate(size as usize);
        Ok(())
    }

    fn publish(self: Box<Self>, name: &str) -> Result<()> {
        self.memory.put(name, self.bytes);
        Ok(())
    }
}
