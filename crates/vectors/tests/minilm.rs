//! The real model, from `models/all-MiniLM-L6-v2` at the root of the workspace, where `make test` fetches it.
//!
//! Without the folder these tests fail. Where no model can be had, `TIDEMILL_WITHOUT_MODEL=1` leaves them out.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use tidemill_vectors::{Class, Embedder, MiniLm, model_folder};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/all-MiniLM-L6-v2")
}

/// None only where the model was left out on purpose.
fn minilm() -> Option<MiniLm> {
    if std::env::var_os("TIDEMILL_WITHOUT_MODEL").is_some_and(|value| value == "1") {
        eprintln!("left out: TIDEMILL_WITHOUT_MODEL=1");
        return None;
    }
    Some(MiniLm::load(&folder()).unwrap())
}

async fn embed(minilm: &MiniLm, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    minilm.embed(&texts).await.unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The model card's own example. The reference is its recipe (mean pooling, then normalising) computed in float64
/// from the same weights.
#[tokio::test]
async fn vectors_are_those_of_the_reference() {
    let Some(minilm) = minilm() else { return };
    let texts = ["This is an example sentence", "Each sentence is converted"];
    let vectors = embed(&minilm, &texts).await;
    let expected =
        [[0.067_657, 0.063_496, 0.048_713, 0.079_305], [0.086_439, 0.102_763, 0.005_395, 0.002_044]];
    for (vector, expected) in vectors.iter().zip(expected) {
        for (x, y) in vector.iter().zip(expected) {
            assert!((x - y).abs() < 1e-5_f32, "{:?} is not {expected:?}", &vector[..4]);
        }
    }
    assert!((cosine(&vectors[0], &vectors[1]) - 0.404_559).abs() < 1e-5);
}

#[tokio::test]
async fn a_paraphrase_is_nearer_than_a_stranger() {
    let Some(minilm) = minilm() else { return };
    let vectors = embed(
        &minilm,
        &[
            "The central bank raised interest rates again.",
            "Borrowing costs were lifted once more by the Federal Reserve.",
            "My cat sleeps on the warm windowsill all day.",
        ],
    )
    .await;
    let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(near > 0.6 && far < 0.2, "paraphrase {near}, stranger {far}");
}

#[tokio::test]
async fn a_text_has_the_same_vector_in_any_company() {
    let Some(minilm) = minilm() else { return };
    let long = "word ".repeat(200);
    let texts = ["short", &long, "a somewhat longer text than the first", "", "short"];
    let together = embed(&minilm, &texts).await;
    for (text, vector) in texts.iter().zip(&together) {
        let alone = embed(&minilm, &[text]).await;
        assert!(cosine(&alone[0], vector) > 0.9999, "{text:?}");
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-5, "{text:?}");
        assert_eq!(vector.len(), minilm.dimensions());
    }
    assert_eq!(minilm.model(), "all-MiniLM-L6-v2");
}

#[tokio::test]
async fn two_hundred_and_fifty_six_tokens_are_read_and_no_more() {
    let Some(minilm) = minilm() else { return };
    // One token a word; two of the 256 mark begin and end.
    let words = |count: usize| "tide ".repeat(count);
    let at_200 = words(200) + "penguin";
    let at_254 = words(254) + "penguin";
    let vectors = embed(&minilm, &[&words(201), &at_200, &words(255), &at_254]).await;
    assert!(cosine(&vectors[0], &vectors[1]) < 0.9999, "beyond the 128 of the tokenizer's file");
    assert!(cosine(&vectors[2], &vectors[3]) > 0.999_999, "beyond 256");
}

#[tokio::test]
async fn hostile_texts_get_a_vector() {
    let Some(minilm) = minilm() else { return };
    let huge = "x".repeat(2 << 20);
    let spaces = " ".repeat(1 << 20);
    let combining = "e".to_owned() + &"\u{301}".repeat(50_000);
    let texts =
        [&huge, &spaces, &combining, "\u{0}\u{FFFD}\u{202E}", "[PAD][CLS][MASK]", "日本語 العربية 🌊"];
    for vector in embed(&minilm, &texts).await {
        assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
    }
    assert!(embed(&minilm, &[]).await.is_empty());
}

#[tokio::test]
async fn an_abandoned_call_does_not_block_the_next() {
    let Some(minilm) = minilm() else { return };
    let texts = vec!["abandoned ".repeat(200); 16];
    drop(tokio::time::timeout(std::time::Duration::ZERO, minilm.embed(&texts)).await);
    assert_eq!(embed(&minilm, &["next"]).await.len(), 1);
}

#[test]
fn a_folder_with_another_file_is_refused_by_name() {
    let Some(_) = minilm() else { return };
    let altered = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(folder().join(file), altered.path().join(file)).unwrap();
    }
    model_folder::verify(altered.path()).unwrap();
    let path = altered.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("1e-12", "1e-5");
    std::fs::write(&path, text).unwrap();
    let error = MiniLm::load(altered.path()).unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("config.json is not the pinned file"), "{error}");
}

#[test]
fn a_missing_folder_says_how_to_get_it() {
    let error = MiniLm::load(Path::new("/nonexistent/model")).unwrap_err();
    assert!(error.to_string().contains("tidemill model fetch"), "{error}");
}
