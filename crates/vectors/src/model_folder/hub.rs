//! The first origin: the Hugging Face hub.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::Error;
use crate::http;
use crate::model_folder::fetch::unwritable;
use crate::model_folder::manifest::Pin;
use crate::model_folder::verify::verify_pins;

/// The hub's folder of the model. Not pinned to a revision: the hashes pin more.
pub(crate) const HUB: &str = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main";

/// Where the hub is blocked, connections often hang instead of failing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A download may take its time, but must not stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Downloads and verifies every file; `told` gets the bytes done.
///
/// # Errors
///
/// Transient: unreachable, refused, broken off. Permanent: another file than the pinned one, or a full disk.
pub(crate) async fn download(hub: &str, pins: &[Pin], into: &Path, told: &impl Fn(u64)) -> Result<(), Error> {
    let client = http::build(
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION"))),
    )?;
    let mut done = 0;
    told(done);
    for pin in pins {
        let url = format!("{hub}/{}", pin.file.name());
        download_file(&client, &url, pin, into, &mut done, told).await?;
    }
    let (into, pins) = (into.to_owned(), pins.to_vec());
    crate::embedder::off_thread(move || verify_pins(&into, &pins)).await
}

async fn download_file(
    client: &reqwest::Client,
    url: &str,
    pin: &Pin,
    into: &Path,
    done: &mut u64,
    told: &impl Fn(u64),
) -> Result<(), Error> {
    let broken = |error: reqwest::Error| Error::transient(format!("{url}: {}", http::chain(&error)));
    let mut answer = client.get(url).send().await.map_err(broken)?.error_for_status().map_err(broken)?;
    let path = into.join(pin.file.name());
    let mut file = tokio::fs::File::create(&path).await.map_err(|error| unwritable(&path, &error))?;
    let mut left = pin.bytes;
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        let length = chunk.len() as u64;
        // A stranger's page, or an endless one, must not fill the disk.
        left = left.checked_sub(length).ok_or_else(|| {
            Error::permanent(format!("{url}: longer than the {} bytes of the pinned file", pin.bytes))
        })?;
        file.write_all(&chunk).await.map_err(|error| unwritable(&path, &error))?;
        *done += length;
        told(*done);
    }
    file.sync_all().await.map_err(|error| unwritable(&path, &error))
}
