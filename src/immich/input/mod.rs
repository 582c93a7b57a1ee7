//! The bytes of a dump as pg_dump printed them, whatever was done to the file since: packed (once
//! or several times), rewritten by a terminal or a Windows shell. What cannot be taken is named by
//! its first bytes, at each layer, with the way out.
//!
//! What always holds: memory is bounded, whatever the input says of itself; and so is how much
//! comes out of how little.

mod ends;
mod foreign;
mod guard;
mod lines;
mod pack;
mod wide;

use std::io::{self, Cursor, Read};

use self::guard::{InputMeter, SizeGuard};
use self::pack::PackFormat;
use crate::base::{Error, Result};

pub use self::ends::MIXED;
pub use self::lines::LineCollector;

/// What tells the kinds of file apart lies before this; a tar's magic is the farthest.
const HEAD: usize = 512;
/// Nobody packs a dump more often on purpose.
const MOST_LAYERS: usize = 4;

/// A reader on its way to plain text.
type InputLayer<'a> = Box<dyn Read + 'a>;

/// A dump's plain bytes.
pub struct DumpInput<'a> {
    layer: InputLayer<'a>,
    meter: InputMeter,
    /// How the file is packed, from outside in.
    packs: Vec<PackFormat>,
    /// Why it is no plain dump, if it is none.
    pub foreign: Option<String>,
    wide: wide::SpoiltMark,
}

/// Why no more bytes come.
pub enum InputStop {
    /// The file is damaged, ends early, or is not what can be taken.
    Damaged(String),
    /// Reading failed on our side.
    Failed(Error),
}

impl<'a> DumpInput<'a> {
    /// Looks at the first bytes of `input`, and of what is in it.
    pub fn open(input: &'a mut dyn Read) -> Result<DumpInput<'a>> {
        let meter = InputMeter::default();
        let mut opened = DumpInput {
            layer: Box::new(meter.watch(input)),
            meter,
            packs: Vec::new(),
            foreign: None,
            wide: wide::SpoiltMark::default(),
        };
        match opened.unpack() {
            Ok(foreign) => opened.foreign = foreign.map(str::to_owned),
            Err(error) => match opened.stop(error) {
                InputStop::Failed(error) => return Err(error),
                InputStop::Damaged(reason) => {
                    opened.foreign = Some(reason);
                    opened.layer = Box::new(io::empty());
                }
            },
        }
        Ok(opened)
    }

    /// Takes off one layer after the other; says why the innermost is no plain text.
    fn unpack(&mut self) -> io::Result<Option<&'static str>> {
        loop {
            let head = self.peek()?;
            match PackFormat::of(&head) {
                Some(_) if self.packs.len() == MOST_LAYERS => {
                    return Ok(Some("it is packed too many times over"));
                }
                Some(pack) => {
                    self.packs.push(pack);
                    self.wrap(|layer| pack.open(layer))?;
                }
                None => break,
            }
        }
        if !self.packs.is_empty() {
            let meter = self.meter.clone();
            self.wrap(|layer| Ok(Box::new(SizeGuard::new(layer, meter))))?;
        }
        let head = self.peek()?;
        if let Some(reason) = foreign::kind(&head) {
            return Ok(Some(reason));
        }
        let mark = self.wide.clone();
        self.wrap(|layer| Ok(wide::narrow(layer, &head, mark)))?;
        let head = self.peek()?;
        self.wrap(|layer| Ok(ends::unify(layer, &head)))?;
        Ok(None)
    }

    /// The first bytes, which stay where they are.
    fn peek(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(HEAD);
        (&mut self.layer).take(HEAD as u64).read_to_end(&mut head)?;
        let copy = head.clone();
        self.wrap(|layer| Ok(Box::new(Cursor::new(copy).chain(layer))))?;
        Ok(head)
    }

    fn wrap(
        &mut self,
        with: impl FnOnce(InputLayer<'a>) -> io::Result<InputLayer<'a>>,
    ) -> io::Result<()> {
        let inner = std::mem::replace(&mut self.layer, Box::new(io::empty()));
        self.layer = with(inner)?;
        Ok(())
    }

    /// Reads some bytes into `buffer`; 0 at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, InputStop> {
        loop {
            match self.layer.read(buffer) {
                Ok(got) => return Ok(got),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.stop(error)),
            }
        }
    }

    fn stop(&self, error: io::Error) -> InputStop {
        if self.meter.failed() {
            return InputStop::Failed(Error::io("reading the dump", error));
        }
        InputStop::Damaged(
            match (
                error.get_ref().and_then(|inner| inner.downcast_ref::<InputRefusal>()),
                self.packs.last(),
            ) {
                (Some(InputRefusal(reason)), _) => reason.clone(),
                (None, Some(pack)) => pack.complaint(&error),
                (None, None) => error.to_string(),
            },
        )
    }

    /// What is to be said of a file that was taken.
    pub fn warning(&self) -> Option<&'static str> {
        self.wide.is_doubtful().then_some(
            "a Windows shell rewrote the dump (UTF-16): letters beyond ASCII in it may be \
                spoiled; let pg_dump write the file itself (--file)",
        )
    }
}

/// What a layer of ours says of its input.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct InputRefusal(String);

fn refuse<T>(reason: impl Into<String>) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, InputRefusal(reason.into())))
}
