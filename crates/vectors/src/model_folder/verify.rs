//! Whether a folder holds the pinned model.

use std::path::Path;

use crate::Error;
use crate::model_folder::manifest::{ModelFile, PINS, Pin};

/// Whether every file is there and is the pinned one. Blocks for some 0.1 s.
///
/// # Errors
///
/// Permanent, naming the first file that is missing or another.
pub fn verify(folder: &Path) -> Result<(), Error> {
    verify_pins(folder, &PINS)
}

pub(crate) fn verify_pins(folder: &Path, pins: &[Pin]) -> Result<(), Error> {
    pins.iter().try_for_each(|pin| read_pinned(folder, pin).map(drop))
}

/// The bytes of a file, once they are known to be the pinned ones.
pub(crate) fn read_verified(folder: &Path, file: ModelFile) -> Result<Vec<u8>, Error> {
    read_pinned(folder, &Pin::of(file))
}

fn read_pinned(folder: &Path, pin: &Pin) -> Result<Vec<u8>, Error> {
    let path = folder.join(pin.file.name());
    let bytes = std::fs::read(&path).map_err(|error| {
        Error::permanent(format!(
            "cannot read the embedding model's {}: {error}; `tidemill model fetch {}` fetches it",
            path.display(),
            folder.display()
        ))
    })?;
    pin.check(&bytes).map_err(|error| Error::permanent(format!("in {}: {error}", folder.display())))?;
    Ok(bytes)
}
