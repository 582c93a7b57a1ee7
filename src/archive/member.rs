//! Tar members: the 512-byte blocks before the bytes. POSIX.1-2017, pax, "pax Interchange Format".

use tar::{Builder, EntryType, Header};

use crate::base::{Error, FilePath, Result};

/// Bytes of a tar block.
pub const BLOCK: u64 = 512;
/// From here on the size does not fit a ustar header (8 GiB).
const USTAR_SIZE_END: u64 = 1 << 33;
/// The last second that fits a ustar header (in the year 2242).
const USTAR_TIME_MAX: i64 = 0o77777777777;
/// No file system takes a longer name.
const NAME_MAX: usize = 255;
const COMPRESSED: &[u8] = b".zst";

/// What a member's header says.
#[derive(Debug, Clone)]
pub struct MemberHeader<'a> {
    /// The member's name; `.zst` is part of it where the bytes are compressed.
    pub name: &'a [u8],
    /// Nanoseconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl<'a> MemberHeader<'a> {
    /// The header of a member that shoebox itself makes.
    pub fn own(name: &'a str) -> Self {
        MemberHeader { name: name.as_bytes(), mtime: 0, mode: 0o600, uid: 0, gid: 0 }
    }

    /// The blocks before `size` bytes of data. The length depends on the name and the time only when `wide` is set
    /// or the size fits ustar, so a header can be written again in the same place when the size is known.
    pub fn blocks(&self, size: u64, wide: bool) -> Result<Vec<u8>> {
        let seconds = self.mtime.div_euclid(1_000_000_000);
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(self.mode & 0o7777);
        header.set_uid(u64::from(self.uid).min(0o7777777));
        header.set_gid(u64::from(self.gid).min(0o7777777));
        header.set_mtime(seconds.clamp(0, USTAR_TIME_MAX).cast_unsigned());
        header.set_size(if size < USTAR_SIZE_END { size } else { 0 });
        set_name(&mut header, self.name);
        header.set_cksum();
        let mut blocks = self.extensions(size, wide || size >= USTAR_SIZE_END)?;
        blocks.extend_from_slice(header.as_bytes());
        Ok(blocks)
    }

    /// The pax header; empty when ustar says it all.
    fn extensions(&self, size: u64, wide: bool) -> Result<Vec<u8>> {
        let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
        if self.name.len() > 100 {
            if std::str::from_utf8(self.name).is_err() {
                records.push(("hdrcharset", b"BINARY".to_vec()));
            }
            records.push(("path", self.name.to_vec()));
        }
        if self.mtime % 1_000_000_000 != 0 || !(0..=USTAR_TIME_MAX).contains(&self.mtime.div_euclid(1_000_000_000)) {
            records.push(("mtime", seconds(self.mtime).into_bytes()));
        }
        if wide {
            records.push(("size", format!("{size:020}").into_bytes()));
        }
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if id > 0o7777777 {
                records.push((key, id.to_string().into_bytes()));
            }
        }
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut builder = Builder::new(Vec::new());
        builder
            .append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_slice())))
            .map_err(|error| Error::io("writing a tar header", error))?;
        Ok(builder.get_ref().clone())
    }
}

/// Decimal seconds, as pax writes times.
fn seconds(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// The first 100 bytes at most; a pax record holds the whole where that is not enough.
fn set_name(header: &mut Header, name: &[u8]) {
    let field = &mut header.as_old_mut().name;
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

/// Zero bytes that fill the last block of `size` bytes.
pub fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK) - size) as usize
}

/// The member name of a content: its path, with `.zst` where it is compressed.
pub fn content_name(path: &FilePath, compressed: bool) -> Vec<u8> {
    let mut name = path.as_bytes().to_vec();
    if compressed {
        name.extend_from_slice(COMPRESSED);
    }
    name
}

/// False for a path whose name would be too long with `.zst`: no `tar` could extract it.
pub fn may_be_compressed(path: &FilePath) -> bool {
    path.name().len() + COMPRESSED.len() <= NAME_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_can_be_written_again_with_another_size() {
        let name = "n".repeat(300);
        let header = MemberHeader { name: name.as_bytes(), mtime: 1, mode: 0o644, uid: 1 << 30, gid: 0 };
        let lens: Vec<_> = [0, 1 << 20, 1 << 40].map(|size| header.blocks(size, true).unwrap().len()).into();
        assert_eq!(lens, [lens[0]; 3]);
        assert_eq!(lens[0] % 512, 0);
    }

    #[test]
    fn times_before_1970_and_fractions_are_kept() {
        assert_eq!(seconds(1_700_000_000_000_000_001), "1700000000.000000001");
        assert_eq!(seconds(-1_500_000_000), "-1.500000000");
    }

    #[test]
    fn what_does_not_fit_ustar_stands_in_a_pax_record() {
        let plain = MemberHeader { name: b"a", mtime: 1_000_000_000, mode: 0o644, uid: 1, gid: 1 };
        let record = |header: MemberHeader<'_>, size, key: &str| {
            let blocks = header.blocks(size, false).unwrap();
            let text = String::from_utf8_lossy(&blocks[..blocks.len() - 512]).into_owned();
            text.lines().find_map(|line| line.split_once(&format!(" {key}=")).map(|(_, value)| value.to_owned()))
        };
        assert_eq!(plain.blocks(8 << 30, false).unwrap().len(), 3 * 512);
        assert_eq!(plain.blocks((8 << 30) - 1, false).unwrap().len(), 512);
        assert_eq!(record(plain.clone(), 8 << 30, "size").unwrap().parse(), Ok(8u64 << 30));
        let late = MemberHeader { mtime: 9_000_000_000_000_000_000, ..plain.clone() };
        assert_eq!(record(late, 0, "mtime").as_deref(), Some("9000000000.000000000"));
        let early = MemberHeader { mtime: -1_000_000_000, ..plain.clone() };
        assert_eq!(record(early, 0, "mtime").as_deref(), Some("-1.000000000"));
        let foreign = MemberHeader { uid: 3_000_000, ..plain };
        assert_eq!(record(foreign, 0, "uid").as_deref(), Some("3000000"));
    }
}
